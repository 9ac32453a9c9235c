"""Writes down what a saved Keras 3 model computes (python -m leanood.models.keras3.reader; a process with Keras 3).

Into a folder: program.json, the calls of its layers in order, nested models flattened; weights.npz, each layer's; and
proof.npz, inputs with Keras 3's own outputs.
"""
from __future__ import annotations

import json
import os
import sys
import zipfile
from typing import Any, Dict, List, Tuple

import numpy as np

_OPEN_SIZE = 96  # of an input that leaves its size open, for the proof


class _Refused(ValueError):
    """A model that is no graph of layers."""


class _Writer:
    """The program so far: tensors are numbers."""

    def __init__(self) -> None:
        self.layers: Dict[str, Dict[str, Any]] = {}
        self.weights: Dict[str, np.ndarray] = {}
        self.calls: List[Dict[str, Any]] = []
        self._keys: Dict[int, str] = {}
        self._count = 0

    def tensor(self) -> int:
        self._count += 1
        return self._count - 1

    def functional(self, model: Any, inputs: List[int]) -> Dict[int, int]:
        """The program of a model on tensors `inputs`; its KerasTensors' ids -> tensors."""
        model = getattr(model, "_functional", None) or model
        tensors = dict(zip(map(id, model.inputs), inputs))
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if not node.is_input:
                    self._node(node, tensors)
        return tensors

    def _node(self, node: Any, tensors: Dict[int, int]) -> None:
        operation = node.operation
        if _is_model(operation):
            inner = [tensors[id(x)] for x in node.arguments.keras_tensors]
            inner_tensors = self.functional(operation, inner)
            graph = getattr(operation, "_functional", None) or operation
            for outer, output in zip(node.outputs, graph.outputs):
                tensors[id(outer)] = inner_tensors[id(output)]
            return
        arguments, named = _plain((node.arguments.args, node.arguments.kwargs), tensors, operation)
        outputs = [self.tensor() for _ in node.outputs]
        tensors.update(zip(map(id, node.outputs), outputs))
        self.calls.append({"layer": self._layer(operation), "args": arguments, "kwargs": named, "outputs": outputs})

    def _layer(self, layer: Any) -> str:
        """The layer's key; a shared layer has one."""
        if id(layer) not in self._keys:
            key = f"{len(self._keys)}"
            self._keys[id(layer)] = key
            config = layer.get_config() if hasattr(layer, "get_config") else {}
            self.layers[key] = {"class": type(layer).__name__, "name": layer.name, "config": _jsonable(config),
                                "module": type(layer).__module__}
            for i, array in enumerate(layer.get_weights() if hasattr(layer, "get_weights") else []):
                self.weights[f"{key}.{i}"] = array
        return self._keys[id(layer)]


def main(path: str, folder: str, unsafe: str) -> int:
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=unsafe != "unsafe")
    except Exception as error:  # noqa: BLE001 - a custom class shows itself in many ways
        return _refuse(_foreign(path) or _first_line(error))
    if not _is_model(model):
        return _refuse(f"{type(model).__name__} is no Functional or Sequential model, but a program of its own")
    graph = getattr(model, "_functional", None) or model
    if getattr(graph, "inputs", None) is None:
        return _refuse("the Sequential model has no input shape; call model.build(…) before it is saved")
    # Of mixed precision the weights are float32, and so is what they compute on the device: the proof is of that.
    for layer in model._flatten_layers():
        if layer.compute_dtype in ("float16", "bfloat16"):
            layer.dtype_policy = "float32"
    writer = _Writer()
    inputs = [writer.tensor() for _ in graph.inputs]
    try:
        tensors = writer.functional(model, inputs)
    except _Refused as error:
        return _refuse(str(error))
    program = {
        "name": model.name, "keras": keras.__version__, "layers": writer.layers, "calls": writer.calls,
        "inputs": [{"tensor": t, "shape": list(x.shape), "dtype": str(x.dtype), "name": x._keras_history[0].name}
                   for t, x in zip(inputs, graph.inputs)],
        "outputs": _plain(graph._outputs_struct, tensors, graph)}
    shapes = [[n or _OPEN_SIZE for n in x.shape[1:]] for x in graph.inputs]
    random = np.random.default_rng(0)
    given = [np.stack([random.uniform(0, top, shape) for top in (1.0, 255.0)]).astype(np.float32) for shape in shapes]
    try:
        out = keras.tree.flatten(model(given if len(given) > 1 else given[0], training=False))
    except Exception as error:  # noqa: BLE001
        return _refuse(f"Keras 3 itself cannot run it on inputs of {shapes}: {_first_line(error)}")
    np.savez(os.path.join(folder, "weights.npz"), **writer.weights)
    np.savez(os.path.join(folder, "proof.npz"), **{f"input_{i}": x for i, x in enumerate(given)},
             **{f"output_{i}": np.asarray(keras.ops.convert_to_numpy(y), np.float32) for i, y in enumerate(out)})
    with open(os.path.join(folder, "program.json"), "w", encoding="utf-8") as file:
        json.dump(program, file)
    return 0


def _foreign(path: str) -> str:
    """Which layer of a `.keras` file Keras doesn't have, in words; empty where there is none, or no telling."""
    try:
        with zipfile.ZipFile(path) as archive:
            waiting, first = [json.loads(archive.read("config.json"))], True
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ""
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            config, kind = value.get("config"), value.get("class_name")
            name = config.get("name") if kind and isinstance(config, dict) else None
            if kind == "Lambda":
                return f"layer {name!r} is a Lambda, code within the file, which loading it would run"
            foreign = kind and str(value.get("module") or "").split(".")[0] != "keras"
            if foreign and isinstance(name, str):
                return f"layer {name!r} ({kind}) is of a class that Keras doesn't have"
            if foreign and first:
                return f"it is of the class {kind}, a program of its own that Keras doesn't have"
            first = False
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return ""


def _is_model(layer: Any) -> bool:
    import keras

    return isinstance(layer, keras.Sequential) or (
        isinstance(layer, keras.Model) and hasattr(layer, "_nodes_by_depth") and hasattr(layer, "_outputs_struct"))


def _plain(value: Any, tensors: Dict[int, int], operation: Any) -> Any:
    """Arguments fit for JSON: a tensor becomes {"tensor": number}."""
    if id(value) in tensors:
        return {"tensor": tensors[id(value)]}
    if isinstance(value, (list, tuple)):
        return [_plain(item, tensors, operation) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, tensors, operation) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and np.asarray(value).size <= 64:
        return np.asarray(value).tolist()
    raise _Refused(f"layer {operation.name!r} ({type(operation).__name__}) is called on {type(value).__name__}, which "
                   "cannot be written down")


def _jsonable(config: Any) -> Any:
    return json.loads(json.dumps(config, default=lambda value: {"unknown": type(value).__name__}))


def _first_line(error: BaseException) -> str:
    """The error in one line, without the advice to programmers and the configuration that Keras appends to it."""
    text = " ".join((str(error).strip() or type(error).__name__).splitlines()[:2])
    if "`Lambda`" in text:
        return "one of its layers is a Lambda, code within the file, which loading it would run"
    text = text.split(". Please ensure")[0].split(". Make sure")[0]
    return text if len(text) <= 300 else text[:299] + "…"


def _refuse(reason: str) -> int:
    print(reason)
    return 2


def _parse(arguments: List[str]) -> Tuple[str, str, str]:
    path, folder, unsafe = arguments
    return path, folder, unsafe


if __name__ == "__main__":
    status = main(*_parse(sys.argv[1:]))
    sys.stdout.flush()
    sys.exit(status)
