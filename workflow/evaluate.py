"""Evaluates a detector file on a data set's test split: metrics with intervals, beside what trivial baselines reach.

Images: the in-distribution test images against each OOD partition and against each corruption of themselves. Sequences:
stretches of test driving, corrupted from a known frame on; the score is S_t, frames before the onset (and after the
end) count as in-distribution, intervals come from resampling whole stretches, and false alarms are counted on the
untouched test driving.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from leanood.data import corruptions, dataset, frames, sequences
from leanood.ood import baselines, events, metrics, statistics
from leanood.tflite import bundle
from leanood.workflow import calibrate, loading, progress

SEVERITIES = (1, 3, 5)
MARGIN = 0.01  # of AUROC: a row's detector may fall so far below the best baseline, not further
_BASELINE_FRAMES = 2000  # training frames that the baselines are fitted on
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate on."""

    severities: Tuple[int, ...] = SEVERITIES
    corruptions: Tuple[str, ...] = corruptions.NAMES
    stretch_s: float = 10.0  # length of a test stretch in seconds
    stretches: int = 12  # test stretches a corruption


@dataclasses.dataclass
class Evaluation:
    """The results, fit for JSON, and the scores behind them, for plots."""

    report: Dict[str, Any]
    roc: Dict[str, metrics.Roc]
    example: Dict[str, np.ndarray]  # of one corrupted test stretch: score, ood, threshold


