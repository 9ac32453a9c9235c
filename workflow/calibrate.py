"""Calibrates a network's file into a detector: statistics, p-value tables, decay and threshold, all on that file.

The four splits have their parts. Train: what the nonconformity fits. Calibration: the p-value tables. Validation, with
synthetic corruptions of it: the decay. The threshold comes from in-distribution driving that the statistics haven't
seen: validation, and train and calibration cross-fitted stretch by stretch. Test is never touched.
"""
from __future__ import annotations

import dataclasses
import math
from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple

import numpy as np

from leanood.data import corruptions, dataset, frames, sequences
from leanood.ood import (
    classifier_score,
    image_threshold,
    kl_topk,
    kl_typical,
    nonconformity,
    scores,
    tuning,
    typicality,
)
from leanood.ood import detector as detector_
from leanood.tflite import runtime
from leanood.workflow import loading, progress

WINDOWS = {"typicality": 10, "kl-topk": 20, "kl-typical": 10}  # by detector: frames that the martingale looks back on
DETECTORS = (*WINDOWS, *(name for name in scores.NAMES if name != "fusion"))
# Corruptions of validation sequences that the decay is tuned on: one of each kind, outside any declared ID range.
TUNING = (("darker", 3), ("rain", 3), ("fog", 3), ("motion_blur", 3), ("noise", 3), ("occlusion", 3))
_STRETCH_S = 10.0  # length of a validation sequence in seconds
_STRETCHES = 4  # validation sequences a corruption
_FOLDS = 10
_LAST_RESORT = 0.99  # of the highest score there is


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to calibrate."""

    detector: str = "typicality"
    top_k: int = 1  # latents a partition, for kl-topk
    rank_by: str = "variance"  # how kl-topk ranks them; "scenes" is the published ranking
    window: Optional[int] = None  # p-values in the martingale; images: 0; None: 10, for kl-topk 20
    false_alarms_per_hour: float = 3.0  # of in-distribution driving; images: not used
    false_positive_rate: float = 0.05  # of in-distribution images; sequences: not used
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A detector, and what was seen while it was calibrated, fit for JSON."""

    detector: detector_.Detector
    seen: Dict[str, Any]


