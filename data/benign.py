"""Benign changes of frames, by name: what happens to a picture on its way and no person would notice. No change is OOD.

A detector owes silence on them as it owes an alarm on corruptions. Each is a fixed small change, deterministic by
`seed`; noise and a hunting exposure move with `time`, the frame's number in its sequence. Video codecs work on whole
sequences (`change_sequence`); a frame alone is a video of one frame. Inputs are never changed.
"""
from __future__ import annotations

import functools
from typing import Callable, Mapping, Tuple

import numpy as np

from leanood.data import chroma, codecs, frames, resampling, sensor, tone

FPS = 20.0  # of the videos that are written
_Change = Callable[[np.ndarray, int, int], np.ndarray]


def _still(change: Callable[..., np.ndarray], *levels: object) -> _Change:
    """The change with its levels, for which neither seed nor time plays a part."""
    return lambda frame, seed, time: change(frame, *levels)


def _noise(deviation: float) -> _Change:
    return lambda frame, seed, time: sensor.noise(frame, deviation / 255.0, seed, time)


def _video(codec: str) -> _Change:
    return lambda frame, seed, time: codecs.video(frames.check(frame)[np.newaxis], codec, FPS)[0]


_CHANGES: Mapping[str, _Change] = {
    "yuv420": _still(chroma.subsampled, "4:2:0"),
    "yuv422": _still(chroma.subsampled, "4:2:2"),
    "jpeg_75": _still(codecs.jpeg, 75, "4:2:0"),
    "jpeg_85": _still(codecs.jpeg, 85, "4:2:0"),
    "jpeg_95": _still(codecs.jpeg, 95, "4:2:0"),
    "jpeg_98": _still(codecs.jpeg, 98, "4:2:0"),
    "jpeg_75_full_chroma": _still(codecs.jpeg, 75, "4:4:4"),
    "jpeg_90_full_chroma": _still(codecs.jpeg, 90, "4:4:4"),
    "jpeg_98_full_chroma": _still(codecs.jpeg, 98, "4:4:4"),
    "mpeg4": _video("mpeg4"),
    "mjpg": _video("mjpg"),
    "h264": _video("h264"),
    "vp8": _video("vp8"),
    "noise_0.5": _noise(0.5),
    "noise_1": _noise(1.0),
    "noise_1.5": _noise(1.5),
    "right_1": _still(resampling.shifted, 1, 0),
    "down_1": _still(resampling.shifted, 0, 1),
    "left_2": _still(resampling.shifted, -2, 0),
    "up_2_right_1": _still(resampling.shifted, 1, -2),
    "exposure_0.97": _still(tone.exposure, 0.97),
    "exposure_1.03": _still(tone.exposure, 1.03),
    "warmer_3_percent": _still(tone.white_balance, (1.03, 1.0, 0.97)),
    "cooler_3_percent": _still(tone.white_balance, (0.97, 1.0, 1.03)),
    "gamma_0.97": _still(tone.gamma, 0.97),
    "gamma_1.03": _still(tone.gamma, 1.03),
    "auto_exposure": lambda frame, seed, time: tone.auto_exposure(frame, 0.05, seed, time),
    "rescaled_0.75": _still(resampling.rescaled, 0.75),
    "rescaled_1.5": _still(resampling.rescaled, 1.5),
    "bilinear": _still(resampling.bilinear, 1.5),
    "sharpened": _still(resampling.sharpened, 0.2),
}
NAMES = tuple(_CHANGES)


@functools.lru_cache(maxsize=None)
def available() -> Tuple[str, ...]:
    """NAMES without the video codecs that this machine's OpenCV can't write."""
    return tuple(name for name in NAMES if name not in codecs.VIDEO or codecs.writes(name))


def change(name: str, frame: np.ndarray, seed: int = 0, time: int = 0) -> np.ndarray:
    """The frame after a benign change, a new uint8 [H, W, 3].

    Args:
      name: one of NAMES.
      frame: uint8 [H, W, 3].
      seed: the same seed gives the same frame.
      time: the frame's number in its sequence.
    """
    _known(name)
    return _CHANGES[name](frame, seed, time)


def change_sequence(name: str, sequence: np.ndarray, seed: int = 0, start: int = 0) -> np.ndarray:
    """The sequence after a benign change, a new uint8 [T, H, W, 3]; its first frame is at time `start`."""
    _known(name)
    sequence = np.asarray(sequence)
    if name in codecs.VIDEO:
        return codecs.video(sequence, name, FPS)
    return np.stack([change(name, frame, seed, start + t) for t, frame in enumerate(sequence)])


def _known(name: str) -> None:
    if name not in _CHANGES:
        raise ValueError(f"benign change: {name!r} is none of {', '.join(NAMES)}")
