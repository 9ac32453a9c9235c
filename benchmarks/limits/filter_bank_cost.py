"""What the early statistics cost by the frame's size, and what making the frame's int8 copy from its float copy saves.

    python benchmarks/limits/filter_bank_cost.py

Processor time of one inference on LiteRT, one thread: the least of 30 rounds that take turns.
"""
from __future__ import annotations

import os
from typing import Dict, Sequence
from unittest import mock

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import tf_keras as keras  # noqa: E402
from ai_edge_litert import interpreter  # noqa: E402

from leanood.models import bvae, filter_bank  # noqa: E402
from leanood.tflite import convert
from leanood.tflite.rewrite import requantize  # noqa: E402
from leanood.tflite.timing import results, turns  # noqa: E402
from leanood.tools import command  # noqa: E402

SIZES = ((64, 64), (120, 160), (224, 224))


def main(argv: Sequence[str]) -> None:
    files: Dict[str, bytes] = {}
    for size in SIZES:
        frame = keras.Input((*size, 3), name="frame")
        files[f"early statistics, {size[0]}x{size[1]}"] = convert.convert(
            keras.Model(frame, {filter_bank.NAME: filter_bank.statistics(frame)}), quantize="float32")
    frames = np.random.default_rng(0).integers(0, 256, (8, *SIZES[-1], 3), dtype=np.uint8)
    encoder = filter_bank.with_statistics(bvae.encoder(SIZES[-1], (8, 16, 32), 8))
    with mock.patch.object(requantize, "from_float", lambda model: model):
        files["small int8 encoder 224x224, frame to int8 directly"] = convert.convert(
            encoder, quantize="int8", representative=frames)
    files["the same, by way of float32"] = convert.convert(encoder, quantize="int8", representative=frames)
    runners = {name: interpreter.Interpreter(model_content=file, num_threads=1) for name, file in files.items()}
    for runner in runners.values():
        runner.allocate_tensors()
        runner.invoke()
    taken = turns.seconds({name: runner.invoke for name, runner in runners.items()}, 30, calls=5)
    rows = [[name, f"{seconds.min() * 1e6:.0f}"] for name, seconds in taken.items()]
    print(command.table(rows, ["", "µs"]))
    results.write(__file__, [results.Figure(name, f"{microseconds} µs") for name, microseconds in rows], rows)


if __name__ == "__main__":
    command.run(main, example="python benchmarks/limits/filter_bank_cost.py")
