"""Compresses a trained network by a recipe: weights, a TFLite file, a detector recalibrated on that file, a report.

A recipe is steps with "+" between them, settings in parentheses: "shrink(0.5)+distill(epochs=20)+qat". Steps: shrink,
factorize, student, distill, then prune, then cluster, then one of qat, pqat (after prune), cqat (after cluster), pcqat
(after both), int8, int16, dynamic, float16, float32, then huffman. Each trains towards the original on images without
labels. Everything is checked before the training starts; killed or interrupted, the same command goes on.
"""
from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
from absl import flags

from leanood.tools import command, data_flags
from leanood.workflow import loading, quiet

_RUN = flags.DEFINE_string("run", None, "a run's folder")
_MODEL = flags.DEFINE_string("model", None, "any saved Functional Keras model (.h5, .keras) instead of a run")
_RECIPE = flags.DEFINE_string("recipe", None, "what to do, e.g. shrink(0.5)+distill(epochs=20)+qat", required=True)
_OUT = flags.DEFINE_string("out", None, "the folder of the results", required=True)
_PART = flags.DEFINE_string("part", None, "which of a run's models; default: its encoder or classifier")
_OUTPUTS = flags.DEFINE_list("outputs", [], "layers to put out, e.g. features=features,logits=logits")
_SIZE = flags.DEFINE_string("size", None, "height x width, where the model leaves them open")
_INPUT_SCALE = flags.DEFINE_enum("input_scale", None, ["unit", "signed", "bytes"],
                                 "what the model was trained on: x/255, x/127.5-1 or x; default: the run's, or unit")
_EPOCHS = flags.DEFINE_integer("epochs", 5, "of fine-tuning after each step that doesn't say", lower_bound=0)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "images a training step", lower_bound=1)
_IMAGES = flags.DEFINE_integer("images", 4000, "train on so many images at most, evenly spread", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "of order and views", lower_bound=0)
_TARGET = flags.DEFINE_enum("target", "generic", ["generic", "jetson-nano", "gpu"],
                            "a file that could not be loaded there is refused")
_DETECTOR = flags.DEFINE_string("detector", None, "what to calibrate the file into, as for leanood calibrate; default: "
                                "typicality for an encoder, energy for a classifier; none: nothing")
_LAYER_ERRORS = flags.DEFINE_boolean("layer_errors", False, "with int8: report how far each layer's activations stray "
                                     "from float, worst first")
_JSON = command.define_json()

_REPRESENTATIVE = 200  # images that set the ranges of plain int8
_COMPARED = 32  # images that layers are compared on


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
    if (_RUN.value is None) == (_MODEL.value is None):
        raise ValueError("give one of --run=FOLDER and --model=FILE")
    quiet.tensorflow()
    from leanood.compression import recipe as recipes
    from leanood.models import run

    recipe = recipes.parse(_RECIPE.value)
    config, model, part = _network()
    recipes.check(recipe, model)
    size = (int(model.input_shape[1]), int(model.input_shape[2]))
    found, data = data_flags.open_data(config.get("data", {}))
    images, _ = loading.load_split(found, "train", size, _IMAGES.value)
    validation = _validation(found, size)
    settings = {"recipe": recipes.write(recipe), "from": os.path.abspath(_RUN.value or _MODEL.value),
                "epochs": _EPOCHS.value, "batch_size": _BATCH_SIZE.value, "images": len(images), "seed": _SEED.value}
    folder = run.Run.create(_OUT.value, {**config, "data": data, "compressed": settings})
    with folder.lock():
        result = recipes.run(recipe, model, images, scale=config["input_scale"], epochs=_EPOCHS.value,
                             batch_size=_BATCH_SIZE.value, validation=validation, seed=_SEED.value,
                             folder=folder.file("steps"), decoder=_decoder(), progress=_say)
        folder.save(part, result.model)
        _keep_decoder(folder)
        rows, files = _files(folder, part, model, result, images, found, data)
    weakest = _layer_errors(result, images, config["input_scale"])
    _report(folder, rows, files, weakest)


def _network() -> Tuple[Dict[str, Any], Any, str]:
    """The run's config (or a saved model's), the model with named outputs and a fixed size, and what it is."""
    from leanood.compression import rebuild
    from leanood.models import run
    from leanood.tflite import convert

    if _RUN.value is not None:
        opened = run.Run(_RUN.value)
        config = dict(opened.config)
        part = _PART.value or ("classifier" if os.path.exists(opened.file("classifier.h5")) else "encoder")
        model = opened.model(part)
    else:
        if not os.path.exists(_MODEL.value):
            raise FileNotFoundError(f"{_MODEL.value} is not there; --model takes a saved Keras model")
        config, part, model = {"model": os.path.abspath(_MODEL.value)}, _PART.value or "network", run.load(_MODEL.value)
    config["input_scale"] = _INPUT_SCALE.value or config.get("input_scale", "unit")
    rebuild.check(model)
    if _OUTPUTS.value:
        model = convert.with_outputs(model, command.pairs(_OUTPUTS.value))
    shape = tuple(model.input_shape[1:])
    if _SIZE.value:
        shape = (*command.size(_SIZE.value), shape[-1])
    if None in shape:
        raise ValueError("the model leaves its size open; give --size, e.g. --size=32x32")
    return config, rebuild.clone(model, shape), part


def _decoder() -> Any:
    """The run's decoder, or None."""
    from leanood.models import run

    path = os.path.join(_RUN.value or "", "decoder.h5")
    return run.load(path) if _RUN.value and os.path.exists(path) else None


