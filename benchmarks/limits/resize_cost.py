"""What the resize of a camera's picture costs beside one general area resize, taking turns in one process.

    python benchmarks/limits/resize_cost.py [--runs=200] [--frame=480x640]

Processor time on one thread, with OpenCV; the least and the median of the runs. Exits with 1 if halving first is not
the cheaper one at 120x160.
"""
from __future__ import annotations

import sys
from typing import List, Tuple

import cv2
import numpy as np
from absl import app, flags

from leanood.data import frames
from leanood.tflite.timing import results, turns
from leanood.tools import command

_RUNS = flags.DEFINE_integer("runs", 200, "of each", lower_bound=20)
_FRAME = flags.DEFINE_string("frame", "480x640", "the camera's height x width")
_SIZES = ((120, 160), (64, 64), (96, 96), (224, 224))


def main(argv: List[str]) -> None:
    cv2.setNumThreads(1)
    frame = np.random.default_rng(0).integers(0, 256, (*command.size(_FRAME.value), 3), dtype=np.uint8)
    rows, figures = [], []
    for size in _SIZES:
        def general(size: Tuple[int, int] = size) -> object:
            return cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)

        taken = turns.seconds({"ours": lambda size=size: frames.resize(frame, size), "general": general}, _RUNS.value)
        least, middle = ([1e3 * float(reduce(times)) for times in taken.values()] for reduce in (np.min, np.median))
        rows.append([f"{size[0]}x{size[1]}", *least, *middle])
        figures.append(results.Figure(
            f"a camera's {_FRAME.value} frame to {size[0]}x{size[1]}, beside one general area resize",
            f"{least[0]:.2f} of {least[1]:.2f} ms", "less" if size == (120, 160) else "",
            least[0] < least[1] or size != (120, 160)))
    print(command.table(rows, ["to", "ours, least ms", "general, least", "ours, median", "general, median"]))
    sys.exit(results.write(__file__, figures, rows))


if __name__ == "__main__":
    app.run(main)
