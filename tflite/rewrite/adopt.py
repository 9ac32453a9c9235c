"""Makes a file that leanood didn't convert (from PyTorch, MediaPipe, TF Hub) one that it can calibrate.

Such files have names of their own, leave features inside, take channels first, or colours scaled as in training. The
graph itself stays as it is: what is needed is put before and behind it.
"""
from __future__ import annotations

import math
import struct
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from leanood.tflite.rewrite import graft

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, as torchvision has them
# What the model was trained on -> per channel, what turns a frame in [0, 1] into it: x · scale + offset.
SCALES: Dict[str, Any] = {
    "unit": ((1.0,) * 3, (0.0,) * 3), "signed": ((2.0,) * 3, (-1.0,) * 3), "bytes": ((255.0,) * 3, (0.0,) * 3),
    "imagenet": (tuple(1 / d for d in _DEVIATION), tuple(-m / d for m, d in zip(_MEAN, _DEVIATION)))}


def adopt(model: bytes, outputs: Mapping[str, str], input_scale: str = "unit") -> bytes:
    """Returns the flatbuffer with the input `frame` [1, h, w, 3] and outputs by the names given, float32 [1, D].

    Args:
      model: a TFLite file with one image input; float, or uint8 and int8 with a scale.
      outputs: name -> the file's own: an output of its signature, or any tensor of its graph. Maps [1, h, w, C] are
        averaged over the image, a transformer's tokens [1, n, C] over all of them.
      input_scale: what the model was trained on: one of `SCALES`. Of a quantized one, too: its own scale only says how
        real values become whole numbers.

    Raises:
      ValueError: naming what the file lacks, and what it has.
    """
    if input_scale not in SCALES:
        raise ValueError(f"input_scale is {input_scale!r}, but should be one of {', '.join(SCALES)}")
    try:
        base = graft.tree(model)
    except (struct.error, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"the flatbuffer is corrupt ({error}): copy or convert it anew") from error
    if len(base.subgraphs) != 1:
        raise ValueError(f"the file has {len(base.subgraphs)} graphs (several signatures, or control flow), but should "
                         "have one: convert one of its signatures by itself")
    graph = base.subgraphs[0]
    if len(graph.inputs) != 1:
        raise ValueError(f"the file has {len(graph.inputs)} inputs, but should have one: the frame")
    shape = [int(n) for n in graph.tensors[graph.inputs[0]].shape]
    if len(shape) != 4 or 3 not in (shape[1], shape[3]) or shape[0] != 1:
        raise ValueError(f"the file's input is {shape}, but should be [1, height, width, 3] or [1, 3, height, width]")
    first = shape[3] != 3
    places = {name: _find(base, original) for name, original in outputs.items()}
    _sign(base)
    for name, place in places.items():
        _expose(base, name, place, shape[2:] if first else shape[1:3], first)
    _front(base, shape, first, input_scale)
    return graft.close(base)


def _find(base: Any, name: str) -> int:
    """The tensor that a signature's output, or a tensor's own name, means."""
    graph = base.subgraphs[0]
    signed = {graft.text(entry.name): int(entry.tensorIndex) for signature in base.signatureDefs or []
              for entry in signature.outputs}
    if name in signed:
        return signed[name]
    computed = {int(index) for operator in graph.operators for index in operator.outputs}
    named = [index for index in sorted(computed) if graft.text(graph.tensors[index].name) == name]
    if not named:
        output_names = [graft.text(graph.tensors[index].name) for index in graph.outputs]
        if name in output_names:
            raise ValueError(f"the file's output {name!r} is a constant, which says nothing of a frame; name another")
        raise ValueError(f"the file has no output or tensor {name!r}; its outputs are "
                         f"{', '.join([*signed, *output_names])}; Netron shows the tensors inside")
    return named[-1]


def _sign(base: Any) -> None:
    """Gives the graph a signature of its own, with no outputs yet."""
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = b"frame", int(base.subgraphs[0].inputs[0])
    signature.inputs, signature.outputs = [entry], []
    base.signatureDefs = [signature]
    base.subgraphs[0].outputs = np.zeros(0, np.int32)


