"""A threshold from in-distribution scores alone, for a stated false-positive rate."""
from __future__ import annotations

import math
from typing import NamedTuple, Optional

import numpy as np

PARTITION = 1.5  # a partition may be flagged so many times as often as asked
_HALVINGS = 12  # of the share that is let through, to a four-thousandth


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
      partition: the one whose frames set the threshold; "all" where that is no partition alone.
      left_out_rate: the mean share flagged in a group by thresholds from the others, each group left out in turn; above
        `rate` where the groups are too few.
      low, high: 95% interval of `left_out_rate`, over the groups.
      variants: as `left_out_rate`, of the groups' benign variants; None where there are none.
    """

    value: float
    rate: float
    groups: int
    partition: str
    left_out_rate: float
    low: float
    high: float
    variants: Optional[float] = None


def grouped(scores: np.ndarray, groups: np.ndarray, rate: float, partition: Optional[np.ndarray] = None,
            variant: Optional[np.ndarray] = None) -> GroupThreshold:
    """The lowest threshold that keeps the mean false-positive rate on a *new* group of frames within `rate`.

    Frames of a group (a recording, a robot) are alike, groups are exchangeable, and each counts once, however many
    frames it has. A threshold is the lowest that lets at most a total c of the groups' shares through, and c is the
    largest at which the groups, each judged by the threshold of the *others*, are flagged at `rate` on average. For a
    given c that average is unbiased for a new group and K − 1 groups, whatever the distribution, and the threshold of
    all K is no lower than any of theirs (leave-one-out: Barber, Candès, Ramdas & Tibshirani, Ann. Statist. 49 (2021)
    486-507; groups: Dunn, Wasserman & Ramdas, arXiv 1809.07441). A bound that also holds for the worst distribution
    gives (1 − rate) / K of the rate away (Lee, Barber & Willett, arXiv 2306.06342, section 3). With each frame a group
    of its own it is `conformal`. Where partitions are known, none may be flagged more than half as often again: a
    promise to each at `rate` itself would hang on the worst of several estimates, and keep far below it.

    Args:
      scores: in-distribution scores [n]; of fits that saw none of the frame's group.
      groups: each frame's group, str [n], two at least.
      rate: in (0, 1).
      partition: str [n], or None.
      variant: int [n], 0 where the frame is as recorded. Others are benign variants: they are judged, and no threshold
        rests on them. None: all are as recorded.
    """
    scores, groups = np.asarray(scores, np.float64), np.asarray(groups).astype(str)
    if scores.ndim != 1 or not len(scores) or groups.shape != scores.shape:
        raise ValueError(f"scores and groups have shapes {list(scores.shape)} and {list(groups.shape)}; a threshold "
                         "needs one of each a frame")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; leave such frames out of the calibration")
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; a false-positive rate is in (0, 1)")
    recorded = np.ones(len(scores), bool) if variant is None else np.asarray(variant) == 0
    names = np.unique(groups[recorded]).tolist()
    if len(names) < 2:
        raise ValueError("all frames are of one group; a threshold for the next group takes two")
    promises = [("all", _Promise(scores[recorded], groups[recorded], rate))]
    parts = np.full(len(scores), "all") if partition is None else np.asarray(partition).astype(str)
    for part in np.unique(parts[recorded]).tolist() if partition is not None else ():
        inside = recorded & (parts == part)
        if len(np.unique(groups[inside])) > 1:  # what a partition of a single group tells is that group
            promises.append((part, _Promise(scores[inside], groups[inside], min(PARTITION * rate, 1.0))))
    decides, decisive = max(promises, key=lambda named: named[1].value)
    without = [max(promise.without.get(name, -math.inf) for _, promise in promises) for name in names]

    def flagged(chosen: np.ndarray) -> np.ndarray:
        return np.array([(scores[chosen & (groups == name)] > threshold).mean()
                         for name, threshold in zip(names, without) if (chosen & (groups == name)).any()])

    shares = flagged(recorded)
    mean, half = float(shares.mean()), 1.96 * float(shares.std(ddof=1)) / math.sqrt(len(shares))
    return GroupThreshold(decisive.value, float(rate), len(names), decides, mean, max(mean - half, 0.0),
                          min(mean + half, 1.0), None if recorded.all() else float(flagged(~recorded).mean()))


class _Promise:
    """The threshold of one partition's groups for a rate.

    Attributes:
      value: of all groups.
      without: by group, that of the others.
    """

    def __init__(self, scores: np.ndarray, groups: np.ndarray, rate: float):
        names, member, frames = np.unique(groups, return_inverse=True, return_counts=True)
        order = np.argsort(-scores, kind="stable")
        self._scores, self._member = scores[order], member[order]
        self._weights = (1.0 / frames[member])[order]  # each score's share of its group
        self._tied = np.searchsorted(-self._scores, -self._scores, side="left")  # what ties is not above
        low, high = 0.0, rate * len(names)
        if self._left_out_rate(high) > rate:
            for _ in range(_HALVINGS):
                middle = (low + high) / 2
                low, high = (middle, high) if self._left_out_rate(middle) <= rate else (low, middle)
            high = low
        self.value = self._threshold(high)
        self.without = {str(name): self._threshold(high, i) for i, name in enumerate(names)}

    def _left_out_rate(self, allowed: float) -> float:
        """Returns the mean share of a group above the threshold of the others."""
        count = int(self._member.max()) + 1
        thresholds = np.array([self._threshold(allowed, i) for i in range(count)])
        return float(self._weights[self._scores > thresholds[self._member]].sum()) / count

    def _threshold(self, allowed: float, without: int = -1) -> float:
        """Returns the lowest score above which the shares of the groups (but for one) add up to at most `allowed`."""
        kept = self._member != without
        above = np.append(0.0, np.cumsum(np.where(kept, self._weights, 0.0)))[self._tied]
        last = int(np.searchsorted(above, allowed + 1e-9, side="right"))
        return float(self._scores[np.flatnonzero(kept[:last])[-1]])


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
