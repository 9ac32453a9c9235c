"""What a study costs beyond its candidates, and what a second worker brings: `python benchmarks/study/cost.py`.

One study in this process, what trains, converts, calibrates, judges and times taken apart from the rest; the same study
by one Ray worker and by two, a core each, in folders of their own; and the page of 500 candidates in headless Chromium,
a whole process from its start, beside an empty page. `--parts` measures some of them; what was measured of the others
before stays. Exits with 1 if a target is missed.
"""
from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List

from absl import app, flags

import leanood
from leanood.tflite.timing import results
from leanood.tools import command
from leanood.workflow import candidates, report, search_space, study, study_page

_TRIALS = flags.DEFINE_integer("trials", 8, "candidates of each study", lower_bound=2)
_FRAMES = flags.DEFINE_integer("frames", 2000, "of lane scenes", lower_bound=1000)
_PARTS = flags.DEFINE_multi_enum("parts", ["overhead", "workers", "page"], ["overhead", "workers", "page"], "which")
_OUT = flags.DEFINE_string("out", None, "a folder to work in, and to go on in; default: a temporary one")
_FINISHED = flags.DEFINE_string("study", None, "a finished study whose candidates fill the page; default: its own")
_RESULTS = pathlib.Path(__file__).parents[1] / "results" / "study-cost.json"
_DATA = "lanes:frames={frames},scene=50"
_STUDY: Dict[str, Any] = {
    "rungs": (1,), "refine_epochs": 0, "images": 200, "corruptions": ("darker", "rain", "fog"), "severities": (3,),
    "benign": ("yuv420",), "stretch_s": 2.0, "stretches": 6, "margin": 0.05, "sensitivity": "high"}
_CANDIDATES, _TURNS = 500, 3
_OVERHEAD, _WORKERS, _SECONDS = 0.05, 1.6, 2.0


def main(argv: List[str]) -> int:
    details = json.loads(_RESULTS.read_text("utf-8"))["details"] if _RESULTS.exists() else {}
    with tempfile.TemporaryDirectory(prefix="leanood-") as temporary:
        folder = _OUT.value or temporary
        run, here = os.path.join(folder, "run"), os.path.join(folder, "here")
        if _PARTS.value != ["page"] and not os.path.exists(os.path.join(run, "encoder.h5")):
            leanood.train(_DATA.format(frames=_FRAMES.value), run, cut="block3")
        if "overhead" in _PARTS.value:
            details["overhead"] = {"share": _overhead(run, here), "trials": _TRIALS.value}
        if "workers" in _PARTS.value:
            details["workers"] = {"trials": _TRIALS.value, "seconds": [
                _by_ray(run, os.path.join(folder, f"workers{count}"), count) for count in (1, 2)]}
        if "page" in _PARTS.value:
            summary = study_page.read(_FINISHED.value) if _FINISHED.value else study.study(
                run, out=here, trials=_TRIALS.value, **_STUDY).summary
            details["page"] = _page(summary, temporary)
    figures = _figures(details)
    print(command.table([[figure.what, figure.measured, figure.target] for figure in figures],
                        ["study", "measured", "target"]))
    return results.write(__file__, figures, details)


def _figures(details: Dict[str, Any]) -> List[results.Figure]:
    """Returns a figure for each part that was measured."""
    figures = []
    if "overhead" in details:
        share, trials = details["overhead"]["share"], details["overhead"]["trials"]
        figures.append(results.Figure(f"a study of {trials} trials, beyond training, conversion and measurement",
                                      f"{100 * share:.1f}% of its time", f"≤ {100 * _OVERHEAD:g}%", share <= _OVERHEAD))
    if "workers" in details:
        alone, together = details["workers"]["seconds"]
        figures.append(results.Figure(
            f"two Ray workers on two cores against one, a study of {details['workers']['trials']} trials",
            f"{alone / together:.2f}× ({alone:.0f} and {together:.0f} s)", f"≥ {_WORKERS:g}×",
            alone / together >= _WORKERS))
    if details.get("page"):
        page, empty = details["page"]["page"], details["page"]["empty"]
        figures.append(results.Figure(
            f"opening the report of {_CANDIDATES} candidates in Chromium",
            f"{page:.2f} s from its start (an empty page: {empty:.2f} s)", f"< {_SECONDS:g} s", page < _SECONDS))
    return figures


def _overhead(run: str, out: str) -> float:
    """Returns the share of a study's time that is none of its candidates'."""
    spent: List[float] = []
    parts = [(candidates.Candidates, name) for name in ("make", "judge", "time", "report")] + [(search_space, "of")]
    kept = [(owner, name, getattr(owner, name)) for owner, name in parts]
    for owner, name, function in kept:
        setattr(owner, name, _timed(function, spent))
    begin = time.perf_counter()
    try:
        study.study(run, out=out, trials=_TRIALS.value, **_STUDY)
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)
    whole = time.perf_counter() - begin
    return 1 - sum(spent) / whole


def _timed(function: Callable[..., Any], spent: List[float]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent.append(time.perf_counter() - begin)

    return called


def _by_ray(run: str, out: str, workers: int) -> float:
    """Returns the seconds of the search by so many Ray workers; imports and Ray's own start are in both."""
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    begin = time.perf_counter()
    try:
        study.study(run, out=out, trials=_TRIALS.value, ray_address="auto", workers=workers, **_STUDY)
    finally:
        ray.shutdown()
    return time.perf_counter() - begin


def _page(summary: Dict[str, Any], folder: str) -> Any:
    """Returns the least seconds from Chromium's start to the finished document, of the page and of an empty one.

    None without Chromium.
    """
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        return None
    rows = summary["candidates"]
    many = {**summary, "candidates": [dict(rows[i % len(rows)]) for i in range(_CANDIDATES)]}
    with open(os.path.join(folder, study_page.FILE), "w", encoding="utf-8") as stream:
        json.dump(many, stream)
    path = report.report(folder).path
    seconds: Dict[str, List[float]] = {"page": [], "empty": []}
    for _ in range(_TURNS):
        for name, address in (("page", f"file://{path}"), ("empty", "about:blank")):
            begin = time.perf_counter()
            subprocess.run([program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", address], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
            seconds[name].append(time.perf_counter() - begin)
    return {name: min(each) for name, each in seconds.items()}


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
