"""What calibration takes of memory as the data grow: `python benchmarks/limits/streaming_memory.py --model=FILE`.

The peak of `leanood.calibrate` in a child process, at --few and at --many frames (minutes).
"""
from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import List

import streaming
from absl import flags

from leanood.tflite.timing import memory, results
from leanood.tools import command
from leanood.workflow import calibrate, network

_FEW = flags.DEFINE_integer("few", 2000, "frames of the small data set", lower_bound=1000)
_MANY = flags.DEFINE_integer("many", 50_000, "frames of the large one")
_CHILD = flags.DEFINE_string("child", None, "(for the child process) the folder of images")
_COUNT = flags.DEFINE_integer("count", 0, "(for the child process) frames")
_MOST_BYTES = 150e6


def main(argv: List[str]) -> int:
    if _CHILD.value:
        data = streaming.data(_CHILD.value, _COUNT.value)
        calibrate.fit(network.load(streaming.MODEL.value, trusted=True), data, calibrate.Settings())
        print(memory.taken_bytes("VmHWM"))
        return 0
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        streaming.draw(folder)
        few, many = (_peak(folder, count) for count in (_FEW.value, _MANY.value))
    rows = [[f"{count:,}", peak / 1e6] for count, peak in ((_FEW.value, few), (_MANY.value, many))]
    print(command.table(rows, ["frames", "peak, MB"]))
    return results.write(__file__, [results.Figure(
        f"peak memory of `calibrate`, {_MANY.value:,} frames of {streaming.SIZE.value} against {_FEW.value:,}",
        f"{many / 1e6:.0f} against {few / 1e6:.0f} MB", f"≤ {_MOST_BYTES / 1e6:g} MB more", many - few <= _MOST_BYTES)],
        rows)


def _peak(folder: str, count: int) -> int:
    """Returns the peak resident bytes of a child process that calibrates on so many frames."""
    done = subprocess.run([sys.executable, __file__, f"--model={streaming.MODEL.value}", f"--child={folder}",
                           f"--count={count}"], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    command.run(main, example="python benchmarks/limits/streaming_memory.py --model=runs/lanes/encoder_int8.tflite")
