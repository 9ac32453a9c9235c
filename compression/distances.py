"""How far a student is from its teacher: one frozen dataclass for each distance, called with what both made of a batch.

The loop that minimises a distance (`distill.Distiller`) doesn't know which it is.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, NamedTuple

import tensorflow as tf

# exp(10) is far beyond the variance of a latent that carries something; exp(89) overflows float32.
_LOGVAR_LIMIT = 10.0


class Batch(NamedTuple):
    """What a distance may look at.

    Attributes:
      images: float32 [B, h, w, c] as the models take them.
      teacher: the teacher's outputs by name, [B, ...] each.
      student: the student's outputs by name.
      labels: int64 [B], or None.
    """
    images: tf.Tensor
    teacher: Mapping[str, tf.Tensor]
    student: Mapping[str, tf.Tensor]
    labels: tf.Tensor | None = None


Distance = Callable[[Batch], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class SoftTargets:
    """α · T² · KL(softmax(t/T) ‖ softmax(s/T)) + (1 − α) · cross-entropy to the labels (Hinton et al., 1503.02531).

    With α = 1 there are no labels, and with mixed-up, cropped views this is function matching (Beyer et al., 2022).
    """
    temperature: float = 4.0
    alpha: float = 1.0
    output: str = "logits"

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"the temperature {self.temperature} is not positive")
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"alpha {self.alpha} is not in [0, 1]")

    def __call__(self, batch: Batch) -> tf.Tensor:
        student = batch.student[self.output]
        target = tf.nn.log_softmax(batch.teacher[self.output] / self.temperature)
        predicted = tf.nn.log_softmax(student / self.temperature)
        soft = self.temperature ** 2 * tf.reduce_mean(tf.reduce_sum(tf.exp(target) * (target - predicted), axis=-1))
        if self.alpha == 1:
            return soft
        if batch.labels is None:
            raise ValueError(f"alpha {self.alpha} gives the labels a weight, but there are none: use alpha=1")
        hard = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(batch.labels, student))
        return self.alpha * soft + (1 - self.alpha) * hard


@dataclasses.dataclass(frozen=True)
class Regression:
    """½ · mean squared difference of one output; on logits, that of Ba & Caruana (NeurIPS 2014, eq. 1)."""
    output: str = "logits"
    relative: bool = False  # divide by the teacher's mean square, so that outputs of any scale weigh alike

    def __call__(self, batch: Batch) -> tf.Tensor:
        target = batch.teacher[self.output]
        distance = 0.5 * tf.reduce_mean(tf.square(batch.student[self.output] - target))
        return distance / (tf.reduce_mean(tf.square(target)) + 1e-6) if self.relative else distance


@dataclasses.dataclass(frozen=True)
class GaussianLatents:
    """KL(N(μ_t, σ_t²) ‖ N(μ_s, σ_s²)) summed over latents, mean over images: 0 for the teacher's own posterior."""
    mu: str = "mu"
    logvar: str = "logvar"

    def __call__(self, batch: Batch) -> tf.Tensor:
        mu_t, mu_s = batch.teacher[self.mu], batch.student[self.mu]
        log_t, log_s = (tf.clip_by_value(outputs[self.logvar], -_LOGVAR_LIMIT, _LOGVAR_LIMIT)
                        for outputs in (batch.teacher, batch.student))
        per_latent = tf.exp(log_t - log_s) + tf.square(mu_s - mu_t) * tf.exp(-log_s) - 1 + log_s - log_t
        return 0.5 * tf.reduce_mean(tf.reduce_sum(per_latent, axis=-1))


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """weight · (the student's own β-VAE loss) + (1 − weight) · BCE(student's image, teacher's image).

    The paper's distillation (0.3 / 0.7). Images come from a decoder that is not trained; the student's latents are
    taken at their means, so that the loss has no noise.

    Attributes:
      decoder: z [B, Z] -> image in (0, 1), [B, h, w, c] or a dict with one entry.
      weight: of the student's own loss.
      beta: of that loss's KL.
    """
    decoder: Callable[[tf.Tensor], Any]
    weight: float = 0.3
    beta: float = 1.4

    def __call__(self, batch: Batch) -> tf.Tensor:
        mu, logvar = batch.student["mu"], batch.student["logvar"]
        image, wanted = self._image(mu), tf.stop_gradient(self._image(batch.teacher["mu"]))
        kl = 0.5 * tf.reduce_sum(tf.square(mu) + tf.exp(tf.minimum(logvar, _LOGVAR_LIMIT)) - logvar - 1, axis=-1)
        loss = _cross_entropy(batch.images, image) + self.beta * tf.reduce_mean(kl)
        return self.weight * loss + (1 - self.weight) * _cross_entropy(wanted, image)

    def _image(self, z: tf.Tensor) -> tf.Tensor:
        image = self.decoder(z)
        return next(iter(image.values())) if isinstance(image, Mapping) else image


@dataclasses.dataclass(frozen=True)
class Features:
    """Mean over layer pairs of the relative squared difference of intermediate features (FitNets, 1412.6550).

    `distill.Distiller(features={student_layer: teacher_layer})` adds them to the outputs, and a linear map where
    the widths differ.
    """

    def __call__(self, batch: Batch) -> tf.Tensor:
        names = [name for name in batch.student if name.startswith("feature:")]
        if not names:
            raise ValueError("the distance Features needs Distiller(features={student_layer: teacher_layer})")
        return tf.add_n([Regression(name, relative=True)(batch) for name in names]) / len(names)


@dataclasses.dataclass(frozen=True)
class Weighted:
    """Sum of weight · distance."""
    terms: tuple[tuple[float, Distance], ...]

    def __call__(self, batch: Batch) -> tf.Tensor:
        return tf.add_n([weight * distance(batch) for weight, distance in self.terms])


def default(teacher: Mapping[str, Any], student: Mapping[str, Any]) -> Distance:
    """The distance for models that nothing is known of but their outputs' names and shapes.

    mu and logvar are matched as Gaussians (mu_h and logvar_h, mu_v and logvar_v of twin encoders too), logits by soft
    targets (T = 4) and regression; any other output, and those too where a partner is missing, by relative regression.
    Outputs of different shapes are left out.

    Args:
      teacher: output name -> tensor or KerasTensor, [N, ...].
      student: likewise.
    """
    shared = [name for name in teacher if name in student
              and tuple(teacher[name].shape[1:]) == tuple(student[name].shape[1:])]
    if not shared:
        raise ValueError(f"teacher ({', '.join(teacher)}) and student ({', '.join(student)}) share no output of the "
                         "same shape: there is nothing to distil")
    terms: list[tuple[float, Distance]] = []
    for mu in [name for name in shared if name.split("_")[0] == "mu"]:
        logvar = "logvar" + mu[len("mu"):]
        if logvar in shared:
            terms.append((1.0, GaussianLatents(mu, logvar)))
            shared = [name for name in shared if name not in (mu, logvar)]
    if "logits" in shared:
        terms.append((1.0, SoftTargets()))
    terms.extend((1.0, Regression(name, relative=True)) for name in shared)
    return terms[0][1] if len(terms) == 1 else Weighted(tuple(terms))


def _cross_entropy(target: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy summed over pixels, mean over images."""
    image = tf.clip_by_value(image, 1e-6, 1 - 1e-6)
    per_pixel = -target * tf.math.log(image) - (1 - target) * tf.math.log(1 - image)
    return tf.reduce_mean(tf.reduce_sum(per_pixel, axis=range(1, len(image.shape))))
