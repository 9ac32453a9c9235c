"""Data sets by a word: `lanes`, an image folder, `sequences:DIR`, a video or a folder of them, `tfds:NAME`."""
from __future__ import annotations

import dataclasses
import os
from typing import Dict, Optional, Sequence

import numpy as np

from leanood.data import dataset, flowers, frames


def open(spec: str, *, split_csv: Optional[str] = None, times_csv: Optional[str] = None,  # noqa: A001
         ood_partitions: Sequence[str] = (), fps: float = 20.0, seed: int = 0,
         limit: Optional[int] = None) -> dataset.Dataset:
    """The data set that a word names.

    Args:
      spec: "lanes" or "lanes:frames=20000,seed=1,size=120x160" (procedural driving scenes; a folder of that name is
        "./lanes"); an image folder `<partition>/<image>` (unordered images, unless `times_csv` gives their times);
        "sequences:DIR", a folder whose sub-folders are recordings at `fps` (a gap in the frames' numbers ends a
        sequence); a folder with Flowers-102's tables; a video file; a folder of videos, each a recording; "tfds:NAME".
      split_csv: a table `image,split` that fixes the splits; without it they are made by `splits`.
      times_csv: a table `frame,milliseconds` (empty: unknown); more than 0.5 s, or a jump back, starts a new sequence.
        A column `ood` of 0 and 1 says which frames of a folder are out of distribution.
      ood_partitions: partitions that are out of distribution.
      fps: frames a second of ordered frames (a video file knows its own; those of a folder must agree).
      seed: of the automatic splits.
      limit: at most about this many frames, an equal share of every partition and split: of unordered images evenly
        spread ones, of recordings their beginning.

    Raises:
      ValueError, OSError: in one line that names what is wrong.
    """
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
        data = lanes.open(rest, seed=seed)
    elif kind == "tfds":
        from leanood.data import tfds
        data = tfds.open(rest, seed=seed)
    elif kind == "sequences":
        data = _folder(rest, fps, seed, True, tables)
    elif os.path.isdir(spec) and flowers.is_flowers(spec) and not (split_csv or times_csv):
        data = flowers.open(spec)
    elif os.path.isdir(spec):
        data = _folder(spec, fps, seed, bool(times_csv), tables)
    elif os.path.exists(spec):
        from leanood.data import video
        data = video.open(spec, fps=fps, **tables)
    else:
        raise FileNotFoundError(f"{spec}: no such folder or video file (nor 'lanes', 'sequences:DIR' or 'tfds:NAME')")
    data = _mark_ood(data, ood_partitions)
    data = data if limit is None else _limited(data, limit)
    return dataclasses.replace(data, origin={"spec": spec, **tables, "ood_partitions": list(ood_partitions),
                                             "fps": fps, "seed": seed, "limit": limit})


def _folder(folder: str, fps: float, seed: int, ordered: bool, tables: Dict[str, Optional[str]]) -> dataset.Dataset:
    """A folder's images, or else its videos."""
    from leanood.data import folders

    try:
        return folders.open(folder, fps=fps, seed=seed, ordered=ordered, **tables)
    except folders.NoImagesError:
        if not folders.files(folder, frames.VIDEO_SUFFIXES):
            raise
    from leanood.data import video

    return video.open(folder, fps=fps, **tables)


def _mark_ood(data: dataset.Dataset, partitions: Sequence[str]) -> dataset.Dataset:
    known = sorted(set(data.partition.tolist()))
    for name in partitions:
        if name not in known:
            raise ValueError(f"ood_partitions: {name!r} is no partition; {data.description} has {', '.join(known)}")
    if not partitions:
        return data
    marked = np.isin(data.partition, list(partitions))
    return dataclasses.replace(data, ood=data.ood | marked, split=np.where(marked, "ood", data.split))


def _limited(data: dataset.Dataset, limit: int) -> dataset.Dataset:
    if limit < 1:
        raise ValueError(f"limit: {limit} leaves no frame")
    keep = np.zeros(len(data), bool)
    groups = np.stack([data.partition, data.split], axis=1)
    for group in np.unique(groups, axis=0):
        members = np.flatnonzero((groups == group).all(axis=1))
        wanted = min(len(members), -(-limit * len(members) // len(data)))
        ordered = data.sequence[members[0]] >= 0  # frames that follow each other stay together
        keep[members[:wanted] if ordered else members[np.arange(wanted) * len(members) // wanted]] = True
    return data.where(keep)
