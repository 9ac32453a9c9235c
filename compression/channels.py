"""Which channels of a Functional model hang together: the dependency graph of structured pruning.

Every channel of every tensor gets a label. A layer that makes new channels (Conv2D, Dense, ...) gives out fresh
labels; a layer that works on each channel by itself (BatchNorm, pooling, ReLU, ...) passes labels through; an
addition makes the labels of its inputs equal, since a channel can only leave a sum if it leaves every summand; a
concatenation joins them; Flatten repeats them. A layer that mixes channels in a way we don't know makes its inputs'
labels equal to FIXED. What is left is a partition of the channels: two with the same label go together or stay
together (the grouping of DepGraph, Fang et al., CVPR 2023, arXiv 2301.12900, here on single channels).
"""
from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.compression import rebuild
from leanood.models import named_outputs

FIXED = 0  # the label of channels that can't be removed: images, outputs, inputs of layers that mix channels

_layers = tf_keras.layers
TRANSPOSED = (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)
_MIXING = (_layers.Dense, _layers.Conv1D, _layers.Conv2D, _layers.Conv3D, _layers.SeparableConv2D, *TRANSPOSED)
# Layers whose output channel c depends on their input channel c alone.
_CHANNELWISE = (
    _layers.BatchNormalization, _layers.Activation, _layers.ReLU, _layers.LeakyReLU, _layers.ELU, _layers.PReLU,
    _layers.ThresholdedReLU, _layers.Dropout, _layers.SpatialDropout2D, _layers.GaussianNoise, _layers.GaussianDropout,
    _layers.MaxPooling2D, _layers.AveragePooling2D, _layers.GlobalMaxPooling2D, _layers.GlobalAveragePooling2D,
    _layers.ZeroPadding2D, _layers.Cropping2D, _layers.UpSampling2D, _layers.Rescaling)
_MERGING = (_layers.Add, _layers.Subtract, _layers.Multiply, _layers.Average, _layers.Maximum, _layers.Minimum)
_ELEMENTWISE = {"linear", "relu", "relu6", "elu", "selu", "leaky_relu", "sigmoid", "hard_sigmoid", "tanh", "softplus",
                "softsign", "swish", "silu", "gelu", "exponential", "mish"}


@dataclasses.dataclass(frozen=True)
class Graph:
    """The labels of a model's channels.

    Attributes:
      makes: layer name -> labels int64 [C] of the channels that the layer makes (its filters or units).
      reads: layer name -> labels int64 [C] of the channels that the layer mixes.
      passes: layer name -> labels int64 [C] of the channels that come out of a layer that doesn't mix them.
      ends: output name -> labels int64 [C].
      count: labels lie in [0, count); `FIXED` is one of them.
    """
    makes: dict[str, np.ndarray]
    reads: dict[str, np.ndarray]
    passes: dict[str, np.ndarray]
    ends: dict[str, np.ndarray]
    count: int

    def removable(self) -> dict[str, np.ndarray]:
        """Layer name -> distinct labels that may go, for the layers that have any."""
        distinct = {name: np.unique(labels[labels != FIXED]) for name, labels in self.makes.items()}
        return {name: labels for name, labels in distinct.items() if labels.size}

    def coupled(self) -> list[tuple[str, ...]]:
        """The layers that make channels, in the sets that share labels: each set is shrunk as one."""
        sets: list[tuple[set[str], set[int]]] = []
        for name, labels in self.removable().items():
            names, shared = {name}, set(labels.tolist())
            for other in [s for s in sets if s[1] & shared]:
                sets.remove(other)
                names, shared = names | other[0], shared | other[1]
            sets.append((names, shared))
        order = list(self.makes)
        return sorted((tuple(sorted(names, key=order.index)) for names, _ in sets), key=lambda s: order.index(s[0]))


