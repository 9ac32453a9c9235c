"""Groups of frames that stand or fall together: recordings, robots, days.

Frames of one recording look alike, so that statistics judged on its other frames flatter: a promise for the next
recording is tried on each of them left out whole. Where there are fewer than five, blocks of them have to do, ten or a
few more: left out of two, one would have to be known by the other. Of unordered images, blocks of ten neighbours.
"""
from __future__ import annotations

import posixpath
import re
from typing import Dict, List, Optional, Sequence

import numpy as np

from leanood.data import dataset, splits, tables

BLOCKS = 10  # at least, of few recordings
FEW = 5  # recordings that are groups by themselves
_FRAME = re.compile(r"#\d+$")  # of a video, which is a recording
FITTED = ("train", "calibration", "validation")


def of(data: dataset.Dataset, by: Optional[str] = None) -> Dict[str, str]:
    """Each in-distribution frame's group by its name, of the splits that a detector is fitted and calibrated on.

    Args:
      data: the data set.
      by: a regular expression to be found in the names, of which the groups in brackets (or all that it matched) name
        the group; or "FILE.csv:COLUMN", a table `image,COLUMN`. None: a sequence's recording is its folder or its
        video, and fewer than FEW are cut into BLOCKS by time; unordered images are cut into blocks of consecutive
        names, partition by partition, as `splits.by_blocks` deals them out.

    Raises:
      ValueError: in one line, if a name doesn't match, or all frames are of one group.
    """
    chosen = np.isin(data.split, FITTED) & ~data.ood
    used = data.where(chosen)
    if by:
        table = ".csv:" in by
        labels = _from_csv(by, data.names)[chosen].tolist() if table else _matched(by, used.names)
        if len(set(labels)) == 1:
            raise ValueError(f"group_by: all frames are of one group, {labels[0]!r}; a promise for the next takes two")
    elif (used.sequence >= 0).all():
        labels = _folders(used)
        recordings, number, counts = np.unique(labels, return_inverse=True, return_counts=True)
        if 0 < len(recordings) < FEW:
            blocks = -(-BLOCKS // len(recordings))
            cut = _blocks(number, [-(-count // blocks) for count in counts])
            labels = cut if len(recordings) == 1 else [f"{label}, {block}" for label, block in zip(labels, cut)]
    else:
        names, number, counts = np.unique(used.partition, return_inverse=True, return_counts=True)
        labels = [f"{names[part]}, {label}"
                  for part, label in zip(number, _blocks(number, [splits.block_length(count) for count in counts]))]
    return dict(zip(used.names, labels))


def unit(data: dataset.Dataset, by: Optional[str] = None) -> str:
    """What `of`'s groups are, in the plural: "recordings", "blocks of 2 recordings", "blocks of images", "groups"."""
    used = data.where(np.isin(data.split, FITTED) & ~data.ood)
    if by:
        return "groups"
    if not (used.sequence >= 0).all():
        return "blocks of images"
    count = len(set(_folders(used)))
    return "recordings" if count >= FEW else f"blocks of {'one recording' if count == 1 else f'{count} recordings'}"


def _folders(used: dataset.Dataset) -> List[str]:
    return [_FRAME.sub("", name) if _FRAME.search(name) else posixpath.dirname(name) for name in used.names]


def _blocks(number: np.ndarray, lengths: Sequence[int]) -> List[str]:
    """"block 0", "block 1", … of consecutive frames, counted within each part that `number` [N] names."""
    place = np.empty(len(number), int)
    for part, length in enumerate(lengths):
        members = np.flatnonzero(number == part)
        place[members] = np.arange(len(members)) // length
    return [f"block {block}" for block in place]


def _matched(by: str, names: Sequence[str]) -> List[str]:
    try:
        expression = re.compile(by)
    except re.error as error:
        raise ValueError(f"group_by: {by!r} is no regular expression ({error})") from None
    labels = []
    for name in names:
        match = expression.search(name)
        if match is None:
            raise ValueError(f"group_by: {by!r} is not found in the name {name!r}")
        labels.append("/".join(part or "" for part in match.groups()) or match.group())
    return labels


def _from_csv(by: str, names: Sequence[str]) -> np.ndarray:
    """str [N]: each name's entry in a table's column."""
    path, _, column = by.rpartition(":")
    listed, labels = tables.read(path, ("image", column))
    return np.asarray(labels)[tables.match(path, listed, names)]
