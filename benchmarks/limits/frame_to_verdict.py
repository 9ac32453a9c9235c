"""From a camera's picture to the verdict on one core: check, resize, network, arithmetic; and what each takes.

    python benchmarks/limits/frame_to_verdict.py [--runs=60] [--frame=480x640]

Builds what `leanood train` makes of frames of 120x160, EfficientNet-Lite0 with its published weights, seen at a third
of their size and cut at the block that the rule chooses of Duckietown, donkeycar and lanes alike, in float32 and int8;
and (untrained: only the time counts) the β-VAE's encoder in int8, and as it is after `leanood compress
--recipe='shrink(0.5)'` and `shrink(0.75)`. Each is calibrated to the default detector, and the β-VAE to the paper's,
kl-topk, too, whose file has no early statistics. Processor time of one thread, OpenCV's too; they take turns in one
process, ten frames each, as a monitor has its caches to itself. Exits with 1 if the verdict takes more than 0.5 ms with
the default network in int8, or with half of the β-VAE's channels.

Tried in turns with what is there, and no faster: resizing in strips, or straight into the graph's input; in the filter
bank, neighbouring pixels as channels, both products in one convolution, the network's pool as three more filters, means
shared between statistics; a triangular whitening in two blocks; huge pages; LiteRT's CompiledModel in place of its
Interpreter (300 µs an invocation against 294); OpenCV's INTER_LINEAR_EXACT (92 µs a halving against 97). Halving four
channels or one is quicker, but turning three into four takes longer than halving them, and cameras' pictures aren't
planar. By themselves, in a loop, the parts take 130 µs (resize), 296 (graph: the bank 159) and 29 (arithmetic), 455 in
all, 0.1 ms less than one after another: likely the cache (a picture is 0.9 MB, the second cache of the machine that
this was measured on 1.25 MB), which nobody has counted.
"""
from __future__ import annotations

import functools
import os
import sys
import tempfile
import time
from typing import Any, Dict, List, Tuple

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.data import frames  # noqa: E402
from leanood.ood import detector, kl_topk, typicality  # noqa: E402
from leanood.tflite import bundle, runtime  # noqa: E402
from leanood.tflite.timing import results, turns  # noqa: E402
from leanood.tools import command  # noqa: E402

_RUNS = flags.DEFINE_integer("runs", 60, "turns of each, of ten frames", lower_bound=10)
_FRAME = flags.DEFINE_string("frame", "480x640", "the camera's height x width")
_SIZE, _MOST_SECONDS = (120, 160), 0.5e-3
_CUT, _DOWNSCALE = "block3", 3
_SHRUNK = {"as trained": 0.0, "shrink(0.5)": 0.5, "shrink(0.75)": 0.75}
_BOUND = ("EfficientNet-Lite0, int8", "β-VAE, int8, shrink(0.5)")


def networks() -> Dict[str, Tuple[Any, str, bool]]:
    """By name: the network, its quantization and whether it has latents."""
    from leanood.compression import shrink
    from leanood.models import backbone, bvae

    base = backbone.load("efficientnet_lite0", _SIZE, downscale=_DOWNSCALE).model
    lite, encoder = backbone.cut(base, _CUT), bvae.encoder(size=_SIZE)
    return {**{f"EfficientNet-Lite0, {quantize}": (lite, quantize, False) for quantize in ("int8", "float32")},
            **{f"β-VAE, int8, {name}": (shrink.shrink(encoder, share) if share else encoder, "int8", True)
               for name, share in _SHRUNK.items()}}


def detectors(folder: str) -> Dict[Tuple[str, str], bundle.BundledDetector]:
    """Detectors by (network, nonconformity)."""
    from leanood.models import filter_bank
    from leanood.tflite import convert

    random = np.random.default_rng(0)
    images = np.stack([frames.resize(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), _SIZE) for _ in range(120)])
    starts, loaded = np.arange(60) == 0, {}
    for name, (network, quantize, latents) in networks().items():
        for kind in (typicality.Typicality(), *([kl_topk.KlTopK()] if latents else [])):
            wanted = filter_bank.with_statistics(network) if "early" in kind.inputs else network
            flatbuffer = convert.convert(wanted, quantize=quantize,
                                         representative=images[:20] if quantize == "int8" else None)
            outputs = runtime.load(flatbuffer, trusted=True).each(images)
            kind.fit({key: array[:60] for key, array in outputs.items()}, starts=starts)
            calibrated = detector.Detector.calibrate(kind, {key: array[60:] for key, array in outputs.items()},
                                                     starts=starts)
            calibrated.threshold = 3.0
            path = os.path.join(folder, f"{len(loaded)}.tflite")
            bundle.write(path, flatbuffer, {**calibrated.config(), "kind": "latent", "outputs": list(kind.inputs),
                                            "input": {"size": list(_SIZE)}}, calibrated.to_arrays())
            loaded[name, kind.name] = bundle.load(path)
    return loaded


def main(argv: List[str]) -> int:
    cv2.setNumThreads(1)
    picture = np.random.default_rng(1).integers(0, 256, (*command.size(_FRAME.value), 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        loaded = detectors(folder)
        stages: Dict[Tuple[str, str], List[List[float]]] = {key: [] for key in loaded}

        def judge(key: Tuple[str, str]) -> None:
            loaded[key](picture)
            stages[key].append(list(loaded[key].stages_s.values()))

        taken = turns.seconds({key: functools.partial(judge, key) for key in loaded}, _RUNS.value, calls=10,
                              warmup=2, clock=time.thread_time)
    rows, figures = [], []
    for (network, kind), seconds in taken.items():
        least, median = 1e3 * float(seconds.min()), 1e3 * float(np.median(seconds))
        rows.append([network, kind, least, median, *(1e3 * np.median(stages[network, kind], axis=0)).tolist()])
        bound, met = network in _BOUND, least <= 1e3 * _MOST_SECONDS
        figures.append(results.Figure(
            f"a {_FRAME.value} picture to the verdict by 120x160, {network}, {kind}",
            f"{least:.2f} ms, median {median:.2f}", "≤ 0.5 ms" if bound else "", met or not bound))
    print(command.table(rows, ["network", "detector", "least, ms", "median", "resize", "network", "arithmetic"]))
    return results.write(__file__, figures, rows)


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
