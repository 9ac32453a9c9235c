"""What moves or respaces a frame's pixels a little: shifts, scaling up or down and back, sharpening.

Frames: uint8 RGB [H, W, 3].
"""
from __future__ import annotations

import cv2
import numpy as np

from leanood.data import frames


def shifted(frame: np.ndarray, right: int, down: int) -> np.ndarray:
    """The frame moved by whole pixels (negative: left, up); what comes into view mirrors what was at the edge."""
    frame = frames.check(frame)
    height, width = frame.shape[:2]
    if abs(right) >= width or abs(down) >= height:
        raise ValueError(f"right, down: {right}, {down} is further than a frame of {width}x{height} reaches")
    wide = np.pad(frame, ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0)), "reflect")
    top, left = max(-down, 0), max(-right, 0)
    return np.ascontiguousarray(wide[top:top + height, left:left + width])


def rescaled(frame: np.ndarray, factor: float) -> np.ndarray:
    """The frame resized by `factor` (> 0) and back: down by areas, up bilinearly."""
    frame = frames.check(frame)
    height, width = frame.shape[:2]
    other = (max(1, round(width * factor)), max(1, round(height * factor)))
    way, back = (cv2.INTER_AREA, cv2.INTER_LINEAR) if factor < 1 else (cv2.INTER_LINEAR, cv2.INTER_AREA)
    return cv2.resize(cv2.resize(frame, other, interpolation=way), (width, height), interpolation=back)


def bilinear(frame: np.ndarray, factor: float) -> np.ndarray:
    """The frame enlarged by `factor` (1 or more, bicubic) and reduced bilinearly, not by areas as leanood reduces."""
    frame = frames.check(frame)
    if not factor >= 1:
        raise ValueError(f"factor: {factor} is less than 1")
    height, width = frame.shape[:2]
    large = cv2.resize(frame, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_CUBIC)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_LINEAR)


def sharpened(frame: np.ndarray, amount: float) -> np.ndarray:
    """The frame plus `amount` (0 or more) times what a Gaussian blur of one pixel takes away from it."""
    frame = frames.check(frame)
    if not amount >= 0:
        raise ValueError(f"amount: {amount} is negative")
    blurred = cv2.GaussianBlur(frame, (0, 0), 1.0)
    return cv2.addWeighted(frame, 1.0 + amount, blurred, -amount, 0.0)