def trace(model: tf_keras.Model, free: Sequence[str] = ()) -> Graph:
    """Labels the channels of a Functional model with one input and channels last.

    Args:
      model: see `rebuild.check`.
      free: outputs that may lose channels (pooled statistics of early layers, say); the others keep their width.
    """
    rebuild.check(model)
    labels = _Labels()
    tensors: dict[int, np.ndarray] = {id(t): labels.fixed(_width(t)) for t in model.inputs}
    makes: dict[str, np.ndarray] = {}
    reads: dict[str, np.ndarray] = {}
    passes: dict[str, np.ndarray] = {}
    for node in rebuild.nodes(model):
        name = node.layer.name
        inputs = [tensors[id(t)] for t in tf.nest.flatten(node.keras_inputs)]
        outputs = tf.nest.flatten(node.outputs)
        result = None
        if _mixes(node.layer) and len(outputs) == 1:
            if name in makes:  # a shared layer reads the same channels wherever it is called
                labels.unite(reads[name], inputs[0])
            else:
                reads[name], makes[name] = inputs[0], labels.new(_width(outputs[0]))
                if not _is_elementwise(getattr(node.layer, "activation", None)):
                    labels.fix(makes[name])
            result = makes[name]
        elif len(outputs) == 1:
            result = _passed(node, inputs, outputs[0], labels)
            if result is not None:
                if name in passes and (node.layer.weights or isinstance(node.layer, _layers.Reshape)):
                    labels.unite(passes[name], result)
                passes[name] = result
        if result is None:  # not a layer we know: nothing that goes into it may change
            for channels in inputs:
                labels.fix(channels)
        for tensor in outputs:
            tensors[id(tensor)] = result if result is not None else labels.fixed(_width(tensor))
    ends = {name: tensors[id(tensor)] for name, tensor in named_outputs.of(model).items()}
    for name, channels in ends.items():
        if name not in free:
            labels.fix(channels)
    settled = labels.settled
    return Graph(settled(makes), settled(reads), settled(passes), settled(ends), len(labels.parent))


def _mixes(layer: Any) -> bool:
    """True for the layers whose every output channel depends on all the input channels, through a kernel.

    By their very class: a layer derived from one of them may do something else.
    """
    return (type(layer) in _MIXING and getattr(layer, "data_format", "channels_last") == "channels_last"
            and getattr(layer, "groups", 1) == 1)


def _passed(node: Any, inputs: list[np.ndarray], output: Any, labels: _Labels) -> np.ndarray | None:
    """The output's labels, for a layer that doesn't mix channels; None for any other."""
    layer, channels = node.layer, inputs[0]
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return None
    if isinstance(layer, _layers.DepthwiseConv2D):
        return np.repeat(channels, layer.depth_multiplier) if _is_elementwise(layer.activation) else None
    if isinstance(layer, _MERGING):
        wide = [merged for merged in inputs if len(merged) == len(channels)]
        if len(wide) < len(inputs):
            return None
        for other in wide[1:]:
            labels.unite(channels, other)
        return channels
    if isinstance(layer, _layers.Concatenate):
        if layer.axis in (-1, len(output.shape) - 1):
            return np.concatenate(inputs)
        for other in inputs[1:]:
            labels.unite(channels, other)
        return channels
    if isinstance(layer, (_layers.Flatten, _layers.Reshape)):
        return _reshaped(tf.nest.flatten(node.keras_inputs)[0].shape[1:], output.shape[1:], channels, labels)
    return channels if isinstance(layer, _CHANNELWISE) and _keeps_channels_apart(layer, len(output.shape)) else None


def _reshaped(before: Any, after: Any, channels: np.ndarray, labels: _Labels) -> np.ndarray | None:
    if None in tuple(before) or None in tuple(after):
        return None
    if len(after) == 1:  # channels vary fastest
        return np.tile(channels, after[0] // len(channels))
    if before[-1] == after[-1]:
        return channels
    if len(before) > 1:
        return None
    places = channels.reshape(-1, after[-1])  # a vector becomes an image: a channel is all its places
    for place in places[1:]:
        labels.unite(places[0], place)
    return places[0]


def _keeps_channels_apart(layer: Any, rank: int) -> bool:
    if isinstance(layer, _layers.BatchNormalization):
        return list(layer.axis) == [rank - 1]
    if isinstance(layer, _layers.Rescaling):
        return np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0
    if isinstance(layer, _layers.Activation):
        return _is_elementwise(layer.activation)
    return True


def _is_elementwise(activation: Any) -> bool:
    return activation is None or getattr(activation, "__name__", "") in _ELEMENTWISE


def _width(tensor: Any) -> int:
    return int(tensor.shape[-1] or 0) if len(tensor.shape) > 1 else 0


class _Labels:
    """Labels with a union-find over them; the smallest label of a class stands for it, so FIXED stays FIXED."""

    def __init__(self) -> None:
        self.parent = [FIXED]

    def new(self, count: int) -> np.ndarray:
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def fixed(self, count: int) -> np.ndarray:
        return np.full(count, FIXED)

    def fix(self, channels: np.ndarray) -> None:
        self.unite(channels, self.fixed(len(channels)))

    def unite(self, a: np.ndarray, b: np.ndarray) -> None:
        for first, second in zip(self.find(a).tolist(), self.find(b).tolist()):
            low, high = sorted((self._root(first), self._root(second)))
            self.parent[high] = low

    def find(self, channels: np.ndarray) -> np.ndarray:
        return np.array([self._root(label) for label in channels.tolist()], dtype=np.int64)

    def settled(self, named: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: self.find(channels) for name, channels in named.items()}

    def _root(self, label: int) -> int:
        while self.parent[label] != label:
            self.parent[label] = self.parent[self.parent[label]]
            label = self.parent[label]
        return label
