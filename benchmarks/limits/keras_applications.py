"""What becomes of every network of keras.applications: which step converts or compresses it, which refuses, and why.

    python benchmarks/limits/keras_applications.py [--networks=MobileNetV2,VGG16] [--size=96] [--minutes=12]

Keras 3 writes each network (weights=None, ten classes) to a `.keras` file. That is read as any user's is, its outputs
proven equal to Keras 3's, converted to float32 and int8, and compressed by each step of a recipe without fine-tuning;
each file that comes of it is run once. Where a step asks for a layer to be excluded, it is. A network is tried in a
child process with bounds on its memory and on each step's time, the smallest first; a step that goes beyond them is
skipped. What is known of a network lies in --folder, one JSON each, and in the kept results, so that the same command
goes on where it was ended (--again: from the start); `python benchmarks/table.py` writes the table of docs/models.md.
Exits with 1 if anything crashed, rather than worked or said why not.
"""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List

from absl import app, flags

from leanood.files import atomic
from leanood.tflite.timing import results

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

NETWORKS = (  # by their parameters
    "MobileNetV3Small", "MobileNetV2", "MobileNetV3Large", "MobileNet", "EfficientNetB0", "NASNetMobile",
    "EfficientNetV2B0", "EfficientNetB1", "EfficientNetV2B1", "DenseNet121", "EfficientNetB2", "EfficientNetV2B2",
    "EfficientNetB3", "DenseNet169", "EfficientNetV2B3", "EfficientNetB4", "DenseNet201", "EfficientNetV2S",
    "Xception", "InceptionV3", "ResNet50", "ResNet50V2", "ConvNeXtTiny", "EfficientNetB5", "EfficientNetB6",
    "ResNet101", "ResNet101V2", "ConvNeXtSmall", "VGG16", "EfficientNetV2M", "InceptionResNetV2", "VGG19",
    "ResNet152", "ResNet152V2", "EfficientNetB7", "NASNetLarge", "ConvNeXtBase", "EfficientNetV2L", "ConvNeXtLarge",
    "ConvNeXtXLarge")
STEPS = ("shrink(0.5)", "factorize(0.9)", "prune(0.5)", "cluster(16)", "qat")
_KEPT = pathlib.Path(__file__).resolve().parents[1] / "results" / "limits-keras_applications.json"
CELLS = ("read", "float32", "int8", *STEPS)
_NETWORKS = flags.DEFINE_list("networks", list(NETWORKS), "names of keras.applications")
_SIZE = flags.DEFINE_integer("size", 96, "rows and columns of the input", lower_bound=75)
_FOLDER = flags.DEFINE_string("folder", ".build/keras_applications", "what is known of each network")
_AGAIN = flags.DEFINE_boolean("again", False, "leave the kept results alone")
_MINUTES = flags.DEFINE_float("minutes", 1e9, "begin no network after these")
_MEMORY = flags.DEFINE_float("memory_gb", 6, "of a child process")
_STEP = flags.DEFINE_integer("step_s", 300, "of a step, processor time", lower_bound=1)
_CHILD = flags.DEFINE_string("child", None, "(one network's JSON, in a process of its own)")
# Batch normalisations are fitted on noise: else the deepest networks turn a pixel's last bit into another class.
_WRITE = """
import sys, keras, numpy
name, side, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
model = getattr(keras.applications, name)(weights=None, classes=10, input_shape=(side, side, 3))
norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
momentum = [layer.momentum for layer in norms]
for layer in norms:
    layer.momentum = 0.0
model(numpy.random.default_rng(0).uniform(0, 255, (8, side, side, 3)).astype("float32"), training=True)
for layer, before in zip(norms, momentum):
    layer.momentum = before
model.save(path)
"""


def main(argv: List[str]) -> None:
    if _CHILD.value:
        _try(pathlib.Path(_CHILD.value))
        return
    begin, folder = time.monotonic(), pathlib.Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    if _KEPT.exists() and not _AGAIN.value:
        for name, cells in json.loads(_KEPT.read_text(encoding="utf-8"))["details"].items():
            if not (folder / f"{name}.json").exists():
                atomic.write_json(folder / f"{name}.json", cells)
    for name in _NETWORKS.value:
        while missing(known(folder / f"{name}.json")) and time.monotonic() - begin < 60 * _MINUTES.value:
            _child(folder / f"{name}.json")
        print(name, known(folder / f"{name}.json"), flush=True)
    rows = {name: known(folder / f"{name}.json") for name in NETWORKS}
    rows = {name: cells for name, cells in rows.items() if cells and not missing(cells)}
    crashed = [name for name, cells in rows.items() if any(cell.startswith("crashed") for cell in cells.values())]
    sys.exit(results.write(__file__, [results.Figure(
        f"networks of `keras.applications` on which nothing crashed, of {len(rows)} tried of {len(NETWORKS)}",
        f"{len(rows) - len(crashed)}", f"{len(rows)}", not crashed)], rows))


