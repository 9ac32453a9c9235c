"""What a detector costs whole in its graph beside the same one in NumPy: frame to verdict, taking turns in one process.

    leanood calibrate encoder.tflite --out=plain.tflite
    leanood calibrate encoder.tflite --fold=full --out=whole.tflite
    python benchmarks/limits/whole_graph.py plain.tflite whole.tflite [--runs=300]

Processor time on one thread, frames of the network's size, each frame by both. Exits with 1 if the two don't raise the
same alarms.
"""
from __future__ import annotations

import os
import time
from typing import List

import numpy as np
from absl import app, flags

from leanood.tflite import bundle
from leanood.tflite.timing import results
from leanood.tools import command

_RUNS = flags.DEFINE_integer("runs", 300, "frames", lower_bound=20)


def main(argv: List[str]) -> int:
    plain, whole = bundle.load(argv[1]), bundle.load(argv[2]).runner
    random = np.random.default_rng(0)
    state = np.zeros(whole.inputs["state"].shape, np.float32)
    taken = np.empty((_RUNS.value, 2))
    same = True
    for row in taken:
        frame = random.integers(0, 256, (*plain.size, 3), dtype=np.uint8)
        begin = time.process_time()
        verdict = plain(frame)
        middle = time.process_time()
        said = whole({"frame": frame, "state": state})
        row[:] = middle - begin, time.process_time() - middle
        state = said["state"]
        same &= bool(said["alarm"][0] > 0.5) == verdict.alarm
    milliseconds = 1e3 * np.median(taken[20:], axis=0)
    rows = [["frame to verdict, median ms", *milliseconds.tolist()], ["file, bytes", *map(os.path.getsize, argv[1:])]]
    print(command.table(rows, ["", "in NumPy", "in the graph"]))
    return results.write(__file__, [
        results.Figure("whole in the graph / the same in NumPy: frame to verdict",
                       f"{milliseconds[1] / milliseconds[0]:.2f}"),
        results.Figure("frames on which their alarms are the same", "all" if same else "not all", "all", same)], rows)


if __name__ == "__main__":
    app.run(main)
