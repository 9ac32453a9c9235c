"""Groups left out in turn: every in-distribution frame judged by a detector that hasn't seen its recording. Host only.

A frame's nonconformity is that of a fit without its group; its p-value is its rank among the frames of the *other*
groups, each scored in the same way. The detector that ships is fitted on all of the training frames, and its table
holds the nonconformities of every group. This is cross-conformal prediction with groups for folds: Vovk,
"Cross-conformal predictors", Annals of Math. and AI 74 (2015) 9-28; Barber, Candès, Ramdas & Tibshirani, "Predictive
inference with the jackknife+", Ann. Statist. 49 (2021) 486-507; groups: Dunn, Wasserman & Ramdas, arXiv 1809.07441.
"""
from __future__ import annotations

from typing import Callable, Iterable, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from leanood.ood import detector as detector_
from leanood.ood import evidence, nonconformity, validity

FOLDS = 10  # so many fits at most: of more groups, several are left out together


class LeftOut(NamedTuple):
    """What was said of each frame while its group was left out, and the detector that ships."""
    detector: detector_.Detector  # its threshold is still to be chosen
    nonconformity: np.ndarray  # α, combined over the partitions, float64 [N]
    p_value: np.ndarray  # float64 [N]
    log_martingale: np.ndarray  # ln M over the window, float64 [N]
    starts: np.ndarray  # bool [N], where a sequence begins once groups are told apart


def judge(fit: Callable[[np.ndarray], nonconformity.Nonconformity], outputs: Mapping[str, np.ndarray],
          fitted: np.ndarray, groups: np.ndarray, *, starts: Optional[np.ndarray] = None,
          partition: Optional[np.ndarray] = None, partition_kind: str = "subset", window: int = 10, seed: int = 0,
          track: Callable[[List[np.ndarray]], Iterable[np.ndarray]] = list) -> LeftOut:
    """Returns each frame's verdict by the other groups, and the detector of them all.

    Args:
      fit: returns the nonconformity fitted on the frames of these indices, int64 [M].
      outputs: of the network on in-distribution frames, named arrays [N, …], finite.
      fitted: bool [N], frames that the statistics may be fitted on (training); the others only judge.
      groups: each frame's group, [N]; two at least. Benign variants of a frame are of its group.
      starts: bool [N], true on the first frame of each sequence; None: single images.
      partition: each frame's, str [N]; None where the nonconformity has one partition (it isn't looked at then).
      partition_kind, window, seed: of the detectors; window 0 for single images.
      track: shows progress over the folds.
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    fitted = np.asarray(fitted, bool)
    if len(names) < 2:
        raise ValueError("leaving groups out takes two groups of in-distribution frames; there is one")
    fold = (np.arange(len(names)) * min(FOLDS, len(names)) // len(names))[member]
    begins = np.ones(len(member), bool)
    if starts is not None and window:
        begins = np.asarray(starts, bool) | np.append(True, member[1:] != member[:-1])
    whole = fit(np.flatnonzero(fitted))
    partition = None if partition is None or len(whole.partitions) == 1 else np.asarray(partition)
    finite = validity.frames(outputs, whole.inputs)
    if not finite.all():
        raise ValueError(f"the network's outputs are NaN or infinite on {np.count_nonzero(~finite)} of {len(finite)} "
                         "in-distribution frames; leave those frames out or convert the model again")
    alphas = np.empty((len(member), len(whole.partitions)))
    chosen = [np.flatnonzero(fold == number) for number in np.unique(fold)]
    without = []
    for held_out in track(chosen):
        rest = fitted.copy()
        rest[held_out] = False
        if not rest.any():
            raise ValueError("all training frames are of one group; leaving it out leaves none to fit")
        without.append(fit(np.flatnonzero(rest)) if fitted[held_out].any() else whole)
        alphas[held_out] = without[-1].score(_at(outputs, held_out), begins[held_out] if window else None)
    p, combined, logs = (np.empty(len(member)) for _ in range(3))
    for held_out, measured in zip(chosen, without):
        others = np.setdiff1d(np.arange(len(member)), held_out)
        judged = detector_.Detector.from_scores(
            measured, alphas[others], partition=None if partition is None else partition[others],
            partition_kind=partition_kind, window=window, seed=seed).run(_at(outputs, held_out), begins[held_out])
        p[held_out], combined[held_out] = judged["p_value"], judged["nonconformity"]
        logs[held_out] = judged["log_martingale"]
    calibrated = detector_.Detector.from_scores(whole, alphas, partition=partition, partition_kind=partition_kind,
                                                window=window, seed=seed)
    return LeftOut(calibrated, combined, p, logs, begins)


def scaled(verdicts: LeftOut, windows: Sequence[int] = evidence.WINDOWS,
           recorded: Optional[np.ndarray] = None) -> np.ndarray:
    """Returns the evidence at each scale, S_s, float64 [S, N], of frames judged without their group.

    A stream goes on for longer than most recordings do. Where less than half of the driving is in recordings as long as
    a window, the last frame of a shorter one, at least half as long as the window or as the longest recording, has the
    mean of the whole, as if the recording went on like that. Counted among ordinary frames, as at a stream's beginning,
    it would say nothing of what such a window will see.

    Args:
      verdicts: of `judge`.
      windows: frames.
      recorded: bool [N], frames as they were recorded, by whose recordings that is decided; None: all.
    """
    each = evidence.of(verdicts.p_value)
    latest = [evidence.latest_of(window, verdicts.detector.nonconformity.share) for window in windows]
    result = evidence.scaled(each, verdicts.starts, windows, latest)
    first = np.flatnonzero(verdicts.starts)
    end = np.append(first[1:], len(each))
    length = end - first
    driven = length if recorded is None else np.add.reduceat(recorded.astype(int), first)
    total = np.append(0.0, np.cumsum(each))
    for row, window, part in zip(result, windows, latest):
        if 2 * driven[length >= window].sum() >= driven.sum():
            continue
        short = (length < window) & (2 * length >= min(window, driven.max()))
        begin, after = first[short], end[short]
        agreeing = np.maximum(begin, after - part)
        row[after - 1] = np.minimum((total[after] - total[begin]) / (after - begin),
                                    (total[after] - total[agreeing]) / (after - agreeing))
    return result


def _at(outputs: Mapping[str, np.ndarray], where: np.ndarray) -> Mapping[str, np.ndarray]:
    return {name: array[where] for name, array in outputs.items()}
