"""Compresses a trained network by a recipe: weights, a TFLite file, a detector recalibrated on that file, a report."""
from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import shutil
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.data import input_scales, spread
from leanood.files import atomic
from leanood.tflite import silence
from leanood.workflow import calibrate, convert, datasets, outcome, progress, tabular

_REPRESENTATIVE = 200  # images that set the ranges of plain int8
_COMPARED = 32  # images that layers are compared on


class Compressed(outcome.Outcome):
    """A compressed run's folder; it shows itself as the tables of sizes and files."""

    def __str__(self) -> str:
        return "\n\n".join(tabular.text(*table) for table in _tables(self.summary))

    def _repr_html_(self) -> str:
        return "".join(tabular.html(*table) for table in _tables(self.summary))


def compress(run: Optional[Union[str, os.PathLike]] = None, recipe: str = "", out: Optional[str] = None, *,
             model: Optional[Union[str, os.PathLike]] = None, part: Optional[str] = None,
             outputs: Optional[Mapping[str, str]] = None, size: Optional[Tuple[int, int]] = None,
             input_scale: Optional[str] = None, epochs: int = 5, batch_size: int = 32, images: int = 4000,
             seed: int = 0, freeze_batch_norm: Optional[bool] = None, target: str = "generic",
             detector: Optional[str] = None, layer_errors: bool = False, unsafe: bool = False,
             sizes: bool = True, early: Optional[bool] = None, keep: Optional[str] = None,
             data: Optional[datasets.Data] = None, **data_options: Any) -> Compressed:
    """Compresses a network by a recipe; returns the new run's folder, with its files and their sizes.

    Each step trains towards the original on images without labels (but for distill(alpha=…)). Everything is checked
    before the training starts; killed or interrupted, the same call goes on.

    Args:
      run: a run's folder, or
      model: any saved Functional Keras model (.h5, .keras); exactly one of the two.
      recipe: what to do, e.g. "shrink(0.5)+distill(epochs=20)+qat". Steps: downscale, cut, shrink, factorize, student,
        distill, then prune, then cluster, then one of qat, pqat (after prune), cqat (after cluster), pcqat (after
        both), int8, int16, dynamic, float16, float32, then huffman.
      out: the folder of the results; None: the run's (or model's) name and the recipe's.
      part: which of a run's models; None: its encoder or classifier.
      outputs: layers to put out by name, e.g. {"features": "features", "logits": "logits"}.
      size: (height, width), where the model leaves them open.
      input_scale: what the model was trained on: "unit" x/255, "signed" x/127.5−1 or "bytes" x; None: the run's, or
        unit.
      epochs: of fine-tuning after each step that doesn't say.
      batch_size: images a training step.
      images: train on so many images at most, evenly spread.
      seed: of order and views.
      freeze_batch_norm: let batch normalisations keep what they are, since they come from other images than these;
        None: those of a backbone.
      target: "generic", "jetson-nano" or "gpu": a file that could not be loaded there is refused.
      detector: what to calibrate the file into, as for `leanood.calibrate`; None: typicality for an encoder, for a
        classifier the score that `leanood.calibrate` chooses; "none": nothing.
      layer_errors: with int8: report how far each layer's activations stray from float, worst first.
      unsafe: let code within the model's file run (Lambda layers).
      sizes: convert the original too, for its row in the table of sizes.
      early: add the output `early`, which the score of that name reads; None: of an encoder.
      keep: a folder in which what the original says of the images is kept for other recipes; None keeps nothing.
      data: what to train and calibrate on; None: the run's own.
      **data_options: split_csv, times_csv, ood_partitions, fps, data_seed, limit, as of `leanood.data.catalog.open`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    if (run is None) == (model is None):
        raise ValueError("give one of --run=FOLDER and --model=FILE")
    silence.tensorflow()
    from leanood.compression import recipe as recipes
    from leanood.models import run as runs

    steps = recipes.parse(recipe)
    source = os.fspath(run if run is not None else model)  # type: ignore[arg-type]
    config, original, part = _original(source, run is not None, part, outputs, size, input_scale, unsafe)
    recipes.check(steps, original)
    shape = datasets.motion(config) or (int(original.input_shape[1]), int(original.input_shape[2]))
    frames, opened = datasets.open(data, data_options, config.get("data", {}))
    training, shown = datasets.load_split(frames, "train", shape, images)
    labels = _labels(config, shown)
    recipes.check_labels(steps, labels)
    validation, judged = _validation(frames, shape, images)
    frozen = config.get("model") == "backbone" if freeze_batch_norm is None else freeze_batch_norm
    path = os.fspath(out) if out else _named_after(source, recipes.write(steps))
    settings = {"recipe": recipes.write(steps), "from": os.path.relpath(source, path), "epochs": epochs,
                "batch_size": batch_size, "images": len(training), "seed": seed, "freeze_batch_norm": frozen}
    decoder = os.path.join(source, "decoder.h5")
    folder = runs.Run.create(path, {**config, "data": opened, "compressed": settings})
    with folder.lock():
        result = recipes.run(steps, original, training, scale=input_scales.of_bytes(config["input_scale"]),
                             epochs=epochs, batch_size=batch_size, validation=validation, seed=seed,
                             freeze_batch_norm=frozen, labels=labels, validation_labels=_labels(config, judged),
                             keep=keep, folder=folder.file("steps"), checked=True, progress=progress.say,
                             decoder=runs.load(decoder) if os.path.exists(decoder) else None)
        folder.save(part, result.model)
        if os.path.exists(decoder):  # the reconstruction loss is measured with it
            with atomic.replacing_path(folder.file("decoder.h5")) as partial:
                shutil.copyfile(decoder, partial)
        rows, files = _files(folder, part, original if sizes else None, result, training, frames, opened, target,
                             detector, early)
    errors = _layer_errors(result, training, config["input_scale"]) if layer_errors else []
    summary = {"out": folder.path, "files": files,
               "sizes": [{"model": what, **dataclasses.asdict(measured)} for what, measured in rows],
               "layer_errors": [error._asdict() for error in errors]}
    compressed = Compressed(folder.path, summary)
    folder.write("report.json", json.dumps(summary, indent=2) + "\n")
    folder.write("report.txt", f"{compressed}\n")
    return compressed


def _original(source: str, is_run: bool, part: Optional[str], outputs: Optional[Mapping[str, str]],
              size: Optional[Tuple[int, int]], input_scale: Optional[str],
              unsafe: bool) -> Tuple[Dict[str, Any], Any, str]:
    """The run's config (or a saved model's), the model with named outputs and a fixed size, and what it is."""
    from leanood.compression import rebuild
    from leanood.models import run as runs
    from leanood.models import saved_model

    if is_run:
        opened = runs.Run(source)
        config = dict(opened.config)
        part = part or opened.part
        model = opened.model(part, unsafe=unsafe)
    else:
        if not os.path.exists(source):
            raise FileNotFoundError(f"{source} is not there; --model takes a saved Keras model")
        if saved_model.is_program(source):
            raise ValueError(f"{source} is a SavedModel without Keras's layers: a program, whose graph can't be taken "
                             "apart. Save the model as .keras (Functional or Sequential) to compress it; or `leanood "
                             "convert --quantize=int8`, which works on SavedModels, and calibrate that")
        config, part = {"model": os.path.abspath(source)}, part or "network"
        model = runs.load(source, unsafe=unsafe)
    config["input_scale"] = input_scale or config.get("input_scale", "unit")
    rebuild.check(model)
    if outputs:
        model = convert.with_outputs(model, outputs, size)
    shape = tuple(model.input_shape[1:])
    if size:
        shape = (*size, shape[-1])
    if None in shape:
        raise ValueError("the model leaves its size open; give --size, e.g. --size=32x32")
    return config, rebuild.clone(model, shape), part


def _named_after(source: str, recipe: str) -> str:
    return f"{os.path.splitext(source.rstrip(os.sep))[0]}-{re.sub(r'[^0-9A-Za-z.]+', '-', recipe).strip('-')}"


def _validation(frames: Any, size: Any, images: int) -> Tuple[Any, Any]:
    """Validation images and what is known of each, or None twice where the data set has none."""
    if not np.any((frames.split == "validation") & ~frames.ood):
        return None, None
    return datasets.load_split(frames, "validation", size, max(1, images // 4))


def _labels(config: Mapping[str, Any], images: Any) -> Optional[np.ndarray]:
    """Indices int64 [N] of the classes that the run was trained on; None where it knows none, or not all of these."""
    classes = np.asarray(sorted(config.get("classes", ())))
    if images is None or not len(classes) or not np.isin(images.partition, classes).all():
        return None
    return np.searchsorted(classes, images.partition)


def _files(folder: Any, part: str, original: Any, result: Any, images: np.ndarray, frames: Any, data: Dict[str, Any],
           target: str, detector: Optional[str], early: Optional[bool]) -> Tuple[List[Any], Dict[str, str]]:
    """Writes TFLite, provenance, packed and detector files; returns the report's rows and the files by kind."""
    from leanood.compression import huffman, report
    from leanood.models import filter_bank, motion_statistics
    from leanood.tflite import convert as converter

    progress.say(f"converting to {result.quantize}")
    encoder = part == "encoder" and any(name.split("_")[0] in ("mu", "features") for name in result.model.output)
    scale = folder.config["input_scale"]
    statistics = motion_statistics.with_statistics if "mu_h" in result.model.output else functools.partial(
        filter_bank.with_statistics, factor=input_scales.SCALES[scale][0], offset=input_scales.SCALES[scale][1])
    joined = encoder if early is None else early
    model = statistics(result.model) if joined else result.model
    representative = images[spread.evenly(len(images), _REPRESENTATIVE)]
    flatbuffer = converter.convert(model, quantize=result.quantize, input_scale=scale, target=target,
                                 representative=np.asarray(representative) if result.quantize in ("int8", "int16")
                                 else None)
    provenance = converter.describe(
        flatbuffer, model=folder.path, outputs=",".join(sorted(converter.named(model, model.output))),
        quantize=result.quantize, target=target, input_scale=scale,
        representative=len(representative), data=data, run=folder.config)
    files = {"weights": folder.file(f"{part}.h5"), "tflite": folder.file(f"{part}_{result.quantize}.tflite")}
    atomic.write_bytes(files["tflite"], flatbuffer)
    folder.write(f"{part}_{result.quantize}.json", json.dumps(provenance, indent=2) + "\n")
    rows = list(result.sizes)
    if original is not None:
        whole = statistics(original) if joined else original
        rows.append(("the original's float32 file", report.measure(whole, converter.convert(whole, input_scale=scale))))
    rows.append((f"{result.quantize} file", report.measure(result.model, flatbuffer)))
    if result.pack:
        packed = huffman.pack(flatbuffer)
        files["packed"] = f"{files['tflite']}.huffman"
        atomic.write_bytes(files["packed"], packed)
        rows.append(("huffman-packed file", dataclasses.replace(rows[-1][1], bytes=len(packed))))
    if (encoder or "logits" in result.model.output) and detector != "none":
        calibrated = calibrate.calibrate(files["tflite"], frames, folder.file("detector.tflite"), detector=detector)
        files["detector"] = calibrated.path
    return rows, files


def _layer_errors(result: Any, images: np.ndarray, scale: str) -> List[Any]:
    """Layer, kind, cosine and signal-to-noise ratio under plain int8; a QAT model has its own ranges."""
    from leanood.compression import errors, views

    if result.quantize != "int8" or any(layer.name.startswith("quant_") for layer in result.model.layers):
        return []
    return errors.by_layer(result.model, views.scaled(images[:_COMPARED], input_scales.of_bytes(scale)))


def _tables(summary: Mapping[str, Any]) -> List[Tuple[Sequence[Sequence[Any]], Sequence[str]]]:
    from leanood.compression import report

    sizes = [(row["model"], report.Size(**{name: value for name, value in row.items() if name != "model"}))
             for row in summary["sizes"]]
    tables: List[Tuple[Sequence[Sequence[Any]], Sequence[str]]] = [
        report.table(sizes), (list(summary["files"].items()), ["file", "path"])]
    if summary["layer_errors"]:
        tables.append(([list(error.values()) for error in summary["layer_errors"]],
                       ["layer", "kind", "cosine", "SNR, dB"]))
    return tables
