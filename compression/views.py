"""Batches of unlabelled images as a model takes them, and the views of function matching: crop, flip, mixup.

Teacher and student see the same view (Beyer et al., "Knowledge distillation: a good teacher is patient and
consistent", CVPR 2022): it is made once, here, before either sees it. All randomness follows from the seed, the
epoch and the step, so that a run that was killed goes on as if it had not been.
"""
from __future__ import annotations

import dataclasses
import functools
from typing import Any, Mapping, Tuple

import numpy as np
import tensorflow as tf

Scale = Tuple[float, float]  # (factor, offset) from a uint8 pixel to what a model takes
UNIT: Scale = (1 / 255, 0.0)  # [0, 1]


@dataclasses.dataclass(frozen=True)
class Augment:
    """How a view differs from its image.

    Attributes:
      crop: smallest share of the area that an "inception" crop keeps, in (0, 1]; 1 crops nothing. The aspect ratio
        varies from 3/4 to 4/3, and the crop is resized to the image's size.
      flip: mirror half of the images left to right.
      mixup: mix every image with another of its batch, λ uniform in [0, 1].
    """
    crop: float = 1.0
    flip: bool = False
    mixup: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop {self.crop} is not in (0, 1]")


FUNCTION_MATCHING = Augment(crop=0.05, flip=True, mixup=True)


def scaled(images: Any, scale: Scale = UNIT) -> np.ndarray:
    """Images as a model takes them, float32 [N, h, w, c].

    Args:
      images: uint8 [N, h, w, c]; float32 passes as it is.
      scale: (factor, offset), as the model was trained.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        return images.astype(np.float32)
    factor, offset = scale
    return images.astype(np.float32) * np.float32(factor) + np.float32(offset)


def sample(images: np.ndarray, at_most: int) -> np.ndarray:
    """Images spread evenly over all, first and last among them, [min(N, at_most), h, w, c]."""
    return images[np.linspace(0, len(images) - 1, min(len(images), at_most)).round().astype(np.int64)]


def batches(images: np.ndarray, batch_size: int, *, scale: Scale = UNIT, labels: np.ndarray | None = None,
            augment: Augment | None = None, seed: int = 0, epoch: int | None = 0,
            taught: Mapping[str, np.ndarray] | None = None) -> tf.data.Dataset:
    """One epoch's batches (views float32 [B, h, w, c], labels int64 [B] or ()), the last one smaller.

    With `taught` each has a third part, these images' rows of it.

    Args:
      images: uint8 (or scaled float32) [N, h, w, c].
      batch_size: images a batch.
      scale: see `scaled`.
      labels: integers [N], where the loss wants any.
      augment: None leaves the images as they are.
      seed: of order and views.
      epoch: from 0; None keeps the images' order, for validation.
      taught: a teacher's outputs for the images, or for this epoch's views of them, [N, ...] by name.
    """
    if len(images) == 0:
        raise ValueError("there are no images to train on")
    factor, offset = scale if images.dtype == np.uint8 else (1.0, 0.0)
    targets = tf.constant(labels) if labels is not None else None
    outputs = None if taught is None else {name: tf.constant(value) for name, value in taught.items()}
    if hasattr(images, "gatherer"):  # stacks of flows, which share their flows
        gather = images.gatherer()
    else:
        kept = tf.constant(images)
        gather = functools.partial(tf.gather, kept)

    def batch(step: tf.Tensor, chosen: tf.Tensor) -> tuple[Any, ...]:
        x = tf.cast(gather(chosen), tf.float32)
        if augment is not None:
            x = view(x, augment, tf.stack([seed * 1_000_003 + (epoch or 0), tf.cast(step, tf.int32)]))
        parts = x * factor + offset, tf.gather(targets, chosen) if targets is not None else ()
        return parts if outputs is None else (*parts, {name: tf.gather(y, chosen) for name, y in outputs.items()})

    ordered = tf.data.Dataset.from_tensor_slices(order(len(images), seed, epoch))
    return ordered.batch(batch_size).enumerate().map(batch).prefetch(2)


def order(count: int, seed: int, epoch: int | None) -> np.ndarray:
    """The order in which an epoch's batches take the images, a permutation int64 [count]; None: their own."""
    return np.arange(count) if epoch is None else np.random.default_rng((seed, epoch)).permutation(count)


def view(images: tf.Tensor, augment: Augment, seed: tf.Tensor) -> tf.Tensor:
    """Random views of images, float32 [B, h, w, c].

    Args:
      images: float32 [B, h, w, c].
      augment: what may happen to them.
      seed: int32 [2]; the same seed gives the same views.
    """
    count = tf.shape(images)[0]
    draws = tf.random.stateless_uniform([6, count], seed)
    if augment.crop < 1 or augment.flip:
        area = augment.crop + draws[0] * (1 - augment.crop)
        aspect = tf.exp((draws[1] * 2 - 1) * np.log(4 / 3)) if augment.crop < 1 else tf.ones([count])
        height = tf.minimum(tf.sqrt(area / aspect), 1.0)
        width = tf.minimum(tf.sqrt(area * aspect), 1.0)
        top, left = draws[2] * (1 - height), draws[3] * (1 - width)
        right = left + width
        if augment.flip:
            mirrored = draws[4] < 0.5
            left, right = tf.where(mirrored, right, left), tf.where(mirrored, left, right)
        boxes = tf.stack([top, left, top + height, right], axis=1)
        size = tf.shape(images)[1:3]
        shape = images.shape
        images = tf.ensure_shape(tf.image.crop_and_resize(images, boxes, tf.range(count), size), shape)
    if augment.mixup:
        share = draws[5][:, tf.newaxis, tf.newaxis, tf.newaxis]
        images = share * images + (1 - share) * tf.reverse(images, [0])
    return images
