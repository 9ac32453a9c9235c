"""A stream of frames for a monitor: what `playback` (files) and `live` (cameras, raw bytes) hand on, frame by frame.

A stream never stops for a bad frame: it hands on an item that says why there is none.
"""
from __future__ import annotations

from typing import Iterator, NamedTuple, Optional

import numpy as np


class Item(NamedTuple):
    """One frame of a stream, or the reason why it is missing."""

    name: str
    frame: Optional[np.ndarray]  # uint8 RGB [H, W, 3]
    problem: str  # "" where there is a frame
    captured: float  # time.perf_counter() when the stream began to have it
    dropped: int = 0  # frames left out before this one, because the reader was slow
    seconds: Optional[float] = None  # when it was taken, where the stream knows; None: a frame after the one before
    gap: bool = False  # by the files' numbers, a frame is missing before this one


class Stream:
    """Iterating gives items; None in between means that nothing came for a while (look whether you should stop).

    Attributes:
      live: whether frames are lost unless they are read in time.
      length: number of frames, None where nobody knows.
    """

    live = False
    length: Optional[int] = None

    def items(self, start: int = 0) -> Iterator[Optional[Item]]:
        """The items from number `start` on."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of files and devices."""
