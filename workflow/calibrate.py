"""Calibrates a network's file into a detector: statistics, p-value tables and thresholds, all measured on that file.

The four splits have their parts. Train: what the nonconformity fits. Calibration and validation judge beside it: every
frame, train's too, is judged by a fit that has seen nothing of its group (recording, robot, block), and tables and
thresholds come from that, for groups to come (`left_out`). Frames come as they are and as benign variants (`material`).
Validation, with synthetic corruptions of it, also tunes the decay of detectors that carry evidence over. Test is never
touched.
"""
from __future__ import annotations

import dataclasses
import math
import os
from typing import Any, Callable, Collection, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.data import corruptions, dataset, sequences
from leanood.ood import (
    classifier_score,
    evidence,
    flow_kl,
    flow_typicality,
    image_threshold,
    kl_topk,
    kl_typical,
    left_out,
    nonconformity,
    scale_thresholds,
    scores,
    sequence_threshold,
    tail,
    tuning,
    typicality,
    validity,
)
from leanood.ood import detector as detector_
from leanood.tflite import bundle, silence
from leanood.tflite import runtime as tflite_runtime
from leanood.workflow import benign_rows, datasets, material, network, outcome, progress, score_choice
from leanood.workflow import sensitivity as sensitivity_

# By detector: frames that the martingale looks back on.
WINDOWS = {"typicality": 10, "kl-topk": 20, "kl-typical": 10, "flow": 10, "flow-kl": 10}
AUTO = "auto"  # the detector that suits the network's outputs
DETECTORS = (*WINDOWS, *(name for name in scores.NAMES if name != "fusion"))
# Corruptions of validation sequences that the decay is tuned on: one of each kind, outside any declared ID range.
TUNING = (("darker", 3), ("rain", 3), ("fog", 3), ("motion_blur", 3), ("noise", 3), ("occlusion", 3))
WIDEST = 4096  # numbers of an output: a Gaussian of them is 130 MB
DECISIVE = 1.25  # thresholds that one group raises so much are worth a look
TOLD = 0.2  # false alarms that driving should have room for, at the rate asked for: four minutes at three an hour
_STRETCH_S = 10.0  # length of a validation sequence in seconds
# What the table tells without `verbose`.
_SHOWN = ("out", "detector", "chosen_by", "frames", "promise", "warnings", "alarm_threshold")
_STRETCHES = 4  # validation sequences a corruption
_LAST_RESORT = 0.99  # of the most evidence that a frame can have


