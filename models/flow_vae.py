"""Twin variational autoencoders of motion: one for horizontal flow, one for vertical, in one Functional encoder.

Feng, Ng & Easwaran, "Improving Variational Autoencoder based Out-of-Distribution Detection for Embedded Real-time
Applications", arXiv 2107.11750 (Bi3DOF); its encoders are `encoder`'s defaults with `batch_norm=True`.
"""
from __future__ import annotations

import math
from typing import Any, Dict, Sequence, Tuple

import tensorflow as tf
import tf_keras as keras

from leanood.models import elbo

DIRECTIONS = ("h", "v")  # horizontal flow is the stack's upper half, vertical its lower
OUTPUTS = tuple(f"{part}_{direction}" for direction in DIRECTIONS for part in ("mu", "logvar"))
PAPER_WIDTHS = (32, 64, 128, 256)
_KERNEL, _STRIDE = 5, 3
_MEMORY = 0.99  # of the optimal prior's running moments, a step


def encoder(size: Tuple[int, int] = (113, 152), length: int = 6, widths: Sequence[int] = PAPER_WIDTHS,
            latents: int = 12, *, batch_norm: bool = False) -> keras.Model:
    """Returns a Functional model `frame` float32 [N, 2h, w, n] -> OUTPUTS by name, float32 [N, latents].

    Each direction has its own 5×5 convolutions: stride 3, and the last one without padding at stride 1, so that the
    defaults leave 2 places of 256 channels for the linear heads (2.19 M parameters in all, 56 M multiply-adds). The
    first one has no padding either, and a bias: so `deployed` can fold the input's scaling into it.

    Args:
      size: (h, w) of one direction's flow.
      length: n, flows in a stack.
      widths: channels of the convolutions.
      latents: of each direction.
      batch_norm: normalise after each convolution, as the paper does; the latents then follow unusual speeds less.
    """
    _check(size, length, widths, latents)
    frame = keras.Input((2 * size[0], size[1], length), name="frame")
    outputs: Dict[str, Any] = {}
    for number, direction in enumerate(DIRECTIONS):
        rows = (0, size[0]) if number == 0 else (size[0], 0)
        x = keras.layers.Cropping2D((rows, (0, 0)), name=f"flow_{direction}")(frame)
        for i, width in enumerate(widths, start=1):
            last = i == len(widths) and min(x.shape[1:3]) >= _KERNEL
            x = keras.layers.Conv2D(width, _KERNEL, 1 if last else _STRIDE, name=f"conv{i}_{direction}",
                                    padding="valid" if last or i == 1 else "same",
                                    use_bias=i == 1 or not batch_norm)(x)
            if batch_norm:
                x = keras.layers.BatchNormalization(momentum=0.9, name=f"conv{i}_{direction}_bn")(x)
            x = keras.layers.ReLU(name=f"conv{i}_{direction}_act")(x)
        x = keras.layers.Flatten(name=f"flatten_{direction}")(x)
        for part in ("mu", "logvar"):
            name = f"{part}_{direction}"
            outputs[name] = keras.layers.Dense(latents, name=name, dtype="float32")(x)
    return keras.Model(frame, outputs, name="encoder")


def decoder(size: Tuple[int, int] = (113, 152), length: int = 6, widths: Sequence[int] = (32, 64, 128),
            latents: int = 12) -> keras.Model:
    """Returns a Functional model {"z_h", "z_v"} float32 [N, latents] -> `image` float32 [N, 2h, w, n] in (0, 1).

    Args:
      size, length, latents: as of `encoder`.
      widths: channels of the transposed convolutions, from the flow inwards.
    """
    _check(size, length, widths, latents)
    sizes = [tuple(size)]
    for _ in widths:
        sizes.append((math.ceil(sizes[-1][0] / _STRIDE), math.ceil(sizes[-1][1] / _STRIDE)))
    inputs, halves = {}, []
    for direction in DIRECTIONS:
        inputs[f"z_{direction}"] = z = keras.Input((latents,), name=f"z_{direction}")
        units = sizes[-1][0] * sizes[-1][1] * widths[-1]
        x = keras.layers.Dense(units, activation="relu", name=f"dense_{direction}")(z)
        x = keras.layers.Reshape((*sizes[-1], widths[-1]), name=f"reshape_{direction}")(x)
        for i, (width, (h, w)) in enumerate(zip([*reversed(widths[:-1]), length], reversed(sizes[:-1])), start=1):
            x = keras.layers.Conv2DTranspose(width, _KERNEL, _STRIDE, padding="same", name=f"up{i}_{direction}",
                                             activation="relu" if i < len(widths) else None)(x)
            rows, columns = int(x.shape[1]) - h, int(x.shape[2]) - w
            if rows or columns:
                x = keras.layers.Cropping2D(((0, rows), (0, columns)), name=f"crop{i}_{direction}")(x)
        halves.append(x)
    joined = keras.layers.Concatenate(axis=1, name="joined")(halves)
    return keras.Model(inputs, keras.layers.Activation("sigmoid", name="image", dtype="float32")(joined),
                       name="decoder")


