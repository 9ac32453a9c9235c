"""Corruptions of frames by name and severity 1 to 5, or by physical level. Inputs are never changed.

Every one is deterministic by `seed`, and moves with `time`, the frame's number in its sequence. The levels behind the
severities are LEVELS; the in-distribution ranges of the factors that the embedded scenes vary are ID_RANGES.
"""
from __future__ import annotations

import math
from typing import Callable, Mapping, Tuple

import numpy as np

from leanood.data import frames as frames_
from leanood.data import lighting, sensor, weather

SEVERITIES = (1, 2, 3, 4, 5)

LEVELS: Mapping[str, Tuple[float, ...]] = {
    "darker": (-0.2, -0.4, -0.6, -0.75, -0.9),
    "brighter": (0.25, 0.5, 0.75, 1.0, 1.5),
    "rain": (0.002, 0.004, 0.006, 0.008, 0.01),
    "snow": (0.002, 0.004, 0.006, 0.008, 0.01),
    "fog": (0.05, 0.1, 0.2, 0.35, 0.6),
    "night": (0.4, 0.55, 0.7, 0.8, 0.9),
    "glare": (0.3, 0.5, 0.75, 1.0, 1.5),
    "motion_blur": (0.02, 0.04, 0.07, 0.11, 0.16),
    "noise": (0.02, 0.04, 0.08, 0.12, 0.18),
    "occlusion": (0.05, 0.1, 0.2, 0.3, 0.45),
    "dead_pixels": (0.001, 0.003, 0.01, 0.03, 0.1),
    "dead_columns": (0.01, 0.02, 0.05, 0.1, 0.2),
    "frozen": (20, 40, 80, 160, math.inf),
}
NAMES = tuple(LEVELS)
ID_RANGES: Mapping[str, Tuple[float, float]] = {
    "darker": (-0.5, 0.5), "brighter": (-0.5, 0.5), "rain": (0.0, 0.003)}

brightness_level = lighting.brightness
darker_level = lighting.brightness
brighter_level = lighting.brightness
night_level = lighting.night
glare_level = lighting.glare
rain_level = weather.rain
snow_level = weather.snow
fog_level = weather.fog
motion_blur_level = sensor.motion_blur
noise_level = sensor.noise
occlusion_level = sensor.occlusion
dead_pixels_level = sensor.dead_pixels
dead_columns_level = sensor.dead_columns


