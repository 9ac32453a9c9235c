"""A saved Keras 3 model as a tf_keras model, its outputs proven equal to Keras 3's own."""
from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import zipfile
import zlib
from typing import Any, Dict, List, Mapping, Set

import numpy as np
import tf_keras as keras

from leanood.files import child
from leanood.models.keras3 import layers

TOLERANCE = 1e-5  # of an output, relative to the largest where that is above 1
_TIMEOUT_S = 900.0


def saved_by_keras3(path: str) -> bool:
    """True if the file is a Keras 3 model: its `.keras` archive or `.h5` says which Keras wrote it."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                told = json.loads(archive.read("metadata.json"))["keras_version"]
        else:
            import h5py

            with h5py.File(path, "r") as file:
                told = file.attrs["keras_version"]
        return str(told).startswith("3.")
    except (OSError, KeyError, ValueError, TypeError):
        return False


def load(path: str, *, unsafe: bool = False) -> keras.Model:
    """The model in tf_keras, nested models flattened, names and weights kept.

    Args:
      path: `.keras` or `.h5` of a Functional or Sequential Keras 3 model.
      unsafe: whether code within the file (Lambda layers) may run.

    Raises:
      ValueError: naming the layer that has no counterpart, and the way out; or how far the outputs differ.
    """
    _check_whole(path)
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        environment = child.environment(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        environment.pop("TF_USE_LEGACY_KERAS", None)
        command = child.command("leanood.models.keras3.reader", os.path.abspath(path), folder,
                                "unsafe" if unsafe else "safe")
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                              timeout=_TIMEOUT_S)
        said = done.stdout.decode(errors="replace").strip()
        if done.returncode == 2 and said:
            raise ValueError(f"{path} is a Keras 3 model that leanood cannot take apart: {said}; export it "
                             "(model.export('folder')) and convert that SavedModel")
        if done.returncode != 0:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it crashed"]
            raise ValueError(f"{path} is a Keras 3 model; reading it in a process with Keras 3 failed: {last[0]}")
        with open(os.path.join(folder, "program.json"), encoding="utf-8") as file:
            program = json.load(file)
        with np.load(os.path.join(folder, "weights.npz")) as file:
            weights = dict(file)
        with np.load(os.path.join(folder, "proof.npz")) as file:
            proof = dict(file)
    model = build(program, weights)
    _prove(model, proof, path)
    return model


def _check_whole(path: str) -> None:
    """Raises ValueError if a part of the archive is not what its checksum says."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except (OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        bad = str(error) or type(error).__name__
    if bad:
        raise ValueError(f"{path} is damaged ({bad} is not what its checksum says): copy it anew, or save it again")


def build(program: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> keras.Model:
    """The tf_keras model of a program that `reader` wrote.

    Args:
      program: program.json.
      weights: "<layer's key>.<number>" -> array.
    """
    tensors: Dict[int, Any] = {}
    inputs = []
    taken: Set[str] = set()
    for given in program["inputs"]:
        dtype = "float32" if given["dtype"] in ("float16", "bfloat16") else given["dtype"]
        tensors[given["tensor"]] = keras.Input(given["shape"][1:], name=_free(given["name"], taken), dtype=dtype)
        inputs.append(tensors[given["tensor"]])
    calls: Dict[str, Any] = {}
    for call in program["calls"]:
        key = call["layer"]
        about = program["layers"][key]
        if key not in calls:
            name = _free(about["name"], taken)
            if about["class"] in layers.OPERATORS and ".ops." in about["module"]:
                calls[key] = layers.operation(about["class"], name)
            else:
                calls[key] = layers.build(about["class"], name, {**about["config"], "name": name})
        named = {name: value for name, value in call["kwargs"].items() if name not in ("training", "mask")}
        result = calls[key](*_bound(call["args"], tensors), **_bound(named, tensors))
        for number, tensor in zip(call["outputs"], result if isinstance(result, (list, tuple)) else [result]):
            tensors[number] = tensor
    for key, call in calls.items():
        layer = layers.layer_of(call)
        values = [weights[name] for name in sorted((n for n in weights if n.split(".")[0] == key),
                                                   key=lambda n: int(n.split(".")[1]))]
        if layer is not None and (values or layer.weights):
            _fill(layer, values)
    outputs = _bound(program["outputs"], tensors)
    return keras.Model(inputs if len(inputs) > 1 else inputs[0],
                       outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs, name=program["name"])


def _fill(layer: Any, values: List[np.ndarray]) -> None:
    shapes, expected = [v.shape for v in values], [tuple(w.shape) for w in layer.weights]
    if shapes != expected:
        raise ValueError(f"layer {layer.name!r} ({type(layer).__name__}) has weights {shapes} in Keras 3 and "
                         f"{expected} in tf_keras: export the model (model.export('folder')) and convert that "
                         "SavedModel")
    layer.set_weights(values)


def _bound(value: Any, tensors: Mapping[int, Any]) -> Any:
    """The arguments with their tensors."""
    if isinstance(value, dict):
        if set(value) == {"tensor"}:
            return tensors[value["tensor"]]
        return {key: _bound(item, tensors) for key, item in value.items()}
    return [_bound(item, tensors) for item in value] if isinstance(value, list) else value


def _free(name: str, taken: set) -> str:
    """The name in TensorFlow's letters; where a flattened model brings it a second time, with a number."""
    name = re.sub(r"[^A-Za-z0-9_./>-]", "_", name).lstrip("_/>-") or "layer"
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    taken.add(free)
    return free


def _prove(model: keras.Model, proof: Mapping[str, np.ndarray], path: str) -> None:
    """Raises ValueError unless the outputs are Keras 3's own, within `TOLERANCE`."""
    import tensorflow as tf

    given = [proof[f"input_{i}"] for i in range(len(model.inputs))]
    outputs = tf.nest.flatten(model(given if len(given) > 1 else given[0], training=False))
    wanted = [proof[f"output_{i}"] for i in range(len(outputs))]
    for i, (ours, theirs) in enumerate(zip(outputs, wanted)):
        for rebuilt, original in zip(np.asarray(ours, np.float64), theirs.astype(np.float64)):
            difference = float(np.abs(rebuilt - original).max())
            if not difference <= TOLERANCE * max(1.0, float(np.abs(original).max())):
                raise ValueError(f"{path}: rebuilt in tf_keras, output {i} differs from Keras 3's by {difference:.2g}; "
                                 "export the model (model.export('folder')) and convert that SavedModel")
