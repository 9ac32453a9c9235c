"""Detectors of motion: what compression costs, what the network adds, where alarms come and how late, how fast it is.

    python benchmarks/detection/flow.py --data=DIR --runs=runs/flow [--appearance=appearance.tflite] [--sets=…]

DIR holds donkeycar_track2.zip, donkeycar_track2_drive2.zip and their tables of times. On donkeycar and on lanes a twin
VAE is trained on the first part; each recipe's file is calibrated on the next parts and judged on the last, whose
recordings are changed from a known frame on. `drive2` is another day's drive, judged by donkeycar's files: its last
quarter is changed likewise, all of it counts false alarms. What was worked out is kept in --runs, flows among it, so
that none is computed twice; killed, the same command goes on. The results go to benchmarks/results/detection-flow.json,
the tables to --out.
"""
from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
import zipfile
from typing import Any, Dict, List, Mapping, Sequence, Tuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.data import catalog, dataset, flow, sequences  # noqa: E402
from leanood.files import atomic  # noqa: E402
from leanood.ood import events, flow_typicality, metrics  # noqa: E402
from leanood.tflite import benchmark as timing  # noqa: E402
from leanood.tflite import bundle  # noqa: E402
from leanood.tflite.timing import results as results_  # noqa: E402
from leanood.workflow import calibrate, datasets, evaluate, network, prepared  # noqa: E402

DATA = flags.DEFINE_string("data", None, "the folder with donkeycar_track2.zip, donkeycar_track2_drive2.zip, tables")
RUNS = flags.DEFINE_string("runs", "runs/flow", "the folder of networks, of flows and of what came of them")
SETS = flags.DEFINE_list("sets", ["donkeycar", "drive2", "lanes"], "which sets")
RECIPES = flags.DEFINE_list("recipes", None, "which of FILES; default: all")
APPEARANCE = flags.DEFINE_string("appearance", None, "a donkeycar detector file of appearance, to be run together with "
                                 "the combined recipe's")
DEVICE = flags.DEFINE_string("device_python", None, "a Python whose environment holds the base install and the video "
                             "extra alone, to watch a video with; default: this one")
OUT = flags.DEFINE_string("out", "docs/flow_results.md", "the tables, in Markdown")
SO_FAR = flags.DEFINE_boolean("so_far", False, "work nothing out: tables of what earlier runs of the command came to")
TIMES = flags.DEFINE_boolean("times", True, "measure latencies too, at the end")

STEPS: Mapping[str, List[str]] = {  # compressed runs, each made once
    "pruned": ["--recipe=prune(0.8)", "--epochs=2", "--images=1500"],
    "pqat": ["--recipe=prune(0.8)+pqat", "--epochs=2", "--images=1500"],
    "distilled": ["--recipe=shrink(0.5)+distill(epochs=4)", "--images=2000"]}
BASELINE, COMBINED = "baseline", "combined"
# Recipe -> the run that is converted, the quantization, the nonconformity's name or its channels.
FILES: Mapping[str, Tuple[str, str, Any]] = {
    BASELINE: ("baseline", "float32", "flow"),
    COMBINED: ("distilled", "int8", "flow"),
    "int8": ("baseline", "int8", "flow"),
    "PQAT": ("pqat", "int8", "flow"),
    "distilled": ("distilled", "float32", "flow"),
    "pruned": ("pruned", "float32", "flow"),
    "statistics alone": ("baseline", "float32", (flow_typicality.FIELD, flow_typicality.PACE, flow_typicality.COURSE,
                                                 flow_typicality.CALM)),
    "latents alone": ("baseline", "float32", (flow_typicality.LATENT,)),
    "published": ("baseline", "float32", "flow-kl")}
COMPRESSED = (BASELINE, "pruned", "int8", "PQAT", "distilled", COMBINED)
ABLATED = (BASELINE, "statistics alone", "latents alone", "published")
TOLD = {BASELINE: "float32", "pruned": "`prune(0.8)`, float32", "int8": "after training", "PQAT":
        "`prune(0.8)+pqat`, int8", "distilled": "`shrink(0.5)+distill(epochs=4)`, float32", COMBINED: "the same, int8",
        "statistics alone": "of the flow, no encoder", "latents alone": "one Gaussian", "published": "either ΣKL"}
