"""Test sequences whose frames go out of distribution at a known time: a corruption over all, half or the middle."""
from __future__ import annotations

from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.data import corruptions, dataset, flow, motion, spread, stacks
from leanood.data import frames as frames_

PATTERNS = ("all", "second_half", "middle_half")
NAMES = (*corruptions.NAMES, *(name for name in motion.NAMES if name not in corruptions.NAMES))
OF_MOTION = (*motion.NAMES, "rain", "brighter")  # what a detector of motion is asked, unless the caller says otherwise


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


def stretches(data: dataset.Dataset, length: int, at_most: Optional[int] = None, room: int = 0) -> List[np.ndarray]:
    """The indices, int64 [length] each, of stretches of consecutive frames, evenly spread over the sequences.

    Args:
      data: frames of one split.
      length: of a stretch, in frames; a sequence that is shorter gives none.
      at_most: so many stretches.
      room: frames that their sequence has at least (`room_for`).
    """
    begins = np.flatnonzero(data.starts)
    whole = [np.arange(begin + offset, begin + offset + length)
             for begin, end in zip(begins, [*begins[1:], len(data)])
             if end - begin >= room for offset in range(0, end - begin - length + 1, length)]
    if at_most is not None and len(whole) > at_most:
        whole = [whole[i] for i in spread.evenly(len(whole), at_most)]
    return whole


def outside_id(name: str, severity: int, partition_kind: str) -> bool:
    """False where a severity lies in the range that a data set of factors declares in-distribution for that factor."""
    return name in motion.NAMES or corruptions.outside_id(name, severity, partition_kind)


def room_for(names: Sequence[str], severities: Sequence[int], length: int) -> int:
    """Recorded frames that `corrupted` may need for a stretch of `length` frames: the faster, the more."""
    spans = [motion.span(name, length // 2, length, severity=severity)
             for name in names if name in motion.NAMES for severity in severities]
    return max([length, *(last - min(first, 0) + 1 for first, last in spans)])


def corrupted(data: dataset.Dataset, where: np.ndarray, name: str, severity: int, pattern: str, seed: int,
              size: Union[Tuple[int, int], flow.Settings]) -> Tuple[Any, np.ndarray]:
    """A stretch's frames, corrupted at their own resolution from a known time on, and which are.

    Args:
      data: frames of one split.
      where: int [T], the stretch.
      name, severity: a corruption, or a change of motion (motion.NAMES), which lasts to the stretch's end.
      pattern: of PATTERNS; of motion the second half is changed, whatever it says.
      seed: of the corruption.
      size: (h, w) to resize to, or how to compute flow.

    Returns:
      (uint8 [T, h, w, 3], bool [T]); of flow the Stacks of the frames that end one, and of those which are.
    """
    if name in motion.NAMES and (isinstance(size, flow.Settings) or name not in corruptions.NAMES):
        ood = onset("second_half", len(where))
        changed = motion.apply(name, _recorded(data, where, name, severity), int(np.argmax(ood)), len(where),
                               severity=severity, seed=seed)
    else:
        ood = onset(pattern, len(where))
        changed = apply(name, np.stack([data.read(int(i)) for i in where]), ood, severity=severity, seed=seed)
    if isinstance(size, flow.Settings):
        cut = stacks.of_frames(changed, size, stacks.gaps(data)[where] | (np.arange(len(where)) == 0))
        return cut, ood[cut.ends]
    return frames_.resize(changed, size), ood


def _recorded(data: dataset.Dataset, where: np.ndarray, name: str, severity: int) -> Callable[[int], np.ndarray]:
    """Reads frame i of a stretch that motion plays on beyond its end, or before its beginning.

    The stretch moves within its sequence so that there is enough; what is still missing stands still.
    """
    first, last = motion.span(name, len(where) // 2, len(where), severity=severity)
    begins = np.flatnonzero(data.starts)
    low = int(begins[np.searchsorted(begins, where[0], "right") - 1])
    after = begins[begins > where[0]]
    high = int(after[0]) if len(after) else len(data)
    begin = max(min(int(where[0]), high - 1 - last), low - min(first, 0))
    return lambda i: data.read(min(max(begin + i, low), high - 1))
