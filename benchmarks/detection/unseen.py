"""Corruptions that no choice was made on: what Albumentations' transforms do to a frame, at one strong setting each.

The list was written down before any of it was run; nothing in leanood is fitted, tuned or chosen by these.
"""
from __future__ import annotations

import os
from typing import Any, Dict

import numpy as np


def transforms() -> Dict[str, Any]:
    """Name -> transform (needs `pip install 'leanood[benchmarks]'`)."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for a newer version on the network
    import albumentations as A

    return {
        "defocus": A.Defocus(radius=(5, 5), alias_blur=(0.2, 0.2), p=1),
        "zoom blur": A.ZoomBlur(max_factor=(1.15, 1.15), p=1),
        "glass blur": A.GlassBlur(sigma=0.7, max_delta=2, iterations=1, p=1),
        "JPEG at quality 10": A.ImageCompression(quality_range=(10, 10), p=1),
        "pixelated 4×": A.Downscale(scale_range=(0.25, 0.25), p=1),
        "posterized to 3 bits": A.Posterize(num_bits=3, p=1),
        "solarized": A.Solarize(threshold_range=(0.5, 0.5), p=1),
        "inverted": A.InvertImg(p=1),
        "grey": A.ToGray(p=1),
        "channels swapped": A.ChannelShuffle(p=1),
        "hue turned": A.HueSaturationValue(hue_shift_limit=(30, 30), sat_shift_limit=0, val_shift_limit=0, p=1),
        "saturation doubled": A.ColorJitter(brightness=0, contrast=0, saturation=(2, 2), hue=0, p=1),
        "contrast halved": A.ColorJitter(brightness=0, contrast=(0.5, 0.5), saturation=0, hue=0, p=1),
        "gamma 0.5": A.RandomGamma(gamma_limit=(50, 50), p=1),
        "gamma 2": A.RandomGamma(gamma_limit=(200, 200), p=1),
        "equalized": A.Equalize(p=1),
        "ISO noise": A.ISONoise(color_shift=(0.05, 0.05), intensity=(0.5, 0.5), p=1),
        "speckle noise": A.MultiplicativeNoise(multiplier=(0.7, 1.3), per_channel=True, elementwise=True, p=1),
        "mud": A.Spatter(mode="mud", p=1),
        "drops": A.Spatter(mode="rain", p=1),
        "sun flare": A.RandomSunFlare(p=1),
        "shadow": A.RandomShadow(p=1),
        "grid of holes": A.GridDropout(ratio=0.3, p=1),
        "elastic": A.ElasticTransform(alpha=50, sigma=6, p=1),
        "lens distortion": A.OpticalDistortion(distort_limit=(0.5, 0.5), p=1),
        "upside down": A.VerticalFlip(p=1),
        "turned by 45°": A.Rotate(limit=(45, 45), p=1),
        "zoomed in 2×": A.Affine(scale=(2, 2), p=1),
    }


def apply(transform: Any, frame: np.ndarray, seed: int) -> np.ndarray:
    """A frame uint8 [h, w, 3] transformed, deterministic by `seed`."""
    transform.set_random_seed(seed)
    return np.ascontiguousarray(transform(image=frame)["image"])
