"""Students of a teacher: narrower, shallower, of cheaper convolutions, informed by pruning, or plain.

Each is a new model with the teacher's input and output names. Where a layer keeps its shape it starts from the
teacher's weights; the rest is initialised anew, for distillation.
"""
from __future__ import annotations

from typing import Any, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.compression import distances, rebuild, sensitivity, shrink
from leanood.models import cnn, named_outputs

_layers = tf_keras.layers
_POOLS = (_layers.MaxPooling2D, _layers.AveragePooling2D)


def narrower(teacher: tf_keras.Model, ratio: float | Mapping[str, float] = 0.5, *, inherit: bool = True,
             **arguments: Any) -> tf_keras.Model:
    """A student with a share of the teacher's channels fewer in every layer, or in each of the named ones.

    Args:
      teacher: see `shrink.shrink`.
      ratio: share of channels to leave out, in [0, 1).
      inherit: start from the teacher's best channels; False starts from random weights.
      **arguments: passed on to `shrink.shrink`.
    """
    student = shrink.shrink(teacher, ratio, **arguments)
    return student if inherit else tf_keras.models.clone_model(student)


def informed(teacher: tf_keras.Model, images: np.ndarray, tolerance: float, *,
             ratios: Sequence[float] = (0.25, 0.5, 0.75, 0.875), **arguments: Any) -> tf_keras.Model:
    """The pruning-informed student: every layer as narrow as it can be without moving the outputs beyond a tolerance.

    Args:
      teacher: see `shrink.shrink`.
      images: float32 [N, h, w, c] in the model's input range, on which the outputs are compared.
      tolerance: how far each layer's shrinking may move the outputs, in the unit of `distances.default`.
      ratios: the shares of channels that are tried.
      **arguments: passed on to `shrink.shrink`.
    """
    arguments = {"importance": "activation", "images": images, **arguments}
    wanted = _outputs(rebuild.clone(teacher), images)
    distance = distances.default(wanted, wanted)

    def moved(candidate: tf_keras.Model) -> float:
        return float(distance(distances.Batch(images, wanted, _outputs(candidate, images))))

    asked = {name: value for name, value in arguments.items()
             if name in ("importance", "images", "free", "minimum", "exclude")}
    analysis = sensitivity.analyse(teacher, moved, ratios, **asked)
    return shrink.shrink(teacher, analysis.ratios_within(tolerance), **arguments)


