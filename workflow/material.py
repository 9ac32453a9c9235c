"""What a detector is made of: the network's outputs on in-distribution frames and on benign variants of them.

Three splits are pooled: train, which statistics are fitted on; calibration and validation, which judge beside it, each
frame by fits that saw nothing of its group (`left_out`). Every frame comes as it is and, changed by random chains of
`variants`, as other cameras might have given it: unordered images by a chain each, driving by one for a hundred frames
at a time, since a camera doesn't change from frame to frame. They are changed at the network's own size, as a camera of
that size would hand them on: at a larger size most of a small change is lost on the way down.
"""
from __future__ import annotations

import dataclasses
from typing import Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from leanood.data import dataset, frames, groups, variants
from leanood.ood import nonconformity
from leanood.workflow import datasets, network

SPLITS = ("train", "calibration", "validation")
ENOUGH = 2400  # variants of a split: where there are fewer frames, each has several
_PIECE_S, _PIECE = 5.0, 100  # seconds of driving that share a chain, and frames at least: windows are of frames
_OF_DRIVING = 3  # copies at least: a hundred frames share a chain


@dataclasses.dataclass(frozen=True)
class Material:
    """N frames and variants of three splits, and what is known of each.

    Attributes:
      outputs: of the network, named arrays [N, …].
      name: str [N], of the frame; split: str [N], of SPLITS; partition: str [N]; group: str [N], of `data.groups`.
      starts: bool [N], true where a frame doesn't follow the one before.
      variant: int [N], 0 where the frame is as it is; else the number of the copy that it belongs to.
      origin: int [N], the place of the frame that it is, or is a variant of.
      ordered: whether the frames are sequences.
      unit: what the groups are, in the plural.
      validation: the readable frames of that split, for corruptions of them.
    """

    outputs: Mapping[str, np.ndarray]
    name: np.ndarray
    split: np.ndarray
    partition: np.ndarray
    group: np.ndarray
    starts: np.ndarray
    variant: np.ndarray
    origin: np.ndarray
    ordered: bool
    unit: str
    validation: dataset.Dataset

    def count(self) -> Dict[str, int]:
        """The frames of each split, and "variants" of all."""
        counts = {name: int(((self.split == name) & (self.variant == 0)).sum()) for name in SPLITS}
        return {**counts, "variants": int((self.variant > 0).sum())}

    def fit(self, where: np.ndarray, unfitted: Callable[[], nonconformity.Nonconformity],
            partition: bool = True) -> nonconformity.Nonconformity:
        """Returns a nonconformity fitted on the frames of these places and their variants.

        Args:
          where: int64 [M], ascending.
          unfitted: gives it.
          partition: whether it is told the frames' partitions.
        """
        original, varied = where[self.variant[where] == 0], where[self.variant[where] > 0]
        told = self.partition[original] if partition else None
        changed = nonconformity.Variants(
            self._at(varied), np.searchsorted(original, self.origin[varied]), self._starts(varied))
        return unfitted().fit(self._at(original), told, self._starts(original), changed if len(varied) else None)

    def _at(self, where: np.ndarray) -> Dict[str, np.ndarray]:
        return {name: array[where] for name, array in self.outputs.items()}

    def _starts(self, where: np.ndarray) -> Optional[np.ndarray]:
        """Returns the starts of the chosen frames: where frames were left out, a sequence begins."""
        return self.starts[where] | np.append(True, np.diff(where) != 1)[:len(where)] if self.ordered else None


def gather(loaded: network.Network, data: dataset.Dataset, group_by: Optional[str] = None,
           benign_variants: int = 6, ordered: bool = True, vary: Sequence[str] = SPLITS) -> Material:
    """Runs the network on the three splits and on variants of them.

    Args:
      loaded: the network.
      data: the data set.
      group_by: as of `data.groups.of`.
      benign_variants: at most so many of a frame, fewer where there are many frames, yet three of driving, of whose
        frames a hundred share a chain (one, of motion); 0: none.
      ordered: False takes sequences for single images.
      vary: the splits that get variants.
    """
    label = groups.of(data, group_by)
    ran = {name: loaded.run(datasets.split(data, name), f"running the network on {name}") for name in SPLITS}
    ordered = ordered and all(bool((part.frames.sequence >= 0).all()) for part in ran.values())
    outputs, known = [part.outputs for part in ran.values()], {name: part.frames for name, part in ran.items()}
    begin = dict(zip(SPLITS, np.cumsum([0] + [len(part) for part in known.values()]).tolist()))
    columns: Dict[str, List[np.ndarray]] = {column: [] for column in (
        "name", "split", "partition", "group", "starts", "variant", "origin")}

    def add(name: str, added: dataset.Dataset, variant: int) -> None:
        count, place = len(added), {frame: i for i, frame in enumerate(known[name].names)}
        for column, values in {"name": np.array(added.names), "split": np.full(count, name),
                               "partition": added.partition, "group": np.array([label[frame] for frame in added.names]),
                               "starts": added.starts, "variant": np.full(count, variant),
                               "origin": begin[name] + np.array([place[frame] for frame in added.names])}.items():
            columns[column].append(values)

    for name in SPLITS:
        add(name, known[name], 0)
    for name in vary:
        # A stack of flows wants frames that no stack ends with, too.
        source = known[name] if loaded.motion is None else datasets.split(data, name)
        pieces = _pieces(source) if ordered else np.arange(len(source))
        if ordered:
            source = dataclasses.replace(source, sequence=pieces)
        # Flows cost more than all the rest together: of them no more than there must be.
        least = _OF_DRIVING if ordered and loaded.motion is None else 1
        for copy in range(min(benign_variants, max(least, -(-ENOUGH // len(known[name]))))):
            varied = loaded.run(source, f"running the network on benign variants of {name}",
                                change=_Change(loaded, name, copy, pieces))
            outputs.append(varied.outputs)
            add(name, varied.frames, copy + 1)
    return Material(outputs={name: np.concatenate([part[name] for part in outputs]) for name in outputs[0]},
                    ordered=ordered, unit=groups.unit(data, group_by), validation=known["validation"],
                    **{column: np.concatenate(values) for column, values in columns.items()})


class _Change:
    """A copy's chains, frame by frame."""

    def __init__(self, loaded: network.Network, split: str, copy: int, pieces: np.ndarray):
        self._size, self._copy, self._pieces = loaded.size, copy, pieces
        self._seed = (SPLITS.index(split), copy)  # no split sees another's chains

    def __call__(self, frame: np.ndarray, i: int) -> np.ndarray:
        chain = variants.draw((*self._seed, int(self._pieces[i])))
        return chain(frames.resize(frame, self._size), seed=self._copy, time=i)


def _pieces(known: dataset.Dataset) -> np.ndarray:
    """int64 [N]: the number of each frame's piece of a sequence, five seconds long and a hundred frames."""
    place = np.arange(len(known))
    begins = np.maximum.accumulate(np.where(known.starts, place, 0))
    return np.cumsum(known.starts | ((place - begins) % max(_PIECE, round(_PIECE_S * known.fps)) == 0)) - 1
