"""Trains a ResNet-18 classifier from scratch into a run's folder, by a fast CIFAR recipe."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import classifier_training, precision, resnet, run, training


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a ResNet-18 is built and trained: SGD with Nesterov momentum, one warm-up and a cosine decay to 0.

    He et al.'s recipe for CIFAR (arXiv 1512.03385, section 4.2) with what later practice added to need fewer epochs:
    cutout (DeVries & Taylor, arXiv 1708.04552), smaller images first (progressive resizing, as in DAWNBench's entries)
    and, if asked for, soft labels (Szegedy et al., arXiv 1512.00567, section 7).

    Attributes:
      size, stem, width: see `resnet.resnet18`.
      epochs: how many; the learning rate falls to 0 over them.
      batch_size: images a step, over all devices together.
      learning_rate: its peak, after `warm_up_epochs` of linear growth.
      weight_decay: of convolutions and the last layer's weights, not of biases and normalisation.
      shift: pixels (at 32×32; scaled with the size) by which a training image is moved at most.
      flip: mirror every other training image left to right.
      cutout: side of a square, in pixels at 32×32, that each training image loses; 0: none.
      label_smoothing: share of a label that goes to all classes alike, 0 to below 1. It flattens the logits that OOD
        scores read.
      progressive_resizing: share of the epochs, the first ones, whose images have three quarters of the size.
      seed: of weights, order and augmentation.
      precision: "float32" or "bf16".
    """

    size: Tuple[int, int] = (32, 32)
    stem: str = "cifar"
    width: float = 1.0
    epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 0.1
    warm_up_epochs: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift: int = 4
    flip: bool = True
    cutout: int = 8
    label_smoothing: float = 0.0
    progressive_resizing: float = 0.5
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 1 or more")
        for name in ("warm_up_epochs", "shift", "cutout", "seed", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 0 or more")
        if not 0 < self.learning_rate < 10:
            raise ValueError(f"learning_rate is {self.learning_rate}, but should lie between 0 and 10")
        for name, most in (("label_smoothing", 0.99), ("progressive_resizing", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, but should lie between 0 and {most:g}")

    def size_in(self, epoch: int) -> Tuple[int, int]:
        """(height, width) of that epoch's training images, from 0: smaller ones first."""
        if epoch >= round(self.progressive_resizing * self.epochs):
            return self.size
        return -(-3 * self.size[0] // 4), -(-3 * self.size[1] // 4)


def train(images: np.ndarray, labels: np.ndarray, validation: Tuple[np.ndarray, np.ndarray], classes: Sequence[str],
          settings: Settings, out: str, *, data: Optional[Mapping[str, Any]] = None,
          distribution: Optional[tf.distribute.Strategy] = None) -> Tuple[run.Run, training.Outcome]:
    """Trains, or goes on training, into the folder `out`; returns the run and what came of it.

    Args:
      images, labels, validation, classes, out, distribution: see `classifier_training.train`.
      settings: how; all of it must be the same in a folder that exists, since the learning rate follows from it.
      data: what the images are, for the run's config.
    """
    config = {"model": "resnet18", "input_scale": "unit", "classes": list(classes), **dataclasses.asdict(settings),
              "data": dict(data or {})}
    return classifier_training.train(
        images, labels, validation, classes, settings, out, config=config, epochs=settings.epochs,
        build=lambda: build(settings, len(classes), steps=-(-len(images) // settings.batch_size)),
        whole=lambda: resnet.resnet18(settings.size, len(classes), stem=settings.stem, width=settings.width),
        distribution=distribution)


def build(settings: Settings, classes: int, steps: int) -> keras.Model:
    """Returns the untrained classifier `frame` -> logits, compiled with its loss and optimiser.

    Args:
      settings: its shape and its recipe.
      classes: number of logits.
      steps: steps an epoch.
    """
    with precision.building(settings.precision):
        size = settings.size if settings.size_in(0) == settings.size else (None, None)
        whole = resnet.resnet18(size, classes, stem=settings.stem, width=settings.width)
    model = keras.Model(whole.input, whole.get_layer("logits").output, name="resnet18")
    warm_up = settings.warm_up_epochs * steps
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 100 if warm_up else settings.learning_rate,
        max(settings.epochs * steps - warm_up, 1), warmup_target=settings.learning_rate if warm_up else None,
        warmup_steps=warm_up)
    optimizer = keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=True,
                                     weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, _loss(classes, settings.label_smoothing), metrics=["accuracy"])
    return model


def _loss(classes: int, smoothing: float) -> Union[keras.losses.Loss, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
    """The cross-entropy of logits and labels, whose mass goes to all classes alike by the share `smoothing`."""
    if not smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        smooth = tf.one_hot(tf.cast(tf.reshape(labels, [-1]), tf.int32), classes)
        return keras.losses.categorical_crossentropy(smooth, logits, from_logits=True, label_smoothing=smoothing)

    return loss
