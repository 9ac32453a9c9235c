"""The detection report: every detector on every set in one run, each ingredient left out in turn, and what each costs.

    python benchmarks/detection/report.py --data=$LEANOOD_TEST_DATA/data --runs=runs --out=docs/detection_results.md

`--runs` holds (or will hold: what is missing is trained) two networks for each of Duckietown, donkeycar and lanes: the
default one, which `typicality` and what is left of it read, and a β-VAE for the detectors of latents. All scores come
from int8 files as they ship, on their runtime. Nothing is tuned per OOD set: one setting for all. What is done is kept
in `--runs` and not done again: delete `report_*` there to begin anew.
"""
from __future__ import annotations

import dataclasses
import functools
import json
import os
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import sets
import unseen
from absl import flags

from leanood.data import catalog, corruptions, dataset, frames, lanes, sequences
from leanood.files import atomic
from leanood.ood import baselines, detector, events, evidence, metrics, statistics, typicality
from leanood.tflite import bundle, runtime
from leanood.tflite.timing import results as results_
from leanood.tools import command
from leanood.workflow import calibrate, datasets, material, network, progress

_OUT = flags.DEFINE_string("out", "docs/detection_results.md", "the table, in Markdown")
_STRETCHES = flags.DEFINE_integer("stretches", 9, "test sequences a corruption")
_MINUTES = flags.DEFINE_integer("minutes", 60, "minutes of fresh lane driving to count false alarms on")

WINDOWS = (1, 3, 10)  # frames that a baseline is averaged over on sequences: whichever does best on the row
PAPER, TWO_SIDED = "kl-topk (the paper's)", "kl-typical"  # of the β-VAE
MARGIN = 0.01  # of AUROC
DEFAULT = "typicality"
FRAMES = "frames alone"  # the default's evidence of each frame by itself, −ln p, beside frames of the baselines
# What is left of the default when an ingredient is taken away; calibrated as it is. Change is the filter bank's.
ABLATIONS: Dict[str, Dict[str, Any]] = {
    "without the network": {"features": False}, "without the filter bank": {"bank": False},
    "without change": {"channels": (typicality.EARLY,)}}


