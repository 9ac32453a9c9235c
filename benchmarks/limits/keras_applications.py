"""Which networks of keras.applications can be converted and compressed, and which step refuses which, and why.

    python benchmarks/limits/keras_applications.py [--networks=MobileNetV2,VGG16] [--size=96]

Keras 3 writes each network (weights=None, ten classes) to a `.keras` file. That is read as any user's is, its outputs
proven equal to Keras 3's, and converted to float32 and int8 files that are run once. Each step of compression says
whether it can work on the network, as `leanood compress` asks it before anything is trained; with --apply it also does,
without fine-tuning, and the file is run once. One of each family by default: the others differ in depth and width.
Exits with 1 if a network can be neither read nor said why not.
"""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Any, Callable, Dict, List

from absl import app, flags

from leanood.tflite.timing import results

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FAMILIES = (
    "VGG16", "ResNet50", "ResNet50V2", "InceptionV3", "InceptionResNetV2", "Xception", "MobileNet", "MobileNetV2",
    "MobileNetV3Small", "DenseNet121", "NASNetMobile", "EfficientNetB0", "EfficientNetV2B0", "ConvNeXtTiny")
STEPS = ("shrink(0.5)", "factorize(0.9)", "prune(0.5)", "cluster(16)", "qat")
_NETWORKS = flags.DEFINE_list("networks", list(FAMILIES), "names of keras.applications")
_SIZE = flags.DEFINE_integer("size", 96, "rows and columns of the input", lower_bound=75)
_APPLY = flags.DEFINE_boolean("apply", False, "compress too, instead of only asking the steps")
_CHILD = flags.DEFINE_string("child", None, "(one network's file, in a process of its own)")
_WRITE = ("import sys, keras; "
          "getattr(keras.applications, sys.argv[1])(weights=None, classes=10, input_shape={0}).save({1})")


def main(argv: List[str]) -> None:
    if _CHILD.value:
        print(" | ".join(tried(_CHILD.value)), flush=True)
        return
    print("| network | read | float32 | int8 | " + " | ".join(STEPS) + " |")
    print("| --- " * (len(STEPS) + 4) + "|", flush=True)
    rows: Dict[str, str] = {}
    crashed = []
    with tempfile.TemporaryDirectory() as folder:
        for name in _NETWORKS.value:
            path = os.path.join(folder, f"{name}.keras")
            environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
            subprocess.run([sys.executable, "-c", _WRITE.format((_SIZE.value, _SIZE.value, 3), repr(path)), name],
                           env=environment, check=True, stderr=subprocess.DEVNULL)
            done = subprocess.run([sys.executable, __file__, f"--child={path}", f"--size={_SIZE.value}",
                                   f"--apply={_APPLY.value}"], capture_output=True, text=True, check=False)
            cells = done.stdout.strip().splitlines()[-1:] or [f"crashed: {done.stderr.strip().splitlines()[-1]}"]
            rows[name] = cells[0]
            crashed += [name] if done.returncode else []
            print(f"| {name} | {cells[0]} |", flush=True)
            os.remove(path)
    sys.exit(results.write(__file__, [results.Figure(
        f"networks of `keras.applications` on which nothing crashed, of {len(rows)}", f"{len(rows) - len(crashed)}",
        f"{len(rows)}", not crashed)], rows))


def tried(path: str) -> List[str]:
    """What became of a file: read, float32, int8, and one cell a step."""
    import numpy as np

    from leanood.compression import rebuild, recipe, steps, views
    from leanood.models import run
    from leanood.tflite import convert, runtime

    loaded: Dict[str, Any] = {}
    images = np.random.default_rng(0).integers(0, 256, (4, _SIZE.value, _SIZE.value, 3), dtype=np.uint8)
    samples = views.scaled(images, "unit")

    def read() -> str:
        loaded["model"] = model = rebuild.clone(run.load(path))
        return f"{len(model.layers)} layers"

    def converted(model: Any, quantize: str) -> str:
        flatbuffer = convert.convert(model, quantize=quantize, representative=images if quantize == "int8" else None)
        outputs = runtime.load(flatbuffer, trusted=True)(images[:1]).values()
        assert all(np.isfinite(value).all() for value in outputs), "its outputs are not finite"
        return f"{len(flatbuffer) / 1e6:.1f} MB"

    def compressed(text: str) -> str:
        step, = recipe.parse(text)
        recipe.check([step], loaded["model"])
        if not _APPLY.value:
            return "yes"
        small = step.apply(loaded["model"], steps.Context(loaded["model"], images, samples, lambda *_, **__: None))
        return converted(small, "int8" if text == "qat" else "float32")

    cells = [_told(read)]
    if "model" not in loaded:
        return [*cells, *["–"] * (2 + len(STEPS))]
    cells += [_told(lambda quantize=quantize: converted(loaded["model"], quantize)) for quantize in ("float32", "int8")]
    return cells + [_told(lambda text=text: compressed(text)) for text in STEPS]


def _told(action: Callable[[], str]) -> str:
    try:
        return action()
    except ValueError as error:
        return f"refused: {str(error).splitlines()[0].replace('|', '/')}"


if __name__ == "__main__":
    app.run(main)
