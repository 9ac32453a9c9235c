"""Weather in front of the camera: rain, snow, fog; each a function of a physical level, moving from frame to frame.

Rain and snow as in Ramakrishna et al., arXiv 2108.11800: sparse bright pixels, stretched to streaks or grown to blobs,
scrolled from frame to frame. Levels mean the same at any size: drops and flakes are counted, and sized, as in a frame
of 120 rows. Frames: uint8 RGB [H, W, 3].
"""
from __future__ import annotations

import functools

import numpy as np

from leanood.data import frames

ROWS = 120  # the frame height at which a density counts drops a pixel
MAX_DENSITY = 0.05
_MOST = 1 << 16  # drops of a frame, however wide it is for its height
_RAIN, _SNOW, _FOG = 11, 12, 13  # tell the random streams of one seed apart


def rain(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with bright slanted streaks that fall with time.

    Args:
      frame: uint8 [H, W, 3].
      level: density, drops a pixel (of a frame of 120 rows), 0 to 0.05; the paper's detector trains on 0 to 0.003 and
        is tested on up to 0.01. A streak is a twelfth of the frame's height long.
      seed: where the drops are, how fast and bright.
      time: frame number.
    """
    frame = frames.check(frame)
    height, width = frame.shape[:2]
    x, y, speed, light = _drops(_RAIN, seed, _count(level, height, width))
    fallen = y + (0.2 + 0.25 * speed) * time  # frame heights
    laps = np.floor(fallen)
    column = x + 0.618 * laps  # a drop that has left the frame comes back elsewhere
    length = max(1, round(height / 12))
    thickness = max(1, round(height / ROWS))
    along = np.arange(length)[:, None]
    rows = (((fallen - laps) * height).astype(np.int64) + along) % height
    columns = ((column % 1.0) * width).astype(np.int64) + along * 2 // 5  # slanted by the wind and the car's speed
    fade = np.minimum(1.0, (along + 1) / (0.6 * length))  # the tail is thinner
    alpha = fade * (0.35 + 0.5 * light) * min(1.0, height / ROWS)
    parts = [_add(rows, columns + i, alpha, height, width) for i in range(thickness)]
    return _blend(frame, np.minimum(sum(parts), 1.0), 225.0)


def snow(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame with soft white flakes that sink and sway with time.

    Args:
      frame: uint8 [H, W, 3].
      level: density, flakes a pixel (of a frame of 120 rows), 0 to 0.05. A flake is up to five such pixels wide.
      seed: where the flakes are, how fast and large.
      time: frame number.
    """
    frame = frames.check(frame)
    height, width = frame.shape[:2]
    x, y, speed, large = _drops(_SNOW, seed, _count(level, height, width))
    fallen = y + (0.03 + 0.05 * speed) * time
    laps = np.floor(fallen)
    sway = 0.02 * np.sin(0.3 * time + 6.28 * large)
    row = (fallen - laps) * height
    column = ((x + 0.618 * laps + sway) % 1.0) * width
    radius = (0.8 + 1.7 * large ** 2) * height / ROWS
    reach = int(np.ceil(2.5 * height / ROWS))
    dy, dx = (offset.reshape(-1, 1) for offset in np.mgrid[-reach:reach + 1, -reach:reach + 1])
    rows, columns = row.astype(np.int64) + dy, column.astype(np.int64) + dx
    distance = np.hypot(rows + 0.5 - row, columns + 0.5 - column)
    alpha = np.clip(radius - distance + 0.5, 0.0, 1.0) * np.minimum(1.0, radius)
    inside = (alpha > 0) & (rows >= 0) & (rows < height)
    mask = _add(rows[inside], columns[inside], 0.95 * alpha[inside], height, width)
    return _blend(frame, np.minimum(mask, 1.0), 245.0)


def fog(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame seen through drifting fog: light grey takes the place of exp(-optical depth) (Koschmieder's law).

    The depth is that of a ground plane with its horizon at 0.4 of the height, ten times as deep there as at the bottom.

    Args:
      frame: uint8 [H, W, 3].
      level: optical depth at the bottom row; 0 or more.
      seed: of the fog's banks.
      time: frame number.
    """
    frame = frames.check(frame)
    if level < 0:
        raise ValueError(f"level: {level} is negative")
    height, width = frame.shape[:2]
    below = (np.arange(height) + 0.5) / height - 0.4
    depth = np.clip(0.6 / np.maximum(below, 1e-3), 1.0, 10.0)
    phases = np.random.default_rng((seed, _FOG)).random(3) * 6.28
    angle = np.arange(width) * (6.28 / width)
    wide = 0.25 * np.sin(angle + 0.021 * time + phases[0])
    narrow = 0.15 * np.sin(2.3 * angle - 0.034 * time + phases[1])
    optical = level * depth[:, None] * (1.0 + wide + narrow) * (1.0 + 0.1 * np.sin(0.05 * time + phases[2]))
    through = np.exp(-optical).astype(np.float32)[..., None]
    return np.rint(frame * through + np.float32(200.0) * (1.0 - through)).astype(np.uint8)


def _count(level: float, height: int, width: int) -> int:
    if not 0 <= level <= MAX_DENSITY:
        raise ValueError(f"level: a density of {level} is not within [0, {MAX_DENSITY}]")
    return min(int(round(level * ROWS * ROWS * width / height)), _MOST)


def _drops(kind: int, seed: int, count: int) -> np.ndarray:
    """float64 [4, count] within [0, 1): x, y, speed and light of the drops; more drops begin with the same ones."""
    return _all_drops(kind, seed, 1 << max(10, (count - 1).bit_length()))[:, :count]


@functools.lru_cache(maxsize=64)
def _all_drops(kind: int, seed: int, count: int) -> np.ndarray:
    drops = np.random.default_rng((seed, kind)).random((count, 4)).T
    drops.setflags(write=False)
    return drops


def _add(rows: np.ndarray, columns: np.ndarray, alpha: np.ndarray, height: int, width: int) -> np.ndarray:
    """float64 [H·W]: alpha summed where the pixels fall; columns wrap around."""
    rows, columns, alpha = np.broadcast_arrays(rows, columns % width, alpha)
    return np.bincount((rows * width + columns).ravel(), alpha.ravel(), height * width)


def _blend(frame: np.ndarray, mask: np.ndarray, light: float) -> np.ndarray:
    """The frame with `light` grey laid over it by mask, float [H·W] within [0, 1]."""
    out = frame.copy()
    pixels = out.reshape(-1, 3)
    touched = np.flatnonzero(mask)
    under = pixels[touched]
    pixels[touched] = np.rint(under + (light - under) * mask[touched, None])
    return out
