"""Trains a small convolutional classifier (`models.cnn`) from scratch into a run's folder."""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import classifier_training, cnn, precision, run, training


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a CNN is built and trained: Adam, a cosine decay to 1% of its rate, the images as they are.

    Attributes:
      size, widths, activation: see `cnn.cnn`.
      epochs: how many.
      batch_size: images a step, over all devices together.
      learning_rate: at the start.
      shift: pixels (at 32×32; scaled with the size) by which a training image is moved at most.
      flip: mirror every other training image left to right.
      cutout: side of a square, in pixels at 32×32, that each training image loses; 0: none.
      seed: of weights, order and augmentation.
      precision: "float32" or "bf16".
    """

    size: Tuple[int, int] = (32, 32)
    widths: Tuple[int, ...] = cnn.TEACHER
    activation: str = "leaky_relu"
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    shift: int = 0
    flip: bool = False
    cutout: int = 0
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 1 or more")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}, but should lie between 0 and 1")

    def size_in(self, epoch: int) -> Tuple[int, int]:
        """(height, width) of that epoch's training images: always the same."""
        return self.size


def train(images: np.ndarray, labels: np.ndarray, validation: Tuple[np.ndarray, np.ndarray], classes: Sequence[str],
          settings: Settings, out: str, *, data: Optional[Mapping[str, Any]] = None,
          distribution: Optional[tf.distribute.Strategy] = None) -> Tuple[run.Run, training.Outcome]:
    """Trains, or goes on training, into the folder `out`; returns the run and what came of it.

    Args:
      images, labels, validation, classes, out, distribution: see `classifier_training.train`.
      settings: how; all of it must be the same in a folder that exists, since the learning rate follows from it.
      data: what the images are, for the run's config.
    """
    config = {"model": "cnn", "input_scale": "unit", "classes": list(classes), **dataclasses.asdict(settings),
              "data": dict(data or {})}
    return classifier_training.train(
        images, labels, validation, classes, settings, out, config=config, epochs=settings.epochs,
        build=lambda: build(settings, len(classes), steps=-(-len(images) // settings.batch_size)),
        whole=lambda: cnn.cnn(settings.size, len(classes), widths=settings.widths, activation=settings.activation),
        distribution=distribution)


def build(settings: Settings, classes: int, steps: int) -> keras.Model:
    """Returns the untrained classifier `frame` -> logits, compiled with its loss and optimiser.

    Args:
      settings: its shape and its recipe.
      classes: number of logits.
      steps: steps an epoch.
    """
    with precision.building(settings.precision):
        whole = cnn.cnn(settings.size, classes, widths=settings.widths, activation=settings.activation)
    model = keras.Model(whole.input, whole.get_layer("logits").output, name="cnn")
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * steps, alpha=0.01)
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
                  metrics=["accuracy"])
    return model
