"""The terms of a β-VAE's loss, the negative evidence lower bound; Kingma & Welling, arXiv 1312.6114, appendix B."""
from __future__ import annotations

from typing import Sequence

import tensorflow as tf

RECONSTRUCTIONS = ("bce", "mse")
REFERENCE = (64, 64)  # the frame, (height, width) in pixels, at which β weighs what it says
# exp(10) is a standard deviation of 148, far beyond any latent that carries something; exp(89) overflows float32.
_LOGVAR_LIMIT = 10.0


def kl_divergence(mu: tf.Tensor, logvar: tf.Tensor) -> tf.Tensor:
    """Returns KL(N(mu, exp(logvar)) ‖ N(0, 1)) per latent, ½(μ² + σ² − log σ² − 1): the inputs' shape, in nats."""
    return 0.5 * (tf.square(mu) + variance(logvar) - logvar - 1.0)


def kl_weight(beta: float, size: Sequence[int]) -> float:
    """Returns the weight of the KL term, β · h · w / 64², so that one β means the same at every size.

    The reconstruction loss is a sum over pixels, and grows with their number; the KL of the latents doesn't. A weight
    left as it is would count 12 times less at 224×224 than at 64×64, and all latents would be used up by texture.

    Args:
      beta: β, as of a frame of 64×64 pixels.
      size: (height, width) of the frames in pixels.
    """
    return beta * size[0] * size[1] / (REFERENCE[0] * REFERENCE[1])


def reconstruction_loss(images: tf.Tensor, logits: tf.Tensor, kind: str) -> tf.Tensor:
    """Returns each image's loss, summed over pixels and channels: float32 [N].

    Args:
      images: float32 [N, h, w, 3] in [0, 1].
      logits: float32 [N, h, w, 3], the decoder's output before its sigmoid.
      kind: "bce" (binary cross-entropy in nats) or "mse" (squared error).
    """
    if kind == "bce":
        loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=images, logits=logits)
    elif kind == "mse":
        loss = tf.math.squared_difference(images, tf.sigmoid(logits))
    else:
        raise ValueError(f"reconstruction is {kind!r}, but should be one of {', '.join(RECONSTRUCTIONS)}")
    return tf.reduce_sum(loss, axis=(1, 2, 3))


def variance(logvar: tf.Tensor) -> tf.Tensor:
    """Returns σ² = exp(log σ²); beyond log σ² = 10 its tangent: finite, and with a gradient that leads back."""
    return tf.exp(tf.minimum(logvar, _LOGVAR_LIMIT)) * (1.0 + tf.nn.relu(logvar - _LOGVAR_LIMIT))
