"""Smoothed inductive conformal p-values: how rare a nonconformity is among the calibration frames.

Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World" (2005), §2.2 and §4.1. On frames exchangeable
with the calibration frames such p-values are independent and exactly uniform, ties or not.
"""
from __future__ import annotations

import bisect
import random
from typing import List

import numpy as np


def table(scores: np.ndarray) -> np.ndarray:
    """Returns the calibration table, float64 [n] ascending.

    Args:
      scores: nonconformities of in-distribution calibration frames, [n]; finite, at least one.
    """
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if not scores.size:
        raise ValueError("a calibration table needs at least one calibration frame, it was given none")
    bad = int(np.count_nonzero(~np.isfinite(scores)))
    if bad:
        raise ValueError(f"{bad} of {scores.size} calibration nonconformities are NaN or infinite; "
                         "calibrate on frames that the network can score")
    return np.sort(scores)


def p_values(calibration: np.ndarray, scores: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Returns p = (#{calibration > score} + u·(#{calibration = score} + 1)) / (n + 1), float64 in (0, 1].

    Args:
      calibration: a `table`, [n].
      scores: nonconformities, [...]; +inf is beyond every calibration frame; NaN is not allowed.
      u: uniform random numbers in (0, 1], broadcast against `scores`; see `Uniform`.
    """
    below_or_equal = np.searchsorted(calibration, scores, side="right")
    below = np.searchsorted(calibration, scores, side="left")
    count = len(calibration)
    return ((count - below_or_equal) + u * (below_or_equal - below + 1)) / (count + 1)


def p_value(calibration: List[float], score: float, u: float) -> float:
    """Returns `p_values` of one score, to the last bit, without NumPy's overhead.

    Args:
      calibration: a `table` as a list.
      score: one nonconformity.
      u: one uniform random number in (0, 1].
    """
    below_or_equal = below = bisect.bisect_right(calibration, score)
    if below and calibration[below - 1] == score:
        below = bisect.bisect_left(calibration, score, 0, below)
    count = len(calibration)
    return ((count - below_or_equal) + u * (below_or_equal - below + 1)) / (count + 1)


class Uniform:
    """A seeded stream of uniform random numbers in (0, 1], one at a time or many: the same stream."""

    def __init__(self, seed: int):
        # Python promises this stream for ever, on every machine; NumPy's generators don't promise theirs.
        self._random = random.Random(seed).random

    def next(self) -> float:
        """Returns the next number."""
        return 1.0 - self._random()

    def many(self, count: int) -> np.ndarray:
        """Returns the next numbers, float64 [count]."""
        draw = self._random
        return 1.0 - np.array([draw() for _ in range(count)], dtype=np.float64)
