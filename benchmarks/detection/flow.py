"""Detectors of motion: what compression costs, what the network adds, where alarms come and how late, how fast it is.

    python benchmarks/detection/flow.py --data=DIR --runs=runs/flow [--sets=donkeycar,lanes] [--recipes=…]

DIR holds donkeycar_track2.zip, donkeycar_track2_drive2.zip and their tables of times. For each set a twin VAE is
trained on its first part; each recipe's file is calibrated on the next parts and judged on the last, whose recordings
are changed from a known frame on. No flow is computed twice: stacks, and what each file says of them, are kept in
--runs. Killed, the same command goes on. The results go to benchmarks/results/detection-flow.json, the tables to
standard output.
"""
from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import pickle
import statistics
import subprocess
import sys
import time
import unittest.mock
import zipfile
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.data import catalog, dataset, flow, sequences, stacks  # noqa: E402
from leanood.files import atomic  # noqa: E402
from leanood.ood import events, flow_typicality  # noqa: E402
from leanood.tflite import benchmark as timing  # noqa: E402
from leanood.tflite import bundle  # noqa: E402
from leanood.tflite.timing import results as results_  # noqa: E402
from leanood.workflow import calibrate, datasets, evaluate, network  # noqa: E402

DATA = flags.DEFINE_string("data", None, "the folder with donkeycar_track2.zip, donkeycar_track2_drive2.zip, tables")
RUNS = flags.DEFINE_string("runs", "runs/flow", "the folder of networks, stacks and what was said of them")
SETS = flags.DEFINE_list("sets", ["donkeycar", "lanes"], "which sets")
RECIPES = flags.DEFINE_list("recipes", None, "which of RECIPES; default: all")
VARIANTS = flags.DEFINE_integer("benign_variants", 6, "of calibrate", lower_bound=0)
APPEARANCE = flags.DEFINE_string("appearance", None, "a donkeycar detector file of appearance, to be run together with "
                                 "the first recipe's")
SECOND = flags.DEFINE_boolean("drive2", False, "judge another day's drive too")
TIMES = flags.DEFINE_boolean("times", True, "measure latencies too, at the end")

STEPS: Mapping[str, List[str]] = {  # compressed runs, each made once
    "pruned": ["--recipe=prune(0.8)", "--epochs=2", "--images=1500"],
    "distilled": ["--recipe=shrink(0.5)+distill(epochs=4)", "--images=2000"]}
# Recipe -> the run that is converted, the quantization, the nonconformity's name or its channels.
FILES: Mapping[str, Tuple[str, str, Any]] = {
    "baseline float32": ("baseline", "float32", "flow"),
    "combined: shrink+distill+int8": ("distilled", "int8", "flow"),
    "int8": ("baseline", "int8", "flow"),
    "statistics alone": ("baseline", "float32", (flow_typicality.FIELD, flow_typicality.PACE, flow_typicality.JITTER)),
    "published: either ΣKL": ("baseline", "float32", "flow-kl"),
    "latents alone": ("baseline", "float32", (flow_typicality.LATENT,)),
    "distilled": ("distilled", "float32", "flow"),
    "pruned": ("pruned", "float32", "flow")}
COMPRESSED = ("baseline float32", "pruned", "int8", "distilled", "combined: shrink+distill+int8")
ABLATED = ("baseline float32", "statistics alone", "latents alone", "published: either ΣKL")
TRIVIAL = "mean and spread of flow"
TRAINING = {"donkeycar": ["--epochs=8"], "lanes": ["--epochs=4"]}
TOGETHER = (("reversed", 3), ("faster", 3), ("frozen", 3), ("shake", 3), ("drift", 3), ("darker", 3), ("brighter", 3),
            ("rain", 3), ("fog", 3), ("occlusion", 3), ("noise", 3))
SETTINGS = evaluate.Settings(
    severities=(3,), corruptions=("reversed", "faster", "slower", "frozen", "shake", "drift", "object", "rain",
                                  "brighter"),
    benign=("jpeg_75", "right_1", "auto_exposure"), stretch_s=8.0, stretches=5)


