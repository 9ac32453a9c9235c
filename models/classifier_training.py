"""What training any of our classifiers shares: a run's folder around the loop, batches and what varies them."""
from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Protocol, Sequence, Tuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import run, strategy, training


class Batching(Protocol):
    """What of a training's settings its batches follow from; see `resnet_training.Settings`."""

    @property
    def size(self) -> Tuple[int, int]:
        """(height, width) of an image."""

    @property
    def batch_size(self) -> int:
        """Images a step."""

    @property
    def seed(self) -> int:
        """Of weights, order and augmentation."""

    @property
    def shift(self) -> int:
        """Pixels, of 32, by which an image is moved at most."""

    @property
    def flip(self) -> bool:
        """Whether every other image is mirrored."""

    @property
    def cutout(self) -> int:
        """Pixels, of 32: the side of a square that each image loses; 0: none."""

    def size_in(self, epoch: int) -> Tuple[int, int]:
        """(height, width) of that epoch's images, from 0."""


def train(images: np.ndarray, labels: np.ndarray, validation: Tuple[np.ndarray, np.ndarray], classes: Sequence[str],
          settings: Batching, out: str, *, config: Mapping[str, Any], epochs: int, build: Callable[[], keras.Model],
          whole: Callable[[], keras.Model],
          distribution: Optional[tf.distribute.Strategy] = None) -> Tuple[run.Run, training.Outcome]:
    """Trains, or goes on training, into the folder `out`; returns the run and what came of it.

    `history.csv` is the accuracy curve; the trained model is `classifier.h5`.

    Args:
      images: uint8 [N, h, w, 3], N ≥ 1; an `np.memmap` is read batch by batch.
      labels: int [N], indices of `classes`.
      validation: images [M, h, w, 3] and labels [M] that judge each epoch; M may be 0.
      classes: their names.
      settings: of the batches and the seed.
      out: the run's folder.
      config: what the run's config.json says; all of it must be the same in a folder that exists.
      epochs: how many.
      build: the untrained model `frame` -> logits, compiled.
      whole: the model with all outputs, which takes its weights in the end.
      distribution: a strategy of tf.distribute; None for one device.
    """
    if not len(images):
        raise ValueError("there are no images to train on")
    if len(classes) < 2:
        raise ValueError(f"there is {len(classes)} class; a classifier needs two folders of images or more")
    where = distribution or strategy.choose("off")
    folder = run.Run.create(out, config, chief=strategy.is_chief(where))
    with folder.lock():
        keras.utils.set_random_seed(settings.seed)
        with where.scope():
            model = build()
        outcome = training.fit(
            model, lambda epoch: augmented(images, labels, settings, epoch), folder=folder, epochs=epochs,
            validation=batches(*validation, settings.batch_size) if len(validation[0]) else None)
        complete = whole()
        complete.set_weights(model.get_weights())
        folder.save("classifier", complete)
    return folder, outcome


def augmented(images: np.ndarray, labels: np.ndarray, settings: Batching, epoch: int) -> tf.data.Dataset:
    """That epoch's batches (float32 [B, h, w, 3] in [0, 1], labels [B]): shuffled, shifted, flipped, cut out.

    The same ones whenever asked for the same epoch: what is drawn follows from seed, epoch and position alone.
    """
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(images))
    shift, hole = (round(pixels * settings.size[0] / 32) for pixels in (settings.shift, settings.cutout))
    size = settings.size_in(epoch)
    chosen_of, kept_labels = _gatherer(images), tf.constant(np.asarray(labels, np.int64))

    def batch(positions: tf.Tensor, chosen: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        seed = tf.stack([tf.constant(settings.seed * 100003 + epoch, tf.int64), positions[0]])
        drawn = tf.random.stateless_uniform([tf.shape(chosen)[0], 3], seed)
        pixels = shifted(chosen_of(chosen), tf.cast(drawn[:, :2] * (2 * shift + 1), tf.int32), shift)
        if settings.flip:
            pixels = tf.where(drawn[:, 2, None, None, None] < 0.5, pixels[:, :, ::-1], pixels)
        if hole:
            pixels = cut_out(pixels, tf.random.stateless_uniform([tf.shape(chosen)[0], 2], seed + 1), hole)
        pixels = tf.cast(pixels, tf.float32) / 255.0
        if size != settings.size:
            pixels = tf.image.resize(pixels, size, tf.image.ResizeMethod.AREA)
        return pixels, tf.gather(kept_labels, chosen)

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


def cut_out(images: tf.Tensor, centres: tf.Tensor, side: int) -> tf.Tensor:
    """Images [N, h, w, 3], each without a square, black, that may reach over its border (cutout, arXiv 1708.04552).

    Args:
      images: of any type.
      centres: float32 [N, 2] in [0, 1), the square's row and column as shares of the image's.
      side: of the square, in pixels.
    """
    def inside(length: int, centre: tf.Tensor) -> tf.Tensor:  # bool [N, length]
        first = tf.cast(centre * length, tf.int32)[:, None] - side // 2
        places = tf.range(length)[None]
        return (places >= first) & (places < first + side)

    hole = inside(images.shape[1], centres[:, 0])[:, :, None] & inside(images.shape[2], centres[:, 1])[:, None]
    return tf.where(hole[..., None], tf.zeros((), images.dtype), images)


def batches(images: np.ndarray, labels: np.ndarray, size: int) -> tf.data.Dataset:
    """Batches (float32 [B, h, w, 3] in [0, 1], labels [B]) of at most `size` images, in their order."""
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