@dataclasses.dataclass
class Set:
    """A data set, its networks, and the detectors that were calibrated on it."""

    name: str
    data: dataset.Dataset
    runner: runtime.Runner  # of the default network
    bvae: runtime.Runner
    detectors: Dict[str, detector.Detector]
    trivial: Dict[str, Any]

    @property
    def window(self) -> int:
        return self.detectors[DEFAULT].window

    def scores(self, images: np.ndarray, starts: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns every detector's and baseline's scores [N] of uint8 frames, and the detectors' alarms."""
        outputs = {**self.bvae.each(images), **self.runner.each(images)}
        scores: Dict[str, np.ndarray] = {}
        for name, judge in self.detectors.items():
            ran = judge.run(outputs, starts)
            scores[name], scores[f"{name} alarm"] = ran["score"], ran["alarm"]
            if name == DEFAULT and starts is not None:
                scores[FRAMES] = evidence.of(ran["p_value"])
        for name, baseline in self.trivial.items():
            values = baseline.score(images)
            for window in WINDOWS:
                key = name if window == 1 else f"{name} over {window}"
                scores[key] = values if starts is None else baselines.windowed(values, starts, window)
        return scores


def main(argv: Sequence[str]) -> None:
    os.makedirs(sets.RUNS.value, exist_ok=True)
    results: Dict[str, Any] = {}
    for name in sets.SETS.value:
        path = os.path.join(sets.RUNS.value, f"report_{name}.json")
        if not os.path.exists(path):
            set_ = _set(name)
            rows = _image_rows(set_) if set_.window == 0 else _sequence_rows(set_)
            sets.write(path, json.dumps({
                **rows, "runtime": set_.runner.runtime, "bytes": os.path.getsize(sets.file(name)),
                "costs": _costs(set_)}))
        with open(path, encoding="utf-8") as stream:
            results[name] = json.load(stream)
    costs = results[sets.SETS.value[0]]["costs"]
    text = "\n".join([_heading(results), *[line for name in sets.SETS.value for line in _table(name, results[name])],
                      *_unseen_table(results), *_overall(results), *_ablation(results), *costs])
    sets.write(_OUT.value, text + "\n")
    results_.write(__file__, [], results)
    print(text)


def _set(name: str) -> Set:
    """Returns a set with its networks and calibrated detectors."""
    data, runner = sets.load(name)
    _, bvae = sets.load(name, sets.bvae_flags(name), sets.bvae(name))
    settings = calibrate.Settings(window=0 if name == "duckietown" else None)
    of_default: Dict[str, calibrate.Settings] = {DEFAULT: settings, **{
        label: dataclasses.replace(settings, unfitted=functools.partial(typicality.Typicality, **options))
        for label, options in ABLATIONS.items()}}
    of_bvae = {PAPER: dataclasses.replace(settings, detector="kl-topk"),
               TWO_SIDED: dataclasses.replace(settings, detector="kl-typical")}
    detectors = {**_calibrated(name, data, name, of_default), **_calibrated(name, data, sets.bvae(name), of_bvae)}
    few, _ = datasets.load_split(data, "train", sets.SIZE, 2000)
    trivial = {"six colour numbers": baselines.Colour().fit(few), "sharpness": baselines.Sharpness().fit(few),
               "mean brightness": baselines.Brightness().fit(few)}
    return Set(name, data, runner, bvae, detectors, trivial)


def _calibrated(name: str, data: dataset.Dataset, run: str,
                wanted: Mapping[str, calibrate.Settings]) -> Dict[str, detector.Detector]:
    """Returns the detectors of a run's file, kept in --runs once they were calibrated."""
    detectors: Dict[str, detector.Detector] = {}
    gathered = None
    loaded = network.load(bundle.flatbuffer(sets.file(run)))
    for label, settings in wanted.items():
        path = os.path.join(sets.RUNS.value, f"report_{name}_{label.split(' (')[0].replace(' ', '_')}.npz")
        if not os.path.exists(path):
            gathered = gathered or material.gather(loaded, data, ordered=settings.window is None)
            judge = calibrate.fit(loaded, data, settings, gathered).detector
            with atomic.replacing(path) as stream:
                np.savez(stream, config=np.array(json.dumps(judge.config())), **judge.to_arrays())
        with np.load(path) as arrays:
            stored = dict(arrays)
        detectors[label] = detector.Detector.from_arrays(json.loads(str(stored.pop("config"))), stored)
    return detectors


def _done(name: str, kind: str, make: Callable[[], Dict[str, Any]]) -> Dict[str, Any]:
    """Returns a set's row, kept in --runs once it was made."""
    path = os.path.join(sets.RUNS.value, f"report_{name}_rows", kind.replace(" ", "_").replace("/", "_") + ".json")
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        sets.write(path, json.dumps(make()))
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)


def _image_rows(set_: Set) -> Dict[str, Any]:
    data = set_.data
    test = data.where((data.split == "test") & ~data.ood)
    images, test, _ = test.load(sets.SIZE)
    id_scores = set_.scores(images, None)
    rows = []
    for part in sorted(set(data.partition[data.ood].tolist())):
        ood_images, _, _ = data.where(data.ood & (data.partition == part)).load(sets.SIZE)
        rows.append({"set": part, "real": True, **_row(set_, id_scores, set_.scores(ood_images, None))})
    foreign = catalog.open(sets.images("donkeycar"))
    ood_images, _, _ = foreign.where(np.linspace(0, len(foreign) - 1, 500).astype(int)).load(sets.SIZE)
    rows.append({"set": "donkeycar frames", "real": True, **_row(set_, id_scores, set_.scores(ood_images, None))})
    jobs = [(name, severity) for name in corruptions.NAMES if name != "frozen" for severity in sets.SEVERITIES]

    def corrupted(name: str, severity: int) -> Dict[str, Any]:
        ood_images = np.stack([frames.resize(corruptions.corrupt(name, test.read(i), severity, seed=i), sets.SIZE)
                               for i in range(len(test))])
        return {"set": f"{name} {severity}", "real": False, **_row(set_, id_scores, set_.scores(ood_images, None))}

    for name, severity in progress.track(jobs, f"{set_.name}: corruptions"):
        rows.append(_done(set_.name, f"{name} {severity}", functools.partial(corrupted, name, severity)))
    return {"rows": rows, "false_positive_rate": float(id_scores[f"{DEFAULT} alarm"].mean()),
            "unseen": _unseen(set_, test, id_scores)}