def _expose(base: Any, name: str, place: int, size: Sequence[int], channels_first: bool) -> None:
    """Makes a tensor an output, float32 [1, D]."""
    graph = base.subgraphs[0]
    if graph.tensors[place].type in (schema.TensorType.INT8, schema.TensorType.UINT8):
        place = _dequantized(base, place, name)
    if graph.tensors[place].type != schema.TensorType.FLOAT32:
        raise ValueError(f"the tensor for {name!r} is no float32 and not quantized; name another")
    shape = [int(n) for n in graph.tensors[place].shape]
    if len(shape) not in (2, 3, 4):
        raise ValueError(f"the tensor for {name!r} is {shape}; a score reads [1, D], or [1, n, C] and [1, h, w, C] "
                         "averaged")
    axes = [1] if len(shape) == 3 else _averaged(shape, size, channels_first) if len(shape) == 4 else []

    def vector(x: tf.Tensor) -> List[tf.Tensor]:
        return [tf.reduce_mean(x, axis=axes) if axes else x * 1.0]

    graft.append(base, graft.head(vector, [tf.TensorSpec(shape, tf.float32, name="x")]), [place], [name], name)


def _averaged(shape: List[int], size: Sequence[int], channels_first: bool) -> List[int]:
    """The two axes of maps that are rows and columns: those whose ratio is the picture's; else as the input has them.

    Args:
      shape: of the maps, [1, …, …, …].
      size: (height, width) of the picture.
      channels_first: whether the input is.
    """
    off = [abs(math.log(shape[axis] / shape[axis + 1]) - math.log(size[0] / size[1])) for axis in (1, 2)]
    if off[0] == off[1]:
        return [2, 3] if channels_first else [1, 2]
    return [2, 3] if off[1] < off[0] else [1, 2]


def _dequantized(base: Any, place: int, name: str) -> int:
    """A new float32 tensor with a quantized one's real values."""
    real = _real(base, place, name)
    base.subgraphs[0].operators.append(_converting(base, schema.BuiltinOperator.DEQUANTIZE, 2, place, real))
    return real


def _real(base: Any, place: int, name: str) -> int:
    """A new float32 tensor of another's shape."""
    graph, real = base.subgraphs[0], schema.TensorT()
    real.name, real.shape, real.type, real.buffer = f"{name}/real".encode(), graph.tensors[place].shape, 0, 0
    graph.tensors.append(real)
    return len(graph.tensors) - 1


def _converting(base: Any, builtin: int, version: int, source: int, target: int) -> Any:
    """An operator from one tensor to another, not yet in the graph."""
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = version
    base.operatorCodes.append(code)
    operator.opcodeIndex = len(base.operatorCodes) - 1
    operator.inputs, operator.outputs = np.array([source], np.int32), np.array([target], np.int32)
    return operator


def _front(base: Any, shape: List[int], channels_first: bool, input_scale: str) -> None:
    """Puts scaling and transposition before the graph, where they are needed."""
    graph = base.subgraphs[0]
    place = int(graph.inputs[0])
    if input_scale == "unit" and not channels_first:
        return  # a quantized input is given real values by the runtime
    if graph.tensors[place].type != schema.TensorType.FLOAT32:
        real = _real(base, place, "frame")
        graph.operators.insert(0, _converting(base, schema.BuiltinOperator.QUANTIZE, 1, real, place))
        graph.inputs[0] = base.signatureDefs[0].inputs[0].tensorIndex = place = real
    scale, offset = SCALES[input_scale]
    size = [1, *shape[2:], 3] if channels_first else shape

    def scaled(frame: tf.Tensor) -> List[tf.Tensor]:
        x = frame * tf.constant(scale, tf.float32) + tf.constant(offset, tf.float32)
        return [tf.transpose(x, [0, 3, 1, 2]) if channels_first else x]

    graft.prepend(base, graft.head(scaled, [tf.TensorSpec(size, tf.float32, name="frame")]), place, "frame")