def _validation(found: Any, size: Tuple[int, int]) -> Optional[np.ndarray]:
    """Validation images, or none where the data set has none."""
    if not np.any((found.split == "validation") & ~found.ood):
        return None
    return loading.load_split(found, "validation", size, max(1, _IMAGES.value // 4))[0]


def _keep_decoder(folder: Any) -> None:
    """Copies the run's decoder, which the reconstruction loss is measured with, beside the compressed encoder."""
    decoder = os.path.join(_RUN.value or "", "decoder.h5")
    if _RUN.value and os.path.exists(decoder):
        shutil.copyfile(decoder, folder.file("decoder.h5.partial"))
        os.replace(folder.file("decoder.h5.partial"), folder.file("decoder.h5"))


def _files(folder: Any, part: str, original: Any, result: Any, images: np.ndarray, found: Any, data: Dict[str, Any]
           ) -> Tuple[List[Any], Dict[str, str]]:
    """Writes TFLite, provenance, packed and detector files; returns the report's rows and the files by kind."""
    from leanood.compression import huffman, report
    from leanood.models import filter_bank
    from leanood.tflite import convert

    _say(f"converting to {result.quantize}")
    latents = {"mu", "logvar"} <= set(result.model.output)
    original, model = (filter_bank.with_statistics(one) if part == "encoder" and latents else one
                       for one in (original, result.model))
    representative = images[np.unique(np.linspace(0, len(images) - 1, _REPRESENTATIVE).round().astype(int))]
    scale = folder.config["input_scale"]
    before = convert.convert(original, input_scale=scale)
    flatbuffer = convert.convert(model, quantize=result.quantize, input_scale=scale, target=_TARGET.value,
                                 representative=representative if result.quantize in ("int8", "int16") else None)
    provenance = convert.describe(
        flatbuffer, model=folder.path, outputs=",".join(sorted(convert.named(model, model.output))),
        quantize=result.quantize, target=_TARGET.value, input_scale=scale,
        representative=len(representative), data=data, run=folder.config)
    files = {"weights": folder.file(f"{part}.h5"), "tflite": folder.file(f"{part}_{result.quantize}.tflite")}
    _write(files["tflite"], flatbuffer)
    folder.write(f"{part}_{result.quantize}.json", json.dumps(provenance, indent=2) + "\n")
    rows = [*result.sizes, ("the original's float32 file", report.measure(original, before)),
            (f"{result.quantize} file", report.measure(result.model, flatbuffer))]
    if result.pack:
        packed = huffman.pack(flatbuffer)
        files["packed"] = f"{files['tflite']}.huffman"
        _write(files["packed"], packed)
        rows.append(("huffman-packed file", dataclasses.replace(rows[-1][1], bytes=len(packed))))
    if (latents or "logits" in result.model.output) and _DETECTOR.value != "none":
        files["detector"] = _calibrate(folder, flatbuffer, found, data, provenance)
    return rows, files


def _calibrate(folder: Any, flatbuffer: bytes, found: Any, data: Dict[str, Any], network: Dict[str, Any]) -> str:
    from leanood.tflite import bundle, runtime
    from leanood.workflow import calibrate

    runner = runtime.load(flatbuffer, trusted=True)
    tensor = next(iter(runner.inputs.values()))
    size = (int(tensor.shape[1]), int(tensor.shape[2]))
    detector = _DETECTOR.value or calibrate.default_detector(runner.outputs)
    made = calibrate.calibrate(runner, size, found, calibrate.Settings(detector=detector))
    out = str(folder.file("detector.tflite"))
    bundle.write(out, flatbuffer, calibrate.fields(made, runner, size, found.fps, data=data, network=network),
                 made.detector.to_arrays())
    return out


def _layer_errors(result: Any, images: np.ndarray, scale: str) -> List[Any]:
    """Layer, kind, cosine and signal-to-noise ratio under plain int8, if asked for; a QAT model has its own ranges."""
    from leanood.compression import errors, views

    if not _LAYER_ERRORS.value or result.quantize != "int8" or any(
            layer.name.startswith("quant_") for layer in result.model.layers):
        return []
    return errors.by_layer(result.model, views.scaled(images[:_COMPARED], scale))


def _report(folder: Any, sizes: Sequence[Any], files: Dict[str, str], weakest: Sequence[Any]) -> None:
    from leanood.compression import report

    rows, headers = report.table(sizes)
    summary = {"out": folder.path, "files": files,
               "sizes": [{"model": what, **dataclasses.asdict(size)} for what, size in sizes],
               "layer_errors": [error._asdict() for error in weakest]}
    folder.write("report.json", json.dumps(summary, indent=2) + "\n")
    text = command.table(rows, headers) + "\n\n" + command.table(list(files.items()), ["file", "path"])
    if weakest:
        text += "\n\n" + command.table([list(error) for error in weakest], ["layer", "kind", "cosine", "SNR, dB"])
    folder.write("report.txt", text + "\n")
    print(json.dumps(summary) if _JSON.value else text)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _write(path: str, content: bytes) -> None:
    with open(f"{path}.partial", "wb") as stream:
        stream.write(content)
    os.replace(f"{path}.partial", path)


def run() -> None:
    command.run(main, example="leanood compress --run=runs/lanes --recipe='shrink(0.5)+distill(epochs=20)+qat' "
                              "--out=runs/lanes-small")


if __name__ == "__main__":
    run()
