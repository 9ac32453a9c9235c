"""A data set: named frames with their partition, sequence, split and truth; read one by one, or all at one size.

`catalog.open` makes one from a word on the command line.
"""
from __future__ import annotations

import concurrent.futures
import dataclasses
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

import numpy as np

from leanood.data import frames, storage

SPLITS = ("train", "calibration", "validation", "test", "ood", "")
PARTITION_KINDS = ("subset", "factor")
THREADS = 2  # OpenCV decodes without holding Python's lock
CHUNK = 32  # frames in a row for one thread


@dataclasses.dataclass(frozen=True)
class Dataset:
    """N frames and what is known of each; reading is left to `read`.

    Attributes:
      names: unique, e.g. "bright/frame00052.jpg", [N].
      partition: str [N], the subset or the generative factor that the frame belongs to.
      sequence: int64 [N]; the frames of one sequence follow each other in time; -1 is an unordered image.
      split: str [N], one of SPLITS; "ood" holds what is only ever tested on, "" what is left out (a guard).
      ood: bool [N], True where the frame is out of distribution.
      partition_kind: "subset" (a frame belongs to one of them) or "factor" (it is typical in each of them).
      fps: frames a second; 0 where all images are unordered.
      read: i -> frame i, uint8 [H, W, 3]; raises frames.FrameError.
      description: what it is, for provenance.
      seconds: float64 [N], when each frame was taken, NaN where that is unknown; None where nothing is known of it but
        the order.
      factors: levels of generative factors by name, where they are known: float64 [N] each, e.g. brightness, rain.
      origin: `spec` and the options with which `catalog.open` opens it again; empty where nothing does.
      kept: a folder in which flows that were computed of it are kept for whoever asks again; None keeps none.
    """

    names: Tuple[str, ...]
    partition: np.ndarray
    sequence: np.ndarray
    split: np.ndarray
    ood: np.ndarray
    partition_kind: str
    fps: float
    read: Callable[[int], np.ndarray]
    description: str
    seconds: Optional[np.ndarray] = None
    factors: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    origin: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kept: Optional[str] = None

    def __post_init__(self) -> None:
        count = len(self.names)
        for name in ("partition", "sequence", "split", "ood"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name}: its shape is {getattr(self, name).shape}, there are {count} names")
        if self.seconds is not None and self.seconds.shape != (count,):
            raise ValueError(f"seconds: its shape is {self.seconds.shape}, there are {count} names")
        for name, levels in self.factors.items():
            if levels.shape != (count,):
                raise ValueError(f"factors: the shape of {name} is {levels.shape}, there are {count} names")
        if self.partition_kind not in PARTITION_KINDS:
            raise ValueError(f"partition_kind: {self.partition_kind!r} is none of {', '.join(PARTITION_KINDS)}")
        unknown = sorted(set(np.unique(self.split).tolist()) - set(SPLITS))
        if unknown:
            raise ValueError(f"split: {unknown[0]!r} is none of {', '.join(repr(s) for s in SPLITS)}")
        if len(set(self.names)) != count:
            raise ValueError(f"names: {_first_duplicate(self.names)!r} occurs more than once")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def starts(self) -> np.ndarray:
        """bool [N], True where a frame does not follow the one before it: a sequence's first, any unordered image."""
        follows = np.zeros(len(self), bool)
        follows[1:] = (self.sequence[1:] == self.sequence[:-1]) & (self.sequence[1:] >= 0)
        return ~follows

    def where(self, chosen: Any) -> Dataset:
        """The data set of the chosen frames: a bool mask [N], or indices.

        Where the choice skips over 0.5 s of a sequence, or goes back in it, a new sequence begins.
        """
        chosen = np.asarray(chosen)
        if chosen.dtype == bool and chosen.shape != (len(self),):
            raise ValueError(f"chosen: a mask of shape {chosen.shape} for {len(self)} frames")
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        read = self.read
        return dataclasses.replace(
            self, names=tuple(self.names[i] for i in indices), partition=self.partition[indices],
            sequence=self._pieces(indices), split=self.split[indices], ood=self.ood[indices],
            read=lambda i: read(int(indices[i])), seconds=None if self.seconds is None else self.seconds[indices],
            factors={name: levels[indices] for name, levels in self.factors.items()}, origin={})

    def _pieces(self, indices: np.ndarray) -> np.ndarray:
        sequence = self.sequence[indices]
        steps = np.diff(indices)
        torn = np.zeros(len(indices), bool)
        torn[1:] = (sequence[1:] == sequence[:-1]) & (sequence[1:] >= 0) & ((steps < 1) | (steps - 1 > 0.5 * self.fps))
        # The first piece keeps its number, the others get new ones.
        news = np.cumsum(torn)
        opened = np.maximum.accumulate(np.where(np.r_[True, sequence[1:] != sequence[:-1]][:len(indices)], news, 0))
        return np.where((news > opened) & (sequence >= 0), self.sequence.max(initial=-1) + news, sequence)

    def splits(self, name: str) -> Dataset:
        """The frames of one split; raises ValueError if the word is none of SPLITS."""
        if name not in SPLITS:
            raise ValueError(f"split: {name!r} is none of {', '.join(repr(s) for s in SPLITS)}")
        return self.where(self.split == name)

    def load(self, size: Tuple[int, int],
             memory: int = storage.MEMORY) -> Tuple[np.ndarray, Dataset, Tuple[str, ...]]:
        """All readable frames at one size.

        Args:
          size: (h, w).
          memory: bytes that they may take; more lie in a temporary file, mapped.

        Returns:
          (uint8 [M, h, w, 3], the data set of those M frames, one line "name: reason" for each unreadable frame).
        """
        images = storage.empty((len(self),) + tuple(size) + (3,), np.uint8, memory)
        reasons: list = [None] * len(self)

        def fill(begin: int) -> None:
            for i in range(begin, min(begin + CHUNK, len(self))):
                try:
                    images[i] = frames.resize(self.read(i), size)
                except frames.FrameError as error:
                    reasons[i] = named(self.names[i], str(error))

        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(fill, range(0, len(self), CHUNK)))  # list: a thread's exception is raised here
        bad = tuple(reason for reason in reasons if reason)
        if not bad:
            return images, self, bad
        readable = np.flatnonzero([reason is None for reason in reasons])
        for place, i in enumerate(readable.tolist()):  # in place: they may lie in a file
            if place != i:
                images[place] = images[i]
        return images[:len(readable)], self.where(readable), bad


def named(name: str, reason: str) -> str:
    """`name: reason` for a reader that may have named the file already, by its whole path."""
    head, separator, tail = reason.partition(": ")
    return f"{name}: {tail}" if separator and head.endswith(name) else f"{name}: {reason}"


def _first_duplicate(names: Sequence[str]) -> str:
    earlier: set = set()
    return next(name for name in names if name in earlier or earlier.add(name))  # type: ignore[func-returns-value]
