"""Distances that keep what OOD scores read: relations between features, their norms, the logits' scale.

Soft targets say which classes look alike, and are blind to a constant added to all logits (the energy score) and to
the features (Mahalanobis, k-NN, ViM). Each of these is one term for `distances.Weighted`; student and teacher may have
features of different widths.
"""
from __future__ import annotations

import dataclasses

import tensorflow as tf

from leanood.compression import distances

_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class FeatureRelation:
    """Mean squared difference of the batch's cosine similarities, times B: similarity-preserving distillation.

    Tung & Mori, arXiv 1907.09682, eq. 4, on cosines of centred features, so that 0 means the same geometry up to
    rotation and scale.
    """
    output: str = "features"

    def __call__(self, batch: distances.Batch) -> tf.Tensor:
        difference = _cosines(batch.student[self.output]) - _cosines(tf.cast(batch.teacher[self.output], tf.float32))
        return tf.reduce_mean(tf.reduce_sum(tf.square(difference), axis=1))


@dataclasses.dataclass(frozen=True)
class FeatureNorm:
    """Mean squared difference of the features' log norms, each less its batch's mean.

    OOD inputs have features of smaller norm (Dhamija et al., arXiv 1811.04110); networks differ in their unit, not in
    who has less.
    """
    output: str = "features"

    def __call__(self, batch: distances.Batch) -> tf.Tensor:
        def log_norm(features: tf.Tensor) -> tf.Tensor:
            squared = tf.reduce_sum(tf.square(tf.cast(features, tf.float32)), axis=1)
            logs = 0.5 * tf.math.log(squared + _TINY)
            return logs - tf.reduce_mean(logs)

        return tf.reduce_mean(tf.square(log_norm(batch.student[self.output]) - log_norm(batch.teacher[self.output])))


@dataclasses.dataclass(frozen=True)
class LogitScale:
    """Mean squared difference of the free energies log Σ exp(logits), over the variance of the teacher's.

    What soft targets leave open: Liu et al., "Energy-based out-of-distribution detection", arXiv 2010.03759, eq. 4.
    """
    output: str = "logits"

    def __call__(self, batch: distances.Batch) -> tf.Tensor:
        student, teacher = (tf.reduce_logsumexp(tf.cast(outputs[self.output], tf.float32), axis=1)
                            for outputs in (batch.student, batch.teacher))
        return tf.reduce_mean(tf.square(student - teacher)) / (tf.math.reduce_variance(teacher) + 1e-6)


def detection_aware(temperature: float = 4.0, relation: float = 1.0, norm: float = 1.0, scale: float = 0.1,
                    alpha: float = 1.0) -> distances.Weighted:
    """Returns soft targets with all three terms, for models with `logits` [N, C] and `features` [N, D].

    Args:
      temperature, alpha: of the soft targets.
      relation, norm, scale: weights of `FeatureRelation`, `FeatureNorm` and `LogitScale`.
    """
    return distances.Weighted(((1.0, distances.SoftTargets(temperature, alpha)), (relation, FeatureRelation()),
                               (norm, FeatureNorm()), (scale, LogitScale())))


def _cosines(features: tf.Tensor) -> tf.Tensor:
    """Returns the cosines between the centred features of a batch, [B, B]."""
    features = tf.cast(features, tf.float32)
    centred = features - tf.reduce_mean(features, axis=0)
    unit = centred * tf.math.rsqrt(tf.reduce_sum(tf.square(centred), axis=1, keepdims=True) + _TINY)
    return tf.matmul(unit, unit, transpose_b=True)
