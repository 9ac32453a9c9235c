"""What the resize of a camera's picture costs beside one general area resize, taking turns in one process.

    python benchmarks/limits/resize_cost.py [--runs=200] [--frame=480x640]

Processor time on one thread, with OpenCV; the least and the median of the runs. Exits with 1 if halving first is not
the cheaper one at 120x160.
"""
from __future__ import annotations

import sys
import time
from typing import Callable, List, Tuple

import cv2
import numpy as np
from absl import app, flags

from leanood.data import frames
from leanood.tools import command

_RUNS = flags.DEFINE_integer("runs", 200, "of each", lower_bound=20)
_FRAME = flags.DEFINE_string("frame", "480x640", "the camera's height x width")
_SIZES = ((120, 160), (64, 64), (96, 96), (224, 224))


def seconds(jobs: Tuple[Callable[[], object], ...], runs: int) -> np.ndarray:
    """Processor seconds [jobs, runs], the jobs taking turns."""
    taken = np.empty((len(jobs), runs))
    for i in range(runs):
        for number, job in enumerate(jobs):
            begin = time.process_time()
            job()
            taken[number, i] = time.process_time() - begin
    return taken


def main(argv: List[str]) -> None:
    cv2.setNumThreads(1)
    frame = np.random.default_rng(0).integers(0, 256, (*command.size(_FRAME.value), 3), dtype=np.uint8)
    rows, worse = [], False
    for size in _SIZES:
        def general(size: Tuple[int, int] = size) -> object:
            return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)

        taken = 1e3 * seconds((lambda size=size: frames.resize(frame, size), general), _RUNS.value)
        rows.append([f"{size[0]}x{size[1]}", *taken.min(1).tolist(), *np.median(taken, 1).tolist()])
        worse |= size == (120, 160) and taken[0].min() >= taken[1].min()
    print(command.table(rows, ["to", "ours, least ms", "general, least", "ours, median", "general, median"]))
    sys.exit(int(worse))


if __name__ == "__main__":
    app.run(main)