TRIVIAL = "mean and spread of flow"
TRAINING = {"donkeycar": ["--epochs=8"], "lanes": ["--epochs=4"]}
ASKED = ("frozen 3", "faster 3", "shake 3", "reversed 3")  # the rows that the targets name
TOGETHER = (("reversed", 3), ("faster", 3), ("frozen", 3), ("shake", 3), ("drift", 3), ("object", 3), ("darker", 3),
            ("brighter", 3), ("rain", 3), ("fog", 3), ("occlusion", 3), ("noise", 3))
SETTINGS = evaluate.Settings(
    severities=(3,), corruptions=("reversed", "faster", "slower", "frozen", "shake", "drift", "object", "rain",
                                  "brighter"),
    benign=("jpeg_75", "right_1", "auto_exposure"), stretch_s=8.0, stretches=8)


def opened(name: str) -> dataset.Dataset:
    if name == "lanes":
        return dataclasses.replace(catalog.open("lanes:frames=8000"), kept=_folder(name, "flows"))
    archive = {"donkeycar": "donkeycar_track2", "drive2": "donkeycar_track2_drive2"}[name]
    target = os.path.join(RUNS.value, "data", archive)
    if not os.path.isdir(target):
        with zipfile.ZipFile(os.path.join(DATA.value, f"{archive}.zip")) as packed:
            packed.extractall(target + ".partial")
        os.rename(target + ".partial", target)
    table = {"donkeycar": f"{archive}_times.csv", "drive2": f"{archive}.csv"}[name]
    return dataclasses.replace(catalog.open(target, times_csv=os.path.join(DATA.value, table)),
                               kept=_folder(name, "flows"))


def another_day() -> dataset.Dataset:
    """The last quarter of drive2 as test driving, beside the frames that donkeycar's detectors were trained on."""
    drive, other = opened("donkeycar"), opened("drive2")
    train, test = drive.where(drive.split == "train"), other.where((other.split == "test") & ~other.ood)
    seconds = [np.full(len(part), np.nan) if part.seconds is None else part.seconds for part in (train, test)]
    return dataclasses.replace(
        test, names=train.names + test.names, partition=np.concatenate([train.partition, test.partition]),
        sequence=np.concatenate([train.sequence, train.sequence.max() + 1 + test.sequence]),
        split=np.concatenate([train.split, test.split]), ood=np.concatenate([train.ood, test.ood]),
        read=lambda i: train.read(i) if i < len(train) else test.read(i - len(train)),
        seconds=np.concatenate(seconds), factors={})


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
    kept = os.path.join(_folder(name), f"{_word(recipe)}.json")
    if os.path.exists(kept):
        return dict(json.loads(pathlib.Path(kept).read_text()))
    plain, detector = calibrated("donkeycar" if name == "drive2" else name, recipe)
    data = another_day() if name == "drive2" else opened(name)
    opened_file = bundle.load(detector)
    report = evaluate.score(opened_file, _network(plain, name, "judged"), data, SETTINGS)
    with open(plain, "rb") as file:
        raw = file.read()
    result: Dict[str, Any] = {
        "bytes": len(raw), "gzipped": len(gzip.compress(raw)), "detector_bytes": os.path.getsize(detector),
        "promise": opened_file.config["calibration"].get("promise"), **report.summary}
    if name == "drive2":
        result["whole"] = _whole_day(plain, opened_file)
    atomic.write_text(kept, json.dumps(result, indent=1))
    return result


def calibrated(name: str, recipe: str) -> Tuple[str, str]:
    """The paths of a recipe's file and of its detector, made where they aren't yet."""
    run, quantize, measure = FILES[recipe]
    plain, detector = converted(name, run, quantize), os.path.join(_folder(name), f"{_word(recipe)}.tflite")
    if not os.path.exists(detector):
        data, loaded = opened(name), _network(plain, name, "calibration")
        settings = (calibrate.Settings(detector=measure) if isinstance(measure, str) else calibrate.Settings(
            detector="flow", unfitted=lambda: flow_typicality.FlowTypicality(measure)))
        calibrate.write(detector, bundle.flatbuffer(plain), calibrate.fit(loaded, data, settings), loaded, data.fps,
                        data=data.origin, converted=datasets.sidecar(plain))
    return plain, detector


def _whole_day(plain: str, detector: bundle.BundledDetector) -> Dict[str, Any]:
    """What a detector says of all of drive2, at whose end the car is carried away."""
    ran = _network(plain, "drive2", "whole").run(opened("drive2"), "scoring another day's drive")
    judgement, known = detector.detector.run(ran.outputs, ran.frames.starts), ran.frames
    alarm = judgement["alarm"]
    return {"false_alarms": dataclasses.asdict(events.false_alarms(alarm, known.starts, known.fps, known.ood)),
            "alarmed": float(alarm[~known.ood].mean()), "carried_away": float(alarm[known.ood].mean()),
            "carried_after": int(np.argmax(alarm[known.ood])) if alarm[known.ood].any() else None,
            "carried_auroc": metrics.evaluate(judgement["score"][~known.ood], judgement["score"][known.ood]).auroc}


