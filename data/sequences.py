"""Test sequences whose frames go out of distribution at a known time: a corruption over all, half or the middle."""
from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from leanood.data import corruptions, dataset
from leanood.data import frames as frames_

PATTERNS = ("all", "second_half", "middle_half")


def onset(pattern: str, length: int) -> np.ndarray:
    """bool [T], True where a sequence of T frames is out of distribution; its first True is the onset.

    Args:
      pattern: "all"; "second_half", from frame T//2 on; "middle_half", from T//4 to before T - T//4.
      length: T.
    """
    if pattern not in PATTERNS:
        raise ValueError(f"pattern: {pattern!r} is none of {', '.join(PATTERNS)}")
    if length < 1:
        raise ValueError(f"length: a sequence of {length} frames has no onset")
    begin = {"all": 0, "second_half": length // 2, "middle_half": length // 4}[pattern]
    end = length - length // 4 if pattern == "middle_half" else length
    out = np.zeros(length, bool)
    out[begin:end] = True
    return out


def apply(name: str, frames: np.ndarray, where: np.ndarray, *, severity: Optional[int] = None,
          level: Optional[float] = None, seed: int = 0) -> np.ndarray:
    """A new sequence, uint8 [T, H, W, 3], corrupted where asked and the same elsewhere.

    Args:
      name: a corruption (corruptions.NAMES).
      frames: uint8 [T, H, W, 3]; frame t is corrupted at time t. "frozen" shows the frame at the onset.
      where: bool [T], from `onset`.
      severity: 1 to 5, or
      level: the physical level; exactly one of the two.
      seed: of the corruption.
    """
    if (severity is None) == (level is None):
        raise ValueError("severity, level: give exactly one of them")
    if where.shape != (len(frames),):
        raise ValueError(f"where: its shape is {where.shape}, the sequence has {len(frames)} frames")
    physical = level if level is not None else corruptions.level_of(name, severity or 0)
    out = np.array(frames, np.uint8)
    corrupted = np.flatnonzero(where)
    if name == "frozen":
        out[corrupted] = frames[corrupted[corruptions.frozen_source(len(corrupted), physical)]]
        return out
    for t in corrupted:
        out[t] = corruptions.corrupt_level(name, frames[t], physical, seed, int(t))
    return out


def stretches(data: dataset.Dataset, length: int, at_most: Optional[int] = None) -> List[np.ndarray]:
    """The indices, int64 [length] each, of stretches of consecutive frames, evenly spread over the sequences.

    Args:
      data: frames of one split.
      length: of a stretch, in frames; a sequence that is shorter gives none.
      at_most: so many stretches.
    """
    begins = np.flatnonzero(data.starts)
    whole = [np.arange(begin + offset, begin + offset + length)
             for begin, end in zip(begins, [*begins[1:], len(data)])
             for offset in range(0, end - begin - length + 1, length)]
    if at_most is not None and len(whole) > at_most:
        whole = [whole[i] for i in np.unique(np.linspace(0, len(whole) - 1, at_most).round().astype(int))]
    return whole


def corrupted(data: dataset.Dataset, where: np.ndarray, name: str, severity: int, pattern: str, seed: int,
              size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """A stretch's frames, corrupted at their own resolution from a known time on, and which are.

    Args:
      data: frames of one split.
      where: int [T], the stretch.
      name, severity: the corruption.
      pattern: of PATTERNS.
      seed: of the corruption.
      size: (h, w) to resize to.

    Returns:
      (uint8 [T, h, w, 3], bool [T]).
    """
    ood = onset(pattern, len(where))
    original = np.stack([data.read(int(i)) for i in where])
    return frames_.resize(apply(name, original, ood, severity=severity, seed=seed), size), ood
