"""Small convolutional classifiers: 3×3 convolutions of stride 2 and a linear layer.

A teacher of widths (256, 512) and its student of widths (16, 32) are the pair of many introductions to knowledge
distillation.
"""
from __future__ import annotations

from typing import Sequence, Tuple

import tf_keras as keras

TEACHER = (256, 512)
STUDENT = (16, 32)
_SLOPE = 0.2  # of the leaky ReLU


def cnn(size: Tuple[int, int] = (32, 32), classes: int = 10, *, widths: Sequence[int] = TEACHER,
        activation: str = "leaky_relu") -> keras.Model:
    """Returns a Functional model `frame` float32 [N, h, w, 3] in [0, 1] -> {"features", "logits"}.

    `features` are the last convolution's channels averaged over the image, [N, widths[-1]]; `logits` [N, classes] are
    linear in all of its activations.

    Args:
      size: (height, width) in pixels.
      classes: number of logits.
      widths: channels of the convolutions, each of which halves the size.
      activation: "leaky_relu" or "relu", which int8 fuses into the convolution.
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"widths are {tuple(widths)}, but should be one positive number of channels or more")
    if activation not in ("leaky_relu", "relu"):
        raise ValueError(f"activation is {activation!r}, but should be leaky_relu or relu")
    if classes < 1:
        raise ValueError(f"classes is {classes}, but should be 1 or more")
    x = frame = keras.Input((*size, 3), name="frame")
    for i, width in enumerate(widths, start=1):
        x = keras.layers.Conv2D(width, 3, 2, padding="same", name=f"conv{i}")(x)
        if activation == "relu":
            x = keras.layers.ReLU(name=f"conv{i}_act")(x)
        else:
            x = keras.layers.LeakyReLU(_SLOPE, name=f"conv{i}_act")(x)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(classes, name="logits", dtype="float32")(keras.layers.Flatten(name="flatten")(x))
    return keras.Model(frame, {"features": features, "logits": logits}, name="cnn")