def _network(plain: str, name: str, what: str) -> network.Network:
    """The network of a file, whose inputs for one purpose are kept for the next file."""
    settings = datasets.motion(datasets.sidecar(plain)["run"])
    return network.load(plain, motion=settings, prepared=prepared.Prepared(_folder(name, "prepared", what)))


def _folder(name: str, *parts: str) -> str:
    path = os.path.join(RUNS.value, name, *parts)
    os.makedirs(path, exist_ok=True)
    return path


def _word(recipe: str) -> str:
    return recipe.replace(" ", "_")


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
    places = sequences.stretches(test, length, 8, sequences.room_for(sequences.NAMES, (3,), length))
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
    """Of each method the CPU time of a flow, how far it misses a known shift, and what it follows at double speed.

    A shift is in pixels of 160; what is followed is the share, the median over a lap's turns, that the whole picture's
    flow over two frames has of the two single ones, where these come to ten pixels or more.
    """
    cv2.setNumThreads(1)
    data = opened("donkeycar")
    pictures = [data.read(i) for i in range(2000, 2100)]
    lap = [data.read(i) for i in range(2000, 2300)]
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

        grey = [computing.prepare(picture) for picture in lap]
        single = np.array([_across(computing, *pair) for pair in zip(grey, grey[1:])])
        both, double = single[:-1] + single[1:], np.array([_across(computing, *pair) for pair in zip(grey, grey[2:])])
        turning = np.abs(both) >= 10
        results[method] = {"prepare_ms": 10 * (middle - begin), "flow_ms": 1e3 / 99 * (end - middle),
                           "median_miss": misses, "turning": int(turning.sum()),
                           "followed": float(np.median(double[turning] / both[turning])) if turning.any() else None}
    return results


def _across(computing: flow.Flow, before: np.ndarray, after: np.ndarray) -> float:
    """How far the picture moves across between two prepared frames, in pixels: the median of its flow."""
    return float(np.median(flow.to_pixels(computing.between(before, after)[:113], computing.settings)))


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


def watched(detector: str) -> Dict[str, Any]:
    """What `leanood monitor` says of a video of test driving, 300 frames long, that then runs backwards for 150."""
    data, place = opened("donkeycar"), _folder("donkeycar", "watched")
    first = int(np.flatnonzero(data.split == "test")[0]) + 400
    video, records = os.path.join(place, "drive.avi"), os.path.join(place, "drive.jsonl")
    writer = cv2.VideoWriter(video, cv2.VideoWriter_fourcc(*"MJPG"), data.fps, (160, 120))
    writer.set(cv2.VIDEOWRITER_PROP_QUALITY, 98)
    for i in [*range(first, first + 300), *range(first + 299, first + 149, -1)]:
        writer.write(data.read(i)[..., ::-1])
    writer.release()
    pathlib.Path(records).unlink(missing_ok=True)
    program = ("import importlib.util, sys; print(importlib.util.find_spec('tensorflow') is not None, "
               "file=sys.stderr); from leanood.tools import main; main.run()")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH" or not DEVICE.value}
    done = subprocess.run([DEVICE.value or sys.executable, "-c", program, "monitor", detector, f"--source={video}",
                           f"--jsonl={records}", "--json", "--view=none"], check=True, capture_output=True, text=True,
                          env=environment)
    alarms = [record["frame"] for record in map(json.loads, pathlib.Path(records).read_text().splitlines())
              if record["alarm"]]
    return {**json.loads(done.stdout), "tensorflow": "True" in done.stderr.split(),
            "first_alarm": alarms[0] if alarms else None}


def times() -> Dict[str, Any]:
    """How long everything takes, measured once with what is chosen and kept in a file."""
    kept = os.path.join(_folder("donkeycar"), "times.json")
    if not os.path.exists(kept):
        combined = calibrated("donkeycar", COMBINED)[1]
        atomic.write_text(kept, json.dumps({
            "latency": latencies("donkeycar"), "flow": flow_times(), "watched": watched(combined),
            "pipeline": {BASELINE: pipeline(calibrated("donkeycar", BASELINE)[1]), COMBINED: pipeline(combined)}},
            indent=1))
    return dict(json.loads(pathlib.Path(kept).read_text()))


