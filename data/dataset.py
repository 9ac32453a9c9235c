"""A data set: named frames with their partition, sequence, split and truth; read one by one, or all at one size.

`open` makes one from a word on the command line: `lanes`, an image folder, `sequences:DIR`, a video file,
`tfds:NAME`.
"""
from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from typing import Any, Callable, Optional, Sequence, Tuple

import numpy as np

from leanood.data import frames

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

    def __post_init__(self) -> None:
        count = len(self.names)
        for name in ("partition", "sequence", "split", "ood"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name}: its shape is {getattr(self, name).shape}, there are {count} names")
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
            read=lambda i: read(int(indices[i])))

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

    def load(self, size: Tuple[int, int]) -> Tuple[np.ndarray, Dataset, Tuple[str, ...]]:
        """All readable frames at one size.

        Args:
          size: (h, w).

        Returns:
          (uint8 [M, h, w, 3], the data set of those M frames, one line "name: reason" for each unreadable frame).
        """
        images = np.empty((len(self),) + tuple(size) + (3,), np.uint8)
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
        readable = np.array([reason is None for reason in reasons], bool)
        return images[readable], self.where(readable), bad


def open(spec: str, *, split_csv: Optional[str] = None, times_csv: Optional[str] = None,  # noqa: A001
         ood_partitions: Sequence[str] = (), fps: float = 20.0, seed: int = 0,
         limit: Optional[int] = None) -> Dataset:
    """The data set that a word names.

    Args:
      spec: "lanes" or "lanes:frames=20000,seed=1,size=120x160" (procedural driving scenes; a folder of that name is
        "./lanes"); an image folder `<partition>/<image>` (unordered images, unless `times_csv` gives their times);
        "sequences:DIR", a folder whose sub-folders are recordings at `fps` (a gap in the frames' numbers ends a
        sequence); a video file; "tfds:NAME".
      split_csv: a table `image,split` that fixes the splits; without it they are made by `splits`.
      times_csv: a table `frame,milliseconds` (empty: unknown); more than 0.5 s, or a jump back, starts a new sequence.
      ood_partitions: partitions that are out of distribution.
      fps: frames a second of ordered frames (a video file knows its own).
      seed: of the automatic splits.
      limit: at most about this many frames, an equal share of every partition and split: of unordered images evenly
        spread ones, of recordings their beginning.

    Raises:
      ValueError, OSError: in one line that names what is wrong.
    """
    from leanood.data import folders

    if not spec:
        raise ValueError("data: no data set was named; give a folder, a video file, 'lanes' or 'tfds:NAME'")
    if fps <= 0:
        raise ValueError(f"fps: {fps} is not positive")
    kind, _, rest = spec.partition(":")
    tables = dict(split_csv=split_csv, times_csv=times_csv)
    if kind in ("lanes", "tfds"):
        for name, value in tables.items():
            if value:
                raise ValueError(f"{name}: {spec} fixes this itself; leave {name} out")
    if kind == "lanes":
        from leanood.data import lanes
        found = lanes.open(rest, seed=seed)
    elif kind == "tfds":
        from leanood.data import tfds_source
        found = tfds_source.open(rest, seed=seed)
    elif kind == "sequences":
        found = folders.open(rest, fps=fps, seed=seed, ordered=True, **tables)
    elif os.path.isdir(spec):
        found = folders.open(spec, fps=fps, seed=seed, ordered=bool(times_csv), **tables)
    elif os.path.exists(spec):
        from leanood.data import video
        found = video.open(spec, fps=fps, **tables)
    else:
        raise FileNotFoundError(f"{spec}: no such folder or video file (nor 'lanes', 'sequences:DIR' or 'tfds:NAME')")
    found = _mark_ood(found, ood_partitions)
    return found if limit is None else _limited(found, limit)


def _mark_ood(found: Dataset, partitions: Sequence[str]) -> Dataset:
    known = sorted(set(found.partition.tolist()))
    for name in partitions:
        if name not in known:
            raise ValueError(f"ood_partitions: {name!r} is no partition; {found.description} has {', '.join(known)}")
    if not partitions:
        return found
    marked = np.isin(found.partition, list(partitions))
    return dataclasses.replace(found, ood=found.ood | marked, split=np.where(marked, "ood", found.split))


def _limited(found: Dataset, limit: int) -> Dataset:
    if limit < 1:
        raise ValueError(f"limit: {limit} leaves no frame")
    keep = np.zeros(len(found), bool)
    groups = np.stack([found.partition, found.split], axis=1)
    for group in np.unique(groups, axis=0):
        members = np.flatnonzero((groups == group).all(axis=1))
        wanted = min(len(members), -(-limit * len(members) // len(found)))
        ordered = found.sequence[members[0]] >= 0  # frames that follow each other stay together
        keep[members[:wanted] if ordered else members[np.arange(wanted) * len(members) // wanted]] = True
    return found.where(keep)


def named(name: str, reason: str) -> str:
    """`name: reason` for a reader that may have named the file already, by its whole path."""
    head, separator, tail = reason.partition(": ")
    return f"{name}: {tail}" if separator and head.endswith(name) else f"{name}: {reason}"


def _first_duplicate(names: Sequence[str]) -> str:
    seen: set = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
