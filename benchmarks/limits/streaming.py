"""How fast frames stream through a network on disk's images: `python benchmarks/limits/streaming.py --model=FILE`.

In turns: frames a second of the whole stream with one interpreter and with two, beside reading, resizing and running
the same frames one after the other. The frames are JPEGs on disk, drawn by `lanes`; the ratios are the result, not the
machine's seconds, and only where nothing else runs do two cores show what they can.
"""
from __future__ import annotations

import os
import tempfile
import time
from typing import List

import numpy as np
from absl import flags

from leanood.data import dataset, frames, lanes, splits
from leanood.tflite.timing import results, turns
from leanood.tools import command
from leanood.workflow import network

MODEL = flags.DEFINE_string("model", None, "an encoder's .tflite", required=True)
SIZE = flags.DEFINE_string("size", "240x320", "of the frames on disk, height x width")
_TURNS = flags.DEFINE_integer("turns", 11, "of each", lower_bound=1)
_TIMED = flags.DEFINE_integer("timed", 160, "frames a turn", lower_bound=16)
_IMAGES = 500  # on disk; a longer data set reads them again and again
_RECORDING = 1000  # frames a recording
_LEAST_SCALING, _LEAST_SHARE = 1.7, 0.8


def main(argv: List[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        draw(folder)
        frames_ = data(folder, _TIMED.value)
        single, double = (network.load(MODEL.value, num_threads=count, trusted=True) for count in (1, 2))

        def apart() -> None:
            for i in range(len(frames_)):
                single.runner.feed(frames.resize(frames_.read(i), single.size))
                single.runner.invoke()

        taken = turns.seconds({"one": lambda: single.run(frames_, "one"), "two": lambda: double.run(frames_, "two"),
                               "apart": apart}, _TURNS.value, warmup=1, clock=time.perf_counter)
    scaling, share = (float(np.median(taken[a] / taken[b])) for a, b in (("one", "two"), ("apart", "one")))
    rows = [[way, f"{_TIMED.value / float(np.median(times)):.0f}"] for way, times in taken.items()]
    rows += [["two / one", f"{scaling:.2f}"], ["one / apart", f"{share:.2f}"],
             ["the machine's load", f"{os.getloadavg()[0]:.1f}"]]
    print(command.table(rows, ["interpreters", "frames/s"]))
    return results.write(__file__, [
        results.Figure("frames/s through the network on two cores against one", f"{scaling:.2f}×",
                       f"≥ {_LEAST_SCALING:g}×", scaling >= _LEAST_SCALING),
        results.Figure("frames/s on one core against read, resize and invoke taken apart", f"{share:.2f}×",
                       f"≥ {_LEAST_SHARE:g}×", share >= _LEAST_SHARE)], rows)


def draw(folder: str) -> None:
    """Draws the images into a folder."""
    import cv2

    height, width = command.size(SIZE.value)
    stream = lanes.Lanes(0, (height, width))
    for i in range(_IMAGES):
        cv2.imwrite(os.path.join(folder, f"{i:04d}.jpg"), stream.frame(20 * i)[..., ::-1])


def data(folder: str, count: int) -> dataset.Dataset:
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