def frozen_level(frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame itself: a camera that has frozen shows in sequences only, see `corrupt_sequence`."""
    return frames_.check(frame).copy()


_FUNCTIONS: Mapping[str, Callable[[np.ndarray, float, int, int], np.ndarray]] = {
    "darker": darker_level, "brighter": brighter_level, "rain": rain_level, "snow": snow_level, "fog": fog_level,
    "night": night_level, "glare": glare_level, "motion_blur": motion_blur_level, "noise": noise_level,
    "occlusion": occlusion_level, "dead_pixels": dead_pixels_level, "dead_columns": dead_columns_level,
    "frozen": frozen_level}


def darker(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Darker by HSV value · (1 + level), levels -0.2, -0.4, -0.6, -0.75, -0.9."""
    return corrupt("darker", frame, severity, seed, time)


def brighter(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Brighter by HSV value · (1 + level), levels 0.25, 0.5, 0.75, 1, 1.5."""
    return corrupt("brighter", frame, severity, seed, time)


def rain(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Falling rain of density 0.002, 0.004, 0.006, 0.008, 0.01 drops a pixel."""
    return corrupt("rain", frame, severity, seed, time)


def snow(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Falling snow of density 0.002, 0.004, 0.006, 0.008, 0.01 flakes a pixel."""
    return corrupt("snow", frame, severity, seed, time)


def fog(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Drifting fog of optical depth 0.05, 0.1, 0.2, 0.35, 0.6 at the bottom row, ten times that at the horizon."""
    return corrupt("fog", frame, severity, seed, time)


def night(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Night without 0.4, 0.55, 0.7, 0.8, 0.9 of the light, colder and noisier."""
    return corrupt("night", frame, severity, seed, time)


def glare(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """A light in the picture that adds 0.3, 0.5, 0.75, 1, 1.5 of white at its centre."""
    return corrupt("glare", frame, severity, seed, time)


def motion_blur(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Blur along a line of 0.02, 0.04, 0.07, 0.11, 0.16 frame widths."""
    return corrupt("motion_blur", frame, severity, seed, time)


def noise(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Gaussian noise of standard deviation 0.02, 0.04, 0.08, 0.12, 0.18 of white."""
    return corrupt("noise", frame, severity, seed, time)


def occlusion(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """A dark patch on the lens over 0.05, 0.1, 0.2, 0.3, 0.45 of the frame."""
    return corrupt("occlusion", frame, severity, seed, time)


def dead_pixels(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Black and white pixels, 0.001, 0.003, 0.01, 0.03, 0.1 of all."""
    return corrupt("dead_pixels", frame, severity, seed, time)


def dead_columns(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """Black and white columns, 0.01, 0.02, 0.05, 0.1, 0.2 of all."""
    return corrupt("dead_columns", frame, severity, seed, time)


def frozen(frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame itself; in sequences the camera hangs for 20, 40, 80, 160 frames at a time, or for good."""
    return corrupt("frozen", frame, severity, seed, time)


def level_of(name: str, severity: int) -> float:
    """The physical level behind a severity; raises ValueError if there is no such corruption or severity."""
    _known(name)
    if severity not in SEVERITIES:
        raise ValueError(f"severity: {severity!r} is none of 1, 2, 3, 4, 5")
    return LEVELS[name][int(severity) - 1]


def is_in_distribution(name: str, level: float) -> bool:
    """True if the level lies within the range that the embedded scenes' in-distribution factors cover (ID_RANGES)."""
    _known(name)
    low, high = ID_RANGES.get(name, (0.0, -1.0))
    return low <= level <= high


def outside_id(name: str, severity: int, partition_kind: str) -> bool:
    """False where a severity lies in the range that a data set of factors declares in-distribution for that factor."""
    return partition_kind != "factor" or not is_in_distribution(name, level_of(name, severity))


def corrupt(name: str, frame: np.ndarray, severity: int, seed: int = 0, time: int = 0) -> np.ndarray:
    """The corrupted frame, a new uint8 [H, W, 3].

    Args:
      name: one of NAMES.
      frame: uint8 [H, W, 3].
      severity: 1 to 5; the levels are in each corruption's docstring and in LEVELS.
      seed: the same seed gives the same frame.
      time: the frame's number in its sequence.
    """
    return corrupt_level(name, frame, level_of(name, severity), seed, time)


def corrupt_level(name: str, frame: np.ndarray, level: float, seed: int = 0, time: int = 0) -> np.ndarray:
    """As `corrupt`, by physical level."""
    _known(name)
    return _FUNCTIONS[name](frame, level, seed, time)


def corrupt_sequence(name: str, frames: np.ndarray, severity: int, seed: int = 0) -> np.ndarray:
    """The corrupted sequence, a new uint8 [T, H, W, 3]; its frame t is corrupted at time t."""
    return corrupt_sequence_level(name, frames, level_of(name, severity), seed)


def corrupt_sequence_level(name: str, frames: np.ndarray, level: float, seed: int = 0, start: int = 0) -> np.ndarray:
    """As `corrupt_sequence`, by physical level; its first frame is at time `start`."""
    _known(name)
    frames = np.asarray(frames)
    if name == "frozen":
        return frames[frozen_source(len(frames), level)]
    out = np.empty_like(frames)
    for t in range(len(frames)):
        out[t] = corrupt_level(name, frames[t], level, seed, start + t)
    return out


def frozen_source(length: int, level: float) -> np.ndarray:
    """int64 [T]: which frame a camera that hangs for `level` frames at a time shows at each of T times."""
    if not level >= 1:
        raise ValueError(f"level: a camera cannot hang for {level} frames")
    shown = np.arange(length)
    return shown - shown % int(min(level, max(length, 1)))


def _known(name: str) -> None:
    if name not in LEVELS:
        raise ValueError(f"corruption: {name!r} is none of {', '.join(NAMES)}")
