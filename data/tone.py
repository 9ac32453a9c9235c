"""The scale of a frame's light: exposure, white balance, black level, gamma, by physical level.

Frames: uint8 RGB [H, W, 3].
"""
from __future__ import annotations

import math
from typing import Sequence, Tuple

import cv2
import numpy as np

from leanood.data import frames

_AUTO_EXPOSURE = 31  # tells its random stream from those of one seed's other changes
_GREY = np.arange(256)


def exposure(frame: np.ndarray, gain: float) -> np.ndarray:
    """The frame with R, G and B multiplied by `gain` (0 or more), clipped where the sensor would clip."""
    return white_balance(frame, (gain, gain, gain))


def white_balance(frame: np.ndarray, gains: Sequence[float]) -> np.ndarray:
    """The frame with R, G and B each multiplied by a gain of its own, 0 or more."""
    frame = frames.check(frame)
    if len(gains) != 3 or not min(gains) >= 0:
        raise ValueError(f"gains: {tuple(gains)}; it takes three, for R, G and B, none of them negative")
    scaled = np.minimum(np.rint(_GREY[:, None] * np.asarray(gains)), 255).astype(np.uint8)
    return cv2.LUT(frame, scaled[None])


def offset(frame: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """The frame with so many grey levels added to R, G and B: where black lies, and how converters round."""
    frame = frames.check(frame)
    if len(levels) != 3:
        raise ValueError(f"levels: {tuple(levels)}; it takes three, for R, G and B")
    return cv2.LUT(frame, np.clip(np.rint(_GREY[:, None] + np.asarray(levels)), 0, 255).astype(np.uint8)[None])


def gamma(frame: np.ndarray, exponent: float) -> np.ndarray:
    """The frame with white · (value / white)^exponent; above 1 darkens the middle, below 1 brightens it."""
    frame = frames.check(frame)
    if not exponent > 0:
        raise ValueError(f"exponent: {exponent} is not positive")
    return cv2.LUT(frame, np.rint(255.0 * (_GREY / 255.0) ** exponent).astype(np.uint8))


def auto_exposure(frame: np.ndarray, depth: float, seed: int = 0, time: int = 0,
                  periods: Tuple[float, float] = (83.0, 211.0)) -> np.ndarray:
    """The frame as a camera sees it whose exposure hunts: its gain wanders slowly within 1 ± `depth`.

    Args:
      frame: uint8 [H, W, 3].
      depth: 0 to 1.
      seed: of the phases.
      time: frame number.
      periods: of the two sines that add up to the wandering, in frames.
    """
    if not 0 <= depth <= 1:
        raise ValueError(f"depth: {depth} is not within [0, 1]")
    phases = np.random.default_rng((seed, _AUTO_EXPOSURE)).random(2)
    swing = sum(math.sin(2 * math.pi * (time / period + phase)) for period, phase in zip(periods, phases)) / 2
    return exposure(frame, 1.0 + depth * swing)
