"""Indices spread evenly over a length."""
from __future__ import annotations

import numpy as np


def evenly(count: int, at_most: int) -> np.ndarray:
    """Returns int64 [min(count, at_most)] of 0..count−1, ascending, first and last among them: all, if they are few."""
    if count <= 0 or at_most <= 0:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, count - 1, at_most).round().astype(np.int64))
