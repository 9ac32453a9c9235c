"""Test sequences whose frames go out of distribution at a known time: a corruption over all, half or the middle."""
from __future__ import annotations

from typing import Optional

import numpy as np

from leanood.data import corruptions

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
