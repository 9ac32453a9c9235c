"""Rewrites a Functional Keras model layer by layer, keeping its graph, its weights and the names of its outputs.

Every compression step starts here, because a step never changes its caller's model: it rewrites it.
"""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.models import named_outputs

# What takes the layer's place: a chain of layers, each fed by the one before; an empty chain removes the layer.
Replace = Callable[[tf_keras.layers.Layer], Sequence[tf_keras.layers.Layer]]


class UnsupportedModel(ValueError):
    """A model that a step can't handle; the message names the layer and says why."""


def check(model: tf_keras.Model) -> None:
    """Raises UnsupportedModel unless the model is Functional (or Sequential), flat, with one input.

    Args:
      model: any Keras model.
    """
    name = getattr(model, "name", type(model).__name__)
    if not isinstance(model, tf_keras.Model):
        raise UnsupportedModel(f"{name!r} is a {type(model).__name__}, not a tf_keras model: load it with "
                               "TF_USE_LEGACY_KERAS=1 and tf_keras.models.load_model")
    if not getattr(model, "_is_graph_network", False):
        raise UnsupportedModel(f"model {name!r} is subclassed ({type(model).__name__}): its graph can't be read; "
                               "build it with tf_keras.Model(inputs, outputs)")
    for layer in model.layers:
        if isinstance(layer, tf_keras.Model):
            raise UnsupportedModel(f"layer {layer.name!r} of model {name!r} is itself a model: call its layers "
                                   "directly, so that the whole graph is flat")
    if len(model.inputs) != 1:
        raise UnsupportedModel(f"model {name!r} has {len(model.inputs)} inputs; compress models with one image input")


def rewrite(model: tf_keras.Model, replace: Replace, input_shape: Sequence[int] | None = None,
            before: Sequence[tf_keras.layers.Layer] = ()) -> tf_keras.Model:
    """A new Functional model with the same graph, in which `replace(layer)` has taken each layer's place.

    Args:
      model: a Functional model with one input; it is left as it is.
      replace: maps each layer (inputs excepted) to new, unbuilt or built layers. Weights are not copied:
        see `copy_weights`.
      input_shape: (height, width, channels) where the model leaves them open; None keeps the model's own.
      before: layers that the input goes through first.

    Returns:
      A model whose output is a dict by name, whatever the original's was.
    """
    check(model)
    source = model.inputs[0]
    shape = tuple(input_shape) if input_shape is not None else tuple(source.shape[1:])
    new = {id(source): tf_keras.Input(shape, name=_input_name(model), dtype=source.dtype)}
    start = new[id(source)]
    for layer in before:
        new[id(source)] = layer(new[id(source)])
    chains: dict[int, list[tf_keras.layers.Layer]] = {}

    def moved(value: Any) -> Any:
        return new.get(id(value), value)

    for node in nodes(model):
        chain = chains.setdefault(id(node.layer), [])
        if not chain:
            chain.extend(replace(node.layer))
        args, kwargs = tf.nest.map_structure(moved, (tuple(node.call_args), dict(node.call_kwargs)))
        result = args[0] if not chain else None
        for layer in chain:
            result = layer(*args, **kwargs)
            args, kwargs = (result,), {}
        for old, fresh in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(result)):
            new[id(old)] = fresh
    outputs = {name: new[id(tensor)] for name, tensor in named_outputs.of(model).items()}
    return tf_keras.Model(start, outputs, name=model.name)


def clone(model: tf_keras.Model, input_shape: Sequence[int] | None = None) -> tf_keras.Model:
    """A copy with fresh layers of the same names and the same weights; see `rewrite` for the arguments."""
    copy = rewrite(model, lambda layer: [fresh(layer)], input_shape)
    copy_weights(model, copy)
    return copy


def fresh(layer: tf_keras.layers.Layer, **changes: Any) -> tf_keras.layers.Layer:
    """A new, unbuilt layer with this one's configuration, but for `changes` (e.g. filters=32)."""
    return type(layer).from_config({**layer.get_config(), **changes})


def copy_weights(source: tf_keras.Model, target: tf_keras.Model,
                 change: Callable[[tf_keras.layers.Layer, list[np.ndarray]], list[np.ndarray]] | None = None) -> None:
    """Copies the weights of the layers of the same name; `change(layer, weights)` may slice them on the way."""
    layers = {layer.name: layer for layer in source.layers}
    for layer in target.layers:
        twin = layers.get(layer.name)
        if twin is None or not twin.weights:
            continue
        weights = twin.get_weights()
        layer.set_weights(change(twin, weights) if change else weights)


def nodes(model: tf_keras.Model) -> list[Any]:
    """The model's graph nodes (one for each call of a layer) in the order of computation, inputs left out."""
    depths = model._nodes_by_depth
    return [node for depth in sorted(depths, reverse=True) for node in depths[depth] if not node.is_input]


def heads(model: tf_keras.Model) -> tuple[str, ...]:
    """Names of the weight layers that produce the outputs (mu, logvar, logits), through any layer without weights.

    An output that other layers go on from (features) has no head of its own.
    """
    producers = {id(tensor): node for node in nodes(model) for tensor in tf.nest.flatten(node.outputs)}
    consumed = {id(tensor) for node in nodes(model) for tensor in tf.nest.flatten(node.keras_inputs)}
    names = []
    for tensor in named_outputs.of(model).values():
        node = producers.get(id(tensor))
        if id(tensor) in consumed:
            continue
        while node is not None and not node.layer.weights:
            inputs = tf.nest.flatten(node.keras_inputs)
            node = producers.get(id(inputs[0])) if len(inputs) == 1 else None
        if node is not None:
            names.append(node.layer.name)
    return tuple(dict.fromkeys(names))


def _input_name(model: tf_keras.Model) -> str:
    return model.input_names[0]
