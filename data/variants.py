"""Benign variants of in-distribution frames, to fit and to calibrate on: chains of small changes at random levels.

Statistics that have seen only one camera's chain (its JPEG, its 8×8 grid, its chroma) take every other for odd. So
frames are fitted as they are and as they might have come: moved by a few pixels, a little brighter or warmer, respaced,
noisier, a level or two darker, then encoded or not. Nearly all cameras and videos halve the chroma (4:2:0), by a mean
or, as FFmpeg and OpenCV do, by leaving pixels out; FFmpeg's fast conversions also round down, by two levels in all.
`benign` has what a detector is judged by: kinds that aren't among these (video codecs, 4:2:2, gamma, sharpening,
hunting exposure) and other levels of those that are.
"""
from __future__ import annotations

import dataclasses
from typing import Tuple, Union

import numpy as np

from leanood.data import chroma, codecs, resampling, sensor, tone

_STREAM = 32  # tells its random stream from those of one seed's other changes


@dataclasses.dataclass(frozen=True)
class Chain:
    """One camera's chain, in this order; the defaults change nothing."""

    shift: Tuple[int, int] = (0, 0)  # pixels right and down, at most a thirtieth of the frame's smaller side
    gains: Tuple[float, float, float] = (1.0, 1.0, 1.0)  # of R, G, B
    scale: float = 1.0  # resized by it and back
    offset: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # grey levels added to R, G, B
    noise: float = 0.0  # standard deviation in grey levels
    sampling: str = "4:4:4"  # of the chroma
    picked: bool = False  # the chroma's samples are single pixels', not means
    quality: int = 0  # of a JPEG; 0: not encoded, though its chroma may be subsampled

    def __call__(self, frame: np.ndarray, seed: int = 0, time: int = 0) -> np.ndarray:
        """The frame through the chain, a new uint8 [H, W, 3]; `seed` and `time` are the noise's."""
        out = np.array(frame, np.uint8)
        limit = -(-min(out.shape[:2]) // 30) if min(out.shape[:2]) > 1 else 0
        right, down = (max(-limit, min(limit, step)) for step in self.shift)
        if right or down:
            out = resampling.shifted(out, right, down)
        if self.gains != (1.0, 1.0, 1.0):
            out = tone.white_balance(out, self.gains)
        if self.scale != 1.0:
            out = resampling.rescaled(out, self.scale)
        if any(self.offset):
            out = tone.offset(out, self.offset)
        if self.noise:
            out = sensor.noise(out, self.noise / 255.0, seed, time)
        if self.sampling != "4:4:4" and (self.picked or not self.quality):
            out = chroma.subsampled(out, self.sampling, self.picked)
        return codecs.jpeg(out, self.quality, self.sampling) if self.quality else out


def draw(seed: Union[int, Tuple[int, ...]]) -> Chain:
    """A random chain, the same for the same seed: each link is there or not, at a level within what nobody notices."""
    rng = np.random.default_rng((*((seed,) if isinstance(seed, int) else seed), _STREAM))
    there = rng.random(5) < (0.75, 0.5, 0.4, 0.25, 0.5)  # shift, exposure, white balance, scale, noise
    shift = rng.integers(-4, 5, 2).tolist()
    exposure, warmth = rng.uniform(-0.025, 0.025, 2) * there[1:3]
    scale, noise = rng.uniform(0.8, 1.4), rng.uniform(0.3, 2.0)
    coding, full, quality = rng.random(), rng.random() < 0.2, int(rng.integers(72, 98))
    rounded, picked = rng.random() < 0.5, rng.random() < 0.5
    offset = (rng.uniform(-3.0, 2.0) + rng.uniform(-1.0, 1.0, 3)) * rounded
    return Chain(
        shift=(shift[0], shift[1]) if there[0] else (0, 0),
        gains=((1 + exposure) * (1 + warmth), 1.0 + exposure, (1 + exposure) * (1 - warmth)),
        scale=float(scale) if there[3] else 1.0, noise=float(noise) if there[4] else 0.0,
        offset=(float(offset[0]), float(offset[1]), float(offset[2])), picked=picked,
        sampling="4:4:4" if coding < 0.15 or (coding >= 0.5 and full) else "4:2:0",
        quality=quality if coding >= 0.5 else 0)
