"""The four disjoint in-distribution splits: train, calibration, validation, test; and sequences from times.

Neighbouring frames are near-duplicates. So recordings are cut by time with a guard between the parts, and unordered
images, which may be subsampled video, are dealt out in blocks of consecutive names.
"""
from __future__ import annotations

import hashlib
import re
from typing import List, Optional, Sequence, Tuple

import numpy as np

from leanood.data import tables

NAMES = ("train", "calibration", "validation", "test")
SHARES = (0.50, 0.15, 0.10, 0.25)
SHARES_BESIDE_TEST = (2 / 3, 0.20, 2 / 15, 0.0)  # the same, where the test images are given
ALLOWED = NAMES + ("ood", "")
GUARD_SECONDS = 10.0
GUARD_SHARE = 0.02  # of a short recording
BLOCK = 10
SMALL = 8
GAP_SECONDS = 0.5
_DIGITS = re.compile(r"\d+")


def by_time(recording: np.ndarray, fps: float) -> np.ndarray:
    """str [N]: each recording cut by time into SHARES of NAMES, the frames of a guard between two parts left out ("").

    Args:
      recording: int64 [N], frames of one recording in time order.
      fps: frames a second.

    The guard is taken from the end of the earlier part: 10 s, or 2% of a recording that is shorter than 500 s.
    """
    split = np.full(len(recording), "", "<U11")
    for number in np.unique(recording):
        members = np.flatnonzero(recording == number)
        guard = min(int(round(GUARD_SECONDS * fps)), int(GUARD_SHARE * len(members)))
        ends = _ends(len(members))
        for name, begin, end in zip(NAMES, [0] + ends, ends):
            split[members[begin:end if name == NAMES[-1] else max(begin, end - guard)]] = name
    return split


def by_blocks(group: np.ndarray, names: Sequence[str], seed: int = 0,
              shares: Sequence[float] = SHARES) -> np.ndarray:
    """str [N]: each group's consecutive names, in blocks of ten, dealt out by hash in shares of NAMES.

    Args:
      group: [N], what is dealt out separately (the partition).
      names: [N], in natural order.
      seed: another seed, another deal; the order of the files on disk plays no part.
      shares: of NAMES, sum 1.

    Groups of fewer than 200 names have smaller blocks, down to single images; those of fewer than eight are too small
    to be in every split, and dealt out together.
    """
    split = np.full(len(names), "", "<U11")
    _, number, counts = np.unique(group, return_inverse=True, return_counts=True)
    number = np.where(counts[number] < SMALL, -1, number)
    for label in np.unique(number):
        members = np.flatnonzero(number == label)
        size = block_length(len(members))
        blocks = [members[i:i + size] for i in range(0, len(members), size)]
        blocks.sort(key=lambda block: hashlib.sha256(f"{seed}/{names[block[0]]}".encode(
            errors="surrogateescape")).digest())  # a file's name may be any bytes
        ends = _ends(len(blocks), shares)
        for name, begin, end in zip(NAMES, [0] + ends, ends):
            for block in blocks[begin:end]:
                split[block] = name
    return split


