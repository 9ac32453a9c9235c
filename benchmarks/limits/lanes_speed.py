"""Frames a second of the procedural scenes and of the corruptions, on one core.

    python benchmarks/limits/lanes_speed.py

Prints a table; exits with 1 if scenes are drawn at less than 200 frames a second at 160x120.
"""
from __future__ import annotations

import sys
import time
from typing import Callable

import cv2
import numpy as np

from leanood.data import corruptions, frames, lanes
from leanood.tflite.timing import results
from leanood.tools import command

LEAST = 200.0
REPEATS = 5


def rate(draw: Callable[[int], object], count: int) -> float:
    """Calls a second of `draw(i)`, by processor time, the best of REPEATS runs."""
    best = float("inf")
    for repeat in range(REPEATS):
        start = time.process_time()
        for i in range(repeat * count, (repeat + 1) * count):
            draw(i)
        best = min(best, time.process_time() - start)
    return count / best


def main() -> int:
    cv2.setNumThreads(1)
    rates = {}
    for size in ((120, 160), (64, 64), (240, 320)):
        stream = lanes.Lanes(0, size)
        stream.frame(0)
        rates[f"lanes {size[1]}x{size[0]}"] = rate(stream.frame, 400)
    stream = lanes.Lanes(0)
    order = np.random.default_rng(0).integers(0, 10 ** 6, REPEATS * 400).tolist()
    rates["lanes 160x120, any order"] = rate(lambda i: stream.frame(order[i]), 400)
    frame = stream.frame(0)
    for name in corruptions.NAMES:
        rates[f"{name} 160x120"] = rate(lambda i, name=name: corruptions.corrupt(name, frame, 5, 0, i), 100)
    large = lanes.Lanes(0, (240, 320)).frame(0)
    for size in ((120, 160), (64, 64)):
        for opencv in (True, False):
            label = f"resize 320x240 to {size[1]}x{size[0]}, {'OpenCV' if opencv else 'NumPy'}"
            rates[label] = rate(lambda i, s=size, o=opencv: frames.resize(large, s, o), 200)
    print(command.table([[label, f"{value:.0f}"] for label, value in rates.items()], ["", "frames/s"]))
    drawn = rates["lanes 160x120"]
    return results.write(__file__, [results.Figure("lane scenes at 160×120", f"{drawn:,.0f} frames/s a core",
                                                   f"≥ {LEAST:.0f}", drawn >= LEAST)], rates)


if __name__ == "__main__":
    sys.exit(main())
