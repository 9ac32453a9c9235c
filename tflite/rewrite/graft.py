"""Puts one graph behind or before another: its tensors tied to the other's, or inputs and outputs of the whole."""
from __future__ import annotations

import copy
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from leanood.tflite import silence


def open(model: bytes) -> Any:  # noqa: A001
    """The flatbuffer's object tree; raises ValueError unless it has one graph and a signature."""
    base = tree(model)
    if not base.signatureDefs or len(base.subgraphs) != 1:
        raise ValueError("the file has no signature, or more than one graph; convert it with leanood convert")
    return base


def tree(model: bytes) -> Any:
    """The flatbuffer's object tree; constants behind it, where ai-edge-quantizer leaves them, are brought in.

    Raises:
      ValueError: if a constant lies outside the file; struct.error, IndexError or TypeError: if it is corrupt.
    """
    data = bytearray(model)
    base = flatbuffer_utils.convert_bytearray_to_object(data)
    for buffer in base.buffers:
        if buffer.offset:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    for operator in (operator for graph in base.subgraphs for operator in graph.operators):
        if operator.largeCustomOptionsOffset:
            operator.customOptions = np.frombuffer(data, np.uint8, operator.largeCustomOptionsSize,
                                                   operator.largeCustomOptionsOffset)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0
    return base


def close(base: Any) -> bytes:
    """The flatbuffer of an object tree."""
    return bytes(flatbuffer_utils.convert_object_to_bytearray(base))


def inputs(base: Any) -> Dict[str, int]:
    """Name in the signature -> tensor."""
    return {text(entry.name): int(entry.tensorIndex) for entry in base.signatureDefs[0].inputs}


def outputs(base: Any) -> Dict[str, int]:
    """Name in the signature -> tensor."""
    return {text(entry.name): int(entry.tensorIndex) for entry in base.signatureDefs[0].outputs}


def head(arithmetic: Callable[..., Sequence[tf.Tensor]], signature: Sequence[tf.TensorSpec]) -> Any:
    """The object tree of a function's own graph, float32.

    Args:
      arithmetic: tensors, in the order of `signature` -> tensors.
      signature: of its arguments.
    """
    function = tf.function(arithmetic, input_signature=list(signature))
    with silence.silence():
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], function)
        return flatbuffer_utils.convert_bytearray_to_object(bytearray(converter.convert()))


def append(base: Any, added: Any, ties: Sequence[Any], names: Sequence[str], prefix: str) -> None:
    """Appends `added`'s operators to the base's graph.

    Args:
      base, added: object trees; `base` is changed.
      ties: for each input of `added`, the base's tensor that it is, or a name: a new input of the whole.
      names: of `added`'s outputs, which become outputs of the whole.
      prefix: of the new tensors' names.
    """
    graph, other = base.subgraphs[0], added.subgraphs[0]
    place: Dict[int, int] = {int(index): tie for index, tie in zip(other.inputs, ties) if not isinstance(tie, str)}
    graph.operators.extend(_brought(base, added, place, prefix))
    signature = base.signatureDefs[0]
    for index, tie in zip(other.inputs, ties):
        if isinstance(tie, str):
            signature.inputs.append(_entry(tie, place[int(index)]))
            graph.inputs = np.append(graph.inputs, place[int(index)]).astype(np.int32)
    for index, name in zip(other.outputs, names):
        signature.outputs.append(_entry(name, place[int(index)]))
        graph.outputs = np.append(graph.outputs, place[int(index)]).astype(np.int32)


def prepend(base: Any, added: Any, tensor: int, name: str) -> None:
    """Puts `added`, of one input and one output, before one input of the base.

    Args:
      base, added: object trees; `base` is changed.
      tensor: the base's input, which `added` now computes.
      name: of the new input.
    """
    graph, other = base.subgraphs[0], added.subgraphs[0]
    place: Dict[int, int] = {int(other.outputs[0]): tensor}
    graph.operators = [*_brought(base, added, place, name), *graph.operators]
    begin = place[int(other.inputs[0])]
    graph.inputs = np.array([begin if int(index) == tensor else int(index) for index in graph.inputs], np.int32)
    signature = base.signatureDefs[0]
    signature.inputs = [_entry(name, begin) if int(entry.tensorIndex) == tensor else entry
                        for entry in signature.inputs]


def _brought(base: Any, added: Any, place: Dict[int, int], prefix: str) -> List[Any]:
    """Adds `added`'s tensors to the base and to `place` (its tensor -> the base's); returns its operators."""
    graph, other = base.subgraphs[0], added.subgraphs[0]
    codes = len(base.operatorCodes)
    base.operatorCodes.extend(added.operatorCodes)
    for index, tensor in enumerate(other.tensors):
        if index in place:
            continue
        moved = copy.copy(tensor)
        moved.name = f"{prefix}/{text(tensor.name)}".encode()
        if tensor.buffer:  # buffer 0 is every graph's empty one
            base.buffers.append(added.buffers[tensor.buffer])
            moved.buffer = len(base.buffers) - 1
        place[index] = len(graph.tensors)
        graph.tensors.append(moved)
    for operator in other.operators:
        operator.opcodeIndex += codes
        operator.inputs = _moved(operator.inputs, place)
        operator.outputs = _moved(operator.outputs, place)
    return list(other.operators)


def text(name: Any) -> str:
    """A name as text."""
    return name.decode() if isinstance(name, bytes) else str(name)


def _entry(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry


def _moved(indices: List[int], place: Mapping[int, int]) -> np.ndarray:
    return np.array([index if index < 0 else place[int(index)] for index in indices], np.int32)
