"""Evaluates a detector file on a data set's test split: metrics with intervals, beside what trivial baselines reach.

Images: the in-distribution test images against each OOD partition and against each corruption of themselves. Sequences:
stretches of test driving, corrupted from a known frame on; the score is S_t, frames before the onset (and after the
end) count as in-distribution, intervals come from resampling whole stretches, and false alarms are counted on the
untouched test driving. Beside the OOD rows stand the benign ones (`benign_rows`): changes that nobody sees must not
alarm. Detection is told at the false alarms that were raised, beside what an oracle's thresholds would detect
(`ood.oracle`). Recordings that are really OOD have rows of their own: the data set's, and those of `ood`.
"""
from __future__ import annotations

import dataclasses
import os
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.data import benign as benign_
from leanood.data import catalog, dataset, motion, sequences
from leanood.data import corruptions as corruptions_
from leanood.ood import baselines, events, evidence, metrics, oracle, statistics
from leanood.tflite import bundle
from leanood.workflow import benign_rows, datasets, evaluation, gallery, network

SEVERITIES = (1, 3, 5)
MARGIN = 0.01  # of AUROC: a row's detector may fall so far below the best baseline, not further
_BASELINE_FRAMES = 2000  # training frames that the baselines are fitted on
_FEWEST = 7  # of them
_SHORTEST = 4  # frames of a stretch: a quarter of it comes before what is OOD, a quarter after
_CONFIDENCE = 0.95