def calibrate(model: Union[str, os.PathLike], data: Optional[datasets.Data] = None, out: Optional[str] = None, *,
              detector: Optional[str] = None, outputs: Optional[Mapping[str, str]] = None,
              input_scale: Optional[str] = None, fold: str = "none", top_k: int = 1, rank_by: str = "variance",
              window: Optional[int] = None, sensitivity: str = "normal",
              false_alarms_per_hour: Optional[float] = None, false_positive_rate: Optional[float] = None,
              group_by: Optional[str] = None, by_partition: bool = False, benign_variants: int = 6, seed: int = 0,
              num_threads: Optional[int] = None, verbose: bool = False,
              **data_options: Any) -> outcome.Outcome:
    """Calibrates a converted network into a detector file; returns its path and what was seen on the way.

    `leanood.load` opens the file, `leanood.evaluate` judges it.

    Args:
      model: a .tflite file, as `leanood.convert` writes it.
      data: a folder, a video, "lanes" or "tfds:NAME", or an opened data set; None: what the network was trained on.
      out: the detector file; None: detector_<name>.tflite beside the network's.
      detector: "typicality", leanood's (the default for encoders); "kl-topk", the paper's; "kl-typical", all
        latents, two-sided; of a network of motion "flow" (its default) or "flow-kl", the published one; of a classifier
        a score, or several joined by "+" (the default: of logits "energy", of features "mahalanobis"; of both the one
        that tells validation frames best from changed copies of them, see `score_choice`).
      outputs: of a file that leanood didn't convert: name -> its own output, or a tensor of its graph, e.g.
        {"logits": "Identity", "features": "model/avg_pool/Mean"}.
      input_scale: of such a file, if it takes floats: "unit" x/255, "signed" x/127.5−1, "bytes" x or "imagenet"
        (mean and deviation per channel, as torchvision has them).
      fold: "full": put the whole detector into the graph, so that C++, Android and browsers have `score`, `p_value` and
        `alarm` as outputs, `state` as an input and an output; "none".
      top_k: kl-topk: so many latents a partition.
      rank_by: kl-topk: rank latents by the "variance" of their KL, its "mean" (for a network trained with `augment`
        on frames whose light hardly varies) or, as published, the variance of its mean step in "scenes".
      window: frames that the martingale looks back on; 0: frames are single images; None: typicality compares several
        scales, 5 to 160 frames; kl-topk has 20, kl-typical 10, and unordered images 0.
      sensitivity: "low", "normal" or "high": 0.3, 3 or 30 false alarms an hour, 1, 5 or 15% of images flagged.
      false_alarms_per_hour: sequences: to allow in in-distribution driving; None: as `sensitivity` says.
      false_positive_rate: images: share of in-distribution images to flag; None: as `sensitivity` says.
      by_partition: typicality: subsets of the data (bright, medium) have means of their own, and one covariance.
      group_by: what a promise has to hold for the next of: a regular expression whose match in a frame's name is its
        group (a robot, a day), or "FILE.csv:COLUMN" of a table `image,COLUMN`; None: recordings, of fewer than five ten
        blocks, of unordered images blocks of neighbours.
      benign_variants: variants of a frame, as other cameras and codecs would have given it, to be silent on; fewer
        where there are many frames; 0: none.
      seed: of the p-values' smoothing.
      num_threads: so many interpreters side by side; None: one a core.
      verbose: show all that was seen on the way, not only what matters; the summary holds it either way.
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

        flatbuffer = adopt.adopt(flatbuffer, outputs or _output_names(path), input_scale or "unit")
    converted = _converted(path)
    frames, opened = datasets.open(data, data_options, converted.get("data", {}))
    loaded = network.load(flatbuffer, num_threads=num_threads, motion=datasets.motion(converted.get("run") or {}))
    per_hour, share = sensitivity_.rates(sensitivity)
    result = fit(loaded, frames, Settings(
        detector=detector or AUTO, top_k=top_k, rank_by=rank_by, window=window,
        seed=seed, false_alarms_per_hour=per_hour if false_alarms_per_hour is None else false_alarms_per_hour,
        false_positive_rate=share if false_positive_rate is None else false_positive_rate, group_by=group_by,
        by_partition=by_partition, benign_variants=benign_variants))
    alarms = sensitivity_.find(result.detector, loaded, result.validation,
                               sequences.OF_MOTION if loaded.motion else corruptions.NAMES)
    summary = dict(result.summary)
    result.summary["alarms"] = [alarm._asdict() for alarm in alarms]
    candidates = summary.pop("candidates", None)
    out = os.fspath(out) if out else os.path.join(
        os.path.dirname(path), f"detector_{os.path.splitext(os.path.basename(path))[0]}.tflite")
    if fold == "full":
        silence.tensorflow()
        from leanood.tflite.rewrite import whole

        flatbuffer = whole.fold_all(flatbuffer, result.detector)
    write(out, flatbuffer, result, loaded, frames.fps, data=opened, converted=converted)
    done = outcome.Outcome(out, {
        "out": out, "bytes": os.path.getsize(out), "runtime": loaded.runner.runtime, **summary,
        "decay": result.detector.decay, "alarm_threshold": result.detector.threshold},
        tables=[*([result.choice.table()] if result.choice and candidates else []), sensitivity_.table(alarms)],
        shown=None if verbose else _SHOWN)
    # For --json; the tables tell a person.
    done.summary.update(alarms=result.summary["alarms"], **({"candidates": candidates} if candidates else {}))
    return done


def _converted(path: str) -> Dict[str, Any]:
    """How the network came about: what `leanood.convert` wrote beside it, or what a detector file tells."""
    beside = datasets.sidecar(path)
    if beside:
        return beside
    try:
        told = bundle.read(path).detector.get("provenance", {})
    except bundle.DetectorFileError:
        return {}
    told = datasets.seen_from(told, os.path.dirname(path))
    return {**told.get("network", {}), "data": told.get("data", {})}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to calibrate."""

    detector: str = "typicality"  # or AUTO
    top_k: int = 1  # latents a partition, for kl-topk
    rank_by: str = "variance"  # how kl-topk ranks them; of `ranking.BY`
    window: Optional[int] = None  # p-values in the martingale; images: 0; None: 10, for kl-topk 20
    false_alarms_per_hour: float = 3.0  # of in-distribution driving; images: not used
    false_positive_rate: float = 0.05  # of in-distribution images; sequences: not used
    group_by: Optional[str] = None  # see `data.groups.of`
    benign_variants: int = 6  # at most so many of a frame
    by_partition: bool = False  # typicality: subsets have means of their own
    seed: int = 0
    unfitted: Optional[Callable[[], nonconformity.Nonconformity]] = None  # instead of the detector's own; for ablations
    scales: bool = False  # typicality compares several scales, not `window` alone; None for `window` sets it