class Kept(network.Network):
    """A network whose inputs are kept on disk for all files, and whose outputs for this one.

    Args:
      path: its file.
      motion: how its stacks are computed.
      folder: where they are kept.
    """

    def __init__(self, path: str, motion: flow.Settings, folder: str) -> None:
        loaded = network.load(path, motion=motion, num_threads=2)
        super().__init__(loaded._runners, loaded.size, motion)
        self._folder = folder
        self._file = hashlib.sha256(bundle.flatbuffer(path)).hexdigest()[:12]
        os.makedirs(folder, exist_ok=True)

    def run(self, data: dataset.Dataset, what: str, *, change: Any = None, also: Any = None) -> network.Ran:
        told = (data.description, data.names, data.sequence.tolist(), None if change is None else vars(change)["_seed"])
        key = hashlib.sha256(pickle.dumps(told)).hexdigest()[:20]

        def compute() -> Tuple[stacks.Stacks, List[int]]:
            broken, flows, ends, places, begun = stacks.gaps(data), [], [], [], 0
            for begin in range(0, len(data), 500):
                cut, where, _ = stacks.cut(data, range(begin, min(begin + 500, len(data))), self.motion, broken, change)
                flows.append(cut.flows)
                ends.append(cut.ends + begun)
                places += where
                begun += len(cut.flows)
            return stacks.Stacks(np.concatenate(flows), np.concatenate(ends), self.motion.length), places

        inputs, places = self._stacks(key, compute)
        pieces = list(self.map(lambda rows: inputs[rows], lambda runner, piece: runner.each(piece),
                               [slice(i, i + 512) for i in range(0, len(inputs), 512)], what))
        outputs = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        if also is not None:
            outputs = {**outputs, **self._once(f"also-{key}", lambda: dict(also(inputs)))}
        known = data.where(np.array(places))
        torn = known.starts
        torn[1:] |= np.diff(places) > 1
        return network.Ran(outputs, dataclasses.replace(known, sequence=np.cumsum(torn) - 1), ())

    def inputs(self, images: np.ndarray) -> stacks.Stacks:
        key = hashlib.sha256(images.tobytes()).hexdigest()[:20]
        return self._stacks(key, lambda: (stacks.of_frames(images, self.motion), []))[0]

    def map(self, prepare: Callable, judge: Callable, jobs: List[Any], what: str) -> Any:
        def remembering(runner: Any, prepared: Any) -> Any:
            return judge(_Remembering(runner, self), prepared)

        if not (jobs and isinstance(jobs[0], tuple)):
            return super().map(prepare, remembering, jobs, what)

        def kept(job: Any) -> Tuple[stacks.Stacks, np.ndarray]:
            key = hashlib.sha256(pickle.dumps((what, [getattr(part, "tolist", lambda p=part: p)() for part in job]))
                                 ).hexdigest()[:20]
            stacked, ood = self._stacks(f"{self.motion.method}-{key}", lambda: prepare(job))
            return stacked, np.asarray(ood, bool)

        return super().map(kept, remembering, jobs, what)

    def say(self, runner: Any, inputs: stacks.Stacks) -> Dict[str, np.ndarray]:
        """What this file's runner says of stacks that are kept, kept too."""
        key = hashlib.sha256(inputs.ends.tobytes()).hexdigest()[:12]
        return self._once(f"{self._file}-{os.path.basename(inputs.flows.filename)[7:-4]}-{key}",
                          lambda: runner.each(inputs))

    def _stacks(self, key: str, compute: Callable[[], Tuple[stacks.Stacks, Any]]) -> Tuple[stacks.Stacks, Any]:
        path = os.path.join(self._folder, f"stacks-{key}")
        if not os.path.exists(path + ".npz"):
            stacked, beside = compute()
            np.save(path + ".npy", np.asarray(stacked.flows))
            with atomic.replacing(path + ".npz") as file:
                np.savez(file, ends=stacked.ends, beside=np.asarray(beside))
        told = np.load(path + ".npz")
        return stacks.Stacks(np.load(path + ".npy", mmap_mode="r"), told["ends"], self.motion.length), (
            told["beside"].tolist())

    def _once(self, key: str, compute: Callable[[], Dict[str, np.ndarray]]) -> Dict[str, np.ndarray]:
        path = os.path.join(self._folder, f"said-{key}.npz")
        if not os.path.exists(path):
            arrays = compute()
            with atomic.replacing(path) as file:
                np.savez(file, **arrays)
        return dict(np.load(path))


