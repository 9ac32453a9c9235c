"""Decay and threshold of a detector, chosen on validation sequences: never on the test's. Runs on the host.

The decay δ is the one under which S tells OOD validation frames (synthetic corruptions) from in-distribution ones best,
by AUROC. Many do so equally well; of those the one that detects soonest at its own threshold is taken, as long as
in-distribution validation raises S often enough under it to tell a false-alarm rate (`sequence_threshold`). A decay
under which S never leaves zero detects nothing, whatever its AUROC of one half: it is taken only if all are like that.
An infinite decay (S = ln M, nothing is carried over) is always tried: a finite one takes long to come back after an OOD
stretch, and frames that are in-distribution again count against it.
"""
from __future__ import annotations

import dataclasses
import math
from typing import Optional, Sequence, Tuple

import numpy as np

from leanood.ood import cusum, events, metrics, sequence_threshold

_EQUAL = 0.005  # decays whose AUROC falls no further below the best are held to be as good
_ENOUGH_PEAKS = 10
_SILENT = ("the score is the same on every corrupted validation frame: the detector is broken, and its alarm would "
           "never sound; look at the network's latents")


@dataclasses.dataclass(frozen=True)
class Tuning:
    """The choice, and what it came to on validation."""
    decay: float  # δ, nats a frame
    threshold: sequence_threshold.AlarmThreshold
    auroc: float  # of S, frame by frame
    hit_rate: float  # share of the OOD validation sequences detected
    mean_delay: float  # frames; a miss counts as its sequence's length
    decays: Tuple[float, ...]  # all that were tried
    aurocs: Tuple[float, ...]  # and their AUROCs
    warning: str = ""  # one sentence where S is the same on all frames: the detector is broken


def tune(id_log_martingale: np.ndarray, id_starts: np.ndarray, ood_log_martingale: np.ndarray,
         ood_starts: np.ndarray, *, fps: float, false_alarms_per_hour: float, ood: Optional[np.ndarray] = None,
         decays: Optional[Sequence[float]] = None) -> Tuning:
    """Returns decay and threshold; set them as `detector.decay, detector.threshold = t.decay, t.threshold.value`.

    Args:
      id_log_martingale: ln M on in-distribution validation sequences, [N]: `Detector.run(…)["log_martingale"]`.
      id_starts: bool [N], true on the first frame of each sequence.
      ood_log_martingale: ln M on validation sequences with synthetic OOD stretches, [M].
      ood_starts: bool [M].
      fps: frames per second, > 0.
      false_alarms_per_hour: to allow, > 0.
      ood: bool [M], which of those frames are OOD; the others count as in-distribution. None: all are.
      decays: δ to try, nats a frame; None: quantiles of ln M, from never forgetting to forgetting all but the oddest,
        and infinity, carrying nothing over.
    """
    ood_log_martingale = np.asarray(ood_log_martingale, dtype=np.float64)
    is_ood = np.ones(len(ood_log_martingale), dtype=bool) if ood is None else np.asarray(ood, dtype=bool)
    if decays is None:
        decays = _grid(np.asarray(id_log_martingale, dtype=np.float64), ood_log_martingale[is_ood])
    id_scores = cusum.scores(id_log_martingale, id_starts, decays)
    ood_scores = cusum.scores(ood_log_martingale, ood_starts, decays)
    tried = [_try(decay, id_score, id_starts, ood_score, ood_starts, is_ood, fps, false_alarms_per_hour)
             for decay, id_score, ood_score in zip(decays, id_scores, ood_scores)]
    alive = [candidate for candidate in tried if not candidate.warning] or tried
    best = max(candidate.auroc for candidate in alive)
    good = [candidate for candidate in alive if candidate.auroc >= best - _EQUAL]
    good = [candidate for candidate in good
            if candidate.threshold.peaks >= _ENOUGH_PEAKS or not candidate.threshold.extrapolated] or good
    chosen = min(good, key=lambda candidate: (candidate.mean_delay, -candidate.auroc, candidate.decay))
    return dataclasses.replace(chosen, decays=tuple(map(float, decays)),
                               aurocs=tuple(candidate.auroc for candidate in tried))


def _try(decay: float, id_score: np.ndarray, id_starts: np.ndarray, ood_score: np.ndarray, ood_starts: np.ndarray,
         is_ood: np.ndarray, fps: float, per_hour: float) -> Tuning:
    chosen = sequence_threshold.choose(id_score, id_starts, fps, per_hour)
    detected = events.detections(ood_score > chosen.value, ood_starts, is_ood, fps)
    auroc = metrics.evaluate(np.append(id_score, ood_score[~is_ood]), ood_score[is_ood]).auroc
    return Tuning(decay=float(decay), threshold=chosen, auroc=auroc, hit_rate=detected.hit_rate,
                  mean_delay=detected.mean_delay, decays=(), aurocs=(),
                  warning="" if np.ptp(ood_score) > 0 else _SILENT)


def _grid(id_log_martingale: np.ndarray, ood_log_martingale: np.ndarray) -> Sequence[float]:
    levels = np.concatenate([[0.0], np.quantile(id_log_martingale, [.5, .7, .8, .9, .95, .98, .99, .995, .999, 1]),
                             np.quantile(ood_log_martingale, [.05, .1, .2, .3, .5, .7])])
    return [*np.unique(np.maximum(np.round(levels, 6), 0.0)).tolist(), math.inf]