def _unseen(set_: Set, test: dataset.Dataset, id_scores: Mapping[str, np.ndarray]) -> List[Dict[str, Any]]:
    """Returns rows for corruptions that nothing was chosen by, frame by frame."""
    def transformed(name: str, transform: Any) -> Dict[str, Any]:
        ood_images = np.stack([frames.resize(unseen.apply(transform, test.read(i), i), sets.SIZE)
                               for i in range(len(test))])
        return {"set": name, **_row(set_, id_scores, set_.scores(ood_images, np.ones(len(ood_images), bool)))}

    rows = []
    for name, transform in progress.track(list(unseen.transforms().items()), f"{set_.name}: unseen kinds"):
        rows.append(_done(set_.name, f"unseen {name}", functools.partial(transformed, name, transform)))
    return rows


def _sequence_rows(set_: Set) -> Dict[str, Any]:
    data = set_.data
    test = data.where((data.split == "test") & ~data.ood)
    images, test, _ = test.load(sets.SIZE)
    driving = set_.scores(images, test.starts)
    alarms = {name: dataclasses.asdict(events.false_alarms(driving[f"{name} alarm"], test.starts, data.fps))
              for name in (DEFAULT, PAPER)}
    chosen = sequences.stretches(test, int(sets.STRETCH_S[set_.name] * data.fps), _STRETCHES.value)
    jobs = [(name, severity) for name in corruptions.NAMES for severity in sets.SEVERITIES]

    def corrupted_stretches(name: str, severity: int) -> Dict[str, Any]:
        parts, masks, group = [], [], []
        begin = np.arange(len(chosen[0])) == 0
        for number, where in enumerate(chosen):
            pattern = sequences.PATTERNS[number % len(sequences.PATTERNS)]
            corrupted, ood = sequences.corrupted(test, where, name, severity, pattern, number, sets.SIZE)
            parts.append(set_.scores(corrupted, begin))
            masks.append(ood)
            group.append(np.full(len(where), number))
        return {"set": f"{name} {severity}", "real": False, **_grouped(set_, parts, masks, group, begin)}

    rows = [_done(set_.name, f"{name} {severity}", functools.partial(corrupted_stretches, name, severity))
            for name, severity in progress.track(jobs, f"{set_.name}: corruptions")
            if corruptions.outside_id(name, severity, data.partition_kind)]
    if set_.name == "donkeycar":
        foreign = catalog.open(sets.images("duckietown"))
        foreign = foreign.where(np.linspace(0, len(foreign) - 1, 400).astype(int))
        ood_images, _, _ = foreign.load(sets.SIZE)
        id_scores = set_.scores(images, np.ones(len(images), bool))
        rows.append({"set": "Duckietown images (frame by frame)", "real": True,
                     **_row(set_, id_scores, set_.scores(ood_images, np.ones(len(ood_images), bool)))})
    result: Dict[str, Any] = {"rows": rows, "false_alarms": alarms}
    if set_.name == "donkeycar":
        some = test.where(np.unique(np.linspace(0, len(test) - 1, 200).round().astype(int)))
        result["unseen"] = _unseen(set_, some, set_.scores(images, np.ones(len(images), bool)))
    if set_.name == "lanes":
        result["fresh"] = _fresh(set_)
    return result


