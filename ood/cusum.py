"""CUSUM with decay: adds up the evidence against in-distribution, forgets it at a steady rate.

S_t = max(0, S_{t−1} + ln M_t − δ): Page, "Continuous inspection schemes" (Biometrika 1954), on the martingale's
logarithm, as in Ramakrishna et al., arXiv 2108.11800. S = 0 before each sequence. Where decay is
infinite nothing is carried over: S_t = ln M_t, which is back as soon as the window is.
"""
from __future__ import annotations

import math
from typing import Sequence

import numpy as np


def update(score: float, log_martingale: float, decay: float) -> float:
    """Returns S_t from S_{t−1} (`score`), ln M_t and δ (`decay`, nats a frame; infinite: S_t = ln M_t)."""
    if decay == math.inf:
        return log_martingale
    score = score + log_martingale - decay
    return score if score > 0.0 else 0.0


def scores(log_martingale: np.ndarray, starts: np.ndarray, decays: Sequence[float]) -> np.ndarray:
    """Returns S of whole sequences for each decay, float64 [D, N]: `update`, frame by frame.

    Args:
      log_martingale: ln M of each frame, [N].
      starts: bool [N], true on the first frame of each sequence.
      decays: δ in nats a frame, [D].
    """
    log_martingale = np.asarray(log_martingale, dtype=np.float64)
    starts = np.asarray(starts, dtype=bool)
    if log_martingale.ndim != 1 or starts.shape != log_martingale.shape:
        raise ValueError(f"ln M {list(log_martingale.shape)} and starts {list(starts.shape)} must both be [N]")
    steps = list(zip(log_martingale.tolist(), starts.tolist()))
    result = np.empty((len(decays), len(steps)))
    for row, decay in zip(result, decays):  # plain floats: NumPy over the decays is slower until there are dozens
        score, row_scores = 0.0, []
        for value, start in steps:
            score = update(0.0 if start else score, value, decay)
            row_scores.append(score)
        row[:] = row_scores
    return result
