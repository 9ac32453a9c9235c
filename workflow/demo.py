"""The whole journey in small, on made-up driving: train, study, report, and a drive into the rain."""
from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, List, Union

import numpy as np

from leanood.data import catalog, sequences
from leanood.files import atomic
from leanood.tflite import bundle
from leanood.workflow import monitor, outcome, plots, progress, study, train

_SCENE = 100  # frames a scene: many short ones show more of what is normal than few long ones
_KINDS = ("darker", "rain", "fog", "motion_blur", "occlusion")
_BENIGN = ("yuv420", "jpeg_85", "noise_1", "right_1")
_SEVERITY = 4
_STRETCH_S, _STRETCHES = 4.0, 6
_MARGIN = 0.02  # of AUROC; a few stretches don't show less
_DRIVE = "lanes:frames=320,start=1000000,scene=320"  # far from the frames that were trained on
_RAIN_FROM = 160


def demo(out: Union[str, os.PathLike] = "demo", *, frames: int = 6000, trials: int = 4, seed: int = 0
         ) -> outcome.Outcome:
    """Makes a detector for lane scenes, finds its smallest network that still detects, and drives it into the rain.

    What was finished is not done again. The folder then holds the run, the study with its report and detector file,
    and the drive: its frames, the monitor's record and the score over time.

    Args:
      out: the folder.
      frames: of driving, of which half train.
      trials: compressions that are tried.
      seed: of the study.

    Raises:
      ValueError: if the folder's run was trained on another number of frames.
    """
    begun = time.monotonic()
    folder = os.fspath(out)
    os.makedirs(folder, exist_ok=True)
    run, searched = os.path.join(folder, "run"), os.path.join(folder, "study")
    data = f"lanes:frames={frames},scene={_SCENE}"
    if os.path.exists(os.path.join(run, "encoder.h5")):
        _refuse_other(run, data)
    else:
        progress.say(f"$ leanood train --data={data} --out={run}")
        train.train(data, run)
    # Minutes of driving carry no promise of three false alarms an hour: thresholds would lie too high to see much.
    progress.say(f"$ leanood study --run={run} --out={searched} --trials={trials} --sensitivity=high …")
    done = study.study(
        run, out=searched, trials=trials, rungs=(1,), refine_epochs=0, images=400, corruptions=_KINDS,
        severities=(_SEVERITY,), benign=_BENIGN, stretch_s=_STRETCH_S, stretches=_STRETCHES, margin=_MARGIN,
        sensitivity="high", seed=seed)
    progress.say(f"$ leanood report {searched}")
    page = done.report()
    drive = os.path.join(folder, "drive.npy")
    progress.say(f"$ leanood monitor {done.detector} --source={drive}")
    driven = _drive(done.detector, drive, folder)
    verdict = done.verdict
    return outcome.Outcome(folder, {
        "out": folder, "recommended": verdict["recipe"], **verdict["said"], **driven, "detector": done.detector,
        "report": page.path, "seconds": round(time.monotonic() - begun)},
        [done.tables[0], _judged(os.path.join(searched, "evaluation", "evaluation.json"))])


def _refuse_other(run: str, data: str) -> None:
    """Raises ValueError if a run that is there already was trained on other data."""
    with open(os.path.join(run, "config.json"), encoding="utf-8") as text:
        known = json.load(text)["data"]["spec"]
    if known != data:
        raise ValueError(f"{run} was trained on {known}, not on {data}: give --frames as then, or another --out")


def _drive(detector: str, path: str, folder: str) -> Dict[str, Any]:
    """Monitors a drive into the rain; returns when it rained and when the alarm came."""
    data = catalog.open(_DRIVE)
    ood = np.arange(len(data)) >= _RAIN_FROM
    images = sequences.apply("rain", np.stack([data.read(i) for i in range(len(data))]), ood, severity=_SEVERITY)
    with atomic.replacing(path) as stream:
        np.save(stream, images)
    record = os.path.join(folder, "drive.jsonl")
    monitor.monitor(detector, path, jsonl=record)
    with open(record, encoding="utf-8") as text:
        lines: List[Dict[str, Any]] = [json.loads(line) for line in text]
    lines = [line for line in lines if "score" in line]
    alarm = np.array([line["alarm"] for line in lines])
    raised = np.flatnonzero(alarm & ood)
    score = np.array([line["score"] for line in lines])
    threshold = bundle.read(detector).detector["threshold"]
    figure = plots.score_over_time(score, ood, threshold, data.fps, "a drive into the rain")
    atomic.write_figure(os.path.join(folder, "drive.png"), figure)
    after = int(raised[0]) - _RAIN_FROM + 1 if len(raised) else None
    return {"frames alarmed before the rain": int((alarm & ~ood).sum()),
            "alarm in the rain after": "never" if after is None else f"{after} frames, {after / data.fps:.2f} s"}


def _judged(path: str) -> outcome.Table:
    """Returns the recommended detector's rows on the test split, beside the trivial baselines."""
    with open(path, encoding="utf-8") as text:
        rows = json.load(text)["rows"]
    return [[row["set"], row["hit_rate"], row["delay_frames"], row["frame_auroc"], row["auroc"], row["best_baseline"],
             row["baselines"][row["best_baseline"]]] for row in rows], \
        ["OOD test sequences", "hits", "delay, frames", "AUROC of frames alone", "of the evidence over time",
         "best trivial baseline", "its AUROC"]
