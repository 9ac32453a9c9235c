"""ResNet-18 as a Functional model with named outputs (He et al., arXiv 1512.03385, table 1 and section 4.2)."""
from __future__ import annotations

from typing import Optional, Tuple

import tf_keras as keras

STEMS = ("cifar", "imagenet")
_WIDTHS = (64, 128, 256, 512)


def resnet18(size: Tuple[Optional[int], Optional[int]] = (32, 32), classes: int = 10, *, stem: str = "cifar",
             width: float = 1.0) -> keras.Model:
    """Returns a Functional model `frame` float32 [N, h, w, 3] in [0, 1] -> {"features", "logits"}.

    `features` are [N, 512 width], `logits` [N, classes]. The output of each of the eight residual blocks is a layer,
    `block1` … `block8` (after its ReLU).

    Args:
      size: (height, width) in pixels; None where it is open.
      classes: number of logits.
      stem: "cifar" (3×3 convolution at full resolution: 11.2 M parameters with 10 classes) or "imagenet" (7×7 with
        stride 2, then 3×3 maxima with stride 2).
      width: multiplies all channels; rounded to a multiple of 8, which int8 kernels like, and at least 8.
    """
    if stem not in STEMS:
        raise ValueError(f"stem is {stem!r}, but should be one of {', '.join(STEMS)}")
    if not width > 0:
        raise ValueError(f"width is {width}, but should be more than 0")
    if classes < 1:
        raise ValueError(f"classes is {classes}, but should be 1 or more")
    widths = [max(8, int(round(channels * width / 8)) * 8) for channels in _WIDTHS]
    frame = keras.Input((*size, 3), name="frame")
    if stem == "cifar":
        x = _convolution(frame, widths[0], 3, 1, "stem")
    else:
        x = _convolution(frame, widths[0], 7, 2, "stem")
        x = keras.layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    for i in range(8):
        stage, first = divmod(i, 2)
        x = _block(x, widths[stage], 2 if stage and not first else 1, f"block{i + 1}")
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    # "float32": the logits keep their resolution where the rest computes in bfloat16.
    logits = keras.layers.Dense(classes, name="logits", dtype="float32")(features)
    return keras.Model(frame, {"features": features, "logits": logits}, name="resnet18")


def _block(x: keras.KerasTensor, channels: int, strides: int, name: str) -> keras.KerasTensor:
    shortcut = x
    if strides != 1 or x.shape[-1] != channels:
        shortcut = _convolution(x, channels, 1, strides, f"{name}_shortcut", relu=False)
    x = _convolution(x, channels, 3, strides, f"{name}_conv1")
    x = _convolution(x, channels, 3, 1, f"{name}_conv2", relu=False)
    return keras.layers.ReLU(name=name)(keras.layers.Add(name=f"{name}_add")([shortcut, x]))


def _convolution(x: keras.KerasTensor, channels: int, kernel: int, strides: int, name: str,
                 relu: bool = True) -> keras.KerasTensor:
    x = keras.layers.Conv2D(channels, kernel, strides, padding="same", use_bias=False,
                            kernel_initializer="he_normal", name=name)(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return keras.layers.ReLU(name=f"{name}_relu")(x) if relu else x