def plain(teacher: tf_keras.Model, widths: Sequence[int] = (16, 32, 32, 32), stem: int = 2) -> tf_keras.Model:
    """A small student that owes the teacher nothing but its input and its outputs' names and sizes.

    3×3 convolutions of stride 2 (the first may have another), each with batch normalisation and ReLU (which int8 fuses
    into one operation), then a linear layer for each output. An output that others are made from (features) is a linear
    layer here too.

    Args:
      teacher: Functional, its input [N, h, w, c], its outputs vectors.
      widths: channels of the convolutions.
      stem: stride of the first convolution; 4 halves the time that a large frame takes.
    """
    if len(teacher.input_shape) != 4 or any(len(y.shape) != 2 for y in named_outputs.of(teacher).values()):
        raise rebuild.UnsupportedModel(f"a plain student maps images to vectors, which model {teacher.name!r} doesn't")
    if not widths or min(widths) < 1 or stem < 1:
        raise ValueError(f"plain: widths {tuple(widths)} and the stride {stem} must be positive")
    x = frame = tf_keras.Input(teacher.input_shape[1:], name=teacher.input_names[0])
    for i, width in enumerate(widths, start=1):
        x = _layers.Conv2D(width, 3, strides=stem if i == 1 else 2, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = _layers.ReLU(name=f"conv{i}_act")(_layers.BatchNormalization(name=f"conv{i}_bn")(x))
    x = _layers.Flatten(name="flatten")(x)
    outputs = {name: _layers.Dense(y.shape[-1], name=name)(x) for name, y in named_outputs.of(teacher).items()}
    return tf_keras.Model(frame, outputs, name=teacher.name)


def strided_cnn(teacher: tf_keras.Model, widths: Sequence[int] = cnn.STUDENT) -> tf_keras.Model:
    """A `models.cnn` for the teacher's images and classes; its features are as many as its last width.

    Args:
      teacher: Functional, its input [N, h, w, 3], with the output `logits`.
      widths: channels of the convolutions.
    """
    outputs = named_outputs.of(teacher)
    if len(teacher.input_shape) != 4 or teacher.input_shape[-1] != 3 or "logits" not in outputs:
        raise rebuild.UnsupportedModel("a cnn student classifies colour images, which model "
                                       f"{teacher.name!r} doesn't: it takes {teacher.input_shape} and puts out "
                                       f"{', '.join(outputs)}")
    return cnn.cnn(tuple(teacher.input_shape[1:3]), int(outputs["logits"].shape[-1]), widths=widths)


def shallower(teacher: tf_keras.Model, drop: Sequence[str]) -> tf_keras.Model:
    """A student without some of the teacher's layers; it inherits the weights of the layers whose shapes stay.

    Args:
      teacher: Functional.
      drop: names of layers with one input.
    """
    names = [layer.name for layer in teacher.layers]
    for name in drop:
        if name not in names:
            raise ValueError(f"shallower: there is no layer named {name!r}; there are {', '.join(names)}")
    kept = rebuild.heads(teacher)
    for name in drop:
        if name in kept:
            raise ValueError(f"shallower: layer {name!r} makes an output and can't be dropped")
    student = rebuild.rewrite(teacher, lambda layer: [] if layer.name in drop else [rebuild.fresh(layer)])
    return _inherit(student, teacher)


def separable(teacher: tf_keras.Model) -> tf_keras.Model:
    """A student of "compact filters": each Conv2D with a window becomes a depthwise and a 1×1 convolution.

    The first convolution, which reads the image's few channels, stays. The rest of the layers keep their weights.
    """
    first = next((node.layer.name for node in rebuild.nodes(teacher) if type(node.layer) is _layers.Conv2D), "")

    def split(layer: Any) -> list[Any]:
        if (type(layer) is not _layers.Conv2D or layer.name == first or tuple(layer.kernel_size) == (1, 1)
                or layer.groups != 1):
            return [rebuild.fresh(layer)]
        depthwise = _layers.DepthwiseConv2D(layer.kernel_size, strides=layer.strides, padding=layer.padding,
                                            dilation_rate=layer.dilation_rate, use_bias=False,
                                            name=f"{layer.name}_depthwise")
        return [depthwise, rebuild.fresh(layer, kernel_size=(1, 1), strides=(1, 1), padding="valid",
                                         dilation_rate=(1, 1))]

    return _inherit(rebuild.rewrite(teacher, split), teacher)


def strided(teacher: tf_keras.Model, *, relu: bool = True) -> tf_keras.Model:
    """A student that strides where the teacher pools: a 2×2 pool's convolution computes a quarter of the places.

    It keeps every weight of the teacher.

    Args:
      teacher: Functional; pools of other layers than convolutions stay.
      relu: leaky activations become ReLU, which fuses into the convolution when quantized.
    """
    strides: dict[str, tuple[int, int]] = {}
    dropped: set[str] = set()
    producers = {id(t): node for node in rebuild.nodes(teacher) for t in tf.nest.flatten(node.outputs)}
    readers: dict[int, int] = {}
    for node in rebuild.nodes(teacher):
        for tensor in tf.nest.flatten(node.keras_inputs):
            readers[id(tensor)] = readers.get(id(tensor), 0) + 1
    outputs = {id(t) for t in named_outputs.of(teacher).values()}
    for node in rebuild.nodes(teacher):
        if not isinstance(node.layer, _POOLS) or tuple(node.layer.pool_size) != tuple(node.layer.strides):
            continue
        above = tf.nest.flatten(node.keras_inputs)[0]
        while above is not None:
            source = producers.get(id(above))
            if source is None or readers[id(above)] > 1 or id(above) in outputs:
                break  # someone else reads the full resolution
            if type(source.layer) is _layers.Conv2D:
                if tuple(source.layer.strides) == (1, 1) and source.layer.padding == "same":
                    strides[source.layer.name] = tuple(node.layer.strides)
                    dropped.add(node.layer.name)
                break
            inputs = tf.nest.flatten(source.keras_inputs)
            pointwise = isinstance(source.layer, (_layers.BatchNormalization, _layers.ReLU, _layers.LeakyReLU,
                                                  _layers.Activation, _layers.Dropout))
            above = inputs[0] if pointwise and len(inputs) == 1 else None

    def stride(layer: Any) -> list[Any]:
        if layer.name in dropped:
            return []
        if layer.name in strides:
            return [rebuild.fresh(layer, strides=strides[layer.name])]
        if relu and isinstance(layer, _layers.LeakyReLU):
            return [_layers.ReLU(name=layer.name)]
        return [rebuild.fresh(layer)]

    return _inherit(rebuild.rewrite(teacher, stride), teacher)


def _outputs(model: tf_keras.Model, images: np.ndarray) -> dict[str, tf.Tensor]:
    parts = [model(images[i:i + 8], training=False) for i in range(0, len(images), 8)]
    return {name: tf.concat([part[name] for part in parts], axis=0) for name in parts[0]}


def _inherit(student: tf_keras.Model, teacher: tf_keras.Model) -> tf_keras.Model:
    """Copies the teacher's weights into the student's layers of the same name and shapes."""
    old = {layer.name: layer for layer in teacher.layers}
    for layer in student.layers:
        twin = old.get(layer.name)
        if twin is not None and layer.weights and [w.shape for w in layer.weights] == [w.shape for w in twin.weights]:
            layer.set_weights(twin.get_weights())
    return student