def fields(result: Calibration, runner: runtime.Runner, size: Tuple[int, int], fps: float, *, data: Mapping[str, Any],
           network: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns detector.json's fields for `bundle.write`.

    Args:
      result: of `calibrate`.
      runner, size: the network's file and its input.
      fps: frames a second of the data set; 0 for images.
      data: how to open the data set again.
      network: where the network came from (what `leanood convert` wrote).
    """
    tensor = next(iter(runner.inputs.values()))
    measured = result.detector.nonconformity
    kind = "classifier" if isinstance(measured, classifier_score.ClassifierScore) else "latent"
    return {**result.detector.config(), "kind": kind, "outputs": list(measured.inputs), "fps": fps,
            "input": {"name": tensor.name, "size": list(size), "dtype": str(np.dtype(tensor.dtype)),
                      "range": [0.0, 1.0], "channels": "RGB"},
            "calibration": result.seen, "metrics": [],
            "provenance": {"runtime": runner.runtime, "data": dict(data), "network": dict(network)}}


def default_detector(outputs: Collection[str]) -> str:
    """Returns the detector for a network with these outputs: energy for a classifier, else typicality."""
    return "energy" if "logits" in outputs and "mu" not in outputs else "typicality"


def measure(settings: Settings) -> nonconformity.Nonconformity:
    """Returns the unfitted nonconformity that the settings name."""
    if settings.detector == "kl-topk":
        return kl_topk.KlTopK(settings.top_k, settings.rank_by)
    if settings.detector == "kl-typical":
        return kl_typical.KlTypical()
    if settings.detector == "typicality":
        return typicality.Typicality()
    names = settings.detector.split("+")
    if all(name in DETECTORS and name in scores.NAMES for name in names):
        members = [scores.by_name(name)() for name in names]
        return classifier_score.ClassifierScore(members[0] if len(members) == 1 else scores.Fusion(members))
    raise ValueError(f"detector is {settings.detector!r}; it can be {', '.join(DETECTORS)}")


def calibrate(runner: runtime.Runner, size: Tuple[int, int], found: dataset.Dataset,
              settings: Settings) -> Calibration:
    """Returns the calibrated detector of a network's file on a data set.

    Args:
      runner: the file, loaded.
      size: (h, w) of its input.
      found: the data set, with its splits.
      settings: how to calibrate.
    """
    if settings.window is None:
        settings = dataclasses.replace(settings, window=WINDOWS.get(settings.detector, 0))
    parts = {}
    for split in ("train", "calibration", "validation"):
        images, known = loading.load_split(found, split, size)
        parts[split] = (outputs_of(runner, images, f"running the network on {split}"), known)
    train, calibration, validation = parts["train"], parts["calibration"], parts["validation"]
    ordered = bool(settings.window) and all((known.sequence >= 0).all() for _, known in parts.values())
    fitted = _fitted(settings, found.partition_kind, train[0], train[1].partition, train[1].starts if ordered else None)
    detector = _tables(fitted, calibration, found.partition_kind, settings, ordered)
    seen: Dict[str, Any] = {
        "frames": {split: len(known) for split, (_, known) in parts.items()}, "ordered": ordered,
        "warnings": list(fitted.warnings)}
    if not ordered:
        judged = detector.run(*_pair(validation, False))["score"]
        held_out = np.concatenate([judged, detector.run(*_pair(calibration, False))["score"]])
        detector.threshold = image_threshold.conformal(held_out, settings.false_positive_rate).value
        if np.ptp(held_out) == 0:
            seen["warnings"].append("the score is the same on every held-out image: the detector is broken, and its "
                                    "alarm would never sound; look at the network's latents")
        seen["false_positive_rate"] = settings.false_positive_rate
        seen["validation_false_positive_rate"] = float((judged > detector.threshold).mean())
        return Calibration(detector, seen)
    logs, starts = _held_out(train, calibration, found.partition_kind, settings)
    ran = detector.run(*_pair(validation, True))["log_martingale"]
    logs, starts = np.concatenate([logs, ran]), np.concatenate([starts, validation[1].starts])
    ood_logs, ood_starts, ood = _corrupted(runner, size, found, detector)
    tuned = tuning.tune(logs, starts, ood_logs, ood_starts, fps=found.fps, ood=ood,
                        false_alarms_per_hour=settings.false_alarms_per_hour,
                        decays=[math.inf] if fitted.extrapolates else None)
    detector.decay, detector.threshold = tuned.decay, tuned.threshold.value
    seen["warnings"] += [tuned.warning] if tuned.warning else []
    highest = detector.highest_score()
    if detector.threshold >= highest:
        # Extrapolated from too little driving, beyond what the score can reach: such an alarm would never sound.
        detector.threshold = (float(logs.max()) + highest) / 2 if logs.max() < highest else highest * _LAST_RESORT
        seen["warnings"].append(
            f"{len(logs) / found.fps / 60:.1f} minutes of in-distribution driving are too few to promise "
            f"{settings.false_alarms_per_hour:g} false alarms an hour; the threshold lies as high as the score goes, "
            "calibrate on more")
    seen.update(false_alarms_per_hour=settings.false_alarms_per_hour, held_out_hours=len(logs) / found.fps / 3600,
                threshold=dataclasses.asdict(tuned.threshold), validation_auroc=tuned.auroc,
                validation_hit_rate=tuned.hit_rate, validation_mean_delay=tuned.mean_delay)
    return Calibration(detector, seen)


def outputs_of(runner: runtime.Runner, images: np.ndarray, what: str) -> Dict[str, np.ndarray]:
    """Returns the network's outputs on frames uint8 [N, h, w, 3], named arrays [N, …], showing progress."""
    found: Dict[str, List[np.ndarray]] = {}
    for image in progress.track(images, what):
        for name, array in runner(image).items():
            found.setdefault(name, []).append(array[0].copy())
    return {name: np.stack(arrays) for name, arrays in found.items()}


def stretches(found: dataset.Dataset, length: int, at_most: Optional[int] = None) -> List[np.ndarray]:
    """Returns the indices of stretches of `length` consecutive frames, evenly spread over the sequences.

    Args:
      found: frames of one split.
      length: of a stretch, in frames; a sequence that is shorter gives none.
      at_most: so many stretches.
    """
    begins = np.flatnonzero(found.starts)
    whole = [np.arange(begin + offset, begin + offset + length)
             for begin, end in zip(begins, [*begins[1:], len(found)])
             for offset in range(0, end - begin - length + 1, length)]
    if at_most is not None and len(whole) > at_most:
        whole = [whole[i] for i in np.unique(np.linspace(0, len(whole) - 1, at_most).round().astype(int))]
    return whole


def corrupted(found: dataset.Dataset, where: np.ndarray, name: str, severity: int, pattern: str, seed: int,
              size: Tuple[int, int]) -> Tuple[np.ndarray, np.ndarray]:
    """Returns a stretch's frames, corrupted at their own resolution from a known time on, and which are.

    Args:
      found: frames of one split.
      where: int [T], the stretch.
      name, severity: the corruption.
      pattern: of `sequences.PATTERNS`.
      seed: of the corruption.
      size: (h, w) to resize to.

    Returns:
      (uint8 [T, h, w, 3], bool [T]).
    """
    ood = sequences.onset(pattern, len(where))
    original = np.stack([found.read(int(i)) for i in where])
    return frames.resize(sequences.apply(name, original, ood, severity=severity, seed=seed), size), ood


def _fitted(settings: Settings, kind: str, outputs: Mapping[str, np.ndarray], partition: np.ndarray,
            starts: Optional[np.ndarray]) -> nonconformity.Nonconformity:
    """Returns the fitted nonconformity; to kl-topk, subsets are one partition (see `kl_topk`)."""
    pooled = settings.detector == kl_topk.KlTopK.name and kind == "subset"
    return measure(settings).fit(outputs, None if pooled else partition, starts)


def _tables(fitted: nonconformity.Nonconformity, calibration: Tuple[Mapping[str, np.ndarray], dataset.Dataset],
            kind: str, settings: Settings, ordered: bool) -> detector_.Detector:
    outputs, known = calibration
    several = len(fitted.partitions) > 1
    return detector_.Detector.calibrate(
        fitted, outputs, partition=known.partition if several else None, starts=known.starts if ordered else None,
        partition_kind=kind, window=(settings.window or 0) if ordered else 0, seed=settings.seed)


def _pair(part: Tuple[Mapping[str, np.ndarray], dataset.Dataset], ordered: bool) -> Tuple[Any, Optional[np.ndarray]]:
    return part[0], part[1].starts if ordered else None


def _held_out(train: Any, calibration: Any, kind: str, settings: Settings) -> Tuple[np.ndarray, np.ndarray]:
    """Returns ln M on train and calibration, each stretch judged by a detector that hasn't seen it; and its starts."""
    outputs = {name: np.concatenate([train[0][name], calibration[0][name]]) for name in train[0]}
    partition = np.concatenate([train[1].partition, calibration[1].partition])
    starts = np.concatenate([train[1].starts, calibration[1].starts])
    logs = np.empty(len(starts))
    begins = np.zeros(len(starts), bool)
    folds = np.array_split(np.arange(len(starts)), _FOLDS)
    for number, fold in enumerate(progress.track(folds, "cross-fitting the threshold")):
        begins[fold] = starts[fold]
        begins[fold[0]] = True
        # The next stretch in turn gives the tables, the others the statistics.
        table = folds[(number + 1) % _FOLDS]
        rest = np.setdiff1d(np.arange(len(starts)), np.concatenate([fold, table]))
        fitted = _fitted(settings, kind, _at(outputs, rest), partition[rest], _starts(starts, rest))
        detector = detector_.Detector.calibrate(
            fitted, _at(outputs, table), partition=partition[table] if len(fitted.partitions) > 1 else None,
            starts=_starts(starts, table), partition_kind=kind, window=settings.window or 0, seed=settings.seed)
        logs[fold] = detector.run(_at(outputs, fold), begins[fold])["log_martingale"]
    return logs, begins


def _at(outputs: Mapping[str, np.ndarray], where: np.ndarray) -> Dict[str, np.ndarray]:
    return {name: array[where] for name, array in outputs.items()}


def _starts(starts: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Returns the starts of the chosen frames: where frames were left out, a sequence begins."""
    return starts[where] | np.append(True, np.diff(where) != 1)


def _corrupted(runner: runtime.Runner, size: Tuple[int, int], found: dataset.Dataset,
               detector: detector_.Detector) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ln M on corrupted validation stretches, where they start, and which frames are corrupted."""
    validation = found.where((found.split == "validation") & ~found.ood)
    length = min(int(_STRETCH_S * found.fps), int(np.bincount(np.cumsum(validation.starts)).max()))
    chosen = stretches(validation, length, _STRETCHES)
    jobs = [(where, name, severity, pattern, seed) for name, severity in TUNING
            for seed, where in enumerate(chosen) for pattern in [("second_half", "middle_half")[seed % 2]]]
    logs, starts, odd = [], [], []
    for where, name, severity, pattern, seed in progress.track(jobs, "corrupting validation sequences"):
        images, ood = corrupted(validation, where, name, severity, pattern, seed, size)
        begin = np.arange(len(where)) == 0
        logs.append(detector.run(runner.each(images), begin)["log_martingale"])
        starts.append(begin)
        odd.append(ood)
    return np.concatenate(logs), np.concatenate(starts), np.concatenate(odd)


def outside_id(found: dataset.Dataset, name: str, severity: int) -> bool:
    """False where a corruption lies within the range that the data set declares in-distribution for that factor."""
    if found.partition_kind != "factor" or name not in corruptions.ID_RANGES:
        return True
    low, high = corruptions.ID_RANGES[name]
    return not low <= corruptions.level_of(name, severity) <= high
