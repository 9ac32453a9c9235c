"""Calibrates a network's file into a detector: statistics, p-value tables, decay and threshold, all on that file.

The four splits have their parts. Train: what the nonconformity fits. Calibration: the p-value tables. Validation, with
synthetic corruptions of it: the decay. The threshold comes from in-distribution driving that the statistics haven't
seen: validation, and train and calibration cross-fitted stretch by stretch. Test is never touched.
"""
from __future__ import annotations

import dataclasses
import math
import os
from typing import Any, Collection, Dict, List, Mapping, Optional, Tuple, Union

import numpy as np

from leanood.data import dataset, sequences
from leanood.ood import (
    classifier_score,
    image_threshold,
    kl_topk,
    kl_typical,
    nonconformity,
    scores,
    sequence_threshold,
    tuning,
    typicality,
)
from leanood.ood import detector as detector_
from leanood.tflite import bundle, silence
from leanood.tflite import runtime as tflite_runtime
from leanood.workflow import datasets, network, outcome, progress

WINDOWS = {"typicality": 10, "kl-topk": 20, "kl-typical": 10}  # by detector: frames that the martingale looks back on
DETECTORS = (*WINDOWS, *(name for name in scores.NAMES if name != "fusion"))
# Corruptions of validation sequences that the decay is tuned on: one of each kind, outside any declared ID range.
TUNING = (("darker", 3), ("rain", 3), ("fog", 3), ("motion_blur", 3), ("noise", 3), ("occlusion", 3))
_STRETCH_S = 10.0  # length of a validation sequence in seconds
_STRETCHES = 4  # validation sequences a corruption


def calibrate(model: Union[str, os.PathLike], data: Optional[datasets.Data] = None, out: Optional[str] = None, *,
              detector: Optional[str] = None, outputs: Optional[Mapping[str, str]] = None,
              input_scale: Optional[str] = None, fold: str = "none", top_k: int = 1, rank_by: str = "variance",
              window: Optional[int] = None, false_alarms_per_hour: float = 3.0, false_positive_rate: float = 0.05,
              seed: int = 0, num_threads: Optional[int] = None, **data_options: Any) -> outcome.Outcome:
    """Calibrates a converted network into a detector file; returns its path and what was seen on the way.

    `leanood.load` opens the file, `leanood.evaluate` judges it.

    Args:
      model: a .tflite file, as `leanood.convert` writes it.
      data: a folder, a video, "lanes" or "tfds:NAME", or an opened data set; None: what the network was trained on.
      out: the detector file; None: detector_<name>.tflite beside the network's.
      detector: "typicality", leanood's (the default for encoders); "kl-topk", the paper's; "kl-typical", all
        latents, two-sided; of a classifier a score ("energy" is the default; of features alone "mahalanobis") or
        several joined by "+".
      outputs: of a file that leanood didn't convert: name -> its own output, or a tensor of its graph, e.g.
        {"logits": "Identity", "features": "model/avg_pool/Mean"}.
      input_scale: of such a file, if it takes floats: "unit" x/255, "signed" x/127.5−1, "bytes" x or "imagenet"
        (mean and deviation per channel, as torchvision has them).
      fold: "full": put the whole detector into the graph, so that C++, Android and browsers have `score`, `p_value` and
        `alarm` as outputs, `state` as an input and an output; "none".
      top_k: kl-topk: so many latents a partition.
      rank_by: kl-topk: rank latents by the "variance" of their KL or, as published, of its mean step in "scenes".
      window: frames that the martingale looks back on; 0: frames are single images; None: 10, for kl-topk 20, and 0
        for unordered images.
      false_alarms_per_hour: sequences: to allow in in-distribution driving.
      false_positive_rate: images: share of in-distribution images to flag.
      seed: of the p-values' smoothing.
      num_threads: so many interpreters side by side; None: one a core.
      **data_options: split_csv, times_csv, ood_partitions, fps, data_seed, limit, as of `leanood.data.catalog.open`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    path = os.fspath(model)
    flatbuffer = bundle.flatbuffer(path)
    if fold not in ("none", "full"):
        raise ValueError(f"fold is {fold!r}; it can be none or full")
    if outputs or input_scale:
        silence.tensorflow()
        from leanood.tflite.rewrite import adopt

        flatbuffer = adopt.adopt(flatbuffer, outputs or _own_names(path), input_scale or "unit")
    converted = datasets.sidecar(path)
    frames, opened = datasets.open(data, data_options, converted.get("data", {}))
    loaded = network.load(flatbuffer, num_threads=num_threads)
    result = fit(loaded, frames, Settings(
        detector=detector or default_detector(loaded.runner.outputs), top_k=top_k, rank_by=rank_by, window=window,
        seed=seed, false_alarms_per_hour=false_alarms_per_hour, false_positive_rate=false_positive_rate))
    out = os.fspath(out) if out else os.path.join(
        os.path.dirname(path), f"detector_{os.path.splitext(os.path.basename(path))[0]}.tflite")
    if fold == "full":
        silence.tensorflow()
        from leanood.tflite.rewrite import whole

        flatbuffer = whole.fold_all(flatbuffer, result.detector)
    bundle.write(out, flatbuffer, fields(result, loaded, frames.fps, data=opened, converted=converted),
                 result.detector.to_arrays())
    return outcome.Outcome(out, {
        "out": out, "bytes": os.path.getsize(out), "runtime": loaded.runner.runtime, **result.seen,
        "decay": result.detector.decay, "alarm_threshold": result.detector.threshold})


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


def fields(result: Calibration, loaded: network.Network, fps: float, *, data: Mapping[str, Any],
           converted: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns detector.json's fields for `bundle.write`.

    Args:
      result: of `fit`.
      loaded: the network's file.
      fps: frames a second of the data set; 0 for images.
      data: how to open the data set again.
      converted: where the network came from (what `leanood.convert` wrote).
    """
    tensor = next(iter(loaded.runner.inputs.values()))
    measured = result.detector.nonconformity
    kind = "classifier" if isinstance(measured, classifier_score.ClassifierScore) else "latent"
    return {**result.detector.config(), "kind": kind, "outputs": list(measured.inputs), "fps": fps,
            "input": {"name": tensor.name, "size": list(loaded.size), "dtype": str(np.dtype(tensor.dtype)),
                      "range": [0.0, 1.0], "channels": "RGB"},
            "calibration": result.seen, "metrics": [],
            "provenance": {"runtime": loaded.runner.runtime, "data": dict(data), "network": dict(converted)}}


