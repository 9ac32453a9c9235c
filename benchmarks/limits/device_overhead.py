"""What a detector costs around the network: frame to verdict against the bare interpreter, taking turns in one process.

    python benchmarks/limits/device_overhead.py [--runs=200]

Builds (with TensorFlow, untrained: only the time counts) the paper's 224x224 encoder in float32 and int8 and a tiny
int8 one, with the early statistics and a calibrated default detector. Frames come at the network's size and as 640x480
camera pictures, which are resized. Processor time is measured: what else runs on the machine doesn't count. Exits with
1 if at the network's size the float32 encoder costs more than 5% on top of set_tensor, invoke, get_tensor, or the tiny
one more than 100 µs. (After a large network has swept the caches, the same arithmetic takes ten times as long.)
"""
from __future__ import annotations

import os
import sys
import tempfile
import time
from typing import Any, Callable, List, Tuple

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.data import frames  # noqa: E402
from leanood.ood import detector, typicality  # noqa: E402
from leanood.tflite import bundle, runtime  # noqa: E402
from leanood.tflite.timing import results, turns  # noqa: E402
from leanood.tools import command  # noqa: E402

_RUNS = flags.DEFINE_integer("runs", 200, "frames of each", lower_bound=20)
_MOST_SHARE, _MOST_SECONDS = 0.05, 100e-6


def detectors(folder: str) -> List[Tuple[str, str]]:
    """(name, path) of freshly made detector files."""
    from leanood.models import bvae, filter_bank
    from leanood.tflite import convert

    random = np.random.default_rng(0)
    files = []
    paper, tiny = bvae.paper_encoder(), bvae.encoder(size=(64, 64), widths=(8, 16, 16, 16), latents=10, dense=(),
                                                     activation="relu", pool="stride")
    for name, encoder, quantize in (("paper's encoder, float32", paper, "float32"),
                                    ("paper's encoder, int8", paper, "int8"), ("tiny encoder, int8", tiny, "int8")):
        size = tuple(encoder.inputs[0].shape[1:3])
        images = np.stack([frames.resize(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), size) for _ in range(60)])
        flatbuffer = convert.convert(filter_bank.with_statistics(encoder), quantize=quantize,
                                     representative=images[:20])
        outputs = runtime.load(flatbuffer, trusted=True).each(images)
        starts = np.arange(len(images)) == 0
        fitted = typicality.Typicality().fit({key: array[:30] for key, array in outputs.items()}, starts=starts[:30])
        calibrated = detector.Detector.calibrate(fitted, {key: array[30:] for key, array in outputs.items()},
                                                 starts=starts[:30])
        path = os.path.join(folder, f"{len(files)}.tflite")
        fields = {**calibrated.config(), "kind": "latent", "outputs": list(fitted.inputs),
                  "input": {"size": list(size)}}
        bundle.write(path, flatbuffer, fields, calibrated.to_arrays())
        files.append((name, path))
    return files


def bare(path: str) -> Callable[[np.ndarray], Any]:
    """The least that one can do with LiteRT: a function from an input tensor to the outputs."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    into = interpreter.get_input_details()[0]["index"]
    out = [details["index"] for details in interpreter.get_output_details()]

    def run(tensor: np.ndarray) -> Any:
        interpreter.set_tensor(into, tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in out]

    return run


def compare(path: str, camera: Tuple[int, int], runs: int) -> Tuple[float, float]:
    """(median seconds of the bare interpreter, what the detector's median is longer)."""
    watched, interpreter = bundle.load(path), bare(path)
    frame = np.random.default_rng(1).integers(0, 256, (*(camera or watched.size), 3), dtype=np.uint8)
    tensor = frames.resize(frame, watched.size)[np.newaxis]
    if next(iter(watched.runner.inputs.values())).dtype is np.float32:
        tensor = tensor / np.float32(255)
    taken = turns.seconds({"alone": lambda: interpreter(tensor), "watched": lambda: watched(frame)}, runs, warmup=10,
                          clock=time.thread_time)
    alone = float(np.median(taken["alone"]))
    return alone, float(np.median(taken["watched"])) - alone


def main(argv: List[str]) -> int:
    rows, figures = [], []
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        for name, path in detectors(folder):
            for camera in ((), (480, 640)):
                alone, more = compare(path, camera, _RUNS.value)
                kept = more <= _MOST_SHARE * alone if "float32" in name else more <= _MOST_SECONDS
                bound = not camera and name != "paper's encoder, int8"
                figures.append(results.Figure(
                    f"around the interpreter: {name}, {'640x480 frames' if camera else 'frames of its size'}",
                    f"{1e6 * more:.0f} µs more than {1e3 * alone:.2f} ms ({more / alone:.1%})",
                    ("≤ 5%" if "float32" in name else "≤ 100 µs") if bound else "", kept or not bound))
                rows.append([name, "640x480" if camera else "the network's size", 1e3 * alone, 1e6 * more,
                             f"{100 * more / alone:.1f}%"])
    print(command.table(rows, ["network", "frames of", "bare, ms", "more, µs", "more"]))
    return results.write(__file__, figures, rows)


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