class FlowVae(keras.Model):
    """Trains both directions together: ½ · squared error, summed over a stack, + β (KL_h + KL_v), mean over the batch.

    The noise depends on `seed` and the number of the step alone, so a run that is resumed goes on as it would have.

    Args:
      encoder: Functional, stacks in [-1, 1] -> OUTPUTS; so that no motion is 0, not a grey 0.5 everywhere that the
        first layer would have to unlearn. `deployed` gives the encoder of stacks in [0, 1].
      decoder: Functional, {"z_h", "z_v"} -> stacks.
      beta: weight of the KL terms.
      optimal_prior: measure KL from the Gaussian that fits the posteriors of the training set as a whole (running
        moments of each latent; the prior under which the bound is tightest, Hoffman & Johnson, "ELBO surgery", 2016)
        instead of from N(0, 1). `deployed` then moves it to N(0, 1) without changing any KL.
      warm_up: steps during which β grows linearly from 0; 0 for none.
      seed: seed of the noise.
    """

    def __init__(self, encoder: keras.Model, decoder: keras.Model, *, beta: float = 1.0, optimal_prior: bool = False,
                 warm_up: int = 0, seed: int = 0) -> None:
        super().__init__(name="flow_vae")
        if not beta >= 0:
            raise ValueError(f"beta is {beta}, but should be 0 or more")
        self.encoder, self.decoder = encoder, decoder
        self._beta, self._optimal, self._warm_up, self._seed = beta, optimal_prior, warm_up, seed
        latents = encoder.output["mu_h"].shape[-1]
        shape = (len(DIRECTIONS), latents)
        self.prior_mean = self.add_weight(name="prior_mean", shape=shape, initializer="zeros", trainable=False)
        self.prior_variance = self.add_weight(name="prior_variance", shape=shape, initializer="ones", trainable=False)
        self._means = {name: keras.metrics.Mean(name=name) for name in ("loss", "reconstruction", "kl_h", "kl_v")}

    @property
    def metrics(self) -> list:
        """Running means over an epoch: loss, reconstruction (½ squared error a stack), kl_h, kl_v (nats a stack)."""
        return list(self._means.values())

    def call(self, stacks: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Returns the reconstructions of float32 [N, 2h, w, n] stacks from their mean latents."""
        latent = self.encoder(2.0 * stacks - 1.0, training=training)
        return self.decoder({f"z_{direction}": latent[f"mu_{direction}"] for direction in DIRECTIONS},
                            training=training)

    def train_step(self, stacks: tf.Tensor) -> dict:
        """One step on float32 [N, 2h, w, n] stacks; returns the epoch's running means."""
        step = self.optimizer.iterations
        beta = self._beta * tf.minimum(1.0, tf.cast(step, tf.float32) / self._warm_up) if self._warm_up else self._beta
        with tf.GradientTape() as tape:
            noise = self._noise(step, tf.shape(stacks)[0])
            losses, terms, latent = self._elbo(stacks, beta, training=True, noise=noise)
            loss = tf.nn.compute_average_loss(losses)
        self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
        if self._optimal:
            self._follow(latent)
        return self._update(losses, terms)

    def test_step(self, stacks: tf.Tensor) -> dict:
        """The loss at full β and mean latents, so that epochs are comparable; returns the running means."""
        losses, terms, _ = self._elbo(stacks, self._beta, training=False, noise=None)
        return self._update(losses, terms)

    def _elbo(self, stacks: tf.Tensor, beta: Any, training: bool, noise: Any) -> Tuple[tf.Tensor, dict, dict]:
        latent = self.encoder(2.0 * stacks - 1.0, training=training)
        z, terms = {}, {}
        for number, direction in enumerate(DIRECTIONS):
            mu, logvar = latent[f"mu_{direction}"], latent[f"logvar_{direction}"]
            z[f"z_{direction}"] = mu if noise is None else mu + tf.sqrt(elbo.variance(logvar)) * noise[number]
            variance = self.prior_variance[number]
            # KL to N(m, s²) is KL to N(0, 1) of the latent in units of s around m.
            terms[f"kl_{direction}"] = tf.reduce_sum(elbo.kl_divergence(
                (mu - self.prior_mean[number]) / tf.sqrt(variance), logvar - tf.math.log(variance)), axis=-1)
        decoded = tf.cast(self.decoder(z, training=training), tf.float32)
        terms["reconstruction"] = 0.5 * tf.reduce_sum(tf.math.squared_difference(stacks, decoded), axis=(1, 2, 3))
        return terms["reconstruction"] + beta * (terms["kl_h"] + terms["kl_v"]), terms, latent

    def _follow(self, latent: dict) -> None:
        """Moves the optimal prior's moments towards those of this batch's posteriors."""
        mu = tf.stack([latent[f"mu_{direction}"] for direction in DIRECTIONS])
        variance = tf.stack([elbo.variance(latent[f"logvar_{direction}"]) for direction in DIRECTIONS])
        mean = tf.reduce_mean(mu, axis=1)
        spread = tf.reduce_mean(variance + tf.square(mu - self.prior_mean[:, tf.newaxis]), axis=1)
        self.prior_mean.assign(_MEMORY * self.prior_mean + (1 - _MEMORY) * mean)
        self.prior_variance.assign(_MEMORY * self.prior_variance + (1 - _MEMORY) * spread)

    def _noise(self, step: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        seed = tf.stack([tf.cast(self._seed, tf.int64) + 2**32 * tf.cast(replica, tf.int64), tf.cast(step, tf.int64)])
        return tf.random.stateless_normal((len(DIRECTIONS), count, self.prior_mean.shape[1]), seed)

    def _update(self, losses: tf.Tensor, terms: dict) -> dict:
        for name, values in {"loss": losses, **terms}.items():
            self._means[name].update_state(values)
        return {name: mean.result() for name, mean in self._means.items()}


def deployed(trained: FlowVae) -> Tuple[keras.Model, keras.Model]:
    """Returns copies of (encoder, decoder): of stacks in [0, 1], and with latents whose every KL is to N(0, 1).

    The input's scaling goes into the weights of the encoder's first layer, the units of the prior N(m, s²) into those
    of its linear heads and of the decoder's first layer.
    """
    encoder, decoder = (_copy(model) for model in (trained.encoder, trained.decoder))
    for number, direction in enumerate(DIRECTIONS):
        kernel, bias = encoder.get_layer(f"conv1_{direction}").get_weights()
        encoder.get_layer(f"conv1_{direction}").set_weights([2.0 * kernel, bias - kernel.sum(axis=(0, 1, 2))])
        mean, variance = (values.numpy()[number] for values in (trained.prior_mean, trained.prior_variance))
        kernel, bias = encoder.get_layer(f"mu_{direction}").get_weights()
        encoder.get_layer(f"mu_{direction}").set_weights([kernel / variance ** 0.5, (bias - mean) / variance ** 0.5])
        kernel, bias = encoder.get_layer(f"logvar_{direction}").get_weights()
        encoder.get_layer(f"logvar_{direction}").set_weights([kernel, bias - tf.math.log(variance).numpy()])
        kernel, bias = decoder.get_layer(f"dense_{direction}").get_weights()
        decoder.get_layer(f"dense_{direction}").set_weights([kernel * variance[:, None] ** 0.5, bias + mean @ kernel])
    return encoder, decoder


def _copy(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def _check(size: Sequence[int], length: int, widths: Sequence[int], latents: int) -> None:
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size is {tuple(size)}, but should be (height, width) in pixels")
    if length < 1:
        raise ValueError(f"length is {length}, but a stack has at least one flow")
    if not widths or min(widths) < 1:
        raise ValueError(f"widths is {tuple(widths)}, but should be one or more positive numbers of channels")
    if latents < 1:
        raise ValueError(f"latents is {latents}, but should be 1 or more")