def block_length(count: int) -> int:
    """The length of the blocks that `count` names are dealt out in: ten, less where there would be few of them."""
    return min(BLOCK, max(1, count // 20))


def from_csv(path: str, names: Sequence[str]) -> np.ndarray:
    """str [N]: the split of each name by a table `image,split`; an empty split leaves an image out."""
    listed, words = tables.read(path, ("image", "split"))
    for name, word in zip(listed, words):
        if word not in ALLOWED:
            raise ValueError(f"{path}: {name!r} has the split {word!r}; allowed are {', '.join(ALLOWED[:-1])} or none")
    return np.asarray(words, "<U11")[tables.match(path, listed, names)]


def times_from_csv(path: str, names: Sequence[str]) -> np.ndarray:
    """float64 [N]: the seconds at which each frame was taken by a table `frame,milliseconds`; NaN where unknown."""
    listed, words = tables.read(path, ("frame", "milliseconds"))
    seconds = np.full(len(listed), np.nan)
    for i, (name, word) in enumerate(zip(listed, words)):
        try:
            seconds[i] = float(word) / 1000.0 if word else np.nan
        except ValueError:
            raise ValueError(f"{path}: {name!r} has {word!r} milliseconds, which is no number") from None
    return seconds[tables.match(path, listed, names)]


def ood_from_csv(path: str, names: Sequence[str]) -> np.ndarray:
    """bool [N]: the frames that a table `frame,milliseconds,ood` holds for out of distribution; none without `ood`."""
    if not tables.has(path, "ood"):
        return np.zeros(len(names), bool)
    listed, words = tables.read(path, ("frame", "ood"))
    return tables.truths(path, listed, words, "ood")[tables.match(path, listed, names)]


def recorded(recording: np.ndarray, names: Sequence[str], times_csv: Optional[str],
             fps: float) -> Tuple[np.ndarray, float, np.ndarray]:
    """(sequence int64 [N], frames a second, seconds float64 [N]) of recordings, by their times where a table has them.

    Seconds are NaN where unknown; without a table they follow from the names' numbers.

    Args:
      recording: int64 [N], frames of one recording in time order.
      names: [N], as the table names them.
      times_csv: a table `frame,milliseconds`, or None: `fps` holds, and gaps show in the names' numbers.
      fps: frames a second.
    """
    if not times_csv:
        seconds = times_from_numbers(recording, names, fps)
        return sequences(recording, seconds, fps), float(fps), seconds
    seconds = times_from_csv(times_csv, names)
    fps = frame_rate(seconds, fps)
    return sequences(recording, seconds, fps), fps, seconds


def times_from_numbers(recording: np.ndarray, names: Sequence[str], fps: float) -> np.ndarray:
    """float64 [N]: seconds by the last number in each name (frame00123.jpg), whose usual step is a frame; NaN if none.

    Args:
      recording: int64 [N], frames of one recording in time order.
      names: [N].
      fps: frames a second.
    """
    files = (name.rpartition("/")[2] for name in names)
    digits = [_DIGITS.findall(file.rpartition(".")[0] or file) for file in files]
    numbers = np.array([float(runs[-1]) if runs else np.nan for runs in digits])
    seconds = np.full(len(names), np.nan)
    for label in np.unique(recording):
        members = np.flatnonzero(recording == label)
        steps = np.diff(numbers[members])
        steps = steps[steps > 0]
        if len(steps):
            seconds[members] = numbers[members] / (np.median(steps) * fps)
    return seconds


def sequences(recording: np.ndarray, seconds: Optional[np.ndarray], fps: float) -> np.ndarray:
    """int64 [N]: numbers the sequences: a recording's frames until a gap of over 0.5 s, or a jump back.

    Args:
      recording: int64 [N], frames of one recording in time order.
      seconds: float64 [N], NaN where unknown: such a frame follows the one before it at `fps`. None: no gaps.
      fps: frames a second.
    """
    starts = np.ones(len(recording), bool)
    starts[1:] = recording[1:] != recording[:-1]
    if seconds is not None:
        known = np.flatnonzero(~np.isnan(seconds))
        step = np.diff(seconds[known])
        between = (np.diff(known) - 1) / fps  # the frames of unknown time account for some of it
        broken = (step < 0) | (step - between > GAP_SECONDS)
        starts[known[1:][broken]] = True
    return np.cumsum(starts) - 1


def cut_sequences(sequence: np.ndarray, split: np.ndarray) -> np.ndarray:
    """int64 [N]: the sequences, renumbered so that none crosses from one split into another; -1 stays."""
    starts = np.ones(len(sequence), bool)
    starts[1:] = (sequence[1:] != sequence[:-1]) | (split[1:] != split[:-1])
    return np.where(sequence < 0, -1, np.cumsum(starts) - 1)


def frame_rate(seconds: np.ndarray, fallback: float) -> float:
    """Frames a second by the median time between frames; `fallback` where fewer than two times are known."""
    steps = np.diff(seconds)
    steps = steps[np.isfinite(steps) & (steps > 0)]
    return round(1.0 / float(np.median(steps)), 2) if len(steps) else fallback


def _ends(count: int, shares: Sequence[float] = SHARES) -> List[int]:
    return [int(round(share * count)) for share in np.cumsum(shares).tolist()]