def latencies(name: str) -> Dict[str, Any]:
    """Of each compressed graph, whole and the encoders alone, its time against the baseline's, processes taking turns.

    The fastest of 300 runs is what other work on the machine disturbs least: a longer graph is interrupted more often.
    """
    times: Dict[str, Any] = {}
    for recipe in (recipe for recipe in COMPRESSED[1:] if recipe in chosen()):
        for part, told in (("encoder", "whole"), ("encoders", "encoders alone")):
            first, second, ratio = timing.compare(*(timing.Setup(converted(name, *FILES[which][:2], part))
                                                    for which in (BASELINE, recipe)), runs=300)
            times.setdefault(recipe, {})[told] = {
                "baseline_ms": 1e3 * first.invoke.min, "ms": 1e3 * second.invoke.min,
                "faster": first.invoke.min / second.invoke.min, "of_medians": 1 / ratio.ratio}
    return times


def chosen() -> Sequence[str]:
    return RECIPES.value or list(FILES)


def main(argv: Sequence[str]) -> int:
    results: Dict[str, Any] = {"sets": {}}
    for name in SETS.value:
        # What the parts add is told where there is most to tell it by.
        for recipe in (recipe for recipe in chosen() if recipe in COMPRESSED or name == "donkeycar"):
            if SO_FAR.value and not os.path.exists(os.path.join(_folder(name), f"{_word(recipe)}.json")):
                continue
            print(f"{name}: {recipe}", file=sys.stderr, flush=True)
            results["sets"].setdefault(name, {})[recipe] = judged(name, recipe)
    if APPEARANCE.value:
        results["together"] = together(APPEARANCE.value, calibrated("donkeycar", COMBINED)[1])
    if TIMES.value and "donkeycar" in SETS.value:
        results.update(times())
    text = document(results)
    print(text)
    atomic.write_text(OUT.value, text)
    return results_.write(__file__, figures(results), results)


def figures(results: Mapping[str, Any]) -> List[results_.Figure]:
    """What the tables come to, beside the targets."""
    lines: List[results_.Figure] = []
    for name, recipes in results["sets"].items():
        base, small = recipes.get(BASELINE), recipes.get(COMBINED)
        if base is None:
            continue
        rows = {row["set"]: row for row in base["rows"]}
        for row in ASKED:
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
            lines.append(results_.Figure(f"motion, {name}: AUROC that the combined recipe costs on any row",
                                         f"{lost:.3f}", "≤ 0.010", lost <= 0.01))
            lines.append(results_.Figure(f"motion, {name}: its file", f"{times:.1f}× smaller", "≥ 10×", times >= 10))
    for recipe, parts in results.get("latency", {}).items():
        for part, times in parts.items() if recipe == COMBINED else ():
            lines.append(results_.Figure(
                f"motion: the combined recipe against float32, {part}, fastest of 300 runs",
                f"{times['ms']:.2f} against {times['baseline_ms']:.2f} ms, {times['faster']:.1f}× faster",
                "≥ 4×" if part != "whole" else "", part == "whole" or times["faster"] >= 4))
    for recipe, times in results.get("pipeline", {}).items():
        lines.append(results_.Figure(f"motion: from frame to verdict on one thread, {recipe}",
                                     f"{times['frames_per_cpu_s']:.0f} frames a second of processor time", "≥ 20",
                                     times["frames_per_cpu_s"] >= 20))
    return lines


