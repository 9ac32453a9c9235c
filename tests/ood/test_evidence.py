"""Evidence at several scales: streams equal whole sequences to the last bit, and a slow road says the same."""
import math

import numpy as np
import pytest

from leanood.ood import evidence

TAUS = [6.0, 4.5, 4.0, 3.5, 3.0, 2.5]


def exponential(count, seed=0, mean=1.0):
    return np.random.default_rng(seed).exponential(mean, count)


def pushed(e, starts, windows, thresholds):
    scales = evidence.Scales(windows, thresholds)
    said = []
    for value, start in zip(e.tolist(), starts.tolist()):
        if start:
            scales.reset()
        said.append(scales.push(value))
    return np.array(said)


def slow(e, windows, thresholds):
    """Of one sequence, straight from the definition, in floats."""
    padded = np.concatenate([np.ones(max(windows)), e])
    said = []
    for t in range(len(e)):
        upto = padded[:max(windows) + t + 1]
        said.append(max(min(upto[-s:].mean(), upto[-math.ceil(s / 16):].mean()) / tau
                        for s, tau in zip(windows, thresholds)))
    return np.array(said)


@pytest.mark.parametrize("windows", [evidence.WINDOWS, (1,), (3, 7, 31), (8, 64)])
def test_streams_equal_whole_sequences_to_the_bit(windows):
    e = exponential(3000)
    e[100:140] *= 20
    e[500], e[501] = 1e9, 0.0
    starts = np.isin(np.arange(len(e)), [0, 1, 100, 120, 700, 2999])
    thresholds = TAUS[:len(windows)]
    np.testing.assert_array_equal(evidence.scores(e, starts, windows, thresholds),
                                  pushed(e, starts, windows, thresholds))


def test_by_the_definition():
    e = exponential(700, seed=1)
    e[300:420] *= 4
    starts = np.isin(np.arange(len(e)), [0, 250])
    expected = np.concatenate([slow(e[:250], evidence.WINDOWS, TAUS), slow(e[250:], evidence.WINDOWS, TAUS)])
    np.testing.assert_allclose(evidence.scores(e, starts, evidence.WINDOWS, TAUS), expected, atol=1e-5)


def test_only_the_last_frames_matter_so_a_sequence_can_be_resumed():
    e = exponential(2000, seed=2)
    whole = evidence.scores(e, np.arange(2000) == 0, evidence.WINDOWS, TAUS)
    part = evidence.scores(e[1000:], np.arange(1000) == 0, evidence.WINDOWS, TAUS)
    np.testing.assert_array_equal(whole[1160:], part[160:])
    assert (whole[1000:1160] != part[:160]).any()


def test_a_long_scale_sees_what_a_short_one_cannot():
    e = exponential(600, seed=3)
    e[200:500] = 2.2 + exponential(300, seed=4, mean=0.6)
    starts = np.arange(600) == 0
    assert not (evidence.scores(e, starts, (10,), [4.5]) > 1).any()
    on = np.flatnonzero(evidence.scores(e, starts, evidence.WINDOWS, TAUS) > 1)
    assert 200 < on[0] < 360
    assert on[-1] < 500 + 10


def test_an_alarm_ends_within_a_sixteenth_of_the_longest_window():
    e = np.ones(1000)
    e[200:600] = 8.0
    on = np.flatnonzero(evidence.scores(e, np.arange(1000) == 0, evidence.WINDOWS, TAUS) > 1)
    assert on[0] <= 204
    assert 600 <= on[-1] < 600 + 160 // 16


def test_an_infinite_threshold_mutes_a_scale():
    e = exponential(400, seed=5, mean=3.0)
    starts = np.arange(400) == 0
    muted = evidence.scores(e, starts, (5, 40), [5.0, math.inf])
    np.testing.assert_array_equal(muted, evidence.scores(e, starts, (5,), [5.0]))
    np.testing.assert_array_equal(muted, pushed(e, starts, (5, 40), [5.0, math.inf]))


def test_the_part_that_has_to_agree_can_be_told():
    e, starts = exponential(600, seed=6, mean=2.0), np.arange(600) == 0
    windows, thresholds, latest = (8, 64), [3.0, 2.0], [2, 8]
    scales = evidence.Scales(windows, thresholds, latest)
    told = np.array([scales.push(value) for value in e.tolist()])
    np.testing.assert_array_equal(told, evidence.scores(e, starts, windows, thresholds, latest))
    np.testing.assert_array_equal(told, (scales.scaled(e, starts) / np.array(thresholds)[:, None]).max(axis=0))
    padded = np.concatenate([np.ones(64), e])
    assert told[300] == pytest.approx(max(
        min(padded[365 - window:365].mean(), padded[365 - part:365].mean()) / threshold
        for window, part, threshold in zip(windows, latest, thresholds)), abs=1e-5)
    assert (told != evidence.scores(e, starts, windows, thresholds)).any()


@pytest.mark.parametrize(("windows", "thresholds", "message"), [
    ((), (), "ascending, not \\[\\]"), ((5, 5), (1, 1), "ascending, not \\[5, 5\\]"), ((0,), (1,), "from 1 to 4096"),
    ((5, 10), (1,), "2 scales need as many positive thresholds"), ((5,), (0,), "positive thresholds"),
    ((5,), (math.nan,), "positive thresholds")])
def test_scales_that_do_not_fit_are_refused(windows, thresholds, message):
    with pytest.raises(ValueError, match=message):
        evidence.Scales(windows, thresholds)


def test_evidence_that_is_none_is_refused():
    with pytest.raises(ValueError, match="must be a number and not negative"):
        evidence.scaled(np.array([1.0, math.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="must both be"):
        evidence.scaled(np.ones(3), np.ones(2, bool))


@pytest.mark.parametrize("latest", [[1], [1, 11], [0, 1], [1.0, 1]])
def test_parts_that_do_not_fit_their_windows_are_refused(latest):
    with pytest.raises(ValueError, match=r"windows of \[5, 10\] frames as many latest parts have to agree"):
        evidence.Scales((5, 10), (1, 1), latest)