class _Scorer:
    """Scores frames by the detector and by the baselines alike."""

    def __init__(self, detector: bundle.BundledDetector, found: dataset.Dataset):
        self.detector, self.arithmetic, self.size = detector, detector.detector, detector.size
        train, _ = loading.load_split(found, "train", self.size, _BASELINE_FRAMES)
        self.baselines: Dict[str, Any] = {
            "six colour numbers": baselines.Colour().fit(train), "mean brightness": baselines.Brightness().fit(train),
            "sharpness": baselines.Sharpness().fit(train)}

    def __call__(self, images: np.ndarray, starts: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns scores [N] by name ("detector" and the baselines'), "alarm" and "partition", of uint8 frames."""
        ran = self.arithmetic.run(self.detector.runner.each(images), starts)
        found = {"detector": ran["score"], "alarm": ran["alarm"], "partition": ran["partition"]}
        for name, baseline in self.baselines.items():
            scores = baseline.score(images)
            found[name] = scores if starts is None else baselines.windowed(scores, starts, self.arithmetic.window)
        return found


def evaluate(detector: bundle.BundledDetector, found: dataset.Dataset, settings: Settings) -> Evaluation:
    """Returns how a detector file does on a data set.

    Args:
      detector: a loaded file.
      found: the data set, with its splits.
      settings: what to evaluate on.
    """
    unknown = [name for name in settings.corruptions if name not in corruptions.NAMES]
    if unknown:
        raise ValueError(f"corruption {unknown[0]!r} is unknown; there are {', '.join(corruptions.NAMES)}")
    scorer = _Scorer(detector, found)
    test, unreadable = _readable(found, "test")
    result = _images(scorer, found, test, settings) if detector.detector.window == 0 else _sequences(
        scorer, test, settings)
    if result.report["rows"] and all(row["constant"] for row in result.report["rows"]):
        raise ValueError(f"the detector ({detector.config['detector']}) is broken, not at chance: its score is the same"
                         " on every frame, in-distribution or not; look at what its network puts out")
    result.report.update(
        data=found.description, runtime=detector.runner.runtime, accelerator=detector.runner.accelerator,
        detector=detector.config["detector"], threshold=detector.detector.threshold, unreadable=unreadable,
        out_of_range_mean_auroc=_mean(result.report["rows"]))
    return result


def _images(scorer: _Scorer, found: dataset.Dataset, test: dataset.Dataset, settings: Settings) -> Evaluation:
    images, test, _ = test.load(scorer.size)
    own = scorer(images, None)
    rows: List[Dict[str, Any]] = []
    rocs: Dict[str, metrics.Roc] = {}
    for name in sorted(set(found.partition[found.ood].tolist())):
        odd, _, unreadable = found.where(found.ood & (found.partition == name)).load(scorer.size)
        loading.say_unreadable(unreadable)
        if len(odd):
            scores = scorer(odd, None)
            rows.append({"set": name, "ood": True, **_row(scorer, own, scores), **_by_partition(test, own, scores)})
            rocs[name] = metrics.roc(own["detector"], scores["detector"])
    jobs = [(name, severity) for name in settings.corruptions if name != "frozen" for severity in settings.severities]
    for name, severity in progress.track(jobs, "corrupting test images"):
        odd = np.stack([frames.resize(corruptions.corrupt(name, test.read(i), severity, seed=i), scorer.size)
                        for i in range(len(test))])
        scores = scorer(odd, None)
        rows.append({"set": f"{name} {severity}", "ood": calibrate.outside_id(found, name, severity),
                     **_row(scorer, own, scores), **_by_partition(test, own, scores)})
    per_partition = {str(name): float(own["alarm"][test.partition == name].mean())
                     for name in np.unique(test.partition)}
    return Evaluation({"mode": "images", "rows": rows, "test_images": len(images),
                       "false_positive_rate": float(own["alarm"].mean()),
                       "false_positive_rate_by_partition": per_partition}, rocs, {})


def _sequences(scorer: _Scorer, test: dataset.Dataset, settings: Settings) -> Evaluation:
    if not (test.sequence >= 0).all():
        raise ValueError("the detector was calibrated for sequences, but the data set's test frames are unordered "
                         "images; calibrate it with --window=0")
    fps = test.fps
    images, readable, _ = test.load(scorer.size)
    driving = scorer(images, readable.starts)
    alarms = events.false_alarms(driving["alarm"], readable.starts, fps)
    length = int(settings.stretch_s * fps)
    chosen = calibrate.stretches(readable, length, settings.stretches)
    if not chosen:
        raise ValueError(f"no test sequence is {settings.stretch_s:g} s long; give a smaller --stretch_s")
    jobs = [(name, severity) for name in settings.corruptions for severity in settings.severities]
    rows: List[Dict[str, Any]] = []
    rocs: Dict[str, metrics.Roc] = {}
    example: Dict[str, np.ndarray] = {}
    for name, severity in progress.track(jobs, "corrupting test sequences"):
        parts, odd, starts, groups = [], [], [], []
        for number, where in enumerate(chosen):
            pattern = sequences.PATTERNS[number % len(sequences.PATTERNS)]
            corrupted, ood = calibrate.corrupted(readable, where, name, severity, pattern, number, scorer.size)
            begin = np.arange(length) == 0
            parts.append(scorer(corrupted, begin))
            odd.append(ood)
            starts.append(begin)
            groups.append(np.full(length, number))
        scores = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        ood, start, group = np.concatenate(odd), np.concatenate(starts), np.concatenate(groups)
        row = _row(scorer, _at(scores, ~ood), _at(scores, ood), group[~ood], group[ood])
        found = events.detections(scores["alarm"], start, ood, fps)
        row.update(hit_rate=found.hit_rate, delay_frames=found.median_delay, delay_s=found.median_delay_seconds)
        rows.append({"set": f"{name} {severity}", "ood": calibrate.outside_id(test, name, severity), **row})
        rocs[f"{name} {severity}"] = metrics.roc(scores["detector"][~ood], scores["detector"][ood])
        if not example and len(parts) > 1 and severity == settings.severities[-1]:
            example = {"score": parts[1]["detector"], "ood": odd[1], "name": np.array(f"{name} {severity}")}
    return Evaluation({"mode": "sequences", "rows": rows, "fps": fps, "test_frames": len(images),
                       "false_alarms": dataclasses.asdict(alarms)}, rocs, example)


def _by_partition(test: dataset.Dataset, own: Mapping[str, np.ndarray],
                  odd: Mapping[str, np.ndarray]) -> Dict[str, Dict[str, float]]:
    """Returns the AUROC of each partition's test images against the OOD ones."""
    return {"auroc_by_partition": {
        str(name): metrics.evaluate(own["detector"][test.partition == name], odd["detector"]).auroc
        for name in np.unique(test.partition)}}


def _row(scorer: _Scorer, own: Mapping[str, np.ndarray], odd: Mapping[str, np.ndarray],
         own_groups: Optional[np.ndarray] = None, odd_groups: Optional[np.ndarray] = None) -> Dict[str, Any]:
    """Returns one table row: the detector's metrics and interval, its rates at the threshold, each baseline's AUROC."""
    id_scores, ood_scores = own["detector"], odd["detector"]
    found = dataclasses.asdict(metrics.evaluate(id_scores, ood_scores))
    interval = statistics.auroc_interval(id_scores, ood_scores, _CONFIDENCE, own_groups, odd_groups)
    trivial = {name: metrics.evaluate(own[name], odd[name]).auroc for name in scorer.baselines}
    best = max(trivial, key=lambda name: trivial[name])
    pair = (own[best], odd[best], id_scores, ood_scores)
    difference = statistics.auroc_difference(*pair, _CONFIDENCE, own_groups, odd_groups)
    return {"n_id": len(id_scores), "n_ood": len(ood_scores), **found, "auroc_low": interval.low,
            "auroc_high": interval.high, "false_positive_rate": float(own["alarm"].mean()),
            "true_positive_rate": float(odd["alarm"].mean()), "baselines": trivial, "best_baseline": best,
            "constant": bool(id_scores.min() == max(id_scores.max(), ood_scores.max()) == ood_scores.min()),
            "delta": difference.delta, "delta_low": difference.low, "delta_high": difference.high,
            "non_inferior": statistics.non_inferior(*pair, MARGIN, _CONFIDENCE, own_groups, odd_groups)}


def _readable(found: dataset.Dataset, split: str) -> Tuple[dataset.Dataset, int]:
    """Returns the readable in-distribution frames of a split, and how many there are that can't be read."""
    chosen = found.where((found.split == split) & ~found.ood)
    good, bad = [], []
    for i in progress.track(range(len(chosen)), f"checking {split}"):
        try:
            chosen.read(i)
            good.append(i)
        except frames.FrameError as error:
            bad.append(dataset.named(chosen.names[i], str(error)))
    loading.say_unreadable(tuple(bad))
    if not good:
        raise ValueError(f"{found.description} has no readable in-distribution frame in its split {split!r}")
    return chosen.where(np.array(good)), len(bad)


def _at(scores: Mapping[str, np.ndarray], where: np.ndarray) -> Dict[str, np.ndarray]:
    return {name: array[where] for name, array in scores.items()}


def _mean(rows: Sequence[Mapping[str, Any]]) -> Optional[float]:
    """Returns the mean AUROC over the rows that are truly out of distribution."""
    odd = [row["auroc"] for row in rows if row["ood"]]
    return float(np.mean(odd)) if odd else None