def document(results: Mapping[str, Any]) -> str:
    """The results as Markdown: of each row and recipe AUROC with its interval, hits and the median delay in frames."""
    lines = ["# The detector of motion: every figure", "",
             "Written by `benchmarks/detection/flow.py`; what is measured, how, and what follows from it is told in",
             "[flow.md](flow.md). A cell is the AUROC (95% interval, stretches resampled), the share of stretches that",
             "alarm, and the median delay in frames."]
    for name, recipes in results["sets"].items():
        any_ = next(iter(recipes.values()))
        for part, title in ((COMPRESSED, "what compression costs"), (ABLATED, "what the parts see")):
            compared = {recipe: recipes[recipe] for recipe in part if recipe in recipes}
            if len(compared) > 1 or part is COMPRESSED:
                lines += ["", f"## {name}: {title}", "",
                          f"{any_['stretches']} stretches of {SETTINGS.stretch_s:g} s.", ""]
                lines += _rows(compared, any_, results.get("latency", {}) if name == "donkeycar" else {})
    if "together" in results:
        lines += ["", "## Appearance and motion together", "", "| | appearance | motion | together | before |",
                  "| --- " * 5 + "|"]
        lines += [f"| {name} | " + " | ".join(f"{share:.0%}" for share in shares.values()) + " |"
                  for name, shares in results["together"].items()]
    if "flow" in results:
        lines += ["", "## Time", "", "| a flow | to prepare a frame, ms | a flow, ms | "
                  + " | ".join(f"misses {shift} px by" for shift in (1, 2, 4, 8, 16)) + " | follows at double "
                  "speed |", "| --- " * 9 + "|"]
        lines += [f"| {method} | {times['prepare_ms']:.2f} | {times['flow_ms']:.2f} | "
                  + " | ".join(f"{miss:.2f}" for miss in times["median_miss"].values())
                  + (" | – |" if times["followed"] is None else f" | {times['followed']:.0%} |")
                  for method, times in results["flow"].items()]
    if "pipeline" in results:
        lines += ["", "| from frame to verdict, one thread | frames a second of processor time | by the clock | "
                  "preprocess, ms | invoke, ms | detect, ms |", "| --- " * 6 + "|"]
        lines += [f"| {recipe} | {times['frames_per_cpu_s']:.0f} | {times['frames_per_s']:.0f} | "
                  f"{times['preprocess_ms']:.2f} | {times['invoke_ms']:.2f} | {times['detect_ms']:.2f} |"
                  for recipe, times in results["pipeline"].items()]
    if "watched" in results:
        told = results["watched"]
        lines += ["", f"`leanood monitor` with the combined file on a video of {told['frames']} frames, "
                  f"{'with' if told['tensorflow'] else 'without'} TensorFlow in the environment:",
                  f"{told['fps']:.0f} frames a second by the clock, the median frame {told['latency_p50_ms']:.1f} ms; "
                  f"played backwards from frame 300 on, the first alarm comes at frame {told['first_alarm']}."]
    return "\n".join(lines) + "\n"


def _rows(recipes: Mapping[str, Mapping[str, Any]], any_: Mapping[str, Any],
          latency: Mapping[str, Mapping[str, Mapping[str, float]]]) -> List[str]:
    lines = ["| | " + " | ".join(f"{recipe}: {TOLD[recipe]}" for recipe in recipes) + f" | {TRIVIAL} |",
             "| --- " * (len(recipes) + 2) + "|"]
    for number, row in enumerate(any_["rows"]):
        cells = [_cell(result["rows"][number]) for result in recipes.values()]
        lines.append(f"| {row['set']} | " + " | ".join(cells) + f" | {row['baselines'][TRIVIAL]:.3f} |")

    def add(what: str, said: Any) -> None:
        lines.append(f"| {what} | " + " | ".join(said(recipe, result) for recipe, result in recipes.items()) + " | |")

    add("false alarms in untouched test driving", lambda _, result: _counted(result["false_alarms"]))
    add("frames that alarm unchanged", lambda _, result: f"{result['benign'][0]['usual']:.3f}")
    for number, row in enumerate(any_["benign"]):
        add(f"benign: {row['change']}", lambda _, result, i=number: f"{result['benign'][i]['alarmed']:.3f}")
    if "whole" in any_:
        add("false alarms in the whole drive", lambda _, result: _counted(result["whole"]["false_alarms"]))
        add("carried away", lambda _, result: f"{result['whole']['carried_auroc']:.3f}; " + (
            "missed" if result["whole"]["carried_after"] is None else f"after {result['whole']['carried_after']}"))
    add("bytes, gzipped", lambda _, result: f"{result['bytes']:,}, {result['gzipped']:,}")
    for part in ("encoders alone", "whole") if latency else ():
        add(f"{part}, ms", lambda recipe, _, part=part: "1×" if recipe not in latency else (
            f"{latency[recipe][part]['ms']:.2f} ({latency[recipe][part]['faster']:.1f}×)"))
    return lines


def _counted(alarms: Mapping[str, float]) -> str:
    return f"{alarms['count']} in {60 * alarms['hours']:.1f} min"


def _cell(row: Mapping[str, Any]) -> str:
    interval = "" if row["auroc_low"] is None else f" ({row['auroc_low']:.2f}–{row['auroc_high']:.2f})"
    delay = f" after {row['delay_frames']:g}" if row["hit_rate"] > 0 else ""
    return f"**{row['auroc']:.3f}**{interval}; {row['hit_rate']:.0%}{delay}"


if __name__ == "__main__":
    app.run(main)
