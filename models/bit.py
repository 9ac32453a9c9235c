"""BiT: ResNet-v2 with group normalisation and weight-standardised convolutions, of any depth and width.

Kolesnikov et al., "Big Transfer (BiT): General Visual Representation Learning", arXiv 1912.11370, on the pre-activation
residual units of He et al., arXiv 1603.05027. `load_weights` reads the `.npz` files that Google publishes
(`BiT-M-R50x1.npz`, …); `with_plain_convolutions` makes ordinary convolutions of the standardised ones, which every
compression step and converter knows.
"""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple, Union

import numpy as np
import tensorflow as tf
import tf_keras as keras

UNITS: Mapping[int, Tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_EPSILON = 1e-5  # of the group normalisation
_STANDARDIZE_EPSILON = 1e-10
_GROUPS = 32


@keras.utils.register_keras_serializable("leanood")
class StandardizedConv2D(keras.layers.Conv2D):
    """A convolution whose kernel has mean 0 and variance 1 over each output channel (Qiao et al., arXiv 1903.10520)."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the convolution with the standardised kernel, [N, h, w, filters]."""
        return super().convolution_op(inputs, standardized(kernel))


def standardized(kernel: tf.Tensor) -> tf.Tensor:
    """Returns a kernel [h, w, in, out] with mean 0 and variance 1 over each output channel."""
    mean, variance = tf.nn.moments(kernel, [0, 1, 2], keepdims=True)
    return (kernel - mean) * tf.math.rsqrt(variance + _STANDARDIZE_EPSILON)


def bit(size: Tuple[int, int] = (128, 128), classes: int = 102, *, depth: Union[int, Tuple[int, ...]] = 50,
        width: int = 1) -> keras.Model:
    """Returns a Functional model `frame` float32 [N, h, w, 3] in [-1, 1] -> {"features", "logits"}.

    `features` are [N, 2048 width] (of four stages; each stage doubles them), `logits` [N, classes].

    Args:
      size: (height, width) in pixels.
      classes: number of logits; the head starts at zero, as in the paper.
      depth: 50, 101 or 152, or the units of each stage, e.g. (1, 1) for a tiny network.
      width: multiplies all channels: 1, 2, 3, 4.
    """
    units = UNITS.get(depth) if isinstance(depth, int) else tuple(depth)
    if not units or min(units) < 1:
        raise ValueError(f"depth is {depth}, but should be one of {', '.join(map(str, UNITS))}, or the units of each "
                         "stage")
    if width < 1:
        raise ValueError(f"width is {width}, but should be 1 or more")
    if classes < 1:
        raise ValueError(f"classes is {classes}, but should be 1 or more")
    frame = keras.Input((*size, 3), name="frame")
    x = keras.layers.ZeroPadding2D(3, name="root_pad")(frame)
    x = StandardizedConv2D(64 * width, 7, 2, use_bias=False, name="root_conv")(x)
    x = keras.layers.ZeroPadding2D(1, name="root_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="root_pool")(x)
    for stage, count in enumerate(units, start=1):
        for unit in range(1, count + 1):
            stride = 2 if stage > 1 and unit == 1 else 1
            x = _unit(x, 64 * width * 2 ** (stage - 1), stride, f"block{stage}_unit{unit:02d}")
    x = keras.layers.ReLU(name="norm_relu")(_normalize(x, "norm"))
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(classes, kernel_initializer="zeros", name="logits", dtype="float32")(features)
    return keras.Model(frame, {"features": features, "logits": logits}, name="bit")


def r50x1(size: Tuple[int, int] = (128, 128), classes: int = 102) -> keras.Model:
    """Returns BiT ResNet-50x1; see `bit`."""
    return bit(size, classes, depth=50, width=1)


def r101x3(size: Tuple[int, int] = (128, 128), classes: int = 102) -> keras.Model:
    """Returns BiT ResNet-101x3; see `bit`."""
    return bit(size, classes, depth=101, width=3)


def weight_names(model: keras.Model) -> Dict[str, Tuple[str, int]]:
    """Returns where each published array goes: its name in the `.npz` -> (layer, place among the layer's weights)."""
    names: Dict[str, Tuple[str, int]] = {}
    for layer in model.layers:
        for place, suffix in _published(layer):
            names[suffix] = (layer.name, place)
    return names


def load_weights(model: keras.Model, path: str, *, head: Optional[bool] = None) -> None:
    """Loads a published `.npz` into a model of `bit`, in place.

    Args:
      model: of the depth and width that the file is of.
      path: `.npz`, as at storage.googleapis.com/bit_models.
      head: load the last layer too; None does where the number of classes is the file's.

    Raises:
      ValueError: if the file is no such file, or of another depth or width.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} is no .npz of arrays ({str(error).splitlines()[0]}); give a published BiT-*.npz"
                         ) from error
    names = weight_names(model)
    heads = {name for name in names if name.startswith("resnet/head/")}
    published_classes = np.shape(arrays.get("resnet/head/conv2d/bias", ()))
    if head is None:
        head = published_classes == (model.get_layer("logits").units,)
    wanted = {name: place for name, place in names.items() if head or name not in heads}
    missing = sorted(set(wanted) - set(arrays))
    if missing:
        raise ValueError(f"{path} has no array {missing[0]!r}: it is of another depth, or no BiT")
    strangers = sorted(set(arrays) - set(names))
    if strangers:
        raise ValueError(f"{path} has an array {strangers[0]!r} that this model has no place for: it is of another "
                         "depth")
    values: Dict[str, List[np.ndarray]] = {}
    for name, (layer, place) in wanted.items():
        weights = values.setdefault(layer, model.get_layer(layer).get_weights())
        array = arrays[name]
        # The published head is a 1×1 convolution, group normalisations are [1, 1, 1, C].
        if array.size != weights[place].size:
            raise ValueError(f"{path}: {name!r} has shape {list(array.shape)}, the model's is "
                             f"{list(weights[place].shape)}: it is of another width")
        weights[place] = array.reshape(weights[place].shape)
    for layer, weights in values.items():
        model.get_layer(layer).set_weights(weights)


def with_plain_convolutions(model: keras.Model) -> keras.Model:
    """Returns a copy of a `bit` model with ordinary convolutions, whose kernels are standardised once and for all."""

    def plain(layer: keras.layers.Layer) -> keras.layers.Layer:
        kind = keras.layers.Conv2D if isinstance(layer, StandardizedConv2D) else type(layer)
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=plain)
    for old, new in zip(model.layers, copy.layers):
        weights = old.get_weights()
        if isinstance(old, StandardizedConv2D):
            weights[0] = standardized(tf.constant(weights[0])).numpy()
        new.set_weights(weights)
    return copy


def _unit(x: keras.KerasTensor, channels: int, stride: int, name: str) -> keras.KerasTensor:
    """Returns a pre-activation bottleneck's output, [N, h / stride, w / stride, 4 channels]."""
    shortcut = x
    active = keras.layers.ReLU(name=f"{name}_a_relu")(_normalize(x, f"{name}_a_norm"))
    if stride != 1 or x.shape[-1] != 4 * channels:
        shortcut = StandardizedConv2D(4 * channels, 1, stride, use_bias=False, name=f"{name}_a_proj")(active)
    x = StandardizedConv2D(channels, 1, use_bias=False, name=f"{name}_a_conv")(active)
    x = keras.layers.ReLU(name=f"{name}_b_relu")(_normalize(x, f"{name}_b_norm"))
    x = keras.layers.ZeroPadding2D(1, name=f"{name}_b_pad")(x)  # symmetric, where "same" would depend on the size
    x = StandardizedConv2D(channels, 3, stride, use_bias=False, name=f"{name}_b_conv")(x)
    x = keras.layers.ReLU(name=f"{name}_c_relu")(_normalize(x, f"{name}_c_norm"))
    x = StandardizedConv2D(4 * channels, 1, use_bias=False, name=f"{name}_c_conv")(x)
    return keras.layers.Add(name=name)([shortcut, x])


def _normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    return keras.layers.GroupNormalization(_GROUPS, epsilon=_EPSILON, name=name)(x)


def _published(layer: keras.layers.Layer) -> List[Tuple[int, str]]:
    """Returns (place among the layer's weights, the published name) for each of a layer's weights."""
    if layer.name == "root_conv":
        return [(0, "resnet/root_block/standardized_conv2d/kernel")]
    if layer.name == "norm":
        return [(0, "resnet/group_norm/gamma"), (1, "resnet/group_norm/beta")]
    if layer.name == "logits":
        return [(0, "resnet/head/conv2d/kernel"), (1, "resnet/head/conv2d/bias")]
    if not layer.weights:
        return []
    block, unit, part, kind = layer.name.split("_")
    inside = f"resnet/{block}/{unit}/{part}"
    if kind == "norm":
        return [(0, f"{inside}/group_norm/gamma"), (1, f"{inside}/group_norm/beta")]
    return [(0, f"{inside}/{'proj/' if kind == 'proj' else ''}standardized_conv2d/kernel")]