class _Remembering:
    """A runner that is not asked twice."""

    def __init__(self, runner: Any, kept: Kept) -> None:
        self._runner, self._kept = runner, kept

    def each(self, inputs: stacks.Stacks) -> Dict[str, np.ndarray]:
        return self._kept.say(self._runner, inputs)


def opened(name: str) -> dataset.Dataset:
    if name == "lanes":
        return catalog.open("lanes:frames=8000")
    folder = {"donkeycar": "donkeycar_track2", "drive2": "donkeycar_track2_drive2"}[name]
    target = os.path.join(RUNS.value, "data", folder)
    if not os.path.isdir(target):
        with zipfile.ZipFile(os.path.join(DATA.value, f"{folder}.zip")) as packed:
            packed.extractall(target + ".partial")
        os.rename(target + ".partial", target)
    table = {"donkeycar": f"{folder}_times.csv", "drive2": f"{folder}.csv"}[name]
    return catalog.open(target, times_csv=os.path.join(DATA.value, table))


def leanood(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "leanood.tools.main", *arguments], check=True)


def converted(name: str, run: str, quantize: str, part: str = "encoder") -> str:
    """The path of a run's file, trained, compressed and converted where it isn't yet.

    Args:
      name, run, quantize: of the set, the run and the file.
      part: "encoder", with the flow's statistics; "encoders", without them, for their time.
    """
    folder = os.path.join(RUNS.value, name, run)
    path = os.path.join(folder, f"{part}_{quantize}.tflite")
    baseline = os.path.join(RUNS.value, name, "baseline")
    origin = opened(name).origin
    data = [f"--data={origin['spec']}"] + ([f"--times_csv={origin['times_csv']}"] if origin.get("times_csv") else [])
    if not os.path.exists(os.path.join(baseline, "encoder.h5")):
        leanood("train", "--model=flow_vae", f"--out={baseline}", *data, *TRAINING[name])
    if not os.path.exists(os.path.join(folder, "encoder.h5")):
        leanood("compress", f"--run={baseline}", f"--out={folder}", "--detector=none", *STEPS[run], *data)
    if not os.path.exists(path):
        leanood("convert", f"--model={folder}", f"--quantize={quantize}", f"--out={path}", *data,
                *(["--noearly"] if part == "encoders" else []))
    return path


def judged(name: str, recipe: str) -> Dict[str, Any]:
    """What a recipe's detector does on a set, kept in a file of its own."""
    run, quantize, measure = FILES[recipe]
    kept = os.path.join(RUNS.value, name, f"{_word(recipe)}.json")
    if os.path.exists(kept):
        return dict(json.loads(pathlib.Path(kept).read_text()))
    plain = converted(name, run, quantize)
    settings = datasets.motion(datasets.sidecar(plain)["run"])
    assert settings is not None
    loaded = Kept(plain, settings, os.path.join(RUNS.value, name, "kept"))
    data, detector = opened(name), os.path.join(RUNS.value, name, f"{_word(recipe)}.tflite")
    named = measure if isinstance(measure, str) else "flow"
    unfitted = (calibrate.unfitted if isinstance(measure, str)
                else lambda settings: flow_typicality.FlowTypicality(measure))
    with unittest.mock.patch.object(calibrate, "unfitted", unfitted):
        calibrated = calibrate.fit(loaded, data, calibrate.Settings(detector=named, benign_variants=VARIANTS.value))
    bundle.write(detector, bundle.flatbuffer(plain), calibrate.fields(
        calibrated, loaded, data.fps, data=data.origin, converted=datasets.sidecar(plain)),
        calibrated.detector.to_arrays())
    report = evaluate.score(bundle.load(detector), loaded, data, SETTINGS)
    with open(plain, "rb") as file:
        raw = file.read()
    result: Dict[str, Any] = {
        "bytes": len(raw), "gzipped": len(gzip.compress(raw)), "detector_bytes": os.path.getsize(detector),
        "promise": calibrated.summary.get("promise"), **report.summary}
    atomic.write_text(kept, json.dumps(result, indent=1))
    return result


