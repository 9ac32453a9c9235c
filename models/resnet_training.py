"""Trains a ResNet-18 classifier from scratch into a run's folder, by the usual CIFAR recipe."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import precision, resnet, run, strategy, training


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

    `history.csv` is the accuracy curve; the trained model is `classifier.h5`.

    Args:
      images: uint8 [N, h, w, 3], N ≥ 1; an `np.memmap` is read batch by batch.
      labels: int [N], indices of `classes`.
      validation: images [M, h, w, 3] and labels [M] that judge each epoch; M may be 0.
      classes: their names.
      settings: how; all of it must be the same in a folder that exists, since the learning rate follows from it.
      out: the run's folder.
      data: what the images are, for the run's config.
      distribution: a strategy of tf.distribute; None for one device.
    """
    if not len(images):
        raise ValueError("there are no images to train on")
    if len(classes) < 2:
        raise ValueError(f"there is {len(classes)} class; a classifier needs two folders of images or more")
    config = {"model": "resnet18", "input_scale": "unit", "classes": list(classes), **dataclasses.asdict(settings),
              "data": dict(data or {})}
    where = distribution or strategy.choose("off")
    folder = run.Run.create(out, config, chief=strategy.is_chief(where))
    with folder.lock():
        keras.utils.set_random_seed(settings.seed)
        with where.scope():
            model = build(settings, len(classes), steps=-(-len(images) // settings.batch_size))
        outcome = training.fit(
            model, lambda epoch: augmented(images, labels, settings, epoch), folder=folder, epochs=settings.epochs,
            validation=_batches(*validation, settings.batch_size) if len(validation[0]) else None)
        whole = resnet.resnet18(settings.size, len(classes), stem=settings.stem, width=settings.width)
        whole.set_weights(model.get_weights())
        folder.save("classifier", whole)
    return folder, outcome


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


def augmented(images: np.ndarray, labels: np.ndarray, settings: Settings, epoch: int) -> tf.data.Dataset:
    """That epoch's shuffled, shifted and flipped batches (float32 [B, h, w, 3] in [0, 1], labels [B]).

    The same ones whenever asked for the same epoch: what is drawn follows from seed, epoch and position alone.
    """
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(images))
    shift = round(settings.shift * settings.size[0] / 32)
    chosen_of, kept_labels = _gatherer(images), tf.constant(np.asarray(labels, np.int64))

    def batch(positions: tf.Tensor, chosen: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.constant(settings.seed * 100003 + epoch, tf.int64), positions[0]])
        drawn = tf.random.stateless_uniform([tf.shape(chosen)[0], 3], seed)
        pixels = shifted(chosen_of(chosen), tf.cast(drawn[:, :2] * (2 * shift + 1), tf.int32), shift)
        if settings.flip:
            pixels = tf.where(drawn[:, 2, None, None, None] < 0.5, pixels[:, :, ::-1], pixels)
        return tf.cast(pixels, tf.float32) / 255.0, tf.gather(kept_labels, chosen)

    return (tf.data.Dataset.from_tensor_slices((np.arange(len(order), dtype=np.int64), order))
            .batch(settings.batch_size).map(batch).prefetch(2))


def shifted(images: tf.Tensor, offsets: tf.Tensor, most: int) -> tf.Tensor:
    """Images [N, h, w, 3], each cut at its `offsets` (int32 [N, 2] in 0..2 most) from itself with a black border."""
    if not most:
        return images
    height, width = images.shape[1], images.shape[2]
    padded = tf.pad(images, [[0, 0], [most, most], [most, most], [0, 0]])
    rows = offsets[:, 0, None] + tf.range(height)
    columns = offsets[:, 1, None] + tf.range(width)
    return tf.gather(tf.gather(padded, rows, batch_dims=1), columns, axis=2, batch_dims=1)


def _batches(images: np.ndarray, labels: np.ndarray, size: int) -> tf.data.Dataset:
    chosen_of = _gatherer(images)

    def scaled(chosen: tf.Tensor, label: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        return tf.cast(chosen_of(chosen), tf.float32) / 255.0, label

    pairs = tf.data.Dataset.from_tensor_slices((np.arange(len(images)), np.asarray(labels, np.int64)))
    return pairs.batch(size).map(scaled).prefetch(2)


def _gatherer(images: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns indices int64 [B] -> images uint8 [B, h, w, 3]; those of a mapped file are read when asked for."""
    if isinstance(images, np.memmap):
        return lambda chosen: tf.ensure_shape(
            tf.numpy_function(lambda indices: np.asarray(images[indices]), [chosen], tf.uint8, stateful=False),
            (None, *images.shape[1:]))
    kept = tf.constant(images)
    return lambda chosen: tf.gather(kept, chosen)
