"""Loads the in-distribution frames of a split; what can't be read is named, never silently dropped."""
from __future__ import annotations

import sys
from typing import Optional, Tuple

import numpy as np

from leanood.data import dataset


def load_split(found: dataset.Dataset, split: str, size: Tuple[int, int], at_most: Optional[int] = None,
               ) -> Tuple[np.ndarray, dataset.Dataset]:
    """Returns the readable in-distribution frames of a split, uint8 [N, h, w, 3], and what is known of each.

    Unreadable ones are named on stderr. With `at_most`, so many evenly spread frames.
    """
    chosen = found.where((found.split == split) & ~found.ood)
    if at_most is not None and len(chosen) > at_most:
        chosen = chosen.where(np.unique(np.linspace(0, len(chosen) - 1, at_most).round().astype(int)))
    images, readable, unreadable = chosen.load(size)
    say_unreadable(unreadable)
    if not len(images):
        raise ValueError(f"{found.description} has no readable in-distribution frame in its split {split!r}")
    return images, readable


def say_unreadable(lines: Tuple[str, ...]) -> None:
    """Names unreadable images on stderr: they are counted, never scored."""
    for line in lines:
        print(f"unreadable, left out: {line}", file=sys.stderr)