def second_drive(recipe: str) -> Dict[str, Any]:
    """What a donkeycar recipe's detector says of another day's drive, in which the car is once carried away."""
    run, quantize, _ = FILES[recipe]
    plain, other = converted("donkeycar", run, quantize), opened("drive2")
    settings = datasets.motion(datasets.sidecar(plain)["run"])
    assert settings is not None
    loaded = Kept(plain, settings, os.path.join(RUNS.value, "donkeycar", "kept"))
    ran = loaded.run(other, "scoring another day's drive")
    detector = bundle.load(os.path.join(RUNS.value, "donkeycar", f"{_word(recipe)}.tflite")).detector
    known, alarm = ran.frames, detector.run(ran.outputs, ran.frames.starts)["alarm"]
    return {"false_alarms": dataclasses.asdict(events.false_alarms(alarm, known.starts, known.fps, known.ood)),
            "carried_away": float(alarm[known.ood].mean()) if known.ood.any() else None,
            "alarmed": float(alarm[~known.ood].mean())}


def _word(recipe: str) -> str:
    return recipe.split(":")[0].replace(" ", "_")


def together(appearance: str, motion: str) -> Dict[str, Dict[str, float]]:
    """Of each change the share of stretches that either detector finds, alone and together; kept in a file."""
    kept = os.path.join(RUNS.value, "donkeycar", "together.json")
    if not os.path.exists(kept):
        atomic.write_text(kept, json.dumps(_together(appearance, motion), indent=1))
    return dict(json.loads(pathlib.Path(kept).read_text()))


def _together(appearance: str, motion: str) -> Dict[str, Dict[str, float]]:
    loaded, data = bundle.load([appearance, motion]), opened("donkeycar")
    test = data.where((data.split == "test") & ~data.ood)
    length = int(SETTINGS.stretch_s * test.fps)
    places = sequences.stretches(test, length, 4, sequences.room_for(sequences.NAMES, (3,), length))
    rates: Dict[str, Dict[str, float]] = {}
    for name, severity in TOGETHER:
        hits = []
        for seed, where in enumerate(places):
            pictures, ood = sequences.corrupted(test, where, name, severity, "second_half", seed,
                                                (120, 160)) if name != "frozen" else _frozen(test, where)
            loaded.reset()
            alarms = []
            for picture in pictures:
                alarm = loaded(picture).alarm
                alarms.append([*(verdict.alarm for verdict in loaded.verdicts), alarm])
            after, before = np.array(alarms)[ood], np.array(alarms)[~ood]
            hits.append([*(after.any(axis=0)), before[:, 2].any()])
        shares = np.mean(hits, axis=0).tolist()
        rates[f"{name} {severity}"] = dict(zip(("appearance", "motion", "together", "alarmed before"), shares))
    return rates