@dataclasses.dataclass(frozen=True)
class Calibration:
    """A detector, and what was seen while it was calibrated, fit for JSON."""

    detector: detector_.Detector
    summary: Dict[str, Any]
    validation: dataset.Dataset  # the readable frames of that split
    choice: Optional[score_choice.Choice] = None  # of a classifier's scores, if there was one


def write(path: str, flatbuffer: bytes, result: Calibration, loaded: network.Network, fps: float, *,
          data: Mapping[str, Any], converted: Mapping[str, Any]) -> None:
    """Writes the detector file; paths in its provenance are as seen from it.

    Args:
      path: of the file.
      flatbuffer: the network's, or that of the whole detector.
      result, loaded, fps, data, converted: as of `fields`.
    """
    told = fields(result, loaded, fps, data=data, converted=converted)
    told["provenance"] = datasets.relative(told["provenance"], os.path.dirname(path))
    bundle.write(path, flatbuffer, told, result.detector.to_arrays())


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
    kind = ("flow" if loaded.motion else
            "classifier" if isinstance(measured, classifier_score.ClassifierScore) else "latent")
    return {**result.detector.config(), "kind": kind, "outputs": list(measured.inputs), "fps": fps,
            **({"map": {"cells": list(measured.cells)}} if measured.cells else {}),
            "input": {"name": tensor.name, "size": list(loaded.size), "dtype": str(np.dtype(tensor.dtype)),
                      "range": [0.0, 1.0], "channels": "RGB",
                      **({"flow": loaded.motion.to_json()} if loaded.motion else {})},
            "calibration": result.summary, "metrics": [],
            "provenance": {"runtime": loaded.runner.runtime, "data": dict(data), "network": dict(converted)}}


def default_detector(outputs: Collection[str]) -> str:
    """Returns the detector for a network with these outputs: energy for a classifier, flow of motion, or typicality.

    With both logits and features energy is what others are compared with (`score_choice`).

    Raises:
      ValueError: if the outputs' names say nothing.
    """
    if "mu_h" in outputs:
        return "flow"
    if {"mu", "early"} & set(outputs):
        return "typicality"
    for name, detector in (("logits", "energy"), ("features", "mahalanobis")):
        if name in outputs:
            return detector
    raise ValueError(f"the file's outputs are {', '.join(outputs)}, names that say nothing to leanood; tell which they "
                     "are: --outputs=logits=NAME,features=NAME (one of the two is enough)")


def _output_names(path: str) -> Dict[str, str]:
    loaded = tflite_runtime.load(path)
    return {name: name for name in loaded.outputs}


def unfitted(settings: Settings) -> nonconformity.Nonconformity:
    """Returns the unfitted nonconformity that the settings name."""
    if settings.unfitted:
        return settings.unfitted()
    if settings.detector == "kl-topk":
        return kl_topk.KlTopK(settings.top_k, settings.rank_by)
    if settings.detector == "kl-typical":
        return kl_typical.KlTypical()
    if settings.detector == "flow":
        return flow_typicality.FlowTypicality()
    if settings.detector == "flow-kl":
        return flow_kl.FlowKl()
    if settings.detector == "typicality":
        return typicality.Typicality(by_partition=settings.by_partition)
    names = settings.detector.split("+")
    if all(name in DETECTORS and name in scores.NAMES for name in names):
        return classifier_score.named(settings.detector)
    raise ValueError(f"detector is {settings.detector!r}; it can be {', '.join(DETECTORS)}")


