"""Shows a network less: it sees means of blocks of pixels. The cheapest compression of a convolutional network.

Time goes down with the pixels, by the square of the factor, and weights stay as they are. A network whose outputs are
means over its maps takes any size; layers that are tied to a size (fully connected ones over a map) can't follow.
"""
from __future__ import annotations

from typing import Callable

import tf_keras

from leanood.compression import rebuild

LAYER = "downscale"


def downscale(model: tf_keras.Model, factor: int, *, finetune: Callable[..., None] | None = None,
              teacher: tf_keras.Model | None = None) -> tf_keras.Model:
    """Returns the network behind an average pooling of its input.

    Args:
      model: Functional, float32 [N, h, w, c] -> outputs; it is left as it is.
      factor: each pixel that the network sees is the mean of factor × factor.
      finetune: (student, teacher) -> None, trains the result; None leaves the weights as they are.
      teacher: what it is trained towards; None: `model`.

    Raises:
      UnsupportedModel: naming the layer that is tied to the input's size.
    """
    pool = tf_keras.layers.AveragePooling2D(factor, name=LAYER)
    try:
        small = rebuild.rewrite(model, lambda layer: [rebuild.fresh(layer)], before=(pool,))
    except ValueError as error:
        raise rebuild.UnsupportedModel(f"downscale: the network can't see {factor} times less "
                                       f"({' '.join(str(error).split())[:200]})") from error
    for layer in small.layers:
        twin = None if layer is pool else model.get_layer(layer.name)
        if twin is not None and [w.shape for w in layer.weights] != [w.shape for w in twin.weights]:
            raise rebuild.UnsupportedModel(f"downscale: layer {layer.name!r} is tied to the input's size; only "
                                           "networks that average their maps can see less")
    rebuild.copy_weights(model, small)
    if finetune is not None:
        finetune(small, model if teacher is None else teacher)
    return small
