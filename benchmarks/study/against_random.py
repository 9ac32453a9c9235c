"""Does the search find more than chance? `python benchmarks/study/against_random.py --run=RUN --out=FOLDER`.

The same space, the same number of trials, several seeds: the search as a study runs it (what a person would try comes
first, then Optuna's multi-objective TPE) and random sampling, compared by the hypervolume that their candidates' fronts
dominate (AUROC on validation data, time, bytes; the worst that counts is the baseline's time and bytes). A recipe is
worked out once, whoever draws it, and timed once: both searches see the same figures. With the settings of a study, OUT
may be its folder. Killed, the same command goes on. Exits with 1 unless the search's mean is the larger.
"""
from __future__ import annotations

import os
import sys
from typing import Dict, List

import numpy as np
from absl import app, flags

from leanood.compression import search
from leanood.models import run
from leanood.tflite.timing import results
from leanood.tools import command
from leanood.workflow import calibrate, candidates, datasets, evaluate, progress, search_space, study

_RUN = flags.DEFINE_string("run", None, "a run's folder", required=True)
_OUT = flags.DEFINE_string("out", None, "a folder for all that is worked out", required=True)
_TRIALS = flags.DEFINE_integer("trials", 30, "of each search", lower_bound=2)
_SEEDS = flags.DEFINE_integer("seeds", 3, "of each sampler", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 400, "training images of each fine-tuning", lower_bound=1)
_EPOCHS = 1


def main(argv: List[str]) -> int:
    os.makedirs(_OUT.value, exist_ok=True)
    bench = _bench()
    base = bench.make(candidates.BASELINE)
    baseline = candidates.figures_of(bench.judge(base, "validation"), bench.time(base))
    objectives = (search.Objective("auroc", True, 0.5), search.Objective("ratio", False, 1.0),
                  search.Objective("kilobytes", False, baseline["kilobytes"]))
    worth, space = study.evaluator(bench), search_space.of(_RUN.value, _OUT.value)
    volumes: Dict[str, List[float]] = {sampler: [] for sampler in search.SAMPLERS}
    scale = 0.5 * baseline["kilobytes"]  # what a perfect, immediate, empty network would dominate
    for seed in range(_SEEDS.value):
        for sampler in search.SAMPLERS:
            settings = search.Settings(trials=_TRIALS.value, rungs=(_EPOCHS,), sampler=sampler, seed=seed,
                                       storage=f"sqlite:///{os.path.abspath(_OUT.value)}/{sampler}-{seed}.db")
            rows = search.search(space, worth, objectives, settings, progress=progress.say,
                                 always=search_space.first(space) if sampler == "tpe" else ())
            volumes[sampler].append(search.hypervolume(rows, objectives) / scale)
    print(command.table([[sampler, *(f"{volume:.4f}" for volume in each), f"{np.mean(each):.4f}"]
                         for sampler, each in volumes.items()],
                        ["sampler", *(f"seed {seed}" for seed in range(_SEEDS.value)), "mean hypervolume"]))
    tpe, chance = (float(np.mean(volumes[sampler])) for sampler in ("tpe", "random"))
    return results.write(__file__, [results.Figure(
        f"hypervolume of {_TRIALS.value} trials, mean of {_SEEDS.value} seeds: TPE",
        f"{tpe:.4f}; random sampling {chance:.4f}", "more than random sampling's", tpe > chance)], volumes)


def _bench() -> candidates.Candidates:
    data, opened = datasets.open(None, {}, run.Run(_RUN.value).config["data"])
    judging = evaluate.Settings(severities=(1, 3), corruptions=study.CORRUPTIONS, benign=study.BENIGN)
    return candidates.Candidates(
        _OUT.value, os.path.abspath(_RUN.value), data, opened, calibrate.Settings(), judging, images=_IMAGES.value,
        judged_images=1000, seed=0, accelerator="cpu", runtime="auto")


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
