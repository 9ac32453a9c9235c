"""Sequences with a known onset: which frames are corrupted, and that the others are not."""
import numpy as np
import pytest

from leanood.data import corruptions, sequences


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
