"""Trains a ResNet-18 classifier from scratch into a run's folder, by the usual CIFAR recipe."""
from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import classifier_training, precision, resnet, run, training


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a ResNet-18 is built and trained: SGD with Nesterov momentum, cosine decay, random crop and flip.

    The defaults are He et al.'s for CIFAR (arXiv 1512.03385, section 4.2) with the cosine of later practice.

    Attributes:
      size, stem, width: see `resnet.resnet18`.
      epochs: how many; the learning rate falls to 0 over them.
      batch_size: images a step, over all devices together.
      learning_rate: its peak, after `warm_up_epochs` of linear growth.
      weight_decay: of convolutions and the last layer's weights, not of biases and normalisation.
      shift: pixels (at 32×32; scaled with the size) by which a training image is moved at most.
      flip: mirror every other training image left to right.
      seed: of weights, order and augmentation.
      precision: "float32" or "bf16".
    """

    size: Tuple[int, int] = (32, 32)
    stem: str = "cifar"
    width: float = 1.0
    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.1
    warm_up_epochs: int = 1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    shift: int = 4
    flip: bool = True
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 1 or more")
        for name in ("warm_up_epochs", "shift", "seed", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 0 or more")
        if not 0 < self.learning_rate < 10:
            raise ValueError(f"learning_rate is {self.learning_rate}, but should lie between 0 and 10")


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
        whole = resnet.resnet18(settings.size, classes, stem=settings.stem, width=settings.width)
    model = keras.Model(whole.input, whole.get_layer("logits").output, name="resnet18")
    warm_up = settings.warm_up_epochs * steps
    rate = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 100 if warm_up else settings.learning_rate,
        max(settings.epochs * steps - warm_up, 1), warmup_target=settings.learning_rate if warm_up else None,
        warmup_steps=warm_up)
    optimizer = keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=True,
                                     weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model
