"""The detection report: every detector on every set in one run, each ingredient left out in turn, and what each costs.

    python benchmarks/detection_report.py --data=$LEANOOD_TEST_DATA/data --runs=runs --out=docs/detection_results.md

`--runs` holds (or will hold: what is missing is trained) one β-VAE for Duckietown, one for donkeycar and one for lanes.
All scores come from the int8 file that ships, on its runtime. Nothing is tuned per OOD set: one setting for all.
"""
from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
import zipfile
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from absl import flags

from leanood.data import corruptions, dataset, frames, lanes, sequences
from leanood.ood import baselines, detector, events, metrics, statistics, typicality
from leanood.tflite import bundle, runtime
from leanood.tools import calibration, command, loading, progress

_DATA = flags.DEFINE_string("data", None, "the folder with duckietown.zip and donkeycar_track2.zip", required=True)
_RUNS = flags.DEFINE_string("runs", "runs", "the folder of the trained networks and of what was scored")
_OUT = flags.DEFINE_string("out", "docs/detection_results.md", "the table, in Markdown")
_SETS = flags.DEFINE_list("sets", ["duckietown", "donkeycar", "lanes"], "which sets to report on")
_STRETCHES = flags.DEFINE_integer("stretches", 9, "test sequences a corruption")
_MINUTES = flags.DEFINE_integer("minutes", 60, "minutes of fresh lane driving to count false alarms on")

SIZE = (120, 160)
SEVERITIES = (1, 3, 5)
STRETCH_S = {"duckietown": 0.0, "donkeycar": 10.0, "lanes": 4.0}  # of test sequences; lane scenes are short
SPECS: Dict[str, Tuple[str, Dict[str, Any], List[str]]] = {  # set -> data, options, training flags
    "duckietown": ("{work}/duckietown", {"split_csv": "{data}/duckietown_split.csv"}, ["--epochs=40"]),
    "donkeycar": ("{work}/donkeycar", {"times_csv": "{data}/donkeycar_track2_times.csv"}, ["--epochs=6"]),
    "lanes": ("lanes:frames=24000,scene=100", {}, ["--epochs=2"]),
}
PAPER = "kl-topk (the paper's)"
DEFAULT = "typicality"
# What is left of the default when an ingredient is taken away.
ABLATIONS = {f"without {channel}": tuple(other for other in typicality.CHANNELS if other != channel)
             for channel in typicality.CHANNELS}
ABLATIONS["latents alone"] = (typicality.LATENT,)
ABLATIONS["early alone"] = (typicality.EARLY,)