def known(path: pathlib.Path) -> Dict[str, str]:
    """What is known of a network so far, by cell of the table."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def missing(cells: Dict[str, str]) -> List[str]:
    """The cells that are still to be tried; none where the network could not even be read."""
    return [] if cells.get("read", " ")[0] not in " 0123456789" else [cell for cell in CELLS if cell not in cells]


def _child(path: pathlib.Path) -> None:
    """Tries what is missing in a process of its own; what ends that process is what the step came to that it was at."""
    most = int(_MEMORY.value * 2**30)
    command = [sys.executable, __file__, f"--child={path}", f"--size={_SIZE.value}", f"--step_s={_STEP.value}",
               f"--memory_gb={_MEMORY.value}"]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(command, stderr=errors, text=True,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (most, most)))
        taken = 0
        while child.poll() is None:
            taken = max(taken, _data_bytes(child.pid))
            time.sleep(0.2)
        errors.seek(0)
        said = errors.read().strip()
    cells = known(path)
    if child.returncode and missing(cells):
        told = f"crashed: status {child.returncode}, {(said.splitlines() or ['no message'])[-1][:200]}"
        if child.returncode in (-signal.SIGXCPU, -signal.SIGALRM):
            told = f"skipped: more than {_STEP.value} s"
        # TensorFlow may die of an allocation that was refused, without a word.
        elif "alloc" in said or "MemoryError" in said or child.returncode < 0 and taken > most / 2:
            told = f"skipped: more than {_MEMORY.value:g} GB"
        atomic.write_json(path, {**cells, missing(cells)[0]: told})


def _data_bytes(process: int) -> int:
    """What counts against a process's bound on memory."""
    try:
        status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:  # it has just ended
        return 0
    size = re.search(r"VmData:\s+(\d+) kB", status)
    return 1024 * int(size[1]) if size else 0


def _try(path: pathlib.Path) -> None:
    """Adds what is missing to a network's JSON, cell by cell."""
    import numpy as np

    from leanood.compression import rebuild, recipe, steps, views
    from leanood.models import run
    from leanood.tflite import convert, runtime

    images = np.random.default_rng(0).integers(0, 256, (4, _SIZE.value, _SIZE.value, 3), dtype=np.uint8)
    samples = views.scaled(images)
    network: Any = None

    def read() -> str:
        nonlocal network
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, f"{path.stem}.keras")
            environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
            subprocess.run([sys.executable, "-c", _WRITE, path.stem, str(_SIZE.value), file], env=environment,
                           check=True, stderr=subprocess.DEVNULL)
            network = rebuild.clone(run.load(file))
        return f"{len(network.layers)} layers"

    def converted(model: Any, quantize: str) -> str:
        flatbuffer = convert.convert(model, quantize=quantize, representative=images if quantize == "int8" else None)
        outputs = runtime.load(flatbuffer, trusted=True)(images[:1]).values()
        if not all(np.isfinite(value).all() for value in outputs):
            raise ArithmeticError("the file's outputs are not finite")
        return f"{len(flatbuffer) / 1e6:.1f} MB"

    def compressed(text: str) -> str:
        step, excluded = recipe.parse(text)[0], ""
        while True:
            try:
                recipe.check([step], network)
                break
            except ValueError as error:  # the message names a layer and the way out, which is tried
                layer = re.search(r"layer '([^']+)' .*exclude it", str(error))
                if layer is None or f",{layer[1]}," in f",{excluded},":
                    raise
                excluded = f"{excluded},{layer[1]}".lstrip(",")
                step = dataclasses.replace(step, exclude=excluded)
        small = step.apply(network, steps.Context(network, images, samples, lambda *_, **__: None))
        size = converted(small, "int8" if text == "qat" else "float32")
        return f"{size}*: without {excluded.replace(',', ', ')}" if excluded else size

    cells = known(path)
    _bound_step()
    told = _told(read)
    for cell in missing({**cells, "read": told}):
        _bound_step()
        cells[cell] = _told(lambda cell=cell: converted(network, cell) if cell in CELLS[1:3] else compressed(cell))
        atomic.write_json(path, {"read": told, **cells})
    atomic.write_json(path, {"read": told, **cells})


def _bound_step() -> None:
    """Ends this process, wherever it is, if the step that begins takes too long."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + _STEP.value, resource.RLIM_INFINITY))
    signal.alarm(20 * _STEP.value)  # if it waits for ever


def _told(action: Callable[[], str]) -> str:
    try:
        return action()
    except ValueError as error:
        if "bad_alloc" in str(error):  # the converter's word for the bound on memory
            return f"skipped: more than {_MEMORY.value:g} GB"
        return f"refused: {str(error).splitlines()[0].replace('|', '/')}"
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a crash is what is looked for
        return f"crashed: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"


if __name__ == "__main__":
    app.run(main)