def fit(loaded: network.Network, data: dataset.Dataset, settings: Settings,
        gathered: Optional[material.Material] = None) -> Calibration:
    """Returns the calibrated detector of a network's file on a data set.

    Args:
      loaded: the file.
      data: the data set, with its splits.
      settings: how to calibrate.
      gathered: what it says of that data (`material.gather`), where it was asked before; None: it is asked.
    """
    automatic = settings.detector == AUTO
    if automatic:
        settings = dataclasses.replace(settings, detector=default_detector(loaded.runner.outputs))
    if settings.window is None:
        settings = dataclasses.replace(settings, scales=True, window=WINDOWS.get(settings.detector, 0))
    classifier = settings.detector not in WINDOWS
    if classifier and settings.window and (data.sequence >= 0).any():
        raise ValueError(f"window is {settings.window}, but a classifier's score judges single images: leave it out")
    missing = [name for name in unfitted(settings).inputs if name not in loaded.runner.outputs]
    if missing and settings.detector in ("kl-topk", "kl-typical", "flow-kl"):  # others say more themselves
        raise ValueError(f"the detector {settings.detector!r} reads the outputs {', '.join(missing)}, which the "
                         f"network lacks; it has {', '.join(loaded.runner.outputs)}: choose another with --detector")
    _check_widths(loaded, unfitted(settings).inputs)
    if gathered is None:
        gathered = material.gather(
            loaded, data, settings.group_by, settings.benign_variants, ordered=bool(settings.window),
            vary=material.SPLITS[1:] if classifier else material.SPLITS)
    if not gathered.ordered:
        settings = dataclasses.replace(settings, window=0)
    if data.partition_kind != "subset":  # of factors a frame is typical in each
        settings = dataclasses.replace(settings, by_partition=False)
    choice = _choice(loaded, gathered, settings) if automatic else None
    if choice:
        settings = dataclasses.replace(settings, detector=choice.detector)
    silent = _silent(gathered.outputs, unfitted(settings).inputs)
    summary: Dict[str, Any] = {"detector": settings.detector, **(choice.summary() if choice else {}),
                               "frames": gathered.count(), "ordered": gathered.ordered,
                               "groups": len(np.unique(gathered.group))}
    if classifier:
        detector, score = _held_out(gathered, data.partition_kind, settings)
        judged = gathered.split != "train"
    else:
        cross_fitted = _left_out(gathered, data.partition_kind, settings)
        detector, score, judged = cross_fitted.detector, cross_fitted.nonconformity, np.ones(len(gathered.split), bool)
    summary["warnings"] = list(detector.nonconformity.warnings)
    summary["warnings"] += [f"the output {name!r} is the same for every frame: it says nothing of them"
                            for name in silent]
    if "logits" in detector.nonconformity.inputs and _are_probabilities(gathered.outputs["logits"]):
        summary["warnings"].append("the output `logits` holds probabilities; scores read what comes before the "
                                   "softmax: name that, --outputs=logits=NAME")
    if not gathered.ordered:
        _set_for_images(detector, score, gathered, judged, settings, summary)
    elif detector.nonconformity.extrapolates:
        _set_scales(detector, cross_fitted, gathered, data.fps, settings, summary)
    else:
        _set_decay(detector, loaded, cross_fitted, gathered, data.fps, settings, summary)
    return Calibration(detector, summary, gathered.validation, choice)


def _choice(loaded: network.Network, gathered: material.Material, settings: Settings) -> Optional[score_choice.Choice]:
    """Returns the score of a classifier that has several, else None."""
    if settings.detector != score_choice.DEFAULT or not set(score_choice.READS) <= set(gathered.outputs):
        return None
    try:
        _check_widths(loaded, score_choice.READS)
    except ValueError as error:
        return score_choice.Choice(score_choice.DEFAULT, f"the default: {error}")
    return score_choice.choose(loaded, gathered, settings.seed)


