"""A long drive: a million frames through the monitor's loop, watching the memory.

    python benchmarks/robustness/soak.py detector.tflite [--frames=1000000]

Camera frames of another size than the network's are resized, judged, counted and written to a journal; now and then one
is invalid. Exits with 1 if the resident memory grows by more than 1 MiB from the first 2% to the end.
"""
from __future__ import annotations

import os
import sys
import time
from typing import Iterator, List, Optional

import numpy as np
from absl import app, flags

from leanood.data import stream
from leanood.tflite import bundle
from leanood.tflite.timing import memory, results
from leanood.tools import command
from leanood.workflow import journal, monitor

_FRAMES = flags.DEFINE_integer("frames", 1_000_000, "how many", lower_bound=1000)
_MOST_GROWTH = 1 << 20


def drive(frames: int, checkpoints: List[int]) -> Iterator[Optional[stream.Item]]:
    """Items of a made-up camera, 48x64; the resident memory is noted down fifty-one times."""
    pictures = np.random.default_rng(0).integers(0, 256, (50, 48, 64, 3), dtype=np.uint8)
    pictures[7] = 0  # the lens was covered
    for i in range(frames):
        if i % max(1, frames // 50) == 0:
            checkpoints.append(memory.taken_bytes() or 0)
        now = time.perf_counter()
        if i % 1000 == 999:
            yield stream.Item(f"drive[{i}]", None, f"drive[{i}]: torn", now)
        else:
            yield stream.Item(f"drive[{i}]", pictures[i % 50].copy(), "", now)
    checkpoints.append(memory.taken_bytes() or 0)


def main(argv: List[str]) -> int:
    if len(argv) != 2:
        raise app.UsageError("give one detector file")
    watch = monitor.Watch(bundle.load(argv[1]), deadline_s=0.05)
    lines = journal.Journal(os.devnull)
    resident: List[int] = []
    monitor.watch(drive(_FRAMES.value, resident), watch, lambda: False, lines.write)
    settled, end = resident[1], resident[-1]
    rows = [*watch.summary().items(), ("resident after 2%, MB", settled / 1e6),
            ("most after that, MB", max(resident[1:]) / 1e6), ("at the end, MB", end / 1e6),
            ("growth, KiB", (end - settled) / 1024)]
    print(command.table(rows, ["soak", ""]))
    return results.write(__file__, [results.Figure(
        f"the monitor's memory over {_FRAMES.value:,} frames", f"{(end - settled) / 1024:+.0f} KiB",
        f"≤ {_MOST_GROWTH >> 10} KiB", end - settled <= _MOST_GROWTH)], rows)


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
