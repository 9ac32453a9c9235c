"""What a model weighs: parameters, sparsity, multiply-adds, bytes and gzipped bytes, before and after."""
from __future__ import annotations

import dataclasses
import gzip
from typing import Any, Iterable

import numpy as np
import tf_keras

from leanood.compression import rebuild

GZIP_LEVEL = 6  # the gzip command's own default
# Variables of tfmot's: ranges and steps of quantization, clusters that it preserves.
_TFMOT = ("_min:0", "_max:0", "optimizer_step:0", "_tf:0")


@dataclasses.dataclass(frozen=True)
class Size:
    """A model's measures.

    Attributes:
      parameters: weights of all kinds, batch normalisation's statistics included.
      sparsity: share of zeros among the kernels (matrices and filters), in [0, 1].
      multiply_adds: multiplications of one forward pass at batch 1.
      bytes: of the TFLite file where one was given, else of the float32 weights.
      gzipped_bytes: the same, gzipped.
    """
    parameters: int
    sparsity: float
    multiply_adds: int
    bytes: int
    gzipped_bytes: int


def measure(model: tf_keras.Model, flatbuffer: bytes | None = None) -> Size:
    """Measures a Functional model.

    Args:
      model: its input's height and width must be fixed.
      flatbuffer: the model's TFLite file; None weighs the float32 weights instead.
    """
    weights = [np.asarray(w, np.float32) for w in model_weights(model)]
    kernels = [w for w in weights if w.ndim > 1]
    content = flatbuffer if flatbuffer is not None else b"".join(w.tobytes() for w in weights)
    total = sum(k.size for k in kernels)
    return Size(
        parameters=sum(w.size for w in weights),
        sparsity=1 - sum(np.count_nonzero(k) for k in kernels) / total if total else 0.0,
        multiply_adds=sum(multiply_adds(model).values()),
        bytes=len(content),
        gzipped_bytes=len(gzip.compress(content, GZIP_LEVEL)))


def model_weights(model: tf_keras.Model) -> list[np.ndarray]:
    """The weights that are deployed: the layers' own, not what tfmot's wrappers keep beside them."""
    return [variable.numpy() for variable in model.weights if not variable.name.endswith(_TFMOT)]


def multiply_adds(model: tf_keras.Model) -> dict[str, int]:
    """Multiplications by layer name at batch 1, for the layers that multiply by a kernel.

    A layer that is called twice counts twice.
    """
    counts: dict[str, int] = {}
    for node in rebuild.nodes(model):
        layer = getattr(node.layer, "layer", node.layer)
        count = _node_multiply_adds(layer, node)
        if count:
            counts[node.layer.name] = counts.get(node.layer.name, 0) + count
    return counts


def table(rows: Iterable[tuple[str, Size]]) -> tuple[list[list[Any]], list[str]]:
    """Rows and headers of a before-and-after table, a row for each (what, size)."""
    headers = ["model", "parameters", "sparsity", "multiply-adds", "bytes", "gzipped"]
    return [[what, s.parameters, round(s.sparsity, 3), s.multiply_adds, s.bytes, s.gzipped_bytes]
            for what, s in rows], headers


def _node_multiply_adds(layer: tf_keras.layers.Layer, node: Any) -> int:
    layers = tf_keras.layers
    if not isinstance(layer, (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D,
                              layers.SeparableConv2D)):
        return 0
    places_in = _places(layer, node.input_shapes)
    places_out = _places(layer, node.output_shapes)
    if isinstance(layer, layers.SeparableConv2D):
        return places_out * (_size(layer.depthwise_kernel) + _size(layer.pointwise_kernel))
    if isinstance(layer, layers.DepthwiseConv2D):
        return places_out * _size(layer.depthwise_kernel)
    # A transposed convolution multiplies its kernel once for each place of its input.
    transposed = isinstance(layer, (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose))
    return (places_in if transposed else places_out) * _size(layer.kernel)


def _places(layer: tf_keras.layers.Layer, shape: Any) -> int:
    """How many positions a kernel is applied at: the product of the dimensions between batch and channels."""
    between = tuple(shape)[1:-1]
    if any(size is None for size in between):
        raise rebuild.UnsupportedModel(f"layer {layer.name!r} has an open size {tuple(shape)}: fix the model's input "
                                       "size first, rebuild.clone(model, input_shape=(h, w, c))")
    return int(np.prod(between, dtype=np.int64))


def _size(kernel: Any) -> int:
    return int(np.prod(kernel.shape, dtype=np.int64))
