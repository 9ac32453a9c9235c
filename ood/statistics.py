"""How sure an AUROC is, and whether another detector's is worse: paired DeLong, bootstrap over sequences.

DeLong, DeLong & Clarke-Pearson (Biometrics 1988), in O(n log n) like Sun & Xu (IEEE SPL 2014); for clustered data (the
frames of a sequence) Obuchowski (Biometrics 1997). Runs on the host.
"""
from __future__ import annotations

from typing import NamedTuple, Optional, Tuple

import numpy as np
from scipy import special

_RESAMPLES = 1000


class Difference(NamedTuple):
    """AUROC(b) − AUROC(a) with its confidence interval, and the two-sided p-value of no difference."""
    delta: float
    low: float
    high: float
    p_value: float


class Interval(NamedTuple):
    """An AUROC with its confidence interval."""
    auroc: float
    low: float
    high: float


def auroc_difference(id_a: np.ndarray, ood_a: np.ndarray, id_b: np.ndarray, ood_b: np.ndarray, confidence: float = 0.95,
                     id_groups: Optional[np.ndarray] = None, ood_groups: Optional[np.ndarray] = None) -> Difference:
    """Returns AUROC(b) − AUROC(a) of two detectors on the same frames, by paired DeLong.

    Where no frame's standing differs between the two (two perfect detectors, or the same one) the variance is zero and
    so is the interval's width: the data hold no hint of a difference, however few they are.

    Args:
      id_a, ood_a: detector a's scores of in-distribution [N] and OOD [M] frames, higher = more OOD, no NaN.
      id_b, ood_b: detector b's scores of the same frames in the same order.
      confidence: of the two-sided interval, in (0, 1).
      id_groups, ood_groups: each frame's sequence (or block), [N] and [M], where frames are correlated: Obuchowski's
        variance; a label in both is one sequence. None: frames are independent.
    """
    delta, error = _difference(id_a, ood_a, id_b, ood_b, id_groups, ood_groups)
    half = error * special.ndtri(0.5 + _checked_confidence(confidence) / 2)
    z = abs(delta) / error if error else (np.inf if delta else 0.0)
    return Difference(delta, delta - half, delta + half, float(2 * special.ndtr(-z)))


def non_inferior(id_a: np.ndarray, ood_a: np.ndarray, id_b: np.ndarray, ood_b: np.ndarray, margin: float,
                 confidence: float = 0.95, id_groups: Optional[np.ndarray] = None,
                 ood_groups: Optional[np.ndarray] = None) -> bool:
    """Returns whether b is accepted: the one-sided lower bound of AUROC(b) − AUROC(a) exceeds −margin.

    Args:
      margin: the loss of AUROC that is tolerated, ≥ 0. The others as in `auroc_difference`; confidence is one-sided.
    """
    if not margin >= 0:
        raise ValueError(f"margin is the loss of AUROC tolerated, at least 0, not {margin}")
    delta, error = _difference(id_a, ood_a, id_b, ood_b, id_groups, ood_groups)
    return bool(delta - error * special.ndtri(_checked_confidence(confidence)) > -margin)


def auroc_interval(id_scores: np.ndarray, ood_scores: np.ndarray, confidence: float = 0.95,
                   id_groups: Optional[np.ndarray] = None, ood_groups: Optional[np.ndarray] = None,
                   seed: int = 0) -> Interval:
    """Returns the AUROC with its interval, of DeLong's standard error or, with groups, of the bootstrap's over them.

    Either error is laid off on the logit scale: in simulations with 8 to 20 sequences such bootstrap intervals of 95%
    held the truth 91–97 times in 100, the bootstrap's plain quantiles 61–95 times.

    Perfect separation has no spread to measure. Then k = min(N, M) independent pairs (of frames, or of groups) were all
    in order, which has probability ≤ AUROC^k, so the interval ends at (½(1 − confidence))^(1/k).

    Args:
      id_scores, ood_scores: scores of in-distribution [N] and OOD [M] frames, higher = more OOD, no NaN.
      confidence: of the two-sided interval, in (0, 1).
      id_groups, ood_groups: each frame's sequence or block (see `blocks`), where frames are correlated; a label in both
        is one sequence and is drawn as one. None: frames are independent.
      seed: of the bootstrap.
    """
    tail = (1 - _checked_confidence(confidence)) / 2
    id_part, ood_part = _placements(id_scores, ood_scores)
    auroc = float(id_part.mean())
    if id_groups is None and ood_groups is None:
        units = min(len(id_part), len(ood_part))
        error = _error(id_part, ood_part, None, None)
    else:
        id_groups = _groups(id_groups, len(id_part), "id_groups")
        ood_groups = _groups(ood_groups, len(ood_part), "ood_groups")
        units = min(len(np.unique(id_groups)), len(np.unique(ood_groups)))
        error = float(_bootstrap(id_scores, ood_scores, id_groups, ood_groups, seed).std())
    if auroc in (0.0, 1.0):
        bound = tail ** (1 / units)
        return Interval(1.0, bound, 1.0) if auroc else Interval(0.0, 0.0, 1 - bound)
    half = -special.ndtri(tail) * error / (auroc * (1 - auroc))
    center = special.logit(auroc)
    return Interval(auroc, float(special.expit(center - half)), float(special.expit(center + half)))