def _grouped(set_: Set, parts: List[Dict[str, np.ndarray]], masks: List[np.ndarray], group: List[np.ndarray],
             begin: np.ndarray) -> Dict[str, Any]:
    scores = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    ood, groups = np.concatenate(masks), np.concatenate(group)
    row = _row(set_, {key: values[~ood] for key, values in scores.items()},
               {key: values[ood] for key, values in scores.items()}, groups[~ood], groups[ood])
    starts = np.tile(begin, len(parts))
    for name in (DEFAULT, PAPER):
        detections = events.detections(scores[f"{name} alarm"], starts, ood, set_.data.fps)
        row[f"{name} delay"], row[f"{name} hits"] = detections.median_delay, detections.hit_rate
    single = max(set_.trivial, key=lambda name: row["auroc"][name])
    row[FRAMES] = {"best": single, **_against(
        *((scores[name][~ood], scores[name][ood]) for name in (single, FRAMES)), groups[~ood], groups[ood])}
    return row


def _row(set_: Set, id_scores: Mapping[str, np.ndarray], ood_scores: Mapping[str, np.ndarray],
         id_groups: Optional[np.ndarray] = None, ood_groups: Optional[np.ndarray] = None) -> Dict[str, Any]:
    aurocs = {name: metrics.evaluate(id_scores[name], ood_scores[name]).auroc
              for name in id_scores if not name.endswith(" alarm")}
    interval = statistics.auroc_interval(id_scores[DEFAULT], ood_scores[DEFAULT], 0.95, id_groups, ood_groups)
    best = max((name for name in id_scores if name.startswith(tuple(set_.trivial))), key=lambda name: aurocs[name])
    compared = _against(*((id_scores[name], ood_scores[name]) for name in (best, DEFAULT)), id_groups, ood_groups)
    return {"auroc": aurocs, "low": interval.low, "high": interval.high, "best": best, **compared,
            "fpr95": metrics.evaluate(id_scores[DEFAULT], ood_scores[DEFAULT]).fpr95}


def _against(baseline: Tuple[np.ndarray, np.ndarray], judged: Tuple[np.ndarray, np.ndarray],
             id_groups: Optional[np.ndarray], ood_groups: Optional[np.ndarray]) -> Dict[str, Any]:
    """Returns what is shown of one pair of scores, in distribution and out, against another's."""
    pair = (*baseline, *judged)
    delta = statistics.auroc_difference(*pair, confidence=0.95, id_groups=id_groups, ood_groups=ood_groups)
    return {"non_inferior": bool(statistics.non_inferior(*pair, MARGIN, 0.95, id_groups, ood_groups)),
            "inferior": bool(delta.high < -MARGIN), "delta": [float(delta.delta), float(delta.low), float(delta.high)]}


def _fresh(set_: Set) -> Dict[str, Any]:
    """Returns the default's false alarms on fresh lane driving: other drives in the same place, never seen."""
    total = _MINUTES.value * 60 * int(lanes.FPS)
    stream = lanes.Lanes(seed=1000, size=sets.SIZE)
    fresh = detector.Detector.from_arrays(set_.detectors[DEFAULT].config(), set_.detectors[DEFAULT].to_arrays())
    alarm = np.empty(total, bool)
    for begin in progress.track(range(0, total, 500), "lanes: fresh driving"):
        for i, frame in enumerate(stream.frames(begin, min(500, total - begin))):
            alarm[begin + i] = fresh.step(set_.runner(frame)).alarm
    return dataclasses.asdict(events.false_alarms(alarm, np.arange(total) == 0, lanes.FPS))


def _heading(results: Mapping[str, Any]) -> str:
    first = next(iter(results.values()))
    return ("# Detection results\n\nWritten by `python benchmarks/detection/report.py`; scores of the int8 file on "
            f"{first['runtime']}, one thread. AUROC with its 95% interval (sequences: whole stretches resampled); "
            "the best baseline is the best of three (on sequences each averaged over 1, 3 or 10 frames), row by row, "
            "on the same frames; NI: non-inferior to it at a margin of 0.01; inferior: the difference's 95% interval "
            "lies below −0.01; otherwise nothing is shown. Of driving, the first columns rank frames by the evidence "
            "that has added up, as the alarm does, the last ones by each frame's own, against baselines of single "
            "frames. "
            f"{DEFAULT} reads the default network, the others a β-VAE.")