def evaluate(detector: Union[str, os.PathLike], data: Optional[datasets.Data] = None, out: Optional[str] = None, *,
             severities: Sequence[int] = SEVERITIES, corruptions: Optional[Sequence[str]] = None,
             benign: Optional[Sequence[str]] = None, stretch_s: float = 10.0, stretches: int = 12,
             accelerator: str = "cpu", runtime: str = "auto", num_threads: Optional[int] = None,
             ood: Sequence[Union[str, os.PathLike]] = (), record: bool = False,
             **data_options: Any) -> evaluation.Report:
    """Evaluates a detector file on the test split; returns the report: .rows, .table(), .plot().

    Args:
      detector: a detector file, as `leanood.calibrate` writes it.
      data: a folder, a video, "lanes" or "tfds:NAME", or an opened data set; None: what it was calibrated on.
      out: a folder for evaluation.json and the plots; None: nothing is written.
      severities: of the corruptions, 1 to 5.
      corruptions: which, of data.corruptions.NAMES and, of sequences, data.motion.NAMES; an empty list: only the data
        set's own OOD partitions; None: of frames all corruptions, of motion all changes of it, rain and light.
      benign: which benign changes the detector must be silent on (data.benign.NAMES); None: all that OpenCV can make
        here; an empty list: none.
      stretch_s: length of a test sequence in seconds.
      stretches: test sequences for each corruption.
      accelerator, runtime: what runs the network, see `leanood.load`.
      num_threads: so many interpreters side by side; None: one a core.
      ood: further recordings or images that are out of distribution: folders, "sequences:DIR", videos; where the column
        `ood` of a `labels.csv` in the folder, or of a times_csv given as "PATH,TABLE.csv", says which frames are, the
        others count as in-distribution.
      record: keep the result in the detector file, where `leanood.info` shows it.
      **data_options: split_csv, times_csv, ood_partitions, fps, data_seed, limit, as of `leanood.data.catalog.open`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    chosen = corruptions_.NAMES if corruptions is None else tuple(name for name in corruptions if name)
    settings = Settings(severities=tuple(severities), corruptions=chosen,
                        benign=benign_.available() if benign is None else tuple(name for name in benign if name),
                        stretch_s=stretch_s, stretches=stretches, ood=tuple(os.fspath(spec) for spec in ood))
    path = os.fspath(detector)
    opened = bundle.load(path, accelerator, 1, runtime)
    if corruptions is None and datasets.motion(opened.config["input"]):
        settings = dataclasses.replace(settings, corruptions=sequences.OF_MOTION)
    provenance = datasets.seen_from(opened.config.get("provenance", {}), os.path.dirname(path))
    frames, _ = datasets.open(data, data_options, provenance.get("data", {}))
    if out:
        os.makedirs(out, exist_ok=True)
    loaded = network.load(path, num_threads=num_threads, accelerator=accelerator, runtime=runtime, trusted=True,
                          motion=datasets.motion(opened.config["input"]))
    report = score(opened, loaded, frames, settings)
    report.summary = {"file": path, "bytes": os.path.getsize(path), **report.summary,
                      "reconstruction_loss": _reconstruction(loaded, frames, provenance)}
    if record:
        _record(path, report.summary)
    if out:
        report.write(out)
    return report


@dataclasses.dataclass(frozen=True)
class Settings:
    """What to evaluate on."""

    severities: Tuple[int, ...] = SEVERITIES
    corruptions: Tuple[str, ...] = corruptions_.NAMES
    benign: Tuple[str, ...] = ()  # of benign.NAMES
    stretch_s: float = 10.0  # length of a test stretch in seconds
    stretches: int = 12  # test stretches a corruption
    ood: Tuple[str, ...] = ()  # further recordings or images that are out of distribution
    split: str = "test"  # whose in-distribution frames are judged
    at_most: Optional[int] = None  # of that split's images, evenly spread; None: all

    def __post_init__(self) -> None:
        for severity in self.severities:
            if severity not in corruptions_.SEVERITIES:
                raise ValueError(f"severities: {severity!r} is none; they are whole numbers from 1 to 5")
        for name in self.corruptions:
            if name not in sequences.NAMES:
                raise ValueError(f"corruption {name!r} is unknown; there are {', '.join(sequences.NAMES)}")
        for name in self.benign:
            if name not in benign_.NAMES:
                raise ValueError(f"benign change {name!r} is unknown; there are {', '.join(benign_.NAMES)}")


def score(detector: bundle.BundledDetector, loaded: network.Network, data: dataset.Dataset,
          settings: Settings) -> evaluation.Report:
    """Returns how a detector file does on a data set.

    Args:
      detector: the file, loaded, for its arithmetic.
      loaded: its network.
      data: the data set, with its splits.
      settings: what to evaluate on.
    """
    scorer = _Scorer(detector, loaded, data)
    test = datasets.split(data, settings.split, settings.at_most)
    report, readable = (_images if detector.detector.window == 0 else _sequences)(scorer, data, test, settings)
    if report.rows and all(row["constant"] for row in report.rows):
        raise ValueError(f"the detector ({detector.config['detector']}) is broken, not at chance: its score is the same"
                         " on every frame, in-distribution or not; look at what its network puts out")
    report.summary.update(
        data=data.description, runtime=loaded.runner.runtime, accelerator=loaded.runner.accelerator,
        detector=detector.config["detector"], threshold=detector.detector.threshold,
        out_of_range_mean_auroc=_mean(report.rows),
        benign=benign_rows.rows(detector.detector, loaded, readable if loaded.motion is None else test,
                                settings.benign, _promised(detector.config)))
    return report


class _Scorer:
    """Scores frames by the detector and by the baselines alike."""

    def __init__(self, detector: bundle.BundledDetector, loaded: network.Network, data: dataset.Dataset):
        self.arithmetic, self.network = detector.detector, loaded
        kinds: Dict[str, Any] = {"mean and spread of flow": baselines.Motion} if loaded.motion else {
            "six colour numbers": baselines.Colour, "mean brightness": baselines.Brightness,
            "sharpness": baselines.Sharpness}

        def fit() -> Tuple[np.ndarray, ...]:
            train, _ = datasets.load_split(data, "train", loaded.takes, _BASELINE_FRAMES)
            if len(train) < _FEWEST:
                raise ValueError(
                    f"{data.description} has {len(train)} readable in-distribution images in its split 'train'; what "
                    f"the detector is compared with takes {_FEWEST}: give more images (--data)")
            return tuple(array for kind in kinds.values() for array in kind().fit(train).to_arrays().values())

        arrays = iter(loaded.kept("fitting " + ", ".join(kinds), fit))
        # By name, frames -> scores [N] of single frames.
        self.baselines = {name: kind.from_arrays({part: next(arrays) for part in kind.PARTS}).score
                          for name, kind in kinds.items()}

    def run(self, data: dataset.Dataset, what: str, **options: Any) -> network.Ran:
        """Returns the network's outputs and the baselines' scores of a data set's frames, see `Network.run`."""
        return self.network.run(data, what, also=self.baselines, **options)

    def scores(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns scores [N] by name ("detector" and the baselines'), "alarm" and "partition", of `run`'s outputs."""
        ran = self.arithmetic.run(outputs, starts)
        scores = {"detector": ran["score"], "alarm": ran["alarm"], "partition": ran["partition"],
                  "nonconformity": ran["nonconformity"], "scaled": ran["score"][:, np.newaxis],
                  "channel": gallery.speaking(self.arithmetic, outputs, starts),
                  "scale": np.full(len(ran["score"]), max(1, self.arithmetic.window))}
        maps = self.arithmetic.nonconformity.maps(outputs)
        if maps is not None:
            scores["map"] = np.nan_to_num(maps).astype(np.float32)
        if starts is not None:
            scores["frame"] = evidence.of(ran["p_value"])
        scales = self.arithmetic.scales
        if scales is not None and starts is not None:
            scores["scaled"] = scales.scaled(scores["frame"], starts).T
            scores["scale"] = np.array(scales.windows)[(scores["scaled"] / np.array(scales.thresholds)).argmax(axis=1)]
        for name in self.baselines:
            scores[name] = np.asarray(outputs[name])
            if starts is not None:
                scores[name] = baselines.windowed(scores[name], starts, self.arithmetic.window)
        return scores


def _images(scorer: _Scorer, data: dataset.Dataset, test: dataset.Dataset,
            settings: Settings) -> Tuple[evaluation.Report, dataset.Dataset]:
    """Returns the report, and those of the test frames that can be read; `_sequences` likewise."""
    ran = scorer.run(test, "scoring test images")
    test, id_scores = ran.frames, scorer.scores(ran.outputs, None)
    rows: List[Dict[str, Any]] = []
    rocs: Dict[str, metrics.Roc] = {}
    spread = {evaluation.IN_DISTRIBUTION: id_scores["detector"]}
    clustered: Dict[str, evaluation.Clustered] = {}
    pictures = gallery.in_distribution(test, id_scores, None, apart=1)

    def add(name: str, chosen: dataset.Dataset) -> None:
        ran = scorer.run(chosen, f"scoring {name}")
        ood_scores = scorer.scores(ran.outputs, None)
        rows.append({"set": name, "ood": True, **_row(scorer, id_scores, ood_scores),
                     **_by_partition(test, id_scores, ood_scores)})
        rocs[name], spread[name] = metrics.roc(id_scores["detector"], ood_scores["detector"]), ood_scores["detector"]
        clustered[name] = evaluation.Clustered(id_scores["detector"], ood_scores["detector"], np.arange(len(test)),
                                               len(test) + np.arange(len(ood_scores["detector"])))
        for where in np.flatnonzero(~ood_scores["alarm"])[:gallery.MOST, np.newaxis]:
            pictures.extend(gallery.missed(name, _at(ood_scores, where), np.ones(1, bool),
                                           ran.frames.where(where).read))

    for name in sorted(set(data.partition[data.ood].tolist())):
        add(name, data.where(data.ood & (data.partition == name)))
    for spec, name in zip(settings.ood, _names(settings.ood, data)):
        path, table = _source(spec)
        opened = catalog.open(path, times_csv=table, fps=data.fps or 20.0)
        add(name, opened.where(opened.ood) if opened.ood.any() else opened)
    real = bool(rows)
    for name in settings.corruptions:
        # A single image can't freeze, nor move.
        for severity in settings.severities if name not in motion.NAMES else ():
            def corrupt(frame: np.ndarray, i: int, name: str = name, severity: int = severity) -> np.ndarray:
                return corruptions_.corrupt(name, frame, severity, seed=i)

            ood_scores = scorer.scores(scorer.run(test, f"scoring {name} {severity}", change=corrupt).outputs, None)
            images = np.arange(len(test))
            clustered[f"{name} {severity}"] = evaluation.Clustered(id_scores["detector"], ood_scores["detector"],
                                                                   images, images)
            rows.append({"set": f"{name} {severity}",
                         "ood": corruptions_.outside_id(name, severity, data.partition_kind),
                         **_row(scorer, id_scores, ood_scores), **_by_partition(test, id_scores, ood_scores)})
            if rows[-1]["ood"] and not real:  # pictures of what there is
                rocs[rows[-1]["set"]] = metrics.roc(id_scores["detector"], ood_scores["detector"])
                spread[rows[-1]["set"]] = ood_scores["detector"]
    per_partition = {str(name): float(id_scores["alarm"][test.partition == name].mean())
                     for name in np.unique(test.partition)}
    return evaluation.Report({"mode": "images", "rows": rows, "test_images": len(test),
                              "unreadable": len(ran.unreadable),
                              "false_positive_rate": float(id_scores["alarm"].mean()),
                              "false_positive_rate_by_partition": per_partition}, rocs, {}, pictures, spread,
                             clustered), test


def _sequences(scorer: _Scorer, data: dataset.Dataset, test: dataset.Dataset,
               settings: Settings) -> Tuple[evaluation.Report, dataset.Dataset]:
    if not (test.sequence >= 0).all():
        raise ValueError("the detector was calibrated for sequences, but the data set's test frames are unordered "
                         "images; calibrate it with --window=0")
    fps = test.fps
    ran = scorer.run(test, "scoring test driving")
    test, unreadable = ran.frames, len(ran.unreadable)
    id_scores = scorer.scores(ran.outputs, test.starts)
    alarms = events.false_alarms(id_scores["alarm"], test.starts, fps)
    ideal = oracle.thresholds(id_scores["scaled"].T, test.starts, alarms.count)
    pictures = gallery.in_distribution(test, id_scores, test.starts, apart=int(fps))
    chosen, patterns = stretches(test, settings)
    kinds = [(name, severity) for name in settings.corruptions for severity in settings.severities]
    jobs = [(where, name, severity, patterns[number], number)
            for name, severity in kinds for number, where in enumerate(chosen)]

    def prepare(job: Tuple[np.ndarray, str, int, str, int]) -> Tuple[Any, ...]:
        images, ood = sequences.corrupted(test, *job, scorer.network.takes)
        return images, ood, *(score(images) for score in scorer.baselines.values())

    def judge(runner: Any, prepared: Tuple[Any, ...]) -> Tuple[Dict[str, np.ndarray], np.ndarray]:
        images, ood, *simple = prepared
        outputs = {**runner.each(images), **dict(zip(scorer.baselines, simple))}
        return scorer.scores(outputs, np.arange(len(images)) == 0), ood

    judged = scorer.network.map(prepare, judge, jobs, "scoring corrupted test sequences",
                                beside=tuple(scorer.baselines))
    rows: List[Dict[str, Any]] = []
    rocs: Dict[str, metrics.Roc] = {}
    clustered: Dict[str, evaluation.Clustered] = {}
    for name, recording in _recordings(data, settings, fps):
        ran = scorer.run(recording, f"scoring {name}")
        recording, ood_scores = ran.frames, scorer.scores(ran.outputs, ran.frames.starts)
        row, clustered[name] = _recording_row(scorer, test, id_scores, recording, ood_scores)
        rows.append({"set": name, "ood": True, **row,
                     **_detected(ood_scores, recording.starts, recording.ood, fps, ideal)})
        rocs[name] = metrics.roc(id_scores["detector"], ood_scores["detector"][recording.ood])
        pictures += gallery.missed(name, ood_scores, recording.ood, recording.read)
    example: Dict[str, np.ndarray] = {}
    spread = {evaluation.IN_DISTRIBUTION: id_scores["detector"]}
    for name, severity in kinds:
        parts, masks = zip(*(next(judged) for _ in chosen))
        scores = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        ood = np.concatenate(masks)
        start = np.concatenate([np.arange(len(part)) == 0 for part in masks])
        group = np.repeat(np.arange(len(chosen)), [len(part) for part in masks])
        row = _row(scorer, _at(scores, ~ood), _at(scores, ood), group[~ood], group[ood])
        clustered[f"{name} {severity}"] = evaluation.Clustered(
            scores["detector"][~ood], scores["detector"][ood], group[~ood], group[ood])
        row.update(_detected(scores, start, ood, fps, ideal))
        rows.append({"set": f"{name} {severity}",
                     "ood": sequences.outside_id(name, severity, test.partition_kind), **row})
        if rows[-1]["ood"] and row["hit_rate"] < 1 and scorer.network.motion is None:  # motion is in no single frame
            missed = [i for i, part in enumerate(parts) if not part["alarm"][masks[i]].any()]
            for number in missed[:1]:
                images, _ = sequences.corrupted(test, chosen[number], name, severity, patterns[number],
                                                number, scorer.network.size)
                pictures += gallery.missed(rows[-1]["set"], parts[number], masks[number], images.__getitem__)
        rocs[f"{name} {severity}"] = metrics.roc(scores["detector"][~ood], scores["detector"][ood])
        spread[f"{name} {severity}"] = scores["detector"][ood]
        if not example and severity == settings.severities[-1]:
            shown = min(1, len(parts) - 1)
            example = {"score": parts[shown]["detector"], "ood": masks[shown], "name": np.array(f"{name} {severity}")}
    return evaluation.Report({"mode": "sequences", "rows": rows, "fps": fps, "test_frames": len(test),
                              "stretches": len(chosen), "unreadable": unreadable,
                              "mean_hit_rate": _mean(rows, "hit_rate"),
                              "mean_oracle_hit_rate": _mean(rows, "oracle_hit_rate"),
                              "false_alarms": dataclasses.asdict(alarms)}, rocs, example, pictures, spread,
                             clustered), test


def stretches(test: dataset.Dataset, settings: Settings) -> Tuple[List[np.ndarray], List[str]]:
    """Returns the stretches of test driving that are corrupted, int [T] each, and when each one's corruption sets on.

    Args:
      test: in-distribution recordings.
      settings: whose corruptions, severities, stretch_s and stretches count.

    Raises:
      ValueError: if a stretch is too short to turn OOD, or no recording is as long as one.
    """
    length = int(settings.stretch_s * test.fps)
    if length < _SHORTEST:
        raise ValueError(f"--stretch_s={settings.stretch_s:g} is {length} frames at {test.fps:g} a second; a stretch "
                         f"that turns OOD takes at least {_SHORTEST}")
    room = sequences.room_for(settings.corruptions, settings.severities, length)
    chosen = sequences.stretches(test, length, settings.stretches, room)
    if not chosen:
        raise ValueError(f"no test sequence is {room / test.fps:g} s long, which a stretch of {settings.stretch_s:g} s "
                         "takes (fast playback takes more than is shown); give a smaller --stretch_s")
    # Of one or two stretches none may be all OOD: there would be too little in-distribution driving beside them.
    patterns = sequences.PATTERNS if len(chosen) > 2 else sequences.PATTERNS[1:]
    return chosen, [patterns[number % len(patterns)] for number in range(len(chosen))]


def _detected(scores: Mapping[str, np.ndarray], starts: np.ndarray, ood: np.ndarray, fps: float,
              ideal: np.ndarray) -> Dict[str, float]:
    """Returns hits and delay of the sequences that turn OOD, and the hits at an oracle's thresholds, [S]."""
    detected = events.detections(scores["alarm"], starts, ood, fps)
    best = events.detections((scores["scaled"] > ideal).any(axis=1), starts, ood, fps)
    return {"hit_rate": detected.hit_rate, "oracle_hit_rate": best.hit_rate, "delay_frames": detected.median_delay,
            "delay_s": detected.median_delay_seconds}


def _recordings(data: dataset.Dataset, settings: Settings, fps: float) -> Iterator[Tuple[str, dataset.Dataset]]:
    """Yields the recordings that turn, or are, OOD: the data set's own by partition, then those of `settings.ood`."""
    turning = np.isin(data.sequence, data.sequence[data.ood & (data.sequence >= 0)]) & (data.sequence >= 0)
    for name in sorted(set(data.partition[data.ood & turning].tolist())):
        yield str(name), data.where(turning & (data.partition == name))
    for spec, name in zip(settings.ood, _names(settings.ood, data)):
        path, table = _source(spec)
        ordered = path.startswith("sequences:") or not os.path.isdir(path)
        recording = catalog.open(path if ordered else f"sequences:{path}", times_csv=table, fps=fps)
        if not (recording.sequence >= 0).all():
            raise ValueError(f"--ood={spec}: these are unordered images; the detector was calibrated for sequences")
        yield name, recording if recording.ood.any() else dataclasses.replace(
            recording, ood=np.ones(len(recording), bool))


def _source(spec: str) -> Tuple[str, Optional[str]]:
    """Returns what to open and its table: "PATH,TABLE.csv" or "PATH"."""
    path, _, table = spec.rpartition(",")
    return (path, table) if path and table.endswith(".csv") else (spec, None)


def _names(specs: Sequence[str], data: dataset.Dataset) -> List[str]:
    """Returns what each set is called: the last part of its path, or all of it where that is not the only one."""
    paths = [_source(spec)[0] for spec in specs]
    short = [os.path.basename(os.path.abspath(path.rpartition("sequences:")[2])) or path for path in paths]
    taken = [*set(data.partition[data.ood].tolist()), *short]
    return [name if taken.count(name) == 1 else path for name, path in zip(short, paths)]


def _recording_row(scorer: _Scorer, test: dataset.Dataset, id_scores: Mapping[str, np.ndarray],
                   recording: dataset.Dataset, ood_scores: Mapping[str, np.ndarray],
                   ) -> Tuple[Dict[str, Any], evaluation.Clustered]:
    """Returns row and scores of a recording's OOD frames against test driving and its own in-distribution frames."""
    inside, outside = _at(ood_scores, ~recording.ood), _at(ood_scores, recording.ood)
    normal = {name: np.concatenate([id_scores[name], inside[name]]) for name in id_scores}
    sequence = test.sequence.max() + 1 + recording.sequence  # no sequence of the test split's
    groups = np.concatenate([test.sequence, sequence[~recording.ood]])
    return (_row(scorer, normal, outside, groups, sequence[recording.ood]),
            evaluation.Clustered(normal["detector"], outside["detector"], groups, sequence[recording.ood]))


def _promised(config: Mapping[str, Any]) -> Optional[float]:
    """Returns the false alarms an hour that a detector of sequences was calibrated for, where its file says so."""
    promised = config.get("calibration", {}).get("false_alarms_per_hour")
    return float(promised) if isinstance(promised, (int, float)) else None


def _by_partition(test: dataset.Dataset, id_scores: Mapping[str, np.ndarray],
                  ood_scores: Mapping[str, np.ndarray]) -> Dict[str, Dict[str, float]]:
    """Returns the AUROC of each partition's test images against the OOD ones."""
    return {"auroc_by_partition": {
        str(name): metrics.evaluate(id_scores["detector"][test.partition == name], ood_scores["detector"]).auroc
        for name in np.unique(test.partition)}}


def _row(scorer: _Scorer, in_distribution: Mapping[str, np.ndarray], ood: Mapping[str, np.ndarray],
         id_groups: Optional[np.ndarray] = None, ood_groups: Optional[np.ndarray] = None) -> Dict[str, Any]:
    """Returns one table row: the detector's metrics and interval, its rates at the threshold, each baseline's AUROC."""
    id_scores, ood_scores = in_distribution["detector"], ood["detector"]
    figures = dataclasses.asdict(metrics.evaluate(id_scores, ood_scores))
    trivial = {name: metrics.evaluate(in_distribution[name], ood[name]).auroc for name in scorer.baselines}
    best = max(trivial, key=lambda name: trivial[name])
    # A score that gathers evidence is low when a stretch sets on and high when it has passed; a frame's own isn't.
    alone = {"frame_auroc": metrics.evaluate(in_distribution["frame"], ood["frame"]).auroc} if "frame" in ood else {}
    return {"n_id": len(id_scores), "n_ood": len(ood_scores), **figures, **alone,
            "false_positive_rate": float(in_distribution["alarm"].mean()),
            "true_positive_rate": float(ood["alarm"].mean()),
            "baselines": trivial, "best_baseline": best,
            "constant": bool(id_scores.min() == max(id_scores.max(), ood_scores.max()) == ood_scores.min()),
            **_intervals((in_distribution[best], ood[best], id_scores, ood_scores), id_groups, ood_groups)}


def _intervals(pair: Tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], id_groups: Optional[np.ndarray],
               ood_groups: Optional[np.ndarray]) -> Dict[str, Any]:
    """Returns the AUROC's interval and the difference to the best baseline; None where too little shows a spread.

    That is one stretch, or one frame, of either kind.

    Args:
      pair: the baseline's ID and OOD scores, the detector's.
      id_groups, ood_groups: each frame's stretch; None: frames are independent.
    """
    if min(len(pair[2]), len(pair[3])) < 2 or any(
            groups is not None and len(np.unique(groups)) < 2 for groups in (id_groups, ood_groups)):
        return dict.fromkeys(("auroc_low", "auroc_high", "delta", "delta_low", "delta_high", "non_inferior"))
    interval = statistics.auroc_interval(pair[2], pair[3], _CONFIDENCE, id_groups, ood_groups)
    difference = statistics.auroc_difference(*pair, confidence=_CONFIDENCE, id_groups=id_groups, ood_groups=ood_groups)
    return {"auroc_low": interval.low, "auroc_high": interval.high, "delta": difference.delta,
            "delta_low": difference.low, "delta_high": difference.high,
            "non_inferior": statistics.non_inferior(*pair, margin=MARGIN, confidence=_CONFIDENCE, id_groups=id_groups,
                                                     ood_groups=ood_groups)}


def _reconstruction(loaded: network.Network, data: dataset.Dataset, provenance: Mapping[str, Any]) -> Optional[float]:
    """Returns the mean test reconstruction loss, nats an image, while the run's decoder is at hand; else None."""
    folder = provenance.get("network", {}).get("model", "")
    if "mu" not in loaded.runner.outputs or not os.path.exists(os.path.join(folder, "decoder.h5")):
        return None
    try:
        from leanood.workflow import reconstruction
    except ImportError:  # the base install has no TensorFlow
        return None
    return reconstruction.loss(loaded, data, folder)


def _record(path: str, summary: Mapping[str, Any]) -> None:
    parts = bundle.read(path)
    kept = {name: value for name, value in summary.items() if name not in ("file", "bytes")}
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(path, parts.model, {**fields, "metrics": [kept]}, parts.arrays)


def _at(scores: Mapping[str, np.ndarray], where: np.ndarray) -> Dict[str, np.ndarray]:
    return {name: array[where] for name, array in scores.items()}


def _mean(rows: Sequence[Mapping[str, Any]], name: str = "auroc") -> Optional[float]:
    """Returns the mean over the rows that are truly out of distribution."""
    values = [row[name] for row in rows if row["ood"]]
    return float(np.mean(values)) if values else None