def blocks(starts: np.ndarray, length: int) -> np.ndarray:
    """Returns the number of each frame's block, int64 [N]: `length` frames of one sequence (the last of it fewer).

    Args:
      starts: bool [N], true on the first frame of each sequence.
      length: frames a block; longer than frames stay correlated.
    """
    if length < 1:
        raise ValueError(f"length of a block must be at least one frame, not {length}")
    starts = np.array(starts, dtype=bool)
    starts[:1] = True
    index = np.arange(len(starts))
    within = index - np.maximum.accumulate(np.where(starts, index, 0))
    return np.cumsum(starts | (within % length == 0)) - 1


def _checked_confidence(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    return confidence


def _placements(id_scores: np.ndarray, ood_scores: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns DeLong's components: the share of OOD above each ID frame [N], of ID below each OOD frame [M]; ties ½."""
    id_scores, ood_scores = np.asarray(id_scores, np.float64).ravel(), np.asarray(ood_scores, np.float64).ravel()
    if min(len(id_scores), len(ood_scores)) < 2:
        raise ValueError(f"an AUROC's spread needs two frames of each class, not {len(id_scores)} ID and "
                         f"{len(ood_scores)} OOD")
    if np.isnan(id_scores).any() or np.isnan(ood_scores).any():
        raise ValueError("scores hold NaN; a score must say something: +inf flags a frame")
    return 1 - _share_below(ood_scores, id_scores), _share_below(id_scores, ood_scores)


def _share_below(scores: np.ndarray, at: np.ndarray) -> np.ndarray:
    scores = np.sort(scores)
    return (np.searchsorted(scores, at, "left") + np.searchsorted(scores, at, "right")) / (2 * len(scores))


def _difference(id_a: np.ndarray, ood_a: np.ndarray, id_b: np.ndarray, ood_b: np.ndarray,
                id_groups: Optional[np.ndarray], ood_groups: Optional[np.ndarray]) -> Tuple[float, float]:
    """Returns delta and its standard error."""
    if np.size(id_a) != np.size(id_b) or np.size(ood_a) != np.size(ood_b):
        raise ValueError(f"both detectors must have scored the same frames: {np.size(id_a)} and {np.size(id_b)} ID, "
                         f"{np.size(ood_a)} and {np.size(ood_b)} OOD")
    (id_of_a, ood_of_a), (id_of_b, ood_of_b) = _placements(id_a, ood_a), _placements(id_b, ood_b)
    id_part, ood_part = id_of_b - id_of_a, ood_of_b - ood_of_a
    return float(id_part.mean()), _error(id_part, ood_part, id_groups, ood_groups)


def _error(id_part: np.ndarray, ood_part: np.ndarray, id_groups: Optional[np.ndarray],
           ood_groups: Optional[np.ndarray]) -> float:
    """Returns the standard error of the components' mean: DeLong's, or Obuchowski's over groups."""
    if id_groups is None and ood_groups is None:
        return float(np.sqrt(id_part.var(ddof=1) / len(id_part) + ood_part.var(ddof=1) / len(ood_part)))
    id_groups = _groups(id_groups, len(id_part), "id_groups")
    ood_groups = _groups(ood_groups, len(ood_part), "ood_groups")
    labels = np.unique(np.concatenate([id_groups, ood_groups]))
    sums, counts = [], []
    for part, groups in ((id_part, id_groups), (ood_part, ood_groups)):
        place = np.searchsorted(labels, groups)
        counts.append(len(np.unique(groups)))
        sums.append(np.bincount(place, part - part.mean(), minlength=len(labels)) / len(part))
    count = len(labels)
    variance = sum(k / (k - 1) * np.sum(total ** 2) for k, total in zip(counts, sums)) \
        + 2 * count / (count - 1) * np.sum(sums[0] * sums[1])
    return float(np.sqrt(max(variance, 0.0)))


def _groups(groups: Optional[np.ndarray], count: int, name: str) -> np.ndarray:
    if groups is None:
        return np.array([f"{name} {index}" for index in range(count)])  # each frame on its own
    groups = np.asarray(groups).astype(str)
    if groups.shape != (count,):
        raise ValueError(f"{name} must hold one label a frame: {groups.shape} for {count} frames")
    if len(np.unique(groups)) < 2:
        raise ValueError(f"{name} names one sequence: no spread between sequences is to be seen; "
                         "cut it into blocks longer than its frames stay correlated (statistics.blocks)")
    return groups


def _bootstrap(id_scores: np.ndarray, ood_scores: np.ndarray, id_groups: np.ndarray, ood_groups: np.ndarray,
               seed: int) -> np.ndarray:
    """Returns the AUROCs of resampled groups, [≤ resamples]."""
    levels, place = np.unique(np.concatenate([np.ravel(id_scores), np.ravel(ood_scores)]), return_inverse=True)
    id_place, ood_place = place[:len(id_groups)], place[len(id_groups):]
    id_labels, ood_labels = np.unique(id_groups), np.unique(ood_groups)
    shared = len(np.intersect1d(id_labels, ood_labels)) > 0
    labels = [np.union1d(id_labels, ood_labels)] if shared else [id_labels, ood_labels]
    id_member = np.searchsorted(labels[0], id_groups)
    ood_member = np.searchsorted(labels[-1], ood_groups)
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(_RESAMPLES):
        drawn = [rng.multinomial(len(names), np.full(len(names), 1 / len(names))) for names in labels]
        id_mass = np.bincount(id_place, drawn[0][id_member], minlength=len(levels))
        ood_mass = np.bincount(ood_place, drawn[-1][ood_member], minlength=len(levels))
        pairs = id_mass.sum() * ood_mass.sum()
        if pairs:  # else every sequence drawn was of one class
            result.append(np.sum(ood_mass * (np.cumsum(id_mass) - id_mass / 2)) / pairs)
    return np.array(result)
