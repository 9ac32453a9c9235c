"""The whole journey on made-up lane scenes: train, convert, calibrate and evaluate, as float32 and as int8.

Each step is a verb that you can run yourself; the commands are printed as they run. It takes a few minutes on two
cores, and what was finished is not done again. The folder then holds the run, the detector files, tables and plots.
"""
from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any, Dict, List, Sequence

from absl import flags

from leanood.tools import command

_OUT = flags.DEFINE_string("out", "demo", "the folder for everything that the demo makes")
_FRAMES = flags.DEFINE_integer("frames", 6000, "frames of lane scenes, of which half train", lower_bound=1000)
_EPOCHS = flags.DEFINE_integer("epochs", 3, "epochs of training", lower_bound=1)
_JSON = command.define_json()

_SCENE = 100  # frames a scene: many short ones show more of what is normal than few long ones
_QUANTIZE = ("float32", "int8")
_EVALUATE = ("--corruptions=darker,rain,snow,fog,night,motion_blur,noise,occlusion,dead_columns,frozen",
             "--severities=4", "--stretches=4", "--stretch_s=6", "--benign=yuv420,jpeg_75,noise_1,right_1")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
    begin = time.monotonic()
    out = _OUT.value
    run_folder = os.path.join(out, "run")
    if not os.path.exists(os.path.join(run_folder, "encoder.h5")):
        _leanood("train", f"--data=lanes:frames={_FRAMES.value},scene={_SCENE}", "--size=120x160",
                 f"--epochs={_EPOCHS.value}", f"--out={run_folder}")
    reports: Dict[str, Dict[str, Any]] = {}
    for quantize in _QUANTIZE:
        network = os.path.join(run_folder, f"encoder_{quantize}.tflite")
        detector = os.path.join(out, f"detector_{quantize}.tflite")
        results = os.path.join(out, f"results_{quantize}")
        _leanood("convert", f"--model={run_folder}", f"--quantize={quantize}")
        # Minutes of driving carry no promise of three false alarms an hour: thresholds would lie too high to see much.
        _leanood("calibrate", network, f"--out={detector}", "--sensitivity=high")
        _leanood("evaluate", detector, f"--out={results}", *_EVALUATE)
        with open(os.path.join(results, "evaluation.json"), encoding="utf-8") as stream:
            reports[quantize] = json.load(stream)
    print(json.dumps(reports) if _JSON.value else _table(reports))
    print(f"done in {time.monotonic() - begin:.0f} s; the plots are in {out}/results_*, the detector that ships is "
          f"{out}/detector_int8.tflite", file=sys.stderr)


def _leanood(verb: str, *arguments: str) -> None:
    """Runs a verb in a process of its own, as a user would; two verbs can't share one process's flags."""
    print(f"$ leanood {verb} {shlex.join(arguments)}", file=sys.stderr, flush=True)
    here = os.path.dirname(os.path.abspath(__file__))
    done = subprocess.run([sys.executable, os.path.join(here, "main.py"), verb, *arguments], stdout=subprocess.DEVNULL)
    if done.returncode:
        raise OSError(f"`leanood {verb}` ended with status {done.returncode}; what it said is above")


def _table(reports: Dict[str, Dict[str, Any]]) -> str:
    names = [row["set"] for row in reports[_QUANTIZE[0]]["rows"]]
    rows: List[List[Any]] = []
    for i, name in enumerate(names):
        row: List[Any] = [name]
        for quantize in _QUANTIZE:
            measured = reports[quantize]["rows"][i]
            row += [f"{measured['auroc']:.3f}", f"{measured['delay_frames']:g}"]
        best = reports[_QUANTIZE[-1]]["rows"][i]
        rows.append([*row, best["best_baseline"], f"{best['baselines'][best['best_baseline']]:.3f}"])
    headers = ["OOD sequences"]
    for quantize in _QUANTIZE:
        headers += [f"{quantize} AUROC", "delay (frames)"]
    lines = [command.table(rows, [*headers, "best baseline", "its AUROC"]), ""]
    for quantize in _QUANTIZE:
        report = reports[quantize]
        alarms = report["false_alarms"]
        lines.append(f"{quantize}: {report['bytes'] / 1e6:.2f} MB, mean AUROC {report['out_of_range_mean_auroc']:.3f}, "
                     f"{alarms['count']} false alarms in {alarms['hours'] * 60:.1f} min of test driving "
                     f"({report['runtime']})")
    return "\n".join(lines)


def run() -> None:
    command.run(main, example="leanood demo --out=demo")


if __name__ == "__main__":
    run()