def default_detector(outputs: Collection[str]) -> str:
    """Returns the detector for a network with these outputs: energy for a classifier, else typicality.

    Raises:
      ValueError: if the outputs' names say nothing.
    """
    if {"mu", "early"} & set(outputs):
        return "typicality"
    for name, detector in (("logits", "energy"), ("features", "mahalanobis")):
        if name in outputs:
            return detector
    raise ValueError(f"the file's outputs are {', '.join(outputs)}, names that say nothing to leanood; tell which they "
                     "are: --outputs=logits=NAME,features=NAME (one of the two is enough)")


def _own_names(path: str) -> Dict[str, str]:
    loaded = tflite_runtime.load(path)
    return {name: name for name in loaded.outputs}


def unfitted(settings: Settings) -> nonconformity.Nonconformity:
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


def fit(loaded: network.Network, data: dataset.Dataset, settings: Settings) -> Calibration:
    """Returns the calibrated detector of a network's file on a data set.

    Args:
      loaded: the file.
      data: the data set, with its splits.
      settings: how to calibrate.
    """
    if settings.window is None:
        settings = dataclasses.replace(settings, window=WINDOWS.get(settings.detector, 0))
    parts = {name: loaded.run(datasets.split(data, name), f"running the network on {name}")
             for name in ("train", "calibration", "validation")}
    ordered = bool(settings.window) and all((part.frames.sequence >= 0).all() for part in parts.values())
    if not ordered:
        settings = dataclasses.replace(settings, window=0)
    train = parts["train"]
    fitted = unfitted(settings).fit(train.outputs, _partition(settings, data.partition_kind, train.frames),
                                    train.frames.starts if ordered else None)
    detector = _with_tables(fitted, parts["calibration"], data.partition_kind, settings)
    seen: Dict[str, Any] = {
        "frames": {name: len(part.frames) for name, part in parts.items()}, "ordered": ordered,
        "warnings": list(fitted.warnings)}
    if ordered:
        _set_for_sequences(detector, loaded, data, parts, settings, seen)
    else:
        _set_for_images(detector, parts, settings, seen)
    return Calibration(detector, seen)


def _partition(settings: Settings, kind: str, frames: dataset.Dataset) -> Optional[np.ndarray]:
    """Returns each frame's partition, str [N], as the nonconformity is told it; to kl-topk subsets are one (None)."""
    return None if settings.detector == kl_topk.KlTopK.name and kind == "subset" else frames.partition


def _with_tables(fitted: nonconformity.Nonconformity, calibration: network.Ran, kind: str,
                 settings: Settings) -> detector_.Detector:
    known = calibration.frames
    return detector_.Detector.calibrate(
        fitted, calibration.outputs, partition=known.partition if len(fitted.partitions) > 1 else None,
        starts=known.starts if settings.window else None, partition_kind=kind, window=settings.window or 0,
        seed=settings.seed)


