"""What surrounds a procedural road: colours, the ground's grain, a room's walls all around, and its light."""
from __future__ import annotations

import dataclasses
import functools
from typing import Any, Tuple

import cv2
import numpy as np

_GROUNDS = ((58, 108, 134), (60, 110, 70), (120, 92, 66), (105, 104, 100), (150, 140, 122), (84, 76, 96))
_WALLS = ((150, 138, 120), (120, 122, 124), (96, 84, 70), (170, 168, 160), (70, 82, 96), (132, 112, 88))
_ROWS = 96  # of the panorama as it is drawn, before it is scaled to the frame's
_SHARE = 0.45  # of the frame's height that the panorama covers
_TILE = 256
_TILE_CELLS = 28.0  # of the ground's grain, a lane width


@dataclasses.dataclass(frozen=True)
class Scenery:
    """Colours float32 [3] of 255; the panorama float32 [rows, columns, 3], its bottom row where wall meets ground."""

    asphalt: np.ndarray
    ground: np.ndarray
    white: np.ndarray
    yellow: np.ndarray
    asphalt_grain: float
    ground_grain: float
    panorama: np.ndarray
    turn: float  # columns of the panorama in one full turn

    def view(self, shift: float, base: float, rows: int, columns: int) -> np.ndarray:
        """The part of the panorama in the frame, float32 [rows, columns, 3], `shift` columns around from straight on.

        Args:
          shift: how far the camera has turned to the right, in columns.
          base: the frame's row at which the panorama ends.
          rows, columns: of the frame's part that is wanted, from its top.
        """
        x = (shift % self.turn) + 0.5 * (columns - 1)
        y = self.panorama.shape[0] - base + 0.5 * (rows - 1)
        return cv2.getRectSubPix(self.panorama, (columns, rows), (x, y))

    def grain(self, across: np.ndarray, along: np.ndarray, pixel: np.ndarray) -> np.ndarray:
        """float32 [R, W] around 0: the ground's grain, fading where a pixel covers much of it.

        Args:
          across: float32 [R, W], lateral position.
          along: float32 [R], position along the road.
          pixel: float32 [R, 1], a pixel's width on the ground.
        """
        rows = (along * np.float32(_TILE_CELLS)).astype(np.int32) & (_TILE - 1)
        columns = (across * np.float32(_TILE_CELLS)).astype(np.int32) & (_TILE - 1)
        return _tile().take(rows[:, None] * _TILE + columns) / (1.0 + np.float32(0.7 * _TILE_CELLS) * pixel)


@functools.lru_cache(maxsize=8)
def make(seed: int, size: Tuple[int, int], turn: float) -> Scenery:
    """Scenery drawn at random.

    Args:
      seed: the same seed gives the same place.
      size: (H, W) of the frames.
      turn: frame widths in one full turn of the camera.
    """
    rng = np.random.default_rng((seed, 31))

    def vary(colour: Tuple[float, ...], by: float) -> np.ndarray:
        return np.clip(np.array(colour) * rng.uniform(1 - by, 1 + by) + rng.normal(0, 20 * by, 3),
                       0, 255).astype(np.float32)

    wall = vary(_WALLS[rng.integers(len(_WALLS))], 0.15)
    return Scenery(
        asphalt=vary((66, 62, 60), 0.2), ground=vary(_GROUNDS[rng.integers(len(_GROUNDS))], 0.2),
        white=vary((214, 210, 200), 0.06), yellow=vary((212, 172, 42), 0.08),
        asphalt_grain=rng.uniform(0.06, 0.12), ground_grain=rng.uniform(0.06, 0.18),
        panorama=_panorama(rng, wall, size, turn), turn=turn * size[1])


def light(rng: np.random.Generator, size: Tuple[int, int]) -> np.ndarray:
    """float32 [H, W, 3]: the lens's vignette, light that falls from one side, and its colour."""
    height, width = size
    y, x = (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5
    vignette = 1.04 - 0.45 * (x[None, :] ** 2 + y[:, None] ** 2)
    side = 1.0 + rng.uniform(-0.18, 0.18) * x[None, :] + rng.uniform(-0.12, 0.12) * y[:, None]
    warmth = rng.uniform(-0.06, 0.06)
    colour = np.array([1 + warmth, 1.0, 1 - warmth])
    return ((vignette * side)[..., None] * colour * rng.uniform(0.92, 1.08)).astype(np.float32)


def _panorama(rng: np.random.Generator, wall: np.ndarray, size: Tuple[int, int], turn: float) -> np.ndarray:
    """Walls with things before them, float32 [rows, columns, 3], one turn and a frame more: cut anywhere."""
    height, width = size
    columns = int(round(turn * _ROWS / _SHARE * 4 / 3))
    image: Any = np.empty((_ROWS, columns, 3), np.float32)
    image[...] = wall * np.linspace(1.08, 0.85, _ROWS, dtype=np.float32)[:, None, None]
    ceiling = int(rng.uniform(0.12, 0.32) * _ROWS)
    image[:ceiling] = wall * rng.uniform(0.35, 0.75)
    for x in np.arange(rng.integers(20, 60), columns - 60, rng.integers(70, 160)):  # lamps
        _box(image, x, rng.integers(0, max(1, ceiling - 5)), rng.integers(20, 50), 3, (245, 243, 232))
    for _ in range(rng.integers(18, 34)):  # panels, posters, shelves, boxes
        tall = rng.uniform(0.10, 0.55) * _ROWS
        bottom = _ROWS if rng.random() < 0.6 else rng.uniform(0.5, 0.95) * _ROWS
        colour = np.clip(wall * rng.uniform(0.3, 1.4) + rng.normal(0, 14, 3), 8, 240)
        x, wide = rng.integers(0, columns), rng.integers(12, 130)
        _box(image, x, int(bottom - tall), wide, int(tall), colour)
        if rng.random() < 0.5:  # its print or its shadow
            _box(image, x + wide // 4, int(bottom - 0.7 * tall), wide // 2, int(0.3 * tall), 255 - colour)
    image[-3:] *= 0.7  # the skirting
    rows = max(2, int(round(_SHARE * height)))
    image = cv2.GaussianBlur(cv2.copyMakeBorder(image, 0, 0, 8, 8, cv2.BORDER_WRAP), (0, 0), 1.0)[:, 8:-8]
    image = cv2.resize(image, (int(round(turn * width)), rows), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(image, 0, 0, 0, width + 2, cv2.BORDER_WRAP)


def _box(image: np.ndarray, x: int, y: int, wide: int, tall: int, colour: Any) -> None:
    image[max(0, y):max(0, y + tall), np.arange(x, x + wide) % image.shape[1]] = colour


@functools.lru_cache(maxsize=1)
def _tile() -> np.ndarray:
    """float32 [256 · 256]: periodic noise in three octaves, standard deviation 1."""
    rng = np.random.default_rng(20)
    total = np.zeros((_TILE, _TILE), np.float32)
    for cells, weight in ((16, 0.6), (64, 0.7), (256, 0.6)):
        coarse = rng.standard_normal((cells, cells)).astype(np.float32)
        wrapped = cv2.copyMakeBorder(coarse, 1, 1, 1, 1, cv2.BORDER_WRAP)
        step = _TILE // cells
        fine = cv2.resize(wrapped, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR)
        total += weight * fine[step:-step, step:-step]
    return (total / total.std()).ravel()
