"""ODIN's input perturbation, which needs gradients: on the host, before the score (Liang et al., arXiv 1706.02690)."""
from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import named_outputs


def perturbed(model: keras.Model, frames: np.ndarray, *, epsilon: float, temperature: float = 1000.0) -> np.ndarray:
    """Frames float32 [N, h, w, c], moved by `epsilon` a pixel towards a larger softmax of their class (eq. 2).

    In-distribution frames gain more confidence from it than others; `ood.scores.ODIN` then judges the model's logits of
    the result.

    Args:
      model: with an output `logits` [N, C].
      frames: float32 [N, h, w, c] in the model's own input range; not clipped afterwards, as in the paper.
      epsilon: in units of that range, >= 0; the paper takes 0 to 0.004 of a range of 1.
      temperature: T of the softmax.
    """
    if not 0 <= epsilon < float("inf"):
        raise ValueError(f"epsilon is {epsilon}, but should be 0 or more")
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature is {temperature}, but should be more than 0")
    outputs = named_outputs.of(model)
    if "logits" not in outputs:
        raise ValueError(f"the model has no output 'logits' among {', '.join(outputs)}; see models.classifier")
    network = keras.Model(model.input, outputs["logits"])
    x = tf.convert_to_tensor(frames, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = network(x, training=False) / temperature
        confidence = tf.reduce_max(tf.nn.log_softmax(logits), axis=1)
    return (x + epsilon * tf.sign(tape.gradient(confidence, x))).numpy()
