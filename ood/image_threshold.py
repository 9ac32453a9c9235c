"""A threshold from in-distribution scores alone, with a guaranteed false-positive rate."""
from __future__ import annotations

import math
from typing import NamedTuple, Optional

import numpy as np


class Threshold(NamedTuple):
    """A frame is called out-of-distribution if its score is **above** `value` (a tie is not).

    Attributes:
      value: the calibration set's score at rank `rank`, from 1 = the smallest.
      rate: the false-positive rate that is guaranteed.
      count: n, the calibration scores.
      rank: ceil((n + 1)(1 - rate)), or higher where `confidence` was asked for.
      confidence: None where the guarantee holds on average over calibration sets, else the share of calibration sets
        for which the false-positive rate is at most `rate`.
    """

    value: float
    rate: float
    count: int  # type: ignore[assignment]
    rank: int
    confidence: Optional[float]

    def alarms(self, scores: np.ndarray) -> np.ndarray:
        """bool [N]: which of the scores [N] are above the threshold."""
        return np.asarray(scores) > self.value


def conformal(scores: np.ndarray, rate: float, confidence: Optional[float] = None) -> Threshold:
    """The lowest threshold that keeps the false-positive rate within `rate`, whatever the scores' distribution.

    Split conformal prediction (Vovk et al., "Algorithmic Learning in a Random World", 2005; Bates et al., arXiv
    2104.08279): for a new frame exchangeable with the calibration frames P(score > value) <= rate. That probability is
    over calibration set and frame together. For *one* calibration set of distinct scores the false-positive rate is
    distributed as Beta(n + 1 - rank, rank); `confidence` raises the rank until that lies within `rate` with the
    probability asked for (Vovk, arXiv 1209.2673, proposition 2a).

    Args:
      scores: in-distribution scores [n] that took part in no training and no fit.
      rate: in (0, 1), at least 1/(n + 1).
      confidence: in (0, 1), or None for the guarantee on average.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores have shape {list(scores.shape)}; a threshold needs [n] with n >= 1")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; leave such frames out of the calibration")
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; a false-positive rate is in (0, 1)")
    if confidence is not None and not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must be in (0, 1), or None")
    n = len(scores)
    # 1e-9 forgives the rounding of (n + 1) rate where that is a whole number.
    rank = n + 1 - math.floor((n + 1) * rate + 1e-9)
    if confidence is not None:
        rank = max(rank, _confident_rank(n, rate, confidence))
    if rank > n:
        least = math.ceil(1 / rate - 1e-9) - 1
        if confidence is not None:
            least = max(least, math.ceil(math.log1p(-confidence) / math.log1p(-rate)))
        how = "" if confidence is None else f" with confidence {confidence:g}"
        raise ValueError(f"{n} calibration scores are too few for a false-positive rate of {rate:g}{how}: "
                         f"it takes at least {least}")
    return Threshold(float(np.partition(scores, rank - 1)[rank - 1]), float(rate), n, rank, confidence)


def _confident_rank(n: int, rate: float, confidence: float) -> int:
    """The least rank r with P(Beta(n + 1 - r, r) <= rate) >= confidence; n + 1 where there is none.

    The event is that n - r + 1 of n uniform numbers or more lie below `rate`: a binomial tail, summed in logs.
    """
    below = 0.0  # P(fewer than n - r + 1 successes of n), for falling r from n
    rank = n + 1
    for successes in range(n):
        log_term = (math.lgamma(n + 1) - math.lgamma(successes + 1) - math.lgamma(n - successes + 1)
                    + successes * math.log(rate) + (n - successes) * math.log1p(-rate))
        below += math.exp(log_term)
        if below > 1 - confidence:
            break
        rank = n - successes
    return rank