def _set_for_images(detector: detector_.Detector, parts: Mapping[str, network.Ran], settings: Settings,
                    seen: Dict[str, Any]) -> None:
    """Sets the threshold on the calibration and validation images, which the nonconformity wasn't fitted on."""
    judged = detector.run(parts["validation"].outputs, None)["score"]
    held_out = np.concatenate([judged, detector.run(parts["calibration"].outputs, None)["score"]])
    detector.threshold = image_threshold.conformal(held_out, settings.false_positive_rate).value
    if np.ptp(held_out) == 0:
        seen["warnings"].append("the score is the same on every held-out image: the detector is broken, and its "
                                "alarm would never sound; look at the network's latents")
    seen["false_positive_rate"] = settings.false_positive_rate
    seen["validation_false_positive_rate"] = float((judged > detector.threshold).mean())


def _set_for_sequences(detector: detector_.Detector, loaded: network.Network, data: dataset.Dataset,
                       parts: Mapping[str, network.Ran], settings: Settings, seen: Dict[str, Any]) -> None:
    """Sets decay and threshold on in-distribution driving that the statistics haven't seen."""
    logs, starts = _held_out(detector, parts, data.partition_kind, settings)
    ood_logs, ood_starts, ood = _corrupted(loaded, parts["validation"].frames, detector)
    tuned = tuning.tune(logs, starts, ood_logs, ood_starts, fps=data.fps, ood=ood,
                        false_alarms_per_hour=settings.false_alarms_per_hour,
                        decays=[math.inf] if detector.nonconformity.extrapolates else None)
    detector.decay = tuned.decay
    seen["warnings"] += [tuned.warning] if tuned.warning else []
    detector.threshold = sequence_threshold.within_reach(
        tuned.threshold.value, detector.highest_score(), float(logs.max()))
    if detector.threshold != tuned.threshold.value:
        seen["warnings"].append(
            f"{len(logs) / data.fps / 60:.1f} minutes of in-distribution driving are too few to promise "
            f"{settings.false_alarms_per_hour:g} false alarms an hour; the threshold lies as high as the score goes, "
            "calibrate on more")
    seen.update(false_alarms_per_hour=settings.false_alarms_per_hour, held_out_hours=len(logs) / data.fps / 3600,
                threshold=dataclasses.asdict(tuned.threshold), validation_auroc=tuned.auroc,
                validation_hit_rate=tuned.hit_rate, validation_mean_delay=tuned.mean_delay)


def _held_out(detector: detector_.Detector, parts: Mapping[str, network.Ran], kind: str,
              settings: Settings) -> Tuple[np.ndarray, np.ndarray]:
    """Returns ln M on all in-distribution driving, judged by detectors that haven't seen it, and its starts."""
    train, calibration, validation = parts["train"], parts["calibration"], parts["validation"]
    outputs = {name: np.concatenate([train.outputs[name], calibration.outputs[name]]) for name in train.outputs}
    told = [_partition(settings, kind, part.frames) for part in (train, calibration)]
    partition = np.concatenate([one for one in told if one is not None]) if told[0] is not None else None
    logs, starts = sequence_threshold.cross_fitted(
        lambda: unfitted(settings), outputs, partition,
        np.concatenate([train.frames.starts, calibration.frames.starts]), partition_kind=kind,
        window=settings.window or 0, seed=settings.seed,
        track=lambda folds: progress.track(folds, "cross-fitting the threshold"))
    ran = detector.run(validation.outputs, validation.frames.starts)["log_martingale"]
    return np.concatenate([logs, ran]), np.concatenate([starts, validation.frames.starts])


def _corrupted(loaded: network.Network, validation: dataset.Dataset,
               detector: detector_.Detector) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns ln M on corrupted validation stretches, where they start, and which frames are corrupted."""
    length = min(int(_STRETCH_S * validation.fps), int(np.bincount(np.cumsum(validation.starts)).max()))
    jobs = [(where, name, severity, ("second_half", "middle_half")[seed % 2], seed) for name, severity in TUNING
            for seed, where in enumerate(sequences.stretches(validation, length, _STRETCHES))]

    def judge(runner: Any, prepared: Tuple[np.ndarray, np.ndarray]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        images, ood = prepared
        begin = np.arange(length) == 0
        return detector.run(runner.each(images), begin)["log_martingale"], begin, ood

    ran: List[Tuple[np.ndarray, np.ndarray, np.ndarray]] = list(loaded.map(
        lambda job: sequences.corrupted(validation, *job, loaded.size), judge, jobs, "corrupting validation sequences"))
    logs, starts, ood = (np.concatenate(arrays) for arrays in zip(*ran))
    return logs, starts, ood
