"""What goes wrong in a camera: motion blur, noise, something on the lens, dead pixels and columns.

Each is a function of a physical level. What sits on the lens or the chip stays where it is: `time` does not move it.
Frames: uint8 RGB [H, W, 3].
"""
from __future__ import annotations

import functools

import cv2
import numpy as np

from leanood.data import frames

_BLUR, _NOISE, _OCCLUSION, _PIXELS, _COLUMNS = 21, 22, 23, 24, 25  # tell the random streams of one seed apart


def motion_blur(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame blurred along a line, whose direction sways around the horizontal from frame to frame.

    Args:
      frame: uint8 [H, W, 3].
      level: length of the blur as a share of the frame's width, 0 to 0.5.
      seed: of the direction.
      time: frame number.
    """
    frame = frames.check(frame)
    _within(level, 0.5)
    length = level * frame.shape[1]
    phase = np.random.default_rng((seed, _BLUR)).random() * 6.28
    kernel = _line(round(length, 1), round(float(0.35 * np.sin(0.2 * time + phase)), 2))
    return cv2.filter2D(frame, -1, kernel, borderType=cv2.BORDER_REPLICATE)


def noise(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with Gaussian noise, new in each frame.

    Args:
      frame: uint8 [H, W, 3].
      level: standard deviation as a share of white, 0 or more.
      seed, time: of the noise.
    """
    frame = frames.check(frame)
    if level < 0:
        raise ValueError(f"level: {level} is negative")
    grain = np.random.default_rng((seed, time, _NOISE)).standard_normal(frame.shape, np.float32)
    return np.clip(np.rint(frame + grain * np.float32(255.0 * level)), 0, 255).astype(np.uint8)


def occlusion(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with a dark, soft-edged patch on the lens.

    Args:
      frame: uint8 [H, W, 3].
      level: share of the frame's area that is covered, 0 to 0.6.
      seed: where it is, its shape and shade.
      time: plays no part.
    """
    frame = frames.check(frame)
    _within(level, 0.6)
    if level == 0:
        return frame.copy()
    cover, shade = _patch(round(level, 4), seed, *frame.shape[:2])
    return np.rint(frame + (shade - frame) * cover[..., None]).astype(np.uint8)


def dead_pixels(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with pixels that are always black or always white.

    Args:
      frame: uint8 [H, W, 3].
      level: share of the pixels, 0 to 1.
      seed: which pixels, and which of them are white.
      time: plays no part.
    """
    frame = frames.check(frame)
    _within(level, 1.0)
    out = frame.copy()
    pixels = out.reshape(-1, 3)
    order, white = _stuck(_PIXELS, seed, len(pixels))
    chosen = order[:int(round(level * len(pixels)))]
    pixels[chosen] = white[chosen, None]
    return out


def dead_columns(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with columns that are always black or always white.

    Args:
      frame: uint8 [H, W, 3].
      level: share of the columns, 0 to 1; at least one column above 0.
      seed: which columns, and which of them are white.
      time: plays no part.
    """
    frame = frames.check(frame)
    _within(level, 1.0)
    out = frame.copy()
    width = frame.shape[1]
    order, white = _stuck(_COLUMNS, seed, width)
    chosen = order[:max(int(round(level * width)), int(level > 0))]
    out[:, chosen] = white[chosen, None]
    return out


@functools.lru_cache(maxsize=256)
def _line(length: float, angle: float) -> np.ndarray:
    """float32 [n, n], sum 1: a line `length` pixels long through the middle, at `angle` radians."""
    half = int(np.ceil(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    steps = np.linspace(-length / 2, length / 2, 8 * half + 1)
    x, y = half + steps * np.cos(angle), half + steps * np.sin(angle)
    np.add.at(kernel, (np.rint(y).astype(int), np.rint(x).astype(int)), 1.0)
    return kernel / kernel.sum()


@functools.lru_cache(maxsize=32)
def _patch(level: float, seed: int, height: int, width: int) -> tuple:
    """(cover float32 [H, W] within [0, 1], shade float32 [3])."""
    rng = np.random.default_rng((seed, _OCCLUSION))
    x, y, shape = rng.random(3)
    shade = rng.uniform(10, 60, 3).astype(np.float32)
    half = np.sqrt(level * height * width / np.pi)
    stretch = np.clip(0.8 + 0.6 * shape, 2 * half / height, max(width / (2 * half), 2 * half / height))
    a, b = half * stretch, half / stretch
    cx, cy = (lo + (hi - lo) * u for lo, hi, u in ((min(a, width / 2), max(width - a, width / 2), x),
                                                   (min(b, height / 2), max(height - b, height / 2), y)))
    rows, columns = np.mgrid[:height, :width] + 0.5
    radius = np.hypot((columns - cx) / a, (rows - cy) / b)
    return np.clip((1.0 - radius) * min(a, b) / max(1.0, height / 60) + 0.5, 0.0, 1.0).astype(np.float32), shade


@functools.lru_cache(maxsize=32)
def _stuck(kind: int, seed: int, count: int) -> tuple:
    """(order int64 [count] in which they die, white uint8 [count], 0 or 255)."""
    rng = np.random.default_rng((seed, kind))
    return rng.permutation(count), (rng.random(count) < 0.5).astype(np.uint8) * np.uint8(255)


def _within(level: float, most: float) -> None:
    if not 0 <= level <= most:
        raise ValueError(f"level: {level} is not within [0, {most:g}]")
