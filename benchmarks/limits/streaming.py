"""What calibration takes of memory and time as the data grow: `python benchmarks/limits/streaming.py --model=FILE`.

Memory: the peak of `leanood.calibrate` in a child process, at --few and at --many frames. Speed, in turns: frames a
second of the whole stream with one interpreter and with two, beside reading, resizing and running the same frames one
after the other. The frames are JPEGs on disk, drawn by `lanes`; the ratios are the result, not the machine's seconds.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from typing import Dict, List

import numpy as np
from absl import flags

from leanood.data import dataset, frames, lanes, splits
from leanood.tflite.timing import memory, results, turns
from leanood.tools import command
from leanood.workflow import calibrate, network

_MODEL = flags.DEFINE_string("model", None, "an encoder's .tflite", required=True)
_FEW = flags.DEFINE_integer("few", 2000, "frames of the small data set", lower_bound=1000)
_MANY = flags.DEFINE_integer("many", 50_000, "frames of the large one")
_SIZE = flags.DEFINE_string("size", "240x320", "of the frames on disk, height x width")
_TURNS = flags.DEFINE_integer("turns", 7, "of the speeds; 0: memory alone", lower_bound=0)
_TIMED = flags.DEFINE_integer("timed", 300, "frames a turn", lower_bound=16)
_CHILD = flags.DEFINE_string("child", None, "(for the child process) the folder of images")
_COUNT = flags.DEFINE_integer("count", 0, "(for the child process) frames")
_IMAGES = 500  # on disk; a longer data set reads them again and again
_RECORDING = 1000  # frames a recording
_MOST_BYTES, _LEAST_SCALING, _LEAST_SHARE = 150e6, 1.7, 0.8


def main(argv: List[str]) -> int:
    if _CHILD.value:
        calibrate.fit(network.load(_MODEL.value, trusted=True), _data(_CHILD.value, _COUNT.value), calibrate.Settings())
        print(memory.taken_bytes("VmHWM"))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        _draw(folder)
        peaks = {count: _peak(folder, count) for count in (_FEW.value, _MANY.value)}
        taken = _race(_data(folder, _TIMED.value)) if _TURNS.value else {}
    few, many = peaks.values()
    figures = [results.Figure(
        f"peak memory of `calibrate`, {_MANY.value:,} frames of {_SIZE.value} against {_FEW.value:,}",
        f"{many / 1e6:.0f} against {few / 1e6:.0f} MB", f"≤ {_MOST_BYTES / 1e6:g} MB more", many - few <= _MOST_BYTES)]
    if taken:
        scaling, share = (float(np.median(taken[a] / taken[b])) for a, b in (("one", "two"), ("apart", "one")))
        figures += [
            results.Figure("its frames/s, two interpreters on two cores against one", f"{scaling:.2f}×",
                           f"≥ {_LEAST_SCALING:g}×", scaling >= _LEAST_SCALING),
            results.Figure("its frames/s, one interpreter against read, resize and invoke taken apart", f"{share:.2f}×",
                           f"≥ {_LEAST_SHARE:g}×", share >= _LEAST_SHARE)]
    rows = [[figure.what, figure.measured, figure.target] for figure in figures]
    rows += [[f"frames/s, {way}", f"{_TIMED.value / float(np.median(times)):.0f}", ""] for way, times in taken.items()]
    rows.append(["the machine's load", f"{os.getloadavg()[0]:.1f}", ""])
    print(command.table(rows, ["streaming", "", "target"]))
    return results.write(__file__, figures, rows)


def _race(data: dataset.Dataset) -> Dict[str, np.ndarray]:
    """Returns the wall's seconds, by turn, of the three ways to run the same frames."""
    one, two = (network.load(_MODEL.value, num_threads=count, trusted=True) for count in (1, 2))

    def apart() -> None:
        for i in range(len(data)):
            one.runner.feed(frames.resize(data.read(i), one.size))
            one.runner.invoke()

    return turns.seconds({"one": lambda: one.run(data, "one"), "two": lambda: two.run(data, "two"), "apart": apart},
                         _TURNS.value, warmup=1, clock=time.perf_counter)


def _peak(folder: str, count: int) -> int:
    """Returns the peak resident bytes of a child process that calibrates on so many frames."""
    done = subprocess.run([sys.executable, __file__, f"--model={_MODEL.value}", f"--child={folder}",
                           f"--count={count}"], check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


def _draw(folder: str) -> None:
    import cv2

    height, width = command.size(_SIZE.value)
    stream = lanes.Lanes(0, (height, width))
    for i in range(_IMAGES):
        cv2.imwrite(os.path.join(folder, f"{i:04d}.jpg"), stream.frame(20 * i)[..., ::-1])


def _data(folder: str, count: int) -> dataset.Dataset:
    """Returns a data set of `count` frames in recordings, whose images recur."""
    recording = np.arange(count) // _RECORDING
    split = splits.by_time(recording, 20.0)
    return dataset.Dataset(
        names=tuple(f"{i:07d}" for i in range(count)), partition=np.full(count, "all"),
        sequence=splits.cut_sequences(recording, split), split=split, ood=np.zeros(count, bool),
        partition_kind="subset", fps=20.0, description=f"{count} frames",
        read=lambda i: frames.read_image(os.path.join(folder, f"{i % _IMAGES:04d}.jpg")))


if __name__ == "__main__":
    command.run(main, example="python benchmarks/limits/streaming.py --model=runs/lanes/encoder_int8.tflite")
