"""How a detector's columns, one per partition of the training data, become one verdict.

A *subset* (bright, medium): an in-distribution frame belongs to one of them, so a frame is as odd as in the subset that
knows it best: the minimum. A *factor* (brightness, rain): an in-distribution frame is typical in each: the maximum.
"""
from __future__ import annotations

import numpy as np

KINDS = ("subset", "factor")


def check_kind(kind: str) -> str:
    """Returns `kind`, or raises ValueError."""
    if kind not in KINDS:
        raise ValueError(f"partition_kind must be 'subset' or 'factor', not {kind!r}")
    return kind


def deciding(columns: np.ndarray, kind: str) -> np.ndarray:
    """Returns the index of the partition that decides, int64 [...], of oddness [..., P]; of equals the first."""
    return columns.argmin(axis=-1) if kind == "subset" else columns.argmax(axis=-1)


def combine(columns: np.ndarray, kind: str) -> np.ndarray:
    """Returns the oddness [...] over partitions of `columns` [..., P] (higher = more OOD)."""
    return columns.min(axis=-1) if kind == "subset" else columns.max(axis=-1)


def combine_p_values(columns: np.ndarray, kind: str) -> np.ndarray:
    """Returns a p-value [...], valid where each column's is, of p-values [..., P].

    Subsets: the largest, for the frame's own subset is among them. Factors: the smallest of P, times P (Bonferroni).
    """
    if kind == "subset":
        return columns.max(axis=-1)
    return np.minimum(columns.min(axis=-1) * columns.shape[-1], 1.0)
