"""How much a channel matters: a score for every label of the dependency graph, by one of five criteria.

A label's score is the sum over the layers that it touches, each divided by that layer's mean first, so that layers
of different scale weigh alike and scores can be ranked across layers too.
"""
from __future__ import annotations

from typing import Any, Callable

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.compression import channels, rebuild
from leanood.models import named_outputs

_AT_ONCE = 30_000_000  # activations held at a time
CRITERIA = ("l1", "l2", "bn_scale", "activation", "taylor")


def scores(model: tf_keras.Model, graph: channels.Graph, criterion: str = "l2",
           images: np.ndarray | None = None) -> np.ndarray:
    """Scores of the labels, float64 [graph.count]; higher = matters more.

    Args:
      model: the model that `graph` was traced from.
      criterion: "l1", "l2": norm of the filter or the unit's weights (Li et al., arXiv 1608.08710); "bn_scale": |γ| of
        the batch normalisation behind it (Liu et al., arXiv 1708.06519), else l2; "activation": root mean square of
        the channel times the norm of the weights that read it (as Wanda, arXiv 2306.11695, for whole channels);
        "taylor": |activation × gradient| of the outputs' squares (Molchanov et al., arXiv 1611.06440).
      images: float32 [N, h, w, c] in the model's input range; for "activation" and "taylor".
    """
    if criterion not in CRITERIA:
        raise ValueError(f"importance {criterion!r} is unknown; it may be {', '.join(CRITERIA)}")
    if criterion in ("activation", "taylor"):
        if images is None or len(images) == 0:
            raise ValueError(f"importance {criterion!r} needs images")
        return _of_activations(model, graph, criterion, images)
    order = 1 if criterion == "l1" else 2
    total = np.zeros(graph.count)
    for name, labels in graph.makes.items():
        _add(total, labels, _norms(model.get_layer(name), order))
    if criterion == "bn_scale":
        scales = np.zeros(graph.count)
        for name, labels in graph.passes.items():
            layer = model.get_layer(name)
            if isinstance(layer, tf_keras.layers.BatchNormalization) and layer.scale:
                _add(scales, labels, np.abs(layer.gamma.numpy()))
        total = np.where(scales > 0, scales, total)
    return total


def _norms(layer: Any, order: int) -> np.ndarray:
    """Norm of the weights that make each of the layer's channels, [C]."""
    if isinstance(layer, tf_keras.layers.SeparableConv2D):
        kernel = layer.pointwise_kernel.numpy()
    else:
        kernel = layer.kernel.numpy()
    if isinstance(layer, channels.TRANSPOSED):
        kernel = np.moveaxis(kernel, -2, -1)
    return np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), ord=order, axis=0)


def read_norms(layer: Any) -> np.ndarray:
    """L2 norm of the weights that read each of the layer's input channels, [C]."""
    if isinstance(layer, tf_keras.layers.SeparableConv2D):
        kernel, axis = layer.depthwise_kernel.numpy(), -2
    else:
        kernel, axis = layer.kernel.numpy(), -1 if isinstance(layer, channels.TRANSPOSED) else -2
    return np.linalg.norm(np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1), axis=1)


def _of_activations(model: tf_keras.Model, graph: channels.Graph, criterion: str, images: np.ndarray) -> np.ndarray:
    readers: dict[str, Any] = {}
    for node in rebuild.nodes(model):
        if np.any(graph.reads.get(node.layer.name, np.array([])) != channels.FIXED):
            readers.setdefault(node.layer.name, tf.nest.flatten(node.keras_inputs)[0])
    probe = tf_keras.Model(model.inputs, {"reads": readers, "ends": named_outputs.of(model)})
    measure: Callable[..., dict[str, np.ndarray]] = _taylor if criterion == "taylor" else _mean_squares
    sums: dict[str, np.ndarray] = {}
    size = sum(int(np.prod(tensor.shape[1:])) for tensor in readers.values())  # of what is kept of one image
    step = max(1, min(32, _AT_ONCE // max(size, 1)))
    for start in range(0, len(images), step):
        for name, values in measure(probe, images[start:start + step]).items():
            sums[name] = sums.get(name, 0.0) + values
    total = np.zeros(graph.count)
    for name, values in sums.items():
        if criterion == "activation":
            values = np.sqrt(values / len(images)) * read_norms(model.get_layer(name))
        _add(total, graph.reads[name], values)
    return total


def _mean_squares(probe: tf_keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Sum over images of each channel's mean square, [C] for each layer that reads it."""
    reads = probe(images, training=False)["reads"]
    return {name: np.sum(_by_channel(tf.square(x), tf.reduce_mean), axis=0) for name, x in reads.items()}


def _taylor(probe: tf_keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Sum over images of each channel's |Σ over places of activation × gradient|, [C] for each layer that reads it."""
    with tf.GradientTape() as tape:
        results = probe(images, training=False)
        loss = tf.add_n([tf.reduce_sum(tf.square(y)) for y in results["ends"].values()])
    gradients = tape.gradient(loss, results["reads"])
    return {name: np.sum(np.abs(_by_channel(x * gradients[name], tf.reduce_sum)), axis=0)
            for name, x in results["reads"].items() if gradients[name] is not None}


def _by_channel(x: tf.Tensor, reduce: Callable[..., tf.Tensor]) -> np.ndarray:
    """Reduces [N, ..., C] to [N, C]."""
    return reduce(tf.reshape(x, (x.shape[0], -1, x.shape[-1])), axis=1).numpy().astype(np.float64)


def _add(total: np.ndarray, labels: np.ndarray, values: np.ndarray) -> None:
    scale = float(np.mean(values)) or 1.0
    np.add.at(total, labels, values / scale)
