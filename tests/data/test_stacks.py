"""Stacks of whole data sets: the same as a device's, broken by gaps and unreadable frames, cut lazily."""
from __future__ import annotations

import cv2
import numpy as np
import pytest

from leanood.data import dataset, flow, frames, stacks

SETTINGS = flow.Settings((32, 40), (30, 36), 3, method="farneback")


def _recording(count: int = 40, unreadable: tuple = (), seconds: object = None,
               sequence: object = None) -> dataset.Dataset:
    rng = np.random.default_rng(0)
    pictures = [cv2.GaussianBlur(rng.integers(0, 256, (32, 40, 3)).astype(np.uint8), (0, 0), 2) for _ in range(count)]

    def read(i: int) -> np.ndarray:
        if i in unreadable:
            raise frames.FrameError(f"{i}: damaged")
        return pictures[i]

    return dataset.Dataset(
        names=tuple(map(str, range(count))), partition=np.full(count, "all"),
        sequence=np.zeros(count, np.int64) if sequence is None else np.asarray(sequence),
        split=np.full(count, "train"), ood=np.zeros(count, bool), partition_kind="subset", fps=20.0, read=read,
        description="pictures", seconds=seconds if seconds is None else np.asarray(seconds, np.float64))


def _by_device(data: dataset.Dataset, gaps: np.ndarray) -> dict:
    """Frame number -> stack, as a device that is shown the frames computes them."""
    stacker, result = flow.Stacker(SETTINGS), {}
    for i in range(len(data)):
        try:
            stack = stacker.push(data.read(i), bool(gaps[i]))
        except frames.FrameError:
            stacker.reset()
            continue
        if stack is not None:
            result[i] = stack
    return result


@pytest.mark.parametrize("chunk", [7, 1000])
def test_the_host_computes_what_a_device_would(monkeypatch, chunk):
    monkeypatch.setattr(stacks, "_CHUNK", chunk)
    sequence = np.repeat([0, 1], 20)
    seconds = np.arange(40) / 20.0
    seconds[30:] += 0.05  # one frame is missing before frame 30
    data = _recording(unreadable=(9,), seconds=seconds, sequence=sequence)
    gaps = stacks.gaps(data)
    assert np.flatnonzero(gaps).tolist() == [0, 20, 30]
    cut, known, unreadable = stacks.load(data, SETTINGS)
    wanted = _by_device(data, gaps)
    assert [int(name) for name in known.names] == list(wanted)
    assert list(wanted) == [3, 4, 5, 6, 7, 8, 13, 14, 15, 16, 17, 18, 19, 23, 24, 25, 26, 27, 28, 29,
                            33, 34, 35, 36, 37, 38, 39]
    for i, stack in enumerate(wanted.values()):
        np.testing.assert_array_equal(cut[i], stack)
    assert unreadable == ("9: damaged",)
    assert known.sequence.tolist() == [0] * 13 + [1] * 14  # a short gap breaks the stack, not the sequence


def test_indexing_looks_like_an_array():
    cut, _, _ = stacks.load(_recording(12), SETTINGS)
    whole = np.asarray(cut)
    assert cut.shape == whole.shape == (9, 60, 36, 3)
    assert whole.dtype == cut.dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(cut[2:5]), whole[2:5])
    np.testing.assert_array_equal(np.asarray(cut[np.array([7, 1])]), whole[[7, 1]])
    np.testing.assert_array_equal(np.asarray(cut[whole[:, 0, 0, 0] > 127]), whole[whole[:, 0, 0, 0] > 127])
    np.testing.assert_array_equal(cut[-1], whole[-1])
    np.testing.assert_array_equal(np.stack([stack for stack in cut]), whole)


def test_frames_of_unknown_time_follow_on():
    seconds = np.arange(10) / 20.0
    seconds[4:6] = np.nan
    assert not stacks.gaps(_recording(10, seconds=seconds))[1:].any()
    seconds[6:] += 0.2
    assert np.flatnonzero(stacks.gaps(_recording(10, seconds=seconds))).tolist() == [0, 6]


def test_time_that_stands_still_or_runs_back_is_a_gap():
    seconds = np.arange(10) / 20.0
    seconds[5] = seconds[4]
    assert np.flatnonzero(stacks.gaps(_recording(10, seconds=seconds))).tolist()[:2] == [0, 5]


def test_unordered_images_have_no_motion():
    with pytest.raises(ValueError, match="follow each other in time"):
        stacks.load(_recording(10, sequence=np.full(10, -1)), SETTINGS)


def test_too_short_recordings_are_refused():
    with pytest.raises(ValueError, match="nowhere do 4 readable frames follow each other"):
        stacks.load(_recording(3), SETTINGS)
