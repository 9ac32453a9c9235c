"""Sequences with a known onset: which frames are corrupted, and that the others are not."""
import numpy as np
import pytest

from leanood.data import corruptions, dataset, flow, sequences


def _counting(length):
    return np.arange(length, dtype=np.uint8)[:, None, None, None] * np.ones((24, 32, 3), np.uint8)


@pytest.mark.parametrize(("pattern", "length", "frames"), [
    ("all", 7, range(7)), ("second_half", 8, range(4, 8)), ("second_half", 7, range(3, 7)),
    ("middle_half", 8, range(2, 6)), ("middle_half", 9, range(2, 7)), ("middle_half", 1, range(1))])
def test_onset(pattern, length, frames):
    assert np.flatnonzero(sequences.onset(pattern, length)).tolist() == list(frames)


def test_onset_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="'first_half' is none of all, second_half, middle_half"):
        sequences.onset("first_half", 8)
    with pytest.raises(ValueError, match="0 frames has no onset"):
        sequences.onset("all", 0)


@pytest.mark.parametrize("name", corruptions.NAMES)
def test_only_the_asked_frames_change_and_time_goes_on(name):
    frames = _counting(12) * 10 + 50
    before = frames.copy()
    where = sequences.onset("middle_half", 12)
    out = sequences.apply(name, frames, where, severity=3, seed=1)
    np.testing.assert_array_equal(frames, before)
    np.testing.assert_array_equal(out[~where], frames[~where])
    if name == "frozen":
        assert (out[where] == frames[3]).all()
    else:
        np.testing.assert_array_equal(out[5], corruptions.corrupt(name, frames[5], 3, 1, time=5))


def test_levels_serve_as_severities_do():
    frames = _counting(8)
    where = sequences.onset("second_half", 8)
    np.testing.assert_array_equal(sequences.apply("rain", frames, where, level=0.01),
                                  sequences.apply("rain", frames, where, severity=5))
    with pytest.raises(ValueError, match="exactly one"):
        sequences.apply("rain", frames, where)
    with pytest.raises(ValueError, match="exactly one"):
        sequences.apply("rain", frames, where, severity=1, level=0.01)
    with pytest.raises(ValueError, match="the sequence has 8 frames"):
        sequences.apply("rain", frames, where[:5], severity=1)


def _drive(count, read=None):
    """A recording in which frame i shows the number i."""
    return dataset.Dataset(
        names=tuple(map(str, range(count))), partition=np.full(count, "all"), sequence=np.zeros(count, np.int64),
        split=np.full(count, "test"), ood=np.zeros(count, bool), partition_kind="subset", fps=20.0,
        read=read or (lambda i: np.full((32, 40, 3), i, np.uint8)), description="numbers")


@pytest.mark.parametrize(("name", "expected"), [
    ("faster", [20, 21, 22, 23, 25, 27, 29, 31]), ("reversed", [20, 21, 22, 23, 22, 21, 20, 19])])
def test_playback_reads_on_beyond_its_stretch(name, expected):
    changed, ood = sequences.corrupted(_drive(60), np.arange(20, 28), name, 3, "second_half", 0, (32, 40))
    assert changed[:, 0, 0, 0].tolist() == expected
    assert np.flatnonzero(ood).tolist() == [4, 5, 6, 7]


def test_playback_moves_its_stretch_where_the_recording_ends():
    changed, _ = sequences.corrupted(_drive(28), np.arange(20, 28), "faster", 3, "second_half", 0, (32, 40))
    assert changed[:, 0, 0, 0].tolist() == [16, 17, 18, 19, 21, 23, 25, 27]


def test_room_is_what_the_fastest_playback_reads():
    assert sequences.room_for(["faster", "rain"], [1, 3], 8) == 12
    assert sequences.room_for(["rain"], [5], 8) == 8
    assert len(sequences.stretches(_drive(11), 8, room=12)) == 0
    assert len(sequences.stretches(_drive(16), 8, room=12)) == 2


def test_of_flow_come_stacks_and_which_of_them_are_changed():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (20, 32, 40, 3)).astype(np.uint8)
    settings = flow.Settings((32, 40), (30, 36), 3, method="farneback")
    drive = _drive(20, lambda i: pictures[i])
    changed, ood = sequences.corrupted(drive, np.arange(4, 14), "frozen", 5, "all", 0, settings)
    assert len(changed) == len(ood) == 7  # of ten frames three begin the first stack
    assert np.flatnonzero(ood).tolist() == [2, 3, 4, 5, 6]
    assert np.abs(changed[6].astype(int) - 127.5).max() < 1  # nothing moves