@dataclasses.dataclass
class Set:
    """A data set, its network, and the detectors that were calibrated on it."""

    name: str
    found: dataset.Dataset
    runner: runtime.Runner
    detectors: Dict[str, detector.Detector]
    trivial: Dict[str, Any]
    seen: Dict[str, Any]

    @property
    def window(self) -> int:
        return self.detectors[DEFAULT].window

    def scores(self, images: np.ndarray, starts: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns every detector's and baseline's scores [N] of uint8 frames, and the detectors' alarms."""
        outputs = self.runner.each(images)
        found: Dict[str, np.ndarray] = {}
        for name, one in self.detectors.items():
            ran = one.run(outputs, starts)
            found[name], found[f"{name} alarm"] = ran["score"], ran["alarm"]
        for name, baseline in self.trivial.items():
            values = baseline.score(images)
            found[name] = values if starts is None else baselines.windowed(values, starts, self.window)
        return found


def main(argv: Sequence[str]) -> None:
    os.makedirs(_RUNS.value, exist_ok=True)
    results: Dict[str, Any] = {}
    made: Dict[str, Set] = {}
    for name in _SETS.value:
        path = os.path.join(_RUNS.value, f"report_{name}.json")
        made[name] = _set(name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as stream:
                results[name] = json.load(stream)
            continue
        begin = time.monotonic()
        rows = _image_rows(made[name]) if made[name].window == 0 else _sequence_rows(made[name])
        results[name] = {**rows, "seen": made[name].seen, "minutes": (time.monotonic() - begin) / 60,
                         "runtime": made[name].runner.runtime, "bytes": os.path.getsize(_file(name))}
        _write(path, json.dumps(results[name]))
    costs = _costs(made[_SETS.value[0]])
    text = "\n".join([_heading(results), *[line for name in _SETS.value for line in _table(name, results[name])],
                      *_overall(results), *_ablation(results), *costs])
    _write(_OUT.value, text + "\n")
    print(text)


def _file(name: str) -> str:
    return os.path.join(_RUNS.value, name, "encoder_int8.tflite")


def _set(name: str) -> Set:
    """Returns a set with its network (trained and converted where it is not there yet) and calibrated detectors."""
    spec, options, training = SPECS[name]
    for archive, folder in (("duckietown.zip", "duckietown"), ("donkeycar_track2.zip", "donkeycar")):
        target = os.path.join(_RUNS.value, "data", folder)
        if name == folder and not os.path.isdir(target):
            with zipfile.ZipFile(os.path.join(_DATA.value, archive)) as packed:
                packed.extractall(target + ".partial")
            os.rename(target + ".partial", target)
    fill = {"work": os.path.join(_RUNS.value, "data"), "data": _DATA.value}
    spec, options = spec.format(**fill), {key: value.format(**fill) for key, value in options.items()}
    folder = os.path.join(_RUNS.value, name)
    if not os.path.exists(_file(name)):
        given = [f"--{key}={value}" for key, value in options.items()]
        _leanood("train", f"--data={spec}", *given, f"--size={SIZE[0]}x{SIZE[1]}", f"--out={folder}", *training)
        _leanood("convert", f"--model={folder}", "--quantize=int8")
    ood = [part for part in ("dark", "green", "red")] if name == "duckietown" else []
    found = dataset.open(spec, ood_partitions=ood, **options)
    runner = runtime.load(bundle.flatbuffer(_file(name)))
    window = 0 if name == "duckietown" else None
    result = calibration.calibrate(runner, SIZE, found, calibration.Settings(window=window))
    paper = calibration.calibrate(runner, SIZE, found, calibration.Settings(detector="kl-topk", window=window))
    detectors = {DEFAULT: result.detector, PAPER: paper.detector}
    parts = {}
    for split in ("train", "calibration"):
        images, known = loading.load_split(found, split, SIZE)
        parts[split] = (calibration.outputs_of(runner, images, f"{name}: {split}"), known)
        if split == "train":
            few = images[np.unique(np.linspace(0, len(images) - 1, 2000).round().astype(int))]
            trivial = {"six colour numbers": baselines.Colour().fit(few), "sharpness": baselines.Sharpness().fit(few),
                       "mean brightness": baselines.Brightness().fit(few)}
    for label, channels in ABLATIONS.items():
        if result.detector.window == 0:
            channels = tuple(channel for channel in channels if channel != typicality.CHANGE)
        (outputs, known), (table, table_known) = parts["train"], parts["calibration"]
        starts = None if result.detector.window == 0 else known.starts
        fitted = typicality.Typicality(channels).fit(outputs, starts=starts)
        one = detector.Detector.calibrate(fitted, table, starts=None if starts is None else table_known.starts,
                                          window=result.detector.window)
        one.decay = result.detector.decay
        detectors[label] = one
    return Set(name, found, runner, detectors, trivial, result.seen)


def _image_rows(made: Set) -> Dict[str, Any]:
    found = made.found
    test = found.where((found.split == "test") & ~found.ood)
    images, test, _ = test.load(SIZE)
    own = made.scores(images, None)
    rows = []
    for part in sorted(set(found.partition[found.ood].tolist())):
        odd, _, _ = found.where(found.ood & (found.partition == part)).load(SIZE)
        rows.append({"set": part, "real": True, **_row(made, own, made.scores(odd, None))})
    other = os.path.join(_RUNS.value, "data", "donkeycar")
    if os.path.isdir(other):
        foreign = dataset.open(other)
        odd, _, _ = foreign.where(np.linspace(0, len(foreign) - 1, 500).astype(int)).load(SIZE)
        rows.append({"set": "donkeycar frames", "real": True, **_row(made, own, made.scores(odd, None))})
    jobs = [(name, severity) for name in corruptions.NAMES if name != "frozen" for severity in SEVERITIES]
    for name, severity in progress.track(jobs, f"{made.name}: corruptions"):
        odd = np.stack([frames.resize(corruptions.corrupt(name, test.read(i), severity, seed=i), SIZE)
                        for i in range(len(test))])
        rows.append({"set": f"{name} {severity}", "real": False, **_row(made, own, made.scores(odd, None))})
    return {"rows": rows, "false_positive_rate": float(own[f"{DEFAULT} alarm"].mean())}


def _sequence_rows(made: Set) -> Dict[str, Any]:
    found = made.found
    test = found.where((found.split == "test") & ~found.ood)
    images, test, _ = test.load(SIZE)
    driving = made.scores(images, test.starts)
    alarms = {name: dataclasses.asdict(events.false_alarms(driving[f"{name} alarm"], test.starts, found.fps))
              for name in (DEFAULT, PAPER)}
    chosen = calibration.stretches(test, int(STRETCH_S[made.name] * found.fps), _STRETCHES.value)
    jobs = [(name, severity) for name in corruptions.NAMES for severity in SEVERITIES]
    rows = []
    for name, severity in progress.track(jobs, f"{made.name}: corruptions"):
        if not calibration.outside_id(found, name, severity):
            continue
        parts, odd, group = [], [], []
        begin = np.arange(len(chosen[0])) == 0
        for number, where in enumerate(chosen):
            pattern = sequences.PATTERNS[number % len(sequences.PATTERNS)]
            corrupted, ood = calibration.corrupted(test, where, name, severity, pattern, number, SIZE)
            parts.append(made.scores(corrupted, begin))
            odd.append(ood)
            group.append(np.full(len(where), number))
        rows.append({"set": f"{name} {severity}", "real": False, **_grouped(made, parts, odd, group, begin)})
    if made.name == "donkeycar" and os.path.isdir(os.path.join(_RUNS.value, "data", "duckietown")):
        foreign = dataset.open(os.path.join(_RUNS.value, "data", "duckietown"))
        foreign = foreign.where(np.linspace(0, len(foreign) - 1, 400).astype(int))
        odd_images, _, _ = foreign.load(SIZE)
        own = made.scores(images, np.ones(len(images), bool))
        rows.append({"set": "Duckietown images (frame by frame)", "real": True,
                     **_row(made, own, made.scores(odd_images, np.ones(len(odd_images), bool)))})
    result: Dict[str, Any] = {"rows": rows, "false_alarms": alarms}
    if made.name == "lanes":
        result["fresh"] = _fresh(made)
    return result


def _grouped(made: Set, parts: List[Dict[str, np.ndarray]], odd: List[np.ndarray], group: List[np.ndarray],
             begin: np.ndarray) -> Dict[str, Any]:
    scores = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    ood, groups = np.concatenate(odd), np.concatenate(group)
    row = _row(made, {key: values[~ood] for key, values in scores.items()},
               {key: values[ood] for key, values in scores.items()}, groups[~ood], groups[ood])
    starts = np.tile(begin, len(parts))
    for name in (DEFAULT, PAPER):
        found = events.detections(scores[f"{name} alarm"], starts, ood, made.found.fps)
        row[f"{name} delay"], row[f"{name} hits"] = found.median_delay, found.hit_rate
    return row


def _row(made: Set, own: Mapping[str, np.ndarray], odd: Mapping[str, np.ndarray],
         own_groups: Optional[np.ndarray] = None, odd_groups: Optional[np.ndarray] = None) -> Dict[str, Any]:
    aurocs = {name: metrics.evaluate(own[name], odd[name]).auroc for name in [*made.detectors, *made.trivial]}
    interval = statistics.auroc_interval(own[DEFAULT], odd[DEFAULT], 0.95, own_groups, odd_groups)
    best = max(made.trivial, key=lambda name: aurocs[name])
    fine = statistics.non_inferior(own[best], odd[best], own[DEFAULT], odd[DEFAULT], 0.01, 0.95, own_groups, odd_groups)
    return {"auroc": aurocs, "low": interval.low, "high": interval.high, "best": best, "non_inferior": fine,
            "fpr95": metrics.evaluate(own[DEFAULT], odd[DEFAULT]).fpr95}


def _fresh(made: Set) -> Dict[str, Any]:
    """Returns the default's false alarms on fresh lane driving: other drives in the same place, never seen."""
    total = _MINUTES.value * 60 * int(lanes.FPS)
    stream = lanes.Lanes(seed=1000, size=SIZE)
    one = detector.Detector.from_arrays(made.detectors[DEFAULT].config(), made.detectors[DEFAULT].to_arrays())
    alarm = np.empty(total, bool)
    for begin in progress.track(range(0, total, 500), "lanes: fresh driving"):
        for i, frame in enumerate(stream.frames(begin, min(500, total - begin))):
            alarm[begin + i] = one.step(made.runner(frame)).alarm
    return dataclasses.asdict(events.false_alarms(alarm, np.arange(total) == 0, lanes.FPS))


def _heading(results: Mapping[str, Any]) -> str:
    one = next(iter(results.values()))
    return ("# Detection results\n\nWritten by `python benchmarks/detection_report.py`; scores of the int8 file on "
            f"{one['runtime']}, one thread. AUROC with its 95% interval (sequences: whole stretches resampled); "
            "baselines see the same frames (on sequences averaged over the detector's window); NI: non-inferior to the "
            "best baseline at a margin of 0.01.")


def _table(name: str, result: Mapping[str, Any]) -> List[str]:
    delays = any(f"{DEFAULT} delay" in row for row in result["rows"])
    header = ["set", DEFAULT, "95%", "FPR95", PAPER, "best baseline", "NI"]
    if delays:
        header += ["median delay, frames", "hits"]
    lines = ["", f"## {name}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in result["rows"]:
        auroc = row["auroc"]
        cells = [row["set"], f"{auroc[DEFAULT]:.3f}", f"{row['low']:.3f}–{row['high']:.3f}", f"{row['fpr95']:.3f}",
                 f"{auroc[PAPER]:.3f}", f"{row['best']} {auroc[row['best']]:.3f}",
                 "yes" if row["non_inferior"] else "**no**"]
        if f"{DEFAULT} delay" in row:
            cells += [f"{row[f'{DEFAULT} delay']:g}", f"{row[f'{DEFAULT} hits']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    rows = result["rows"]
    better = sum(row["auroc"][DEFAULT] > row["auroc"][row["best"]] for row in rows)
    means = {which: float(np.mean([row["auroc"][which] for row in rows])) for which in (DEFAULT, PAPER)}
    trivial = float(np.mean([row["auroc"][row["best"]] for row in rows]))
    lines += ["", f"Mean AUROC over {len(rows)} rows: {DEFAULT} {means[DEFAULT]:.3f}, {PAPER} {means[PAPER]:.3f}, the "
                  f"best baseline of each row {trivial:.3f}. Better than the best baseline on {better}, non-inferior "
                  f"on {sum(row['non_inferior'] for row in rows)}."]
    if "false_alarms" in result:
        lines += [_alarms(which, "untouched test", alarms) for which, alarms in result["false_alarms"].items()]
    else:
        lines.append(f"In-distribution test images flagged: {result['false_positive_rate']:.3f}.")
    if "fresh" in result:
        lines.append(_alarms(DEFAULT, "fresh lane", result["fresh"]))
    return lines


def _overall(results: Mapping[str, Any]) -> List[str]:
    rows = [row for result in results.values() for row in result["rows"]]
    better = sum(row["auroc"][DEFAULT] > row["auroc"][row["best"]] for row in rows)
    means = ", ".join(f"{which} {np.mean([row['auroc'][which] for row in rows]):.3f}" for which in (DEFAULT, PAPER))
    trivial = float(np.mean([row["auroc"][row["best"]] for row in rows]))
    fine = sum(row["non_inferior"] for row in rows)
    return ["", "## All sets", "",
            f"Mean AUROC over all {len(rows)} truly OOD rows: {means}, the best baseline of each row {trivial:.3f}. "
            f"{DEFAULT} is better than the best baseline on {better} rows and shown to be non-inferior on {fine}; "
            "where both are near 1, a few frames of delay decide."]


def _alarms(which: str, what: str, alarms: Mapping[str, Any]) -> str:
    return (f"False alarms of {which} in {alarms['hours'] * 60:.1f} min of {what} driving: {alarms['count']} "
            f"({alarms['per_hour']:.1f} an hour, 95% {alarms['low']:.1f}–{alarms['high']:.1f}).")


def _ablation(results: Mapping[str, Any]) -> List[str]:
    names = [DEFAULT, *ABLATIONS, PAPER]
    lines = ["", "## Ablation", "", "Mean AUROC over each set's rows.", "",
             "| detector | " + " | ".join(results) + " |", "|" + " --- |" * (len(results) + 1)]
    for name in names:
        cells = [f"{np.mean([row['auroc'][name] for row in result['rows']]):.4f}" for result in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _costs(made: Set) -> List[str]:
    """Returns what the network and each detector's arithmetic take, interleaved, the least of many runs."""
    images, _ = loading.load_split(made.found, "test", SIZE, 100)
    outputs = [made.runner(image) for image in images]
    names = [DEFAULT, *ABLATIONS, PAPER]
    least = {name: np.inf for name in [*names, "network"]}
    for _ in range(20):
        begin = time.process_time()
        for image in images:
            made.runner(image)
        least["network"] = min(least["network"], (time.process_time() - begin) / len(images))
        for name in names:
            one = made.detectors[name]
            begin = time.process_time()
            for one_output in outputs:
                one.step(one_output)
            least[name] = min(least[name], (time.process_time() - begin) / len(outputs))
    lines = ["", "## Cost", "", "Processor time a frame on one core, the least of 20 rounds that take turns.", "",
             "| step | µs |", "| --- | --- |",
             f"| int8 network with early statistics, {SIZE[0]}×{SIZE[1]} | {least['network'] * 1e6:.0f} |"]
    return lines + [f"| arithmetic: {name} | {least[name] * 1e6:.1f} |" for name in names]


def _leanood(*arguments: str) -> None:
    main_script = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tools", "main.py")
    done = subprocess.run([sys.executable, main_script, *arguments], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise OSError(f"leanood {arguments[0]} ended with status {done.returncode}")


def _write(path: str, text: str) -> None:
    with open(path + ".partial", "w", encoding="utf-8") as stream:
        stream.write(text)
    os.replace(path + ".partial", path)


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection_report.py --data=$LEANOOD_TEST_DATA/data")
