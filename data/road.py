"""One procedural road as a small robot's camera sees it: a pure function of (seed, time), cheap enough to never store.

Lengths are in lane widths. The robot drives in the right-hand lane, whose middle is lateral position 0: the dashed
yellow line is at -0.5, the solid white lines at 0.5 and -1.5. Curvature along the road is a constant and a
sum of sines, so that the road ahead (its double integral) has a closed form, and any frame can be drawn alone.
"""
from __future__ import annotations

import functools
from typing import Tuple

import numpy as np

from leanood.data import scenery

HORIZON = 0.34  # share of the frame's height; the camera looks slightly down
FOCAL_ACROSS = 0.70  # focal length in frame widths
FOCAL_DOWN = FOCAL_ACROSS * 4 / 3  # in frame heights: another size is the same 4:3 picture, stretched
CAMERA_HEIGHT = 0.75
WHITE_WIDTH, YELLOW_WIDTH = 0.09, 0.07
DASH, PERIOD = 0.55, 1.1
SHOULDER = 0.14  # asphalt beyond the white lines
NOISE = 2.0  # standard deviation of the sensor's noise, levels of 255


class Road:
    """A drive along a road, drawn at one size.

    Args:
      seed: of the drive: the road's course, the robot's wandering, the light.
      size: (H, W) of the frames.
      world: of the place: its colours, its walls; drives in one world look like each other.
    """

    def __init__(self, seed: Tuple[int, ...], size: Tuple[int, int], world: int = 0) -> None:
        height, width = size
        self._size = size
        self._scenery = scenery.make(world, size, 2 * np.pi * FOCAL_ACROSS)
        rng = np.random.default_rng(seed)
        self._wall = rng.uniform(11, 18)  # its distance; it hides the ground behind it
        self._facing = rng.uniform(0, 2 * np.pi)
        self._speed = rng.uniform(0.12, 0.22)  # a frame
        lengths = rng.uniform([14, 22, 35], [22, 35, 60])
        self._waves = 2 * np.pi / lengths
        self._bends = rng.uniform(0.2, 1.0, 3) * [0.025, 0.045, 0.05]  # curvature's amplitudes, 1 / lane width
        self._circuit = rng.uniform(-0.02, 0.02)  # curvature that stays, 1 / lane width
        self._phases = rng.uniform(0, 2 * np.pi, 3)
        self._sway = rng.uniform(0, 2 * np.pi, (5, 2))
        self._start = rng.uniform(0, 100)
        self._noise = int(rng.integers(1 << 30))
        self._columns = ((np.arange(width, dtype=np.float32) + 0.5) / width - 0.5) / np.float32(FOCAL_ACROSS)
        self._light = scenery.light(rng, size)

    def frame(self, time: int) -> np.ndarray:
        """The frame at a time, uint8 [H, W, 3]."""
        height, width = self._size
        at = self._start + self._speed * (time + 6 * self._wave(0, time, 130, 71))  # along the road
        aside = 0.16 * self._wave(1, time, 90, 43)
        heading = 0.05 * self._wave(2, time, 67, 31)
        horizon = height * (HORIZON + 0.006 * self._wave(3, time, 23, 9))
        base = horizon + height * FOCAL_DOWN * CAMERA_HEIGHT / self._wall  # where the wall meets the ground
        first = int(np.ceil(base - 0.5))
        out = np.empty((height, width, 3), np.float32)
        swing = float(self._bends / self._waves @ np.cos(self._waves * at + self._phases))
        yaw = self._facing + heading + self._circuit * at - swing
        out[:first] = self._scenery.view(yaw * FOCAL_ACROSS * width, base, first, width)
        self._draw_ground(out[first:], first, horizon, at, aside, heading)
        gain = 1.0 + 0.05 * self._wave(4, time, 210, 87)
        out *= self._light * np.float32(gain)
        out += _grain(height * width * 3, self._noise + 7919 * time).reshape(out.shape)
        return np.clip(out, 0, 255, out=out).astype(np.uint8)

    def _draw_ground(self, out: np.ndarray, first: int, horizon: float, at: float, aside: float,
                     heading: float) -> None:
        """Fills the rows below the wall, float32 [R, W, 3]."""
        height = self._size[0]
        edges = np.arange(first, height + 1) - horizon
        edges[0] = max(edges[0], 0.5)
        far = FOCAL_DOWN * CAMERA_HEIGHT * height / edges  # distance of each row's edges, decreasing
        ahead = FOCAL_DOWN * CAMERA_HEIGHT * height / (0.5 * (edges[1:] + edges[:-1]))
        shift = (aside + heading * ahead - self._bend(at, ahead)).astype(np.float32)
        across = ahead.astype(np.float32)[:, None] * self._columns + shift[:, None]  # lateral position, [R, W]
        pixel = (ahead / (FOCAL_ACROSS * self._size[1])).astype(np.float32)[:, None]  # a pixel's width on the ground
        grain = self._scenery.grain(across, (at + ahead).astype(np.float32), pixel)
        look = self._scenery
        steepness = np.gradient(ahead), np.gradient(shift)

        def blur(place: float) -> np.ndarray:
            """float32 [R, 1]: how wide a row's pixels are to a line there, that may run across them at a low angle."""
            slide = steepness[0] * (place - shift) / ahead + steepness[1]
            return np.hypot(pixel[:, 0], slide).astype(np.float32)[:, None]

        road = _stripe(across, -0.5, 2.0 + 2 * SHOULDER, pixel)
        out[...] = look.ground * (1.0 + look.ground_grain * grain[..., None])
        out += road[..., None] * (look.asphalt * (1.0 + look.asphalt_grain * grain[..., None]) - out)
        for place in (0.5, -1.5):
            white = _stripe(across, place, WHITE_WIDTH, blur(place))
            out += white[..., None] * (look.white - out)
        dashes = np.floor(far / PERIOD + at / PERIOD) * DASH + np.minimum((far + at) % PERIOD, DASH)
        dashed = ((dashes[:-1] - dashes[1:]) / (far[:-1] - far[1:])).astype(np.float32)
        yellow = _stripe(across, -0.5, YELLOW_WIDTH, blur(-0.5)) * dashed[:, None]
        out += yellow[..., None] * (look.yellow - out)

    def _bend(self, at: float, ahead: np.ndarray) -> np.ndarray:
        """How far the road has bent to the right `ahead` of `at`: the double integral of its curvature, float64 [R]."""
        wave, phase = self._waves[:, None], (self._waves * at + self._phases)[:, None]
        return (self._bends[:, None] / wave ** 2 * (np.sin(phase) - np.sin(wave * ahead + phase))
                + self._bends[:, None] / wave * np.cos(phase) * ahead).sum(axis=0) + 0.5 * self._circuit * ahead ** 2

    def _wave(self, which: int, time: int, slow: float, fast: float) -> float:
        """A smooth wandering within [-1, 1]; periods in frames."""
        a, b = self._sway[which]
        return float(0.65 * np.sin(2 * np.pi * time / slow + a) + 0.35 * np.sin(2 * np.pi * time / fast + b))


def _stripe(across: np.ndarray, centre: float, width: float, pixel: np.ndarray) -> np.ndarray:
    """float32 [R, W] in [0, 1]: how much of each pixel, `pixel` wide around `across`, a stripe covers."""
    reach = (0.5 * (width + pixel) - np.abs(across - np.float32(centre))) / pixel
    return np.clip(reach, 0.0, np.minimum(1.0, width / pixel))


def _grain(count: int, key: int) -> np.ndarray:
    """float32 [count] of sensor noise: a stretch of a bank of it, from a place that the key decides."""
    bank = _bank(max(1 << 20, 4 * count))
    begin = (key * 0x9E3779B1) % (len(bank) - count)
    return bank[begin:begin + count]


@functools.lru_cache(maxsize=4)
def _bank(length: int) -> np.ndarray:
    return np.random.default_rng(length).standard_normal(length, np.float32) * np.float32(NOISE)
