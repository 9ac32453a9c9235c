"""Function matching: distillation as a long, patient fit of the teacher's function, without labels, counted in steps.

Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022 (arXiv 2106.05237): teacher
and student see the same view, made by an inception crop, a flip and mixup; Adam, gradients clipped to norm 1, a warm-up
and a cosine. `flowers_fast`, `flowers_medium` and `flowers_long` are that paper's settings for Flowers-102 (figure 3
and table 4, as published with its code); the teacher there is a BiT, the student BiT R50x1 (`models.bit`).
"""
from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.compression import distances, distill, views
from leanood.models import run, strategy, training

FLOWERS_IMAGES = 1020  # of the official training set, which the paper counts its epochs on
_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a student is fitted to its teacher's function.

    Attributes:
      steps: in all.
      learning_rate: Adam's, at the end of the warm-up; it falls to 0 by a cosine.
      weight_decay: decoupled, of kernels alone.
      temperature: of the soft targets.
      batch_size: views a step, over all devices together.
      warm_up_steps: of linear growth.
      augment: the views.
      every: steps between checkpoints; what a kill can lose.
      seed: of order and views.
    """

    steps: int
    learning_rate: float
    weight_decay: float = 0.0
    temperature: float = 1.0
    batch_size: int = _BATCH
    warm_up_steps: int = 1500
    augment: views.Augment = views.FUNCTION_MATCHING
    every: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 1 or more")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}, but should lie between 0 and 1")
        if not 0 <= self.warm_up_steps < self.steps:
            raise ValueError(f"warm_up_steps is {self.warm_up_steps}, but should be less than the {self.steps} steps")


def flowers_fast() -> Settings:
    """Returns the settings of 10,000 epochs on Flowers-102, 19,922 steps."""
    return Settings(_flowers_steps(10_000), 0.003, weight_decay=3e-4, temperature=10.0)


def flowers_medium() -> Settings:
    """Returns the settings of 100,000 epochs on Flowers-102, 199,219 steps."""
    return Settings(_flowers_steps(100_000), 0.001, weight_decay=1e-4, temperature=1.0)


def flowers_long() -> Settings:
    """Returns the settings of 1,000,000 epochs on Flowers-102, 1,992,188 steps."""
    return Settings(_flowers_steps(1_000_000), 0.0003, weight_decay=1e-5, temperature=1.0)


def match(student: tf_keras.Model, teacher: tf_keras.Model, images: np.ndarray, settings: Settings, folder: str, *,
          scale: views.Scale = views.UNIT, distance: distances.Distance | None = None,
          distribution: tf.distribute.Strategy | None = None, config: dict[str, Any] | None = None) -> training.Outcome:
    """Trains the student in place, or goes on from the folder's last checkpoint; returns what came of it.

    Args:
      student: Functional, with the output `logits`; built within `distribution`'s scope, if there is one.
      teacher: with the same input; it is not trained.
      images: uint8 [N, h, w, 3] at the models' size.
      settings: how.
      folder: the run's folder: checkpoints, history, and `student.h5` at the end.
      scale: (factor, offset) from a uint8 pixel to what the models take.
      distance: what is minimised; None takes the soft targets at the settings' temperature.
      distribution: a strategy of tf.distribute; None for one device.
      config: what else the run's config.json should know.
    """
    where = distribution or strategy.choose("off")
    described = {"model": "student", **dataclasses.asdict(settings), "scale": list(scale), "images": len(images),
                 **(config or {})}
    run_folder = run.Run.create(folder, described, chief=strategy.is_chief(where))
    with run_folder.lock():
        with where.scope():
            distiller = distill.Distiller(student=student, teacher=teacher,
                                          distance=distance or distances.SoftTargets(settings.temperature))
            distiller.compile(_optimizer(settings))
        outcome = training.fit(distiller, lambda chunk: _chunk(images, settings, scale, chunk), folder=run_folder,
                               epochs=math.ceil(settings.steps / settings.every))
        run_folder.save("student", student)
    return outcome


def _optimizer(settings: Settings) -> tf_keras.optimizers.Optimizer:
    rate: Any = tf_keras.optimizers.schedules.CosineDecay(
        0.0 if settings.warm_up_steps else settings.learning_rate, settings.steps - settings.warm_up_steps,
        warmup_target=settings.learning_rate if settings.warm_up_steps else None, warmup_steps=settings.warm_up_steps)
    optimizer = tf_keras.optimizers.Adam(rate, global_clipnorm=1.0, weight_decay=settings.weight_decay or None)
    if settings.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    return optimizer


def _chunk(images: np.ndarray, settings: Settings, scale: views.Scale, chunk: int) -> tf.data.Dataset:
    """Returns the views of one checkpoint's steps, the same whenever asked; small data sets are gone through often."""
    count = min(settings.every, settings.steps - chunk * settings.every)
    order = tf.data.Dataset.range(chunk * settings.every, chunk * settings.every + count)
    factor, offset = scale if images.dtype == np.uint8 else (1.0, 0.0)
    kept = tf.constant(images)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tuple[()]]:
        # Drawn without replacement where the images are enough for it.
        seed = tf.stack([tf.constant(settings.seed, tf.int64), step])
        if len(images) >= settings.batch_size:
            chosen = tf.random.experimental.stateless_shuffle(tf.range(len(images)), seed)[:settings.batch_size]
        else:
            chosen = tf.random.stateless_uniform([settings.batch_size], seed, 0, len(images), tf.int32)
        x = tf.cast(tf.gather(kept, chosen), tf.float32)
        return views.view(x, settings.augment, tf.cast(seed, tf.int32)) * factor + offset, ()

    return order.map(batch).prefetch(2)


def _flowers_steps(epochs: int) -> int:
    return math.ceil(epochs * FLOWERS_IMAGES / _BATCH)
