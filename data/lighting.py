"""Light on a frame: brightness, night, glare; each a function of a physical level. Frames: uint8 RGB [H, W, 3]."""
from __future__ import annotations

import functools

import cv2
import numpy as np

from leanood.data import frames


def brightness(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with its HSV value multiplied by 1 + level (at most 255), hue and saturation kept.

    As in Ramakrishna et al., arXiv 2108.11800. Scaling the value scales R, G and B alike, so no HSV image is needed.

    Args:
      frame: uint8 [H, W, 3].
      level: -1 (black) or more; 0 changes nothing.
      seed, time: play no part.
    """
    frame = frames.check(frame)
    if level < -1:
        raise ValueError(f"level: {level} is below -1, where a frame is black already")
    if level <= 0:
        return cv2.LUT(frame, np.rint(np.arange(256) * (1.0 + level)).astype(np.uint8))
    value = np.maximum(np.maximum(frame[..., 0], frame[..., 1]), frame[..., 2])
    gain = cv2.LUT(value, np.minimum(1.0 + level, 255.0 / np.maximum(np.arange(256), 1)).astype(np.float32))
    return np.rint(frame * gain[..., None]).astype(np.uint8)


def night(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with 1 - level of its light, colder, and with the noise of a camera whose gain is turned up.

    Args:
      frame: uint8 [H, W, 3].
      level: share of the light that is missing, 0 to 1.
      seed: of the noise; another for each `time`.
      time: frame number.
    """
    frame = frames.check(frame)
    if not 0 <= level <= 1:
        raise ValueError(f"level: {level} is not within [0, 1]")
    left = 1.0 - level
    tint = np.array([1.0 - 0.35 * level, 1.0 - 0.2 * level, 1.0], np.float32)  # the eye's and the camera's blue hour
    rng = np.random.default_rng((seed, time))
    grain = rng.standard_normal(frame.shape, np.float32) * np.float32(6.0 * level)
    return np.clip(frame * (left * tint) + grain, 0, 255).astype(np.uint8)


def glare(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with a light source in its upper half, that blinds there and veils the rest; it drifts with time.

    Args:
      frame: uint8 [H, W, 3].
      level: light added at the source's centre, as a share of white; 0 or more.
      seed: where the source is.
      time: frame number.
    """
    frame = frames.check(frame)
    if level < 0:
        raise ValueError(f"level: {level} is negative")
    height, width = frame.shape[:2]
    x, y, phase = np.random.default_rng((seed, 1)).random(3)
    x = 0.2 + 0.6 * x + 0.1 * np.sin(0.03 * time + 6.3 * phase)
    y = 0.1 + 0.3 * y + 0.02 * np.sin(0.11 * time)
    across, down = _glow(height, width)
    i, j = int(round((1 - y) * height)), int(round((1 - x) * width))
    light = down[i:i + height, None] * across[None, j:j + width]
    colour = np.array([255.0, 245.0, 220.0], np.float32) * np.float32(level)
    return np.minimum(frame + (0.85 * light[..., None] + 0.15) * colour, 255).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _glow(height: int, width: int) -> tuple:
    """A Gaussian glow of 0.18 frame heights, across [2·width + 1] and down [2·height + 1], its centre in the middle."""
    sigma = 0.18 * height
    return tuple(np.exp(-0.5 * (np.arange(-n, n + 1) / sigma) ** 2).astype(np.float32) for n in (width, height))
