"""Quantization-aware training (QAT) on tfmot, which may keep the zeros and the shared weights of earlier steps.

The result computes in float32 as int8 will; `tflite.convert(model, quantize="int8")` takes the ranges that it learnt.
(float16, dynamic-range and static int8 need no training: the converter makes them of any model.)
"""
from __future__ import annotations

import collections
from typing import Any, Callable, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    default_8bit_cluster_preserve_quantize_scheme as cluster_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.prune_preserve import (
    default_8bit_prune_preserve_quantize_scheme as prune_preserve,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs,
    default_8bit_quantize_registry,
)

from leanood.compression import rebuild, views

PRESERVE = ("", "sparsity", "clusters", "both")
PREFIX = "quant_"
_AT_ONCE = 50_000_000  # activations of one layer that may be held at a time
_EMA_DECAY = 0.999  # fixed inside tfmot's MovingAverageQuantizer
_ACTIVATIONS = ("linear", "relu", "swish", "gelu", "softmax", "sigmoid", "tanh")  # that tfmot can quantize
_BEFORE_BATCH_NORM = (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D, tf_keras.layers.Dense)


def qat(model: tf_keras.Model, *, preserve: str = "", exclude: Sequence[str] | None = None,
        images: np.ndarray | None = None, finetune: Callable[..., None] | None = None,
        teacher: tf_keras.Model | None = None) -> tf_keras.Model:
    """A copy of the model that computes with int8's rounding; its output names stay.

    Args:
      model: Functional, of layers that tfmot can quantize; see `check`.
      preserve: "sparsity" keeps zeros (PQAT), "clusters" shared weights (CQAT), "both" both (PCQAT); "" neither.
      exclude: layers to leave in float; None leaves the heads that make the outputs, since scores want more
        resolution than 256 steps.
      images: float32 [N, h, w, c] in the model's input range, from which the activations' ranges start. Without
        them they start at ±6 and a short fine-tuning leaves them there.
      finetune: `finetune(model, teacher)` trains in place, or None, if there are `images`.
      teacher: what to distil from; None takes `model`.
    """
    rebuild.check(model)
    left_out = rebuild.heads(model) if exclude is None else exclude
    check(model, left_out)
    if preserve not in PRESERVE:
        raise ValueError(f"qat: preserve {preserve!r} is unknown; it may be {', '.join(map(repr, PRESERVE))}")
    if finetune is None and images is None:
        raise ValueError("qat: ranges are learnt from images: give images, or finetune, or both")

    def annotate(layer: Any) -> Any:
        if layer.name in left_out:
            return layer
        if isinstance(layer, tf_keras.layers.AveragePooling2D):
            # TFLite's int8 pool keeps its input's range. Given one of its own, the converter refuses the model where
            # the pool's output is concatenated with what is wider.
            return tfmot.quantization.keras.quantize_annotate_layer(
                layer, default_8bit_quantize_configs.NoOpQuantizeConfig())
        return tfmot.quantization.keras.quantize_annotate_layer(layer)

    # A fresh clone, because tfmot miscounts the weights of models that an earlier wrapper went through.
    annotated = tf_keras.models.clone_model(rebuild.clone(model), clone_function=annotate)
    # It builds the model anew, by the names of its layers' classes.
    with tfmot.quantization.keras.quantize_scope({type(layer).__name__: type(layer) for layer in model.layers}):
        quantized = tfmot.quantization.keras.quantize_apply(annotated, *([_scheme(preserve)] if preserve else []))
    if images is not None:
        observe_ranges(quantized, images)
    if finetune is not None:
        finetune(quantized, model if teacher is None else teacher)
    return quantized