def _check_widths(loaded: network.Network, names: Sequence[str]) -> None:
    """Raises ValueError if an output has more numbers than a covariance matrix is made of; a map is of its channels."""
    for name in names:
        shape = loaded.runner.outputs[name].shape if name in loaded.runner.outputs else ()
        width = int(np.prod(shape[-1:] if name == typicality.LOCAL else shape[1:]))
        if width > WIDEST:
            raise ValueError(f"the output {name!r} has {width} numbers a frame, a detector takes {WIDEST} at most: "
                             "name a later layer, or a map [1, h, w, C], which --outputs averages")


def _silent(outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> List[str]:
    """The outputs that are the same for every frame; raises ValueError if all are, or if some frame's aren't finite."""
    there = [name for name in names if name in outputs]
    finite = validity.frames(outputs, there) if there else np.ones(1, bool)
    if not finite.all():
        raise ValueError(f"the network's outputs ({', '.join(there)}) are NaN or infinite on "
                         f"{np.count_nonzero(~finite)} of {len(finite)} frames: give it pixels in its own range "
                         "(--input_scale), or convert it again")
    silent = [name for name in there if len(outputs[name]) > 1 and (outputs[name] == outputs[name][:1]).all()]
    if there and silent == there:
        raise ValueError(f"the network says the same of every frame ({', '.join(silent)}): nothing can be told by it; "
                         "is it trained, and given pixels in its own range (--input_scale)?")
    return silent


def _are_probabilities(logits: np.ndarray) -> bool:
    """Whether a classifier's output, [N, C], looks as if it came out of a softmax."""
    return logits.ndim == 2 and logits.shape[1] > 1 and bool(
        logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1).max() < 0.05)


def _left_out(gathered: material.Material, kind: str, settings: Settings) -> left_out.LeftOut:
    """Returns what is said of each frame while its group is left out, and the detector of them all."""
    told = not (settings.detector == kl_topk.KlTopK.name and kind == "subset")  # to kl-topk subsets are one
    several = settings.detector == kl_topk.KlTopK.name and told
    return left_out.judge(
        lambda where: gathered.fit(where, lambda: unfitted(settings), told), gathered.outputs,
        gathered.split == "train", gathered.group, starts=gathered.starts if gathered.ordered else None,
        partition=gathered.partition if several else None, partition_kind=kind, window=settings.window or 0,
        seed=settings.seed,
        track=lambda folds: progress.track(folds, "leaving groups out in turn"))


def _held_out(gathered: material.Material, kind: str, settings: Settings) -> Tuple[detector_.Detector, np.ndarray]:
    """Returns a classifier's detector and its scores of the frames and variants that are not train's.

    Its score is fitted once, on train: leaving groups out in turn would take ten times as long.
    """
    fitted = gathered.fit(np.flatnonzero(gathered.split == "train"), lambda: unfitted(settings))
    held = gathered.split != "train"
    outputs = {name: array[held] for name, array in gathered.outputs.items()}
    detector = detector_.Detector.calibrate(fitted, outputs, partition_kind=kind, window=0, seed=settings.seed)
    return detector, detector.run(outputs, None)["score"]


def _set_for_images(detector: detector_.Detector, score: np.ndarray, gathered: material.Material, judged: np.ndarray,
                    settings: Settings, summary: Dict[str, Any]) -> None:
    """Sets the threshold on scores of images, those `judged`, by fits that saw nothing of their group."""
    rate = settings.false_positive_rate
    threshold = image_threshold.grouped(score, gathered.group[judged], rate, gathered.partition[judged],
                                        gathered.variant[judged])
    detector.threshold = threshold.value
    if np.ptp(score) == 0:
        summary["warnings"].append("the score is the same on every held-out image: the detector is broken, and its "
                                "alarm would never sound; look at the network's latents")
    if threshold.left_out_rate > rate + 1e-9:
        summary["warnings"].append(f"{threshold.groups} groups are too few to promise {rate:.1%}: the threshold lies "
                                   "as high as their scores go, calibrate on more")
    varied = "" if threshold.variants is None else f", of benign variants {threshold.variants:.1%}"
    if threshold.variants is not None and benign_rows.stands_out(threshold.variants, rate):
        summary["warnings"].append("of benign variants (another codec, a grey level of noise, a pixel's shift) "
                                   f"{threshold.variants:.1%} are flagged where {rate:.1%} was asked: it will alarm on "
                                   "frames that come by another road; calibrate on frames as they will come, or try "
                                   "another --detector")
    summary.update(false_positive_rate=rate, threshold=threshold._asdict(),
                promise=f"asked {rate:.1%}; by {threshold.groups} {gathered.unit} left out in turn: "
                        f"{threshold.left_out_rate:.1%} ({threshold.low:.1%} to {threshold.high:.1%}){varied}")


