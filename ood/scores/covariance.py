"""Means and a covariance that is always invertible, of many rows in little memory."""
from __future__ import annotations

from typing import NamedTuple, Optional

import numpy as np

_ROWS = 4096  # a block's copy stays within the processor's cache hierarchy and a few MB
SMALLEST_SHRINKAGE = 1e-6


class Pooled(NamedTuple):
    """Class means and the covariance around them.

    means: float64 [K, D]; counts: int64 [K]; covariance: float64 [D, D], shrunk;
    shrinkage: a of (1 - a) S + a t I; scale: t.
    """

    means: np.ndarray
    counts: np.ndarray
    covariance: np.ndarray
    shrinkage: float
    scale: float


def pooled(rows: np.ndarray, classes: np.ndarray, count: int, shrinkage: Optional[float] = None) -> Pooled:
    """Class means of `rows` and the shrunk covariance around them.

    The covariance S is the maximum-likelihood one (divided by N), shrunk towards t I with t the mean variance:
    (1 - a) S + a t I. So it stays invertible where S has no full rank; with no variance at all t is taken as 1
    and distances are Euclidean.

    Args:
      rows: float [N, D].
      classes: int [N] in 0..count-1, every class present.
      count: K.
      shrinkage: a in (0, 1]; None is Ledoit and Wolf's optimum (J. Multivariate Analysis 88, 2004, section 3).
        Never less than 1e-6.
    """
    n, width = rows.shape
    if shrinkage is not None and not 0 < shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}; it must be in (0, 1]")
    counts = np.bincount(classes, minlength=count)
    means = class_means(rows, classes, counts)
    centres = means.astype(rows.dtype)
    scatter = np.zeros((width, width))
    fourth = 0.0
    for block in blocks(n):
        centred = rows[block] - centres[classes[block]]
        scatter += centred.T @ centred
        fourth += float((np.einsum("nd,nd->n", centred, centred).astype(np.float64) ** 2).sum())
    covariance = scatter / n
    scale = float(np.trace(covariance)) / width
    if shrinkage is None:
        shrinkage = _ledoit_wolf(covariance, fourth / n, n)
    shrinkage = max(shrinkage, SMALLEST_SHRINKAGE)
    scale = scale if scale > 0 else 1.0
    covariance *= 1.0 - shrinkage
    covariance[np.diag_indices(width)] += shrinkage * scale
    return Pooled(means, counts, covariance, shrinkage, scale)


def class_means(rows: np.ndarray, classes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean row of each class, float64 [K, D]; summed in blocks, so that float32 rows lose nothing."""
    sums = np.zeros((len(counts), rows.shape[1]))
    for block in blocks(len(rows)):
        order = np.argsort(classes[block], kind="stable")
        present, starts = np.unique(classes[block][order], return_index=True)
        sums[present] += np.add.reduceat(rows[block][order], starts, axis=0, dtype=np.float64)
    return sums / counts[:, None]


def second_moment(rows: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """Mean of (row - origin) (row - origin)^T, float64 [D, D]."""
    origin = origin.astype(rows.dtype)
    scatter = np.zeros((rows.shape[1],) * 2)
    for block in blocks(len(rows)):
        centred = rows[block] - origin
        scatter += centred.T @ centred
    return scatter / len(rows)


def blocks(n: int, rows: int = _ROWS) -> list:
    """Slices that cover range(n)."""
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def _ledoit_wolf(covariance: np.ndarray, fourth: float, n: int) -> float:
    width = len(covariance)
    squared = float((covariance ** 2).sum())
    scale = float(np.trace(covariance)) / width
    distance = squared - width * scale ** 2  # d^2 D: how far S is from t I
    error = max(fourth - squared, 0.0) / n  # b^2 D: how far S is expected to be from the truth
    return min(error / distance, 1.0) if distance > 0 else 1.0