def _frozen(test: dataset.Dataset, where: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    pictures = np.stack([test.read(int(i)) for i in where])
    ood = sequences.onset("second_half", len(where))
    return sequences.apply("frozen", pictures, ood, severity=3), ood


def flow_times() -> Dict[str, Any]:
    """Of each method the CPU time of a flow, and how far it misses a picture's known shift, in pixels of 160."""
    cv2.setNumThreads(1)
    data = opened("donkeycar")
    pictures = [data.read(i) for i in range(2000, 2100)]
    large = cv2.resize(pictures[0], (480, 360), interpolation=cv2.INTER_CUBIC)
    results: Dict[str, Any] = {}
    for method in flow.METHODS:
        computing = flow.Flow(flow.Settings(method=method))
        begin = time.process_time()
        grey = [computing.prepare(picture) for picture in pictures]
        middle = time.process_time()
        for before, after in zip(grey, grey[1:]):
            computing.between(before, after)
        end = time.process_time()
        misses = {}
        for shift in (1, 2, 4, 8, 16):
            moved = [computing.prepare(np.ascontiguousarray(large[60:180, left:left + 160]))
                     for left in (100, 100 + shift)]
            pixels = flow.to_pixels(computing.between(*moved)[:113], computing.settings)
            misses[shift] = float(np.median(np.abs(pixels + shift)))
        results[method] = {"prepare_ms": 10 * (middle - begin), "flow_ms": 1e3 / 99 * (end - middle),
                           "median_miss": misses}
    return results


def pipeline(detector: str) -> Dict[str, float]:
    """CPU milliseconds a frame, from the decoded frame to the verdict on one thread, by stage, medians of 300."""
    cv2.setNumThreads(1)
    data, loaded = opened("donkeycar"), bundle.load(detector)
    pictures = [data.read(i) for i in range(2000, 2320)]
    begin, cpu = time.perf_counter(), time.process_time()
    stages: Dict[str, List[float]] = {"preprocess": [], "invoke": [], "detect": []}
    for picture in pictures:
        if not loaded(picture).waiting:
            for stage, seconds in loaded.stages_s.items():
                stages[stage].append(1e3 * seconds)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begin
    return {"frames_per_cpu_s": len(pictures) / cpu, "frames_per_s": len(pictures) / wall,
            **{f"{stage}_ms": statistics.median(values) for stage, values in stages.items()}}


def latencies(name: str) -> Dict[str, Any]:
    """Of each int8 graph, whole and the encoders alone, its time against the baseline's in processes that take turns.

    The fastest of 300 runs is what other work on the machine disturbs least: a longer graph is interrupted more often.
    """
    times: Dict[str, Any] = {}
    for recipe, (run, quantize, _) in FILES.items():
        if quantize != "int8" or recipe not in chosen():
            continue
        for part in ("encoder", "encoders"):
            first, second, ratio = timing.compare(*(timing.Setup(converted(name, *file, part)) for file in (
                ("baseline", "float32"), (run, quantize))), runs=300)
            times.setdefault(recipe, {})["whole" if part == "encoder" else "encoders alone"] = {
                "baseline_ms": 1e3 * first.invoke.min, "ms": 1e3 * second.invoke.min,
                "faster": first.invoke.min / second.invoke.min, "of_medians": 1 / ratio.ratio}
    return times


def chosen() -> Sequence[str]:
    return RECIPES.value or list(FILES)


def main(argv: Sequence[str]) -> int:
    results: Dict[str, Any] = {"sets": {}}
    loads: Dict[Any, Any] = {}
    load = stacks.load

    def once(data: dataset.Dataset, settings: flow.Settings) -> Any:
        key = (data.description, data.names[0], len(data), settings)
        loads.setdefault(key, None)
        if loads[key] is None:
            loads[key] = load(data, settings)
        return loads[key]

    with unittest.mock.patch.object(stacks, "load", once):  # the baseline's training stacks are those of every file
        for name in SETS.value:
            for recipe in chosen():
                print(f"{name}: {recipe}", file=sys.stderr, flush=True)
                results["sets"].setdefault(name, {})[recipe] = judged(name, recipe)
            loads.clear()
    if SECOND.value:
        results["drive2"] = {recipe: second_drive(recipe) for recipe in chosen()}
    if APPEARANCE.value:
        results["together"] = together(APPEARANCE.value, os.path.join(RUNS.value, "donkeycar", "combined.tflite"))
    if TIMES.value and "donkeycar" in SETS.value:
        results["latency"], results["flow"] = latencies("donkeycar"), flow_times()
        results["pipeline"] = {recipe: pipeline(os.path.join(RUNS.value, "donkeycar", f"{file}.tflite"))
                               for recipe, file in (("baseline float32", "baseline_float32"),
                                                    ("combined: shrink+distill+int8", "combined"))
                               if recipe in chosen()}
    print(table(results))
    return results_.write(__file__, figures(results), results)


def figures(results: Mapping[str, Any]) -> List[results_.Figure]:
    """What the tables come to, beside the targets."""
    lines: List[results_.Figure] = []
    for name, recipes in results["sets"].items():
        base, small = recipes.get("baseline float32"), recipes.get("combined: shrink+distill+int8")
        if base is None:
            continue
        rows = {row["set"]: row for row in base["rows"]}
        for row in ("frozen 3", "faster 3", "shake 3", "reversed 3"):
            lines.append(results_.Figure(f"motion, {name}: AUROC of {row}", f"{rows[row]['auroc']:.3f}", "≥ 0.95",
                                         rows[row]["auroc"] >= 0.95))
        better = sum(row["delta"] > 0 for row in base["rows"])
        level = sum(bool(row["non_inferior"]) for row in base["rows"])
        lines.append(results_.Figure(
            f"motion, {name}: rows better than mean and spread of flow; non-inferior to it at 0.01",
            f"{better} of {len(rows)}; {level}", "most; all", 2 * better > len(rows) and level == len(rows)))
        if small is not None:
            lost = max(before["auroc"] - after["auroc"] for before, after in zip(base["rows"], small["rows"]))
            times = base["bytes"] / small["bytes"]
            lines.append(results_.Figure(f"motion, {name}: AUROC that shrink+distill+int8 costs on any row",
                                         f"{lost:.3f}", "≤ 0.010", lost <= 0.01))
            lines.append(results_.Figure(f"motion, {name}: its file", f"{times:.1f}× smaller", "≥ 10×", times >= 10))
    for recipe, parts in results.get("latency", {}).items():
        for part, times in parts.items() if recipe.startswith("combined") else ():
            lines.append(results_.Figure(
                f"motion: shrink+distill+int8 against float32, {part}, fastest of 300 runs",
                f"{times['ms']:.2f} against {times['baseline_ms']:.2f} ms, {times['faster']:.1f}× faster",
                "≥ 4×" if part != "whole" else "", part == "whole" or times["faster"] >= 4))
    for recipe, times in results.get("pipeline", {}).items():
        lines.append(results_.Figure(f"motion: from frame to verdict on one thread, {recipe}",
                                     f"{times['frames_per_cpu_s']:.0f} frames a second of processor time", "≥ 20",
                                     times["frames_per_cpu_s"] >= 20))
    return lines


def table(results: Mapping[str, Any]) -> str:
    """The results as Markdown: of each row and recipe AUROC with its interval, hits and the median delay in frames."""
    lines: List[str] = []
    for name, recipes in results["sets"].items():
        any_ = next(iter(recipes.values()))
        for part in (COMPRESSED, ABLATED):
            compared = {recipe: recipes[recipe] for recipe in part if recipe in recipes}
            if len(compared) > 1 or part is COMPRESSED:
                lines += ["", f"{name}: {any_['stretches']} stretches of {SETTINGS.stretch_s:g} s", ""]
                lines += _rows(compared, any_)
    for recipe, parts in results.get("latency", {}).items():
        lines += [f"{recipe}, {part}: {times['ms']:.2f} ms against {times['baseline_ms']:.2f}, {times['faster']:.1f}x "
                  f"(of medians: {times['of_medians']:.1f}x)" for part, times in parts.items()]
    for method, times in results.get("flow", {}).items():
        misses = ", ".join(f"{shift}: {miss:.2f}" for shift, miss in times["median_miss"].items())
        lines.append(f"{method}: {times['prepare_ms']:.2f} ms to prepare, {times['flow_ms']:.2f} ms a flow; a shift by "
                     f"so many pixels is missed by {misses}")
    return "\n".join(lines + [json.dumps({key: results[key] for key in ("pipeline", "drive2", "together")
                                          if key in results}, indent=1)])


def _rows(recipes: Mapping[str, Mapping[str, Any]], any_: Mapping[str, Any]) -> List[str]:
    lines = ["| | " + " | ".join(recipes) + " | mean and spread of flow |", "| --- " * (len(recipes) + 2) + "|"]
    for number, row in enumerate(any_["rows"]):
        cells = [_cell(result["rows"][number]) for result in recipes.values()]
        lines.append(f"| {row['set']} | " + " | ".join(cells) + f" | {row['baselines'][TRIVIAL]:.3f} |")
    for what, said in (
            ("false alarms in untouched test driving", lambda result: (
                f"{result['false_alarms']['count']} in {60 * result['false_alarms']['hours']:.1f} min")),
            ("frames that alarm unchanged", lambda result: f"{result['benign'][0]['usual']:.3f}"),
            *((row["change"], lambda result, i=i: f"{result['benign'][i]['alarmed']:.3f}")
              for i, row in enumerate(any_["benign"])),
            ("bytes, gzipped", lambda result: f"{result['bytes']:,}, {result['gzipped']:,}")):
        lines.append(f"| {what} | " + " | ".join(said(result) for result in recipes.values()) + " | |")
    return lines


def _cell(row: Mapping[str, Any]) -> str:
    interval = "" if row["auroc_low"] is None else f" ({row['auroc_low']:.2f}–{row['auroc_high']:.2f})"
    delay = f" after {row['delay_frames']:g}" if row["hit_rate"] > 0 else ""
    return f"**{row['auroc']:.3f}**{interval}; {row['hit_rate']:.0%}{delay}"


if __name__ == "__main__":
    app.run(main)
