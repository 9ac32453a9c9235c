"""Image folders `<partition>/<image>`, as unordered images or as recordings, with optional tables beside them.

`labels.csv` in the folder (`frame,partition,ood`) overrides what the sub-folders' names say.
"""
from __future__ import annotations

import os
import re
from typing import List, Optional, Set, Tuple

import numpy as np

from leanood.data import dataset, frames, splits, tables

LABELS = "labels.csv"
_DIGITS = re.compile(r"\d+")
_WIDTH = 20  # digits of the longest number that is compared as one


class NoImagesError(ValueError):
    """A folder holds no image, nor do its sub-folders."""


def open(folder: str, *, split_csv: Optional[str] = None, times_csv: Optional[str] = None,  # noqa: A001
         fps: float = 20.0, seed: int = 0, ordered: bool = False) -> dataset.Dataset:
    """The data set of an image folder.

    Args:
      folder: holds images, or sub-folders of images, each a partition (images at the top are in the partition "all").
        Files without an image's suffix (frames.IMAGE_SUFFIXES) are not looked at.
      split_csv: a table `image,split`; without it: recordings are cut by time, unordered images dealt out in blocks.
      times_csv: a table `frame,milliseconds`, for ordered frames; a column `ood` of 0 and 1 says which frames are out
        of distribution (`labels.csv` goes before it).
      fps: frames a second of ordered frames; `times_csv` overrides it.
      seed: of the deal of unordered images.
      ordered: each sub-folder is a recording whose frames follow each other in natural order.

    Unless `split_csv` says otherwise, out-of-distribution frames, and whole sequences that have some, are split "ood";
    the frames alone where nothing would be left to train on.
    """
    listed = files(folder, frames.IMAGE_SUFFIXES + frames.VIDEO_SUFFIXES)
    names = tuple(name for name in listed if name.lower().endswith(frames.IMAGE_SUFFIXES))
    films = len(listed) - len(names)
    besides = f"; unread videos: {films}" if films else ""
    if not names:
        raise NoImagesError(f"{folder}: it holds no images ({', '.join(frames.IMAGE_SUFFIXES)}), nor do its sub-folders"
                            f"{others(folder)}")
    directories = [name.rpartition("/")[0] for name in names]
    partition = np.array([directory or "all" for directory in directories])
    ood = np.zeros(len(names), bool)
    labels = os.path.join(folder, LABELS)
    labelled = os.path.isfile(labels)
    if labelled:
        partition, ood = _labels(labels, names)
    fps = fps if ordered else 0.0
    seconds = None
    if ordered:
        recording = np.unique(directories, return_inverse=True)[1]
        sequence, fps, seconds = splits.recorded(recording, names, times_csv, fps)
        split = splits.by_time(recording, fps)
        if times_csv and not labelled:
            ood = splits.ood_from_csv(times_csv, names)
    else:
        sequence = np.full(len(names), -1, np.int64)
        split = splits.by_blocks(partition, names, seed)
    touched = ood | np.isin(sequence, sequence[ood & (sequence >= 0)])
    split[touched if (split[~touched] == "train").any() else ood] = "ood"
    if split_csv:
        split = splits.from_csv(split_csv, names)
        ood = ood if labelled else ood | (split == "ood")
    return dataset.Dataset(
        names=names, partition=partition, sequence=splits.cut_sequences(sequence, split), split=split, ood=ood,
        partition_kind="subset", fps=fps,
        read=lambda i: frames.read_image(os.path.join(folder, *names[i].split("/"))),
        description=f"{os.path.basename(os.path.abspath(folder))} ({len(names)} images{besides})", seconds=seconds)


def natural_key(name: str) -> str:
    """A sorting key by which frame2 comes before frame10, folder by folder."""
    # A string, not a tuple: a million of them are nothing to Python's garbage collector. "\0" and "\1" sort before all
    # that names hold, so that a folder comes before what its name begins, and a number before a longer word.
    return f"{_DIGITS.sub(_padded, name)}\0{name}".replace("/", "\0")


def _padded(number: re.Match) -> str:
    return "\1" + number[0].zfill(_WIDTH)


def files(folder: str, suffixes: Tuple[str, ...]) -> Tuple[str, ...]:
    """Paths of such files within the folder, with slashes, in natural order; links to folders are followed once."""
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{folder}: no such folder")
    names: List[str] = []
    visited: Set[str] = set()
    for directory, inner, listed in os.walk(folder, followlinks=True):
        visited.add(os.path.realpath(directory))
        inner[:] = [name for name in inner if not name.startswith(".")
                    and os.path.realpath(os.path.join(directory, name)) not in visited]
        inside = os.path.relpath(directory, folder).replace(os.sep, "/")
        names.extend(name if inside == "." else f"{inside}/{name}" for name in listed
                     if name.lower().endswith(suffixes) and not name.startswith("."))
    return tuple(sorted(names, key=natural_key))


def others(folder: str) -> str:
    """What else lies in a folder without images, for an error's end: "; it has .gif files, which are not read"."""
    endings = {os.path.splitext(name)[1].lower() for _, _, files in os.walk(folder) for name in files}
    suffixes = ", ".join(sorted(endings - {""})[:5])
    return f"; it has {suffixes} files, which are not read" if suffixes else ""


def _labels(path: str, names: Tuple[str, ...]) -> Tuple[np.ndarray, np.ndarray]:
    """(partition str [N], ood bool [N]) by a table `frame,partition,ood`."""
    listed, partitions, truths = tables.read(path, ("frame", "partition", "ood"))
    ood = tables.truths(path, listed, truths, "ood")
    for name, partition in zip(listed, partitions):
        if not partition:
            raise ValueError(f"{path}: {name!r} has no partition")
    rows = tables.match(path, listed, names)
    return np.asarray(partitions)[rows], ood[rows]
