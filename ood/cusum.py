"""CUSUM with decay: adds up the evidence against in-distribution, forgets it at a steady rate.

S_t = max(0, S_{t−1} + ln M_t − δ): Page, "Continuous inspection schemes" (Biometrika 1954), on the martingale's
logarithm, as in Ramakrishna et al., arXiv 2108.11800. S = 0 before each sequence. A ceiling on S bounds how long it
takes to come back once the frames are in-distribution again; the paper has none.
"""
from __future__ import annotations

import math
from typing import Optional, Sequence

import numpy as np


def update(score: float, log_martingale: float, decay: float, ceiling: float = math.inf) -> float:
    """Returns S_t from S_{t−1} (`score`), ln M_t and δ (`decay`, nats a frame), at most `ceiling`."""
    score = score + log_martingale - decay
    if score > ceiling:
        return ceiling
    return score if score > 0.0 else 0.0


def scores(log_martingale: np.ndarray, starts: np.ndarray, decays: Sequence[float],
           ceilings: Optional[Sequence[float]] = None) -> np.ndarray:
    """Returns S of whole sequences for each decay, float64 [D, N]: `update`, frame by frame.

    Args:
      log_martingale: ln M of each frame, [N].
      starts: bool [N], true on the first frame of each sequence.
      decays: δ in nats a frame, [D].
      ceilings: of S under each decay, [D]; None: none.
    """
    log_martingale = np.asarray(log_martingale, dtype=np.float64)
    starts = np.asarray(starts, dtype=bool)
    if log_martingale.ndim != 1 or starts.shape != log_martingale.shape:
        raise ValueError(f"ln M {list(log_martingale.shape)} and starts {list(starts.shape)} must both be [N]")
    steps = list(zip(log_martingale.tolist(), starts.tolist()))
    result = np.empty((len(decays), len(steps)))
    for row, decay, ceiling in zip(result, decays, [math.inf] * len(decays) if ceilings is None else ceilings):  # plain floats: NumPy over the decays is slower until there are dozens
        score, row_scores = 0.0, []
        for value, start in steps:
            score = update(0.0 if start else score, value, decay, ceiling)
            row_scores.append(score)
        row[:] = row_scores
    return result
