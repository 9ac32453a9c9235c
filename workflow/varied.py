"""Benign variants of a split's frames, run through the network: what a detector is fitted and calibrated on besides.

Unordered images get a camera's chain each; driving one for five seconds at a time, since a chain doesn't change from
frame to frame. Every other copy is changed at the network's own size, as a small camera's frames come, the others at
the size that they have.
"""
from __future__ import annotations

from typing import List

import numpy as np

from leanood.data import dataset, frames, variants
from leanood.ood import nonconformity
from leanood.workflow import network

ENOUGH = 2400  # variants of a split: with fewer frames, each has several
_PIECE_S = 5.0
_SALT = {"train": 1, "calibration": 2, "validation": 3}  # no split sees another's chains


def run(loaded: network.Network, known: dataset.Dataset, split: str, at_most: int) -> nonconformity.Variants:
    """Returns the network's outputs on variants of a split's readable frames; more than ENOUGH only of more frames.

    Args:
      loaded: the network.
      known: the frames.
      split: what they are: train, calibration or validation.
      at_most: so many variants of a frame.
    """
    count, ordered = len(known), bool((known.sequence >= 0).all())
    starts = known.starts
    piece = np.arange(count)
    if ordered:
        begins = np.maximum.accumulate(np.where(starts, piece, 0))
        starts = starts | ((piece - begins) % max(1, round(_PIECE_S * known.fps)) == 0)
        piece = np.cumsum(starts) - 1
    found: List[network.Outputs] = []
    copies = int(np.clip(-(-ENOUGH // count), 1, at_most))
    for copy in range(copies):
        def change(frame: np.ndarray, i: int, copy: int = copy) -> np.ndarray:
            chain = variants.draw((_SALT[split], copy, int(piece[i])))
            return chain(frames.resize(frame, loaded.size) if copy % 2 else frame, seed=copy, time=i)

        ran = loaded.run(known, f"running the network on benign variants of {split}", change=change)
        found.append(ran.outputs)
    return nonconformity.Variants({name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]},
                                  np.tile(np.arange(count), copies), np.tile(starts, copies) if ordered else None)
