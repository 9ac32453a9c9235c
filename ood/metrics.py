"""How well scores separate OOD from in-distribution: the field's metrics, exact with ties and infinities.

Definitions: Liang, Li & Srikant (ODIN), arXiv 1706.02690, appendix; Zhang et al. (OpenOOD v1.5), arXiv 2306.09301, for
`fpr95_ood_positive`. Libraries part ways on them, so each is spelt out. Runs on the host; NumPy only.
"""
from __future__ import annotations

import dataclasses
from typing import NamedTuple, Tuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class OodMetrics:
    """Fractions in [0, 1]; a frame is taken for in-distribution (ID) where its score ≤ the threshold."""
    auroc: float  # P(OOD score > ID score) + ½ P(equal)
    aupr_in: float  # average precision, ID positive
    aupr_out: float  # average precision, OOD positive
    fpr95: float  # share of OOD taken for ID at the lowest threshold that keeps at least 95% of ID (ODIN)
    fpr95_ood_positive: float  # share of ID with score ≥ t, the highest t that at least 95% of OOD reach (OpenOOD)
    detection_error: float  # least ½(share of ID flagged + share of OOD taken for ID) over all thresholds


class Roc(NamedTuple):
    """A receiver operating characteristic, OOD positive: frames with score > threshold are flagged."""
    false_positive_rate: np.ndarray  # share of ID flagged, descending from 1 to 0
    true_positive_rate: np.ndarray  # share of OOD flagged, descending from 1 to 0
    threshold: np.ndarray  # ascending; the first is NaN: everything is flagged


def evaluate(id_scores: np.ndarray, ood_scores: np.ndarray, balanced: bool = False) -> OodMetrics:
    """Returns the metrics.

    Args:
      id_scores: scores of in-distribution frames, [N], higher = more OOD; ±inf allowed, NaN not.
      ood_scores: scores of OOD frames, [M].
      balanced: weigh both classes alike in the two areas under precision–recall curves, as ODIN's code does;
        else count frames.
    """
    levels, id_at, ood_at = _levels(id_scores, ood_scores)
    n, m = int(id_at.sum()), int(ood_at.sum())
    id_below, ood_below = np.cumsum(id_at), np.cumsum(ood_at)  # scores ≤ each level
    id_above, ood_above = n - id_below + id_at, m - ood_below + ood_at  # scores ≥ each level
    keeps = np.argmax(100 * id_below >= 95 * n)  # in integers: 0.95·n would round
    catches = len(levels) - 1 - np.argmax((100 * ood_above >= 95 * m)[::-1])
    return OodMetrics(
        auroc=float(np.sum(ood_at * (2 * id_below - id_at)) / (2 * n * m)),
        aupr_in=_average_precision(id_at, id_below, ood_below, balanced),
        aupr_out=_average_precision(ood_at, ood_above, id_above, balanced),
        fpr95=float(ood_below[keeps] / m),
        fpr95_ood_positive=float(id_above[catches] / n),
        detection_error=float(min(0.5, np.min(0.5 * ((n - id_below) / n + ood_below / m)))))


def roc(id_scores: np.ndarray, ood_scores: np.ndarray) -> Roc:
    """Returns the ROC's corners, one for every distinct score and one for flagging everything."""
    levels, id_at, ood_at = _levels(id_scores, ood_scores)
    return Roc(false_positive_rate=np.append(1.0, 1 - np.cumsum(id_at) / id_at.sum()),
               true_positive_rate=np.append(1.0, 1 - np.cumsum(ood_at) / ood_at.sum()),
               threshold=np.append(np.nan, levels))


def rates(id_scores: np.ndarray, ood_scores: np.ndarray, threshold: float) -> Tuple[float, float]:
    """Returns (share of ID flagged, share of OOD flagged) where score > threshold."""
    id_scores, ood_scores = _checked(id_scores, "id_scores"), _checked(ood_scores, "ood_scores")
    return float(np.mean(id_scores > threshold)), float(np.mean(ood_scores > threshold))


def _checked(scores: np.ndarray, name: str) -> np.ndarray:
    scores = np.asarray(scores, dtype=np.float64).ravel()
    if not scores.size:
        raise ValueError(f"{name} is empty: metrics need at least one score of each class")
    bad = int(np.count_nonzero(np.isnan(scores)))
    if bad:
        raise ValueError(f"{name} holds {bad} NaN of {scores.size}; a score must say something: +inf flags a frame")
    return scores


def _levels(id_scores: np.ndarray, ood_scores: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the distinct scores, ascending, and how many ID and OOD frames have each."""
    id_scores, ood_scores = _checked(id_scores, "id_scores"), _checked(ood_scores, "ood_scores")
    levels, place = np.unique(np.concatenate([id_scores, ood_scores]), return_inverse=True)
    return (levels, np.bincount(place[:len(id_scores)], minlength=len(levels)),
            np.bincount(place[len(id_scores):], minlength=len(levels)))


def _average_precision(at: np.ndarray, positives: np.ndarray, negatives: np.ndarray, balanced: bool) -> float:
    """Returns Σ Δrecall · precision; `positives` and `negatives` count what each threshold takes in."""
    if balanced:
        positives, negatives = positives / positives.max(), negatives / negatives.max()
    return float(np.sum(at * (positives / (positives + negatives))) / at.sum())