def _table(name: str, result: Mapping[str, Any]) -> List[str]:
    delays = any(f"{DEFAULT} delay" in row for row in result["rows"])
    header = ["set", DEFAULT, "95%", "FPR95", PAPER, TWO_SIDED, "best baseline", "NI"]
    if delays:
        header += ["median delay, frames", "hits", FRAMES, "best baseline of frames alone", "NI"]
    lines = ["", f"## {name}", "", "| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for row in result["rows"]:
        auroc = row["auroc"]
        cells = [row["set"], f"{auroc[DEFAULT]:.3f}", f"{row['low']:.3f}–{row['high']:.3f}", f"{row['fpr95']:.3f}",
                 f"{auroc[PAPER]:.3f}", f"{auroc[TWO_SIDED]:.3f}", f"{row['best']} {auroc[row['best']]:.3f}",
                 _shown(row)]
        if FRAMES in row:
            single = row[FRAMES]
            cells += [f"{row[f'{DEFAULT} delay']:g}", f"{row[f'{DEFAULT} hits']:.2f}", f"{auroc[FRAMES]:.3f}",
                      f"{single['best']} {auroc[single['best']]:.3f}", _shown(single)]
        lines.append("| " + " | ".join(cells) + " |")
    rows = result["rows"]
    better = sum(row["auroc"][DEFAULT] > row["auroc"][row["best"]] for row in rows)
    means = {which: float(np.mean([row["auroc"][which] for row in rows])) for which in (DEFAULT, PAPER, TWO_SIDED)}
    trivial = float(np.mean([row["auroc"][row["best"]] for row in rows]))
    listed = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
    lines += ["", f"Mean AUROC over {len(rows)} rows: {listed}, the best baseline of each row {trivial:.3f}. Better "
                  f"than the best baseline on {better}, non-inferior on {sum(row['non_inferior'] for row in rows)}, "
                  f"inferior on {sum(row['inferior'] for row in rows)}."]
    if delays:
        lines += ["", _of_frames(rows)]
    if "false_alarms" in result:
        lines += ["", *(_alarms(which, "untouched test", alarms) for which, alarms in result["false_alarms"].items())]
    else:
        lines.append(f"In-distribution test images flagged: {result['false_positive_rate']:.3f}.")
    if "fresh" in result:
        lines.append(_alarms(DEFAULT, "fresh lane", result["fresh"]))
    return lines


def _shown(against: Mapping[str, Any]) -> str:
    return "yes" if against["non_inferior"] else "**inferior**" if against["inferior"] else "not shown"


def _of_frames(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns how the default ranks single frames of driving, beside baselines of single frames."""
    frames_alone = [row for row in rows if FRAMES in row]
    mine = [row["auroc"][FRAMES] for row in frames_alone]
    best = [row["auroc"][row[FRAMES]["best"]] for row in frames_alone]
    return (f"Frames alone, {len(mine)} rows: {DEFAULT} {np.mean(mine):.3f}, the best baseline of each row "
            f"{np.mean(best):.3f}; better on {int(np.sum(np.greater(mine, best)))}, non-inferior on "
            f"{sum(row[FRAMES]['non_inferior'] for row in frames_alone)}, inferior on "
            f"{sum(row[FRAMES]['inferior'] for row in frames_alone)}.")


def _unseen_table(results: Mapping[str, Any]) -> List[str]:
    """Returns the corruptions that nothing was chosen by, sets side by side."""
    of = {name: {row["set"]: row for row in result["unseen"]} for name, result in results.items() if "unseen" in result}
    if not of:
        return []
    lines = ["", "## Kinds of corruption that no choice was made on", "",
             "Albumentations' transforms of test frames (`benchmarks/detection/unseen.py`), each frame by itself.", "",
             "| kind | " + " | ".join(f"{name} | best baseline" for name in of) + " |",
             "|" + " --- |" * (1 + 2 * len(of))]
    for kind in next(iter(of.values())):
        cells = [cell for rows in of.values() for cell in (
            f"{rows[kind]['auroc'][DEFAULT]:.3f}",
            f"{rows[kind]['best']} {rows[kind]['auroc'][rows[kind]['best']]:.3f}")]
        lines.append("| " + " | ".join([kind, *cells]) + " |")
    for name, rows in of.items():
        mine = [row["auroc"][DEFAULT] for row in rows.values()]
        best = [row["auroc"][row["best"]] for row in rows.values()]
        lines += ["", f"{name}: mean AUROC {np.mean(mine):.3f}, the best baseline of each row {np.mean(best):.3f}; "
                      f"better on {int(np.sum(np.greater(mine, best)))} of {len(mine)}, non-inferior on "
                      f"{sum(row['non_inferior'] for row in rows.values())}."]
    return lines


def _overall(results: Mapping[str, Any]) -> List[str]:
    rows = [row for result in results.values() for row in result["rows"]]
    better = sum(row["auroc"][DEFAULT] > row["auroc"][row["best"]] for row in rows)
    means = ", ".join(f"{which} {np.mean([row['auroc'][which] for row in rows]):.3f}"
                      for which in (DEFAULT, PAPER, TWO_SIDED))
    trivial = float(np.mean([row["auroc"][row["best"]] for row in rows]))
    fine = sum(row["non_inferior"] for row in rows)
    return ["", "## All sets", "",
            f"Mean AUROC over all {len(rows)} truly OOD rows: {means}, the best baseline of each row {trivial:.3f}. "
            f"{DEFAULT} is better than the best baseline on {better} rows, shown to be non-inferior on {fine}, and to "
            f"be inferior on {sum(row['inferior'] for row in rows)} (the interval lies below 0 on "
            f"{sum(row['delta'][2] < 0 for row in rows)}); where both are near 1, a few frames of delay decide.", "",
            "Of driving alone, " + _of_frames(rows)[0].lower() + _of_frames(rows)[1:]]


def _alarms(which: str, what: str, alarms: Mapping[str, Any]) -> str:
    return (f"False alarms of {which} in {alarms['hours'] * 60:.1f} min of {what} driving: {alarms['count']} "
            f"({alarms['per_hour']:.1f} an hour, 95% {alarms['low']:.1f}–{alarms['high']:.1f}).")


def _ablation(results: Mapping[str, Any]) -> List[str]:
    names = [DEFAULT, *ABLATIONS, PAPER, TWO_SIDED]
    lines = ["", "## Ablation", "", "Mean AUROC over each set's rows.", "",
             "| detector | " + " | ".join(results) + " |", "|" + " --- |" * (len(results) + 1)]
    for name in names:
        cells = [f"{np.mean([row['auroc'][name] for row in result['rows']]):.4f}" for result in results.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _costs(set_: Set) -> List[str]:
    """Returns what the network and each detector's arithmetic take, interleaved, the least of many runs."""
    images, _ = datasets.load_split(set_.data, "test", sets.SIZE, 100)
    outputs = [{**set_.bvae(image), **set_.runner(image)} for image in images]
    names = [DEFAULT, *ABLATIONS, PAPER, TWO_SIDED]
    least = {name: np.inf for name in [*names, "network"]}
    for _ in range(20):
        begin = time.process_time()
        for image in images:
            set_.runner(image)
        least["network"] = min(least["network"], (time.process_time() - begin) / len(images))
        for name in names:
            judge = set_.detectors[name]
            begin = time.process_time()
            for output in outputs:
                judge.step(output)
            least[name] = min(least[name], (time.process_time() - begin) / len(outputs))
    lines = ["", "## Cost", "", "Processor time a frame on one core, the least of 20 rounds that take turns.", "",
             "| step | µs |", "| --- | --- |",
             f"| int8 network with early statistics, {sets.SIZE[0]}×{sets.SIZE[1]} | {least['network'] * 1e6:.0f} |"]
    return lines + [f"| arithmetic: {name} | {least[name] * 1e6:.1f} |" for name in names]


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/report.py --data=$LEANOOD_TEST_DATA/data")
