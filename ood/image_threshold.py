"""A threshold from in-distribution scores alone, with a guaranteed false-positive rate."""
from __future__ import annotations

import math
from typing import Dict, NamedTuple, Optional

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


class GroupThreshold(NamedTuple):
    """A frame is called out-of-distribution if its score is **above** `value` (a tie is not).

    Attributes:
      value: one of the scores.
      rate: the false-positive rate that was asked for.
      groups: how many the threshold rests on.
      proven: whether the promise holds for any distribution of groups, or they are too few to prove it.
      partition: the one whose own frames set the threshold; "all" where that is no partition alone.
      seen: the mean share flagged in a group by thresholds from the others, each group left out in turn.
      low, high: 95% interval of `seen`, over the groups.
    """

    value: float
    rate: float
    groups: int
    proven: bool
    partition: str
    seen: float
    low: float
    high: float


def grouped(scores: np.ndarray, groups: np.ndarray, rate: float,
            partition: Optional[np.ndarray] = None) -> GroupThreshold:
    """The lowest threshold that keeps the mean false-positive rate on a *new* group of frames within `rate`.

    Frames of a group (a recording, a robot) are alike, groups are exchangeable. Each group's share of scores above the
    threshold counts once, however many frames it has; with K groups the shares' sum plus one, for the group to come,
    must not exceed rate · (K + 1). That is hierarchical conformal prediction, valid for every distribution and number
    of groups (Lee, Barber & Willett, arXiv 2306.06342, section 3). With each frame a group of its own it is
    `conformal`. Fewer than 1/rate − 1 groups prove nothing; then the shares' mean itself is kept within `rate`, as it
    is in each partition by itself, where they are known (Dunn, Wasserman & Ramdas, arXiv 1809.07441, on pooling; valid
    as the groups grow many).

    Args:
      scores: in-distribution scores [n]; of fits that saw none of the frame's group.
      groups: each frame's group, str [n], two at least.
      rate: in (0, 1).
      partition: str [n], or None.
    """
    scores, groups = np.asarray(scores, np.float64), np.asarray(groups).astype(str)
    if scores.ndim != 1 or not len(scores) or groups.shape != scores.shape:
        raise ValueError(f"scores and groups have shapes {list(scores.shape)} and {list(groups.shape)}; a threshold "
                         "needs one of each a frame")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; leave such frames out of the calibration")
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; a false-positive rate is in (0, 1)")
    whole = _Shares(scores, groups)
    if len(whole.names) < 2:
        raise ValueError("all frames are of one group; a threshold for the next group takes two")
    by_partition = {}
    if partition is not None:
        parts = np.asarray(partition).astype(str)
        by_partition = {name: _Shares(scores[parts == name], groups[parts == name])
                        for name in np.unique(parts).tolist()}

    def thresholds(without: Optional[str] = None) -> Dict[str, float]:
        count = len(whole.names) - (without is not None)
        spare = (1 - rate) / count if _proves(count, rate) else 0.0
        return {"all": whole.threshold(rate - spare, without),
                **{name: shares.threshold(rate, without) for name, shares in by_partition.items()}}

    values = thresholds()
    decides = max(values, key=lambda name: values[name])
    flagged = np.array([(scores[groups == group] > max(thresholds(group).values())).mean()
                        for group in whole.names.tolist()])
    mean, half = float(flagged.mean()), 1.96 * float(flagged.std(ddof=1)) / math.sqrt(len(flagged))
    return GroupThreshold(values[decides], float(rate), len(whole.names), _proves(len(whole.names), rate), decides,
                          mean, max(mean - half, 0.0), min(mean + half, 1.0))


class _Shares:
    """The scores of one partition, in falling order, each weighing 1 / (frames of its group in it).

    Attributes:
      names: of its groups.
    """

    def __init__(self, scores: np.ndarray, groups: np.ndarray):
        self.names, member, frames = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(-scores, kind="stable")
        self._scores, self._groups = scores[order], groups[order]
        self._weights = (1.0 / frames[member])[order]

    def threshold(self, share: float, without: Optional[str] = None) -> float:
        """Returns the lowest score above which the groups (but for one) have a mean share of at most `share`."""
        kept = self._groups != without
        count = len(self.names) - (without in self.names)
        if not count:
            return -math.inf
        scores, total = self._scores[kept], np.append(0.0, np.cumsum(self._weights[kept]))
        above = total[np.searchsorted(-scores, -scores, side="left")]  # what ties is not above
        return float(scores[np.flatnonzero(above <= share * count + 1e-9)[-1]])


def _proves(groups: int, rate: float) -> bool:
    return rate * (groups + 1) >= 1 - 1e-9


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
