"""Batches of frames for training, as tf.data: from memory where the data set fits, else streamed from its source."""
from __future__ import annotations

from typing import Callable, Optional, Tuple

import numpy as np
import tensorflow as tf

from leanood.data import dataset, frames, stacks, storage

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class Source:
    """A data set's frames at one size, ready to be dealt out in batches.

    Args:
      data: the data set.
      size: (h, w).
      memory: bytes that resized frames may take; a larger data set is read anew in every epoch.

    Attributes:
      in_memory: True if the frames are kept.
      unreadable: one line "name: reason" for each frame that was left out because it cannot be read; complete once
        the frames were read, which is at once where they are kept.
    """

    def __init__(self, data: dataset.Dataset, size: Tuple[int, int], memory: int = storage.MEMORY) -> None:
        self._data, self._size = data, (int(size[0]), int(size[1]))
        self.in_memory = len(data) * self._size[0] * self._size[1] * 3 <= memory
        self._reasons: dict = {}
        self._images: Optional[tf.Tensor] = None
        self._count = len(data)
        if self.in_memory:
            images, readable, lines = data.load(self._size, memory)
            self._reasons = dict(enumerate(lines))
            self._images, self._count = tf.constant(images), len(readable)

    @property
    def unreadable(self) -> Tuple[str, ...]:
        return tuple(self._reasons[i] for i in sorted(self._reasons))

    def batches(self, batch_size: int, *, shuffle: bool = True, seed: int = 0, epoch: int = 0, repeat: bool = False,
                augment: Optional[Augment] = None, drop_remainder: bool = False) -> tf.data.Dataset:
        """An epoch's batches, float32 [B, h, w, 3] within [0, 1]; the same ones for the same seed and epoch.

        Args:
          batch_size: B; the last batch of an epoch may be smaller.
          shuffle: False keeps the data set's order.
          seed: of order and augmentation.
          epoch: another epoch, another order.
          repeat: go on with the next epochs for ever.
          augment: (frames float32 [B, h, w, 3], seed int64 [2], another for each batch) -> frames.
          drop_remainder: leave the smaller last batch out.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} is less than 1")
        if self._count == 0:
            raise ValueError(f"data: {self._data.description} has no readable frame in this part")

        def epoch_of(number: tf.Tensor) -> tf.data.Dataset:
            order = tf.range(self._count, dtype=tf.int64)
            if shuffle:
                order = tf.random.experimental.stateless_shuffle(order, tf.stack([tf.constant(seed, tf.int64), number]))
            numbers = tf.data.Dataset.from_tensor_slices(order)
            if self._images is not None:
                batches = numbers.batch(batch_size, drop_remainder).map(self._gather)
            else:
                batches = (numbers.map(self._read, num_parallel_calls=dataset.THREADS, deterministic=True)
                           .filter(_is_there).map(_only_image).batch(batch_size, drop_remainder))
            batches = batches.map(_as_float)
            if augment is None:
                return batches
            return batches.enumerate().map(
                lambda step, batch: augment(batch, tf.stack([tf.constant(seed, tf.int64) + number * 1000003, step])))

        if not repeat:
            return epoch_of(tf.constant(epoch, tf.int64)).prefetch(2)
        return tf.data.Dataset.range(epoch, tf.int64.max).flat_map(epoch_of).prefetch(2)

    def _gather(self, chosen: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._images, chosen)

    def _read(self, number: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        image, there = tf.numpy_function(self._read_frame, [number], [tf.uint8, tf.bool], stateful=False)
        return tf.ensure_shape(image, self._size + (3,)), tf.ensure_shape(there, ())

    def _read_frame(self, number: np.ndarray) -> Tuple[np.ndarray, np.bool_]:
        i = int(number)
        try:
            return frames.resize(self._data.read(i), self._size), np.bool_(True)
        except frames.FrameError as error:
            self._reasons[i] = dataset.named(self._data.names[i], str(error))
            return np.zeros(self._size + (3,), np.uint8), np.bool_(False)


def of_stacks(cut: stacks.Stacks, batch_size: int, *, every: int = 1, shuffle: bool = True, seed: int = 0,
              epoch: int = 0) -> tf.data.Dataset:
    """An epoch's batches of stacks of flows, float32 [B, 2h, w, n] in [0, 1]; the same for the same seed and epoch.

    Args:
      cut: the stacks.
      batch_size: B; the last batch may be smaller.
      every: each epoch takes every so many-th stack, the next epoch those after them: neighbours share all but one of
        their flows.
      shuffle: False keeps their order.
      seed: of the order.
      epoch: from 0.
    """
    chosen = np.arange(len(cut))[epoch % every::every]
    order = np.random.default_rng((seed, epoch)).permutation(chosen) if shuffle else chosen
    gather = cut.gatherer()
    return (tf.data.Dataset.from_tensor_slices(order).batch(batch_size)
            .map(lambda rows: tf.cast(gather(rows), tf.float32) / 255.0).prefetch(2))


def _is_there(image: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    return there


def _only_image(image: tf.Tensor, there: tf.Tensor) -> tf.Tensor:
    return image


def _as_float(image: tf.Tensor) -> tf.Tensor:
    return tf.cast(image, tf.float32) / 255.0


def batches(data: dataset.Dataset, size: Tuple[int, int], batch_size: int, *, shuffle: bool = True, seed: int = 0,
            epoch: int = 0, repeat: bool = False, augment: Optional[Augment] = None, drop_remainder: bool = False,
            memory: int = storage.MEMORY) -> tf.data.Dataset:
    """`Source(data, size, memory).batches(batch_size, …)`; keep a Source where epochs are asked for singly."""
    return Source(data, size, memory).batches(batch_size, shuffle=shuffle, seed=seed, epoch=epoch, repeat=repeat,
                                              augment=augment, drop_remainder=drop_remainder)
