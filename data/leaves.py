"""Made-up images that look like nothing in particular and have edges at every scale: objects for pasting.

Leaves of all sizes that fall on each other ("dead leaves": Lee, Mumford & Huang, "Occlusion models for natural images",
IJCV 41 (2001) 35-59).
"""
from __future__ import annotations

from typing import Tuple

import cv2
import numpy as np

_LEAVES = 120


def image(size: Tuple[int, int], seed: int) -> np.ndarray:
    """Returns a made-up image uint8 [h, w, 3]: textured discs, boxes and polygons of all sizes, one over the other.

    Args:
      size: (h, w) in pixels.
      seed: of the image.
    """
    rng = np.random.default_rng((seed, 11))
    height, width = size
    palette = _texture(rng, size, rng.uniform(0.8, 2.2))
    out = _texture(rng, size, rng.uniform(1.0, 2.5))
    textures = [_texture(rng, size, rng.uniform(0.5, 2.0)).astype(np.float32) - 128 for _ in range(3)]
    smallest, largest = rng.uniform(2, 12), rng.uniform(0.2, 0.6) * height
    for _ in range(int(rng.integers(5, _LEAVES))):
        # Density of radii ∝ r⁻³, as in natural images: as many edges at every scale.
        radius = smallest / np.sqrt(rng.uniform((smallest / largest) ** 2, 1.0))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        mask = np.zeros(size, np.uint8)
        kind = rng.integers(3)
        if kind == 0:
            wide, high, turn = 2 * radius, 2 * radius * rng.uniform(0.3, 1), rng.uniform(0, 180)
            cv2.ellipse(mask, ((x, y), (float(wide), float(high)), turn), (255,), -1)
        elif kind == 1:
            box = cv2.boxPoints(((x, y), (2 * radius, 2 * radius * rng.uniform(0.1, 1)), rng.uniform(0, 180)))
            cv2.fillConvexPoly(mask, box.astype(np.int32), (255,))
        else:
            angle = np.sort(rng.uniform(0, 2 * np.pi, 5))
            corners = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
            cv2.fillPoly(mask, [corners.astype(np.int32)], (255,))
        colour = palette[int(min(max(y, 0), height - 1)), int(min(max(x, 0), width - 1))].astype(np.float32)
        if rng.random() < 0.4:
            texture = textures[int(rng.integers(3))][mask > 0]
            out[mask > 0] = np.clip(colour + rng.uniform(0.1, 0.7) * texture, 0, 255).astype(np.uint8)
        else:
            out[mask > 0] = colour.astype(np.uint8)
    return cv2.GaussianBlur(out, (0, 0), rng.uniform(0.4, 1.0))


def _texture(rng: np.random.Generator, size: Tuple[int, int], slope: float) -> np.ndarray:
    """Coloured noise uint8 [h, w, 3] whose amplitude falls as frequency^−slope."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    frequency[0, 0] = 1 / max(size)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((3, height, width))) / frequency ** slope, s=size)
    noise = (noise - noise.mean((1, 2), keepdims=True)) / (noise.std((1, 2), keepdims=True) + 1e-9)
    mixing = rng.standard_normal((3, 3)) * rng.uniform(0.05, 0.4) + np.full((3, 3), rng.uniform(0, 1))
    colour = np.tensordot(mixing, noise, axes=1) * rng.uniform(15, 60)
    colour += rng.uniform(40, 215) + rng.uniform(-40, 40, 3)[:, np.newaxis, np.newaxis]
    return np.clip(colour, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