def _set_scales(detector: detector_.Detector, cross_fitted: left_out.LeftOut, gathered: material.Material, fps: float,
                settings: Settings, summary: Dict[str, Any]) -> None:
    """Sets a threshold for the evidence at each scale."""
    windows = evidence.WINDOWS if settings.scales else (settings.window or 0,)
    chosen = scale_thresholds.choose(left_out.scaled(cross_fitted, windows, gathered.variant == 0),
                                     cross_fitted.starts, gathered.group, fps, settings.false_alarms_per_hour,
                                     gathered.variant, windows)
    values = [min(value, _LAST_RESORT * tail.cautious(math.inf)) for value in chosen.values]
    if max(values) < max(chosen.values):
        summary["warnings"].append(
            f"{chosen.groups} groups are too few to promise {settings.false_alarms_per_hour:g} false alarms an hour; "
            "thresholds lie as high as evidence goes, calibrate on more")
    elif chosen.hours * settings.false_alarms_per_hour < TOLD:
        summary["warnings"].append(
            f"{60 * chosen.hours:.1f} minutes of driving can't tell {settings.false_alarms_per_hour:g} false alarms an "
            "hour from many: the next drive may raise more; calibrate on ten minutes and more, of several places and "
            "times of day")
    detector.use_scales(windows, values)
    where, raised = str(gathered.name[chosen.decisive.frame]), chosen.decisive.raised
    summary["decisive"] = {"frame": where, "raised": raised}
    if raised >= DECISIVE:
        summary["warnings"].append(
            f"the driving around {where} raises the thresholds by {raised - 1:.0%}: if that is not ordinary, leave it "
            "out (a column `ood` of --times_csv marks frames) and calibrate again")
    alarms = chosen.left_out
    summary.update(false_alarms_per_hour=settings.false_alarms_per_hour, held_out_hours=chosen.hours,
                promise=f"asked {chosen.per_hour:g} an hour; by {chosen.groups} {gathered.unit} left out in turn: "
                        f"{alarms.per_hour:.1f} ({alarms.low:.1f}–{alarms.high:.1f}), in the worst benign variant "
                        f"{chosen.worst_variant:.1f}",
                left_out=dataclasses.asdict(alarms), worst_variant_per_hour=chosen.worst_variant,
                thresholds={f"{window} frames": value for window, value in zip(windows, values)})


def _set_decay(detector: detector_.Detector, loaded: network.Network, cross_fitted: left_out.LeftOut,
               gathered: material.Material, fps: float, settings: Settings, summary: Dict[str, Any]) -> None:
    """Sets decay and threshold of evidence that is carried over."""
    ood_logs, ood_starts, ood = _corrupted(loaded, gathered.validation, detector)
    tuned = tuning.tune(cross_fitted.log_martingale, cross_fitted.starts, ood_logs, ood_starts, fps=fps, ood=ood,
                        false_alarms_per_hour=settings.false_alarms_per_hour)
    detector.decay = tuned.decay
    summary["warnings"] += [tuned.warning] if tuned.warning else []
    detector.threshold = sequence_threshold.within_reach(
        tuned.threshold.value, detector.highest_score(), float(cross_fitted.log_martingale.max()))
    hours = len(cross_fitted.starts) / fps / 3600
    if detector.threshold != tuned.threshold.value:
        summary["warnings"].append(
            f"{60 * hours:.1f} minutes of in-distribution driving are too few to promise "
            f"{settings.false_alarms_per_hour:g} false alarms an hour; the threshold lies as high as the score goes, "
            "calibrate on more")
    summary.update(false_alarms_per_hour=settings.false_alarms_per_hour, held_out_hours=hours,
                threshold=dataclasses.asdict(tuned.threshold), validation_auroc=tuned.auroc,
                validation_hit_rate=tuned.hit_rate, validation_mean_delay=tuned.mean_delay)


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
