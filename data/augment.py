"""What may vary in training besides the images: words that make an augmentation for `pipeline.Source.batches`.

Latents see only what varied in training. Where all images were taken in one light, no latent tells light, and a dark
frame passes. So a factor that the detector should know is made to vary here, within what counts as in-distribution.
"""
from __future__ import annotations

from typing import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from leanood.data import variants, weather

Augment = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
LIGHT = 0.5  # the whole frame's gain lies within 1 ± this: in-distribution in Ramakrishna et al., arXiv 2108.11800
COLOUR = 0.5  # each channel's gain lies within 1 ± this
RAIN = 0.003  # drops a pixel at most: likewise


def by_words(words: Sequence[str]) -> Augment:
    """Returns the augmentation that applies each word's change, in the order of WORDS.

    It takes frames float32 [B, h, w, 3] in [0, 1] and a seed int64 [2], and gives as many frames in [0, 1]; the same
    seed gives the same frames.

    Args:
      words: some of WORDS, at least one.
    """
    unknown = [word for word in words if word not in WORDS]
    if unknown or not words:
        raise ValueError(f"augment is {','.join(words)!r}, but should be words of {', '.join(WORDS)}")
    chosen = [(number, change) for number, (word, change) in enumerate(_CHANGES.items()) if word in words]

    def augment(frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        for number, change in chosen:
            frames = change(frames, tf.random.experimental.stateless_fold_in(seed, number))
        return tf.clip_by_value(frames, 0.0, 1.0)

    return augment


def _light(frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return frames * _uniform(frames, seed, (1, 1, 1), 1.0 - LIGHT, 1.0 + LIGHT)


def _colour(frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return frames * _uniform(frames, seed, (1, 1, 3), 1.0 - COLOUR, 1.0 + COLOUR)


def _flip(frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.where(_uniform(frames, seed, (1, 1, 1), 0.0, 1.0) < 0.5, frames[:, :, ::-1], frames)


def _rain(frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return _per_frame(_rain_on, frames, seed)


def _rain_on(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return weather.rain(frame, rng.uniform(0.0, RAIN), seed=int(rng.integers(2 ** 31)), time=int(rng.integers(1000)))


def _benign(frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return _per_frame(lambda frame, rng: variants.draw(int(rng.integers(2 ** 31)))(frame), frames, seed)


def _uniform(frames: tf.Tensor, seed: tf.Tensor, shape: Sequence[int], low: float, high: float) -> tf.Tensor:
    """Returns a number for each frame, or for each of its channels: float32 [B, *shape]."""
    return tf.random.stateless_uniform((tf.shape(frames)[0], *shape), seed, low, high)


def _per_frame(change: Callable[[np.ndarray, np.random.Generator], np.ndarray], frames: tf.Tensor,
               seed: tf.Tensor) -> tf.Tensor:
    """Returns the frames after a change of uint8 [h, w, 3] frames that draws from a generator."""
    def changed(batch: np.ndarray, key: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([int(number) % 2 ** 63 for number in key])
        frames = np.rint(np.clip(batch, 0.0, 1.0) * 255).astype(np.uint8)
        return np.stack([change(frame, rng) for frame in frames]).astype(np.float32) / 255

    return tf.ensure_shape(tf.numpy_function(changed, [frames, seed], tf.float32, stateful=False), frames.shape)


_CHANGES: Mapping[str, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "light": _light, "colour": _colour, "rain": _rain, "flip": _flip, "benign": _benign}
WORDS = tuple(_CHANGES)