def check(model: tf_keras.Model, exclude: Sequence[str] = ()) -> None:
    """Raises UnsupportedModel, naming the layer and why, unless tfmot can quantize all layers but the excluded ones.

    Args:
      model: any Keras model.
      exclude: layers that stay in float.
    """
    rebuild.check(model)
    names = [layer.name for layer in model.layers]
    for name in exclude:
        if name not in names:
            raise ValueError(f"qat: there is no layer named {name!r} to exclude; there are {', '.join(names)}")
    if any(name.startswith(PREFIX) for name in names):
        raise rebuild.UnsupportedModel(f"qat: model {model.name!r} is quantization-aware already")
    registry = default_8bit_quantize_registry.Default8BitQuantizeRegistry()
    if all(node.layer.name in exclude for node in rebuild.nodes(model)):
        raise rebuild.UnsupportedModel(f"qat: no layer of model {model.name!r} is left to quantize")
    calls = collections.Counter(node.layer.name for node in rebuild.nodes(model))
    for node in rebuild.nodes(model):
        layer = node.layer
        if layer.name in exclude:
            continue
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            before = tf.nest.flatten(node.inbound_layers)[0]
            if calls[layer.name] > 1:
                raise rebuild.UnsupportedModel(f"qat: layer {layer.name!r} (BatchNormalization) is called "
                                               f"{calls[layer.name]} times; tfmot folds one of one call: exclude it")
            if not isinstance(before, _BEFORE_BATCH_NORM) or isinstance(before, tf_keras.layers.Conv2DTranspose):
                raise rebuild.UnsupportedModel(
                    f"qat: layer {layer.name!r} (BatchNormalization) follows {before.name!r} "
                    f"({type(before).__name__}); only one right after Conv2D, DepthwiseConv2D or Dense can be folded: "
                    "exclude it")
        elif isinstance(layer, tf_keras.layers.SeparableConv2D):
            continue  # tfmot splits it
        elif not registry.supports(layer):
            raise rebuild.UnsupportedModel(f"qat: layer {layer.name!r} ({type(layer).__name__}) can't be quantized by "
                                           "tfmot: exclude it, or quantize after training (int8) instead")
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        known = _ACTIVATIONS if layer.weights else (*_ACTIVATIONS, "relu6")
        if activation not in known:
            raise rebuild.UnsupportedModel(f"qat: layer {layer.name!r} ({type(layer).__name__}) has the activation "
                                           f"{activation!r}, which tfmot can't quantize (it can {', '.join(known)}): "
                                           "exclude it, or quantize after training (int8) instead")


def observe_ranges(model: tf_keras.Model, images: np.ndarray) -> None:
    """Sets the ranges of a quantization-aware model's activations to what the images make of them, in place.

    Layer by layer, since a layer's range shows only once the layers before it have theirs.

    Args:
      model: what `quantize_apply` returned.
      images: float32 [N, h, w, c]; so many of them pass at once as there is room for, evenly spread.
    """
    largest = max(int(np.prod(tensor.shape[1:])) for node in rebuild.nodes(model)
                  for tensor in tf.nest.flatten(node.outputs))
    chosen = views.sample(images, max(1, _AT_ONCE // largest))
    values: dict[int, Any] = {id(model.inputs[0]): tf.convert_to_tensor(chosen)}
    readers = collections.Counter(id(t) for node in rebuild.nodes(model) for t in tf.nest.flatten(node.keras_inputs))
    for node in rebuild.nodes(model):
        args, kwargs = tf.nest.map_structure(lambda t: values.get(id(t), t),
                                             (tuple(node.call_args), dict(node.call_kwargs)))
        layer = node.layer
        kwargs.pop("training", None)
        if layer.weights:
            before = [variable.numpy() for variable in layer.weights]
            inner = getattr(layer, "layer", layer)
            trainable, inner.trainable = inner.trainable, False  # batch normalisation then infers
            layer(*args, training=True, **kwargs)
            inner.trainable = trainable
            for variable, old in zip(layer.weights, before):
                if _is_activation_range(variable):  # one step of the moving average, undone
                    variable.assign(old + (variable.numpy() - old) / (1 - _EMA_DECAY))
                elif not variable.name.endswith(("_min:0", "_max:0")):
                    variable.assign(old)
            result = layer(*args, training=False, **kwargs)
        else:
            result = layer(*args, **kwargs)
        for tensor, value in zip(tf.nest.flatten(node.outputs), tf.nest.flatten(result)):
            values[id(tensor)] = value
        for tensor in tf.nest.flatten(node.keras_inputs):
            readers[id(tensor)] -= 1
            if not readers[id(tensor)]:
                del values[id(tensor)]


def _scheme(preserve: str) -> Any:
    """Returns tfmot's scheme that keeps zeros or shared weights, and leaves in float what plain QAT leaves there.

    Its own takes every layer without weights for one that it can quantize, and fails at an input's scaling.
    """
    scheme = (prune_preserve.Default8BitPrunePreserveQuantizeScheme() if preserve == "sparsity" else
              cluster_preserve.Default8BitClusterPreserveQuantizeScheme(preserve_sparsity=preserve == "both"))
    registry, plain = scheme.get_quantize_registry(), default_8bit_quantize_registry.Default8BitQuantizeRegistry()
    preserves = registry.supports
    registry.supports = lambda layer: preserves(layer) and plain.supports(layer)
    scheme.get_quantize_registry = lambda: registry
    return scheme


def _is_activation_range(variable: tf.Variable) -> bool:
    # Kernels' ranges, and the input's ("quantize_layer"), are the last or the widest seen, not averages.
    return variable.name.endswith(("_min:0", "_max:0")) and not any(
        part in variable.name for part in ("kernel_", "quantize_layer_"))
