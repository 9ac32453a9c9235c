"""β-VAE: a Functional encoder and decoder with named outputs, and the training step around them.

Higgins et al., "beta-VAE: Learning basic visual concepts with a constrained variational framework", ICLR 2017;
as a detector: Ramakrishna et al., arXiv 2108.11800, whose encoder is `paper_encoder`.
"""
from __future__ import annotations

import math
from typing import Any, Dict, Sequence, Tuple

import tensorflow as tf
import tf_keras as keras

from leanood.models import elbo

ACTIVATIONS = ("relu", "leaky_relu")
POOLS = ("max", "stride")
# What `encoder` and `decoder` of the paper share; the paper's β is 1.4.
PAPER: Dict[str, Any] = {"size": (224, 224), "widths": (128, 64, 32, 16), "latents": 30, "dense": (2048, 1000, 250),
                         "activation": "leaky_relu"}


def encoder(
    size: Tuple[int, int] = (64, 64),
    widths: Sequence[int] = (16, 32, 32, 32),
    latents: int = 30,
    dense: Sequence[int] = (),
    *,
    activation: str = "relu",
    batch_norm: bool = False,
    pool: str = "stride",
) -> keras.Model:
    """Returns a Functional model `frame` float32 [N, h, w, 3] in [0, 1] -> {"mu", "logvar"}: float32 [N, latents].

    Args:
      size: (height, width) in pixels.
      widths: channels of the 3×3 convolutions; each block halves the resolution, rounding up.
      latents: number of latents; both heads are linear.
      dense: units of the fully connected layers between the convolutions and the heads.
      activation: "relu" (fuses into the convolution before it) or "leaky_relu" (slope 0.1, as in the paper).
      batch_norm: normalise after each convolution; it folds into the convolution when converted. Latents of a
        normalised encoder don't follow light beyond what was trained on, so a detector's is better without.
      pool: "max" (convolution at full resolution, then 2×2 maxima, as in the paper) or "stride" (strided
        convolution: a quarter of the multiply-adds).
    """
    _check(size, widths, latents, dense, activation)
    if pool not in POOLS:
        raise ValueError(f"pool is {pool!r}, but should be one of {', '.join(POOLS)}")
    frame = keras.Input((*size, 3), name="frame")
    x = frame
    for i, width in enumerate(widths, start=1):
        x = _convolution(x, width, f"conv{i}", activation, batch_norm, strides=2 if pool == "stride" else 1)
        if pool == "max":
            x = keras.layers.MaxPooling2D(2, padding="same", name=f"pool{i}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for i, units in enumerate(dense, start=1):
        x = keras.layers.Dense(units, name=f"dense{i}")(x)
        x = _activation(activation, f"dense{i}_act")(x)
    # "float32": the heads keep their resolution where the rest computes in bfloat16.
    mu = keras.layers.Dense(latents, name="mu", dtype="float32")(x)
    logvar = keras.layers.Dense(latents, name="logvar", dtype="float32")(x)
    return keras.Model(frame, {"mu": mu, "logvar": logvar}, name="encoder")


def decoder(
    size: Tuple[int, int] = (64, 64),
    widths: Sequence[int] = (16, 32, 32, 32),
    latents: int = 30,
    dense: Sequence[int] = (),
    *,
    activation: str = "relu",
    batch_norm: bool = False,
) -> keras.Model:
    """Returns a Functional model `z` float32 [N, latents] -> `image` float32 [N, h, w, 3] in (0, 1).

    The encoder mirrored, with its arguments. It needs z alone: nearest-neighbour upsampling takes the place of
    un-pooling by the encoder's indices.
    """
    _check(size, widths, latents, dense, activation)
    sizes = [tuple(size)]
    for _ in widths:
        sizes.append((math.ceil(sizes[-1][0] / 2), math.ceil(sizes[-1][1] / 2)))
    z = keras.Input((latents,), name="z")
    x = z
    for i, units in enumerate([*reversed(list(dense)), sizes[-1][0] * sizes[-1][1] * widths[-1]], start=1):
        x = keras.layers.Dense(units, name=f"dense{i}")(x)
        x = _activation(activation, f"dense{i}_act")(x)
    x = keras.layers.Reshape((*sizes[-1], widths[-1]), name="reshape")(x)
    for i, (width, (h, w)) in enumerate(zip([*reversed(widths[:-1]), 3], reversed(sizes[:-1])), start=1):
        x = keras.layers.UpSampling2D(2, name=f"up{i}")(x)
        if (h % 2, w % 2) != (0, 0):
            x = keras.layers.Cropping2D(((0, h % 2), (0, w % 2)), name=f"crop{i}")(x)
        if i < len(widths):
            x = _convolution(x, width, f"conv{i}", activation, batch_norm)
    logits = keras.layers.Conv2D(3, 3, padding="same", name="image_logits")(x)
    image = keras.layers.Activation("sigmoid", name="image", dtype="float32")(logits)
    return keras.Model(z, image, name="decoder")


def paper_encoder() -> keras.Model:
    """Returns the encoder of arXiv 2108.11800: 224×224, 30 latents, 8.84 M parameters, 1.17 G multiply-adds."""
    return encoder(**PAPER, batch_norm=True, pool="max")


class BetaVae(keras.Model):
    """Trains an encoder and a decoder on the evidence lower bound: reconstruction + β·ΣKL, mean over the batch.

    The noise depends on `seed` and the number of the step alone, so a run that is resumed goes on as it would have.

    Args:
      encoder: Functional, frames -> {"mu", "logvar"}.
      decoder: Functional, z -> image, with a layer `image_logits` before its sigmoid.
      beta: weight of the KL term as it is; `elbo.kl_weight` scales one to the frame's pixels.
      reconstruction: "bce" or "mse".
      warm_up: steps during which β grows linearly from 0; 0 for none.
      seed: seed of the noise.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, *, beta: float = 1.4, reconstruction: str = "bce",
                 warm_up: int = 0, seed: int = 0) -> None:
        super().__init__(name="beta_vae")
        if reconstruction not in elbo.RECONSTRUCTIONS:
            raise ValueError(f"reconstruction is {reconstruction!r}, but should be one of "
                             f"{', '.join(elbo.RECONSTRUCTIONS)}")
        if not beta >= 0:
            raise ValueError(f"beta is {beta}, but should be 0 or more")
        self.encoder, self.decoder = encoder, decoder
        self._logits = keras.Model(decoder.input, decoder.get_layer("image_logits").output, name="decoder_logits")
        self._beta, self._reconstruction, self._warm_up, self._seed = beta, reconstruction, warm_up, seed
        self._means = {name: keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "kl")}

    @property
    def metrics(self) -> list:
        """Running means over an epoch: loss, reconstruction (nats or squared error an image), kl (nats an image)."""
        return list(self._means.values())

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the reconstructions of float32 [N, h, w, 3] images from their mean latents."""
        return self.decoder(self.encoder(images, training=training)["mu"], training=training)

    def train_step(self, images: tf.Tensor) -> dict:
        """One step on float32 [N, h, w, 3] images; returns the epoch's running means."""
        step = self.optimizer.iterations
        beta = self._beta * tf.minimum(1.0, tf.cast(step, tf.float32) / self._warm_up) if self._warm_up else self._beta
        with tf.GradientTape() as tape:
            losses, terms = self._elbo(images, beta, training=True, noise=self._noise(step, tf.shape(images)[0]))
            # The mean over the *global* batch: replicas sum their gradients.
            loss = tf.nn.compute_average_loss(losses)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        return self._update(losses, terms)

    def test_step(self, images: tf.Tensor) -> dict:
        """The loss at full β and mean latents, so that epochs are comparable; returns the running means."""
        return self._update(*self._elbo(images, self._beta, training=False, noise=None))

    def _elbo(self, images: tf.Tensor, beta: Any, training: bool, noise: Any) -> Tuple[tf.Tensor, dict]:
        latent = self.encoder(images, training=training)
        mu, logvar = latent["mu"], latent["logvar"]
        z = mu if noise is None else mu + tf.sqrt(elbo.variance(logvar)) * noise
        logits = tf.cast(self._logits(z, training=training), tf.float32)
        reconstruction = elbo.reconstruction_loss(images, logits, self._reconstruction)
        kl = tf.reduce_sum(elbo.kl_divergence(mu, logvar), axis=-1)
        return reconstruction + beta * kl, {"reconstruction": reconstruction, "kl": kl}

    def _noise(self, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([tf.cast(self._seed, tf.int64) + 2**32 * tf.cast(replica, tf.int64), tf.cast(step, tf.int64)])
        return tf.random.stateless_normal((count, self.encoder.get_layer("mu").units), seed)

    def _update(self, losses: tf.Tensor, terms: dict) -> dict:
        for name, values in {"loss": losses, **terms}.items():
            self._means[name].update_state(values)
        return {name: mean.result() for name, mean in self._means.items()}


def _convolution(x: Any, width: int, name: str, activation: str, batch_norm: bool, strides: int = 1) -> Any:
    x = keras.layers.Conv2D(width, 3, strides, padding="same", use_bias=not batch_norm, name=name)(x)
    if batch_norm:
        # Keras' 0.99 would lag hundreds of steps behind, which is all the training that a small image folder gets.
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return _activation(activation, f"{name}_act")(x)


def _activation(activation: str, name: str) -> keras.layers.Layer:
    return keras.layers.ReLU(name=name) if activation == "relu" else keras.layers.LeakyReLU(0.1, name=name)


def _check(size: Sequence[int], widths: Sequence[int], latents: int, dense: Sequence[int], activation: str) -> None:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size is {tuple(size)}, but should be (height, width) in pixels")
    if not widths or min(widths) < 1:
        raise ValueError(f"widths is {tuple(widths)}, but should be one or more positive numbers of channels")
    if latents < 1:
        raise ValueError(f"latents is {latents}, but should be 1 or more")
    if any(units < 1 for units in dense):
        raise ValueError(f"dense is {tuple(dense)}, but should be positive numbers of units")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation is {activation!r}, but should be one of {', '.join(ACTIVATIONS)}")
