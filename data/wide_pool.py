"""Many different views of few images: what a student is distilled on where a user has some hundred frames.

A student that sees in-distribution frames alone learns what its teacher says of those, and nothing of what is odd. So
images are cropped, mirrored, turned, relit, recoloured, bent, blurred, soiled, mixed, tiled and pasted into each other,
and stand among made-up ones: leaves of all sizes that fall on each other ("dead leaves": Lee, Mumford & Huang,
"Occlusion models for natural images", IJCV 41 (2001) 35-59; that networks learn from them: Baradad et al., "Learning to
see by looking at noise", NeurIPS 2021).
"""
from __future__ import annotations

from typing import Any, Optional, Tuple

import cv2
import numpy as np

_SHADES = (0.5, 1.4)  # of light, and of each channel
_LEAVES = 120


def views(images: np.ndarray, count: int, seed: int, weights: Optional[np.ndarray] = None) -> np.ndarray:
    """Returns random views of images, uint8 [count, h, w, 3]; the same ones for the same seed.

    Args:
      images: uint8 [N, h, w, 3].
      count: how many views.
      seed: of the choice and of what happens to them.
      weights: [N], how often an image is chosen; None: all alike.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not len(images):
        raise ValueError(f"views are made of uint8 images [N, h, w, 3], not of {images.dtype} {list(images.shape)}")
    rng = np.random.default_rng((seed, 7))
    share = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
    height, width = images.shape[1:3]
    out = np.empty((count, height, width, 3), np.uint8)
    for i in range(count):
        chosen = images[rng.choice(len(images), 4, p=share)]
        view = _mosaic(rng, chosen) if rng.random() < 0.15 else _crop(rng, chosen[0])
        if rng.random() < 0.15:
            strength = rng.uniform(0.2, 0.6)
            view = cv2.addWeighted(view, 1 - strength, _crop(rng, chosen[1]), strength, 0)
        if rng.random() < 0.3:
            view = _pasted(rng, view, chosen[2])
        if rng.random() < 0.25:
            view = _bent(rng, view)
        if rng.random() < 0.7:
            view = _relit(rng, view)
        if rng.random() < 0.2:
            view = _shaded(rng, view)
        if rng.random() < 0.3:
            view = _soiled(rng, view)
        out[i] = view
    return out


def leaves(size: Tuple[int, int], seed: int) -> np.ndarray:
    """Returns a made-up image uint8 [h, w, 3]: textured discs, boxes and polygons of all sizes, one over the other.

    Args:
      size: (h, w) in pixels.
      seed: of the image.
    """
    rng = np.random.default_rng((seed, 11))
    height, width = size
    palette = _texture(rng, size, rng.uniform(0.8, 2.2))
    image = _texture(rng, size, rng.uniform(1.0, 2.5))
    textures = [_texture(rng, size, rng.uniform(0.5, 2.0)).astype(np.float32) - 128 for _ in range(3)]
    smallest, largest = rng.uniform(2, 12), rng.uniform(0.2, 0.6) * height
    for _ in range(int(rng.integers(5, _LEAVES))):
        # Density of radii ∝ r⁻³, as in natural images: as many edges at every scale.
        radius = smallest / np.sqrt(rng.uniform((smallest / largest) ** 2, 1.0))
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        mask = np.zeros(size, np.uint8)
        kind = rng.integers(3)
        if kind == 0:
            cv2.ellipse(mask, ((x, y), (2 * radius, 2 * radius * rng.uniform(0.3, 1)), rng.uniform(0, 180)), (255,), -1)
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
            image[mask > 0] = np.clip(colour + rng.uniform(0.1, 0.7) * texture, 0, 255).astype(np.uint8)
        else:
            image[mask > 0] = colour.astype(np.uint8)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.0))


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


def _crop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Part of an image at the image's size, turned and mirrored at times."""
    height, width = image.shape[:2]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    if rng.random() < 0.1:
        image = image[::-1]
    if rng.random() < 0.5:
        share = np.sqrt(rng.uniform(0.25, 1.0))
        h, w = max(8, int(height * share * rng.uniform(0.85, 1))), max(8, int(width * share * rng.uniform(0.85, 1)))
        top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
        image = cv2.resize(image[top:top + h, left:left + w], (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.15:
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-60, 60), rng.uniform(0.8, 1.3))
        border = cv2.BORDER_REFLECT_101 if rng.random() < 0.5 else cv2.BORDER_CONSTANT
        image = cv2.warpAffine(image, turn, (width, height), borderMode=border)
    return np.ascontiguousarray(image)


def _mosaic(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Four images around one point, each a crop scaled down."""
    height, width = images.shape[1:3]
    y, x = int(height * rng.uniform(0.2, 0.8)), int(width * rng.uniform(0.2, 0.8))
    out = np.empty(images.shape[1:], np.uint8)
    for i, part in enumerate((out[:y, :x], out[:y, x:], out[y:, :x], out[y:, x:])):
        part[:] = cv2.resize(_crop(rng, images[i]), part.shape[1::-1], interpolation=cv2.INTER_AREA)
    return out


def _pasted(rng: np.random.Generator, image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """A piece of another image (or a plain colour) in a box, an ellipse or a band."""
    height, width = image.shape[:2]
    h, w = int(height * rng.uniform(0.1, 0.6)), int(width * rng.uniform(0.1, 0.6))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    kind = rng.random()
    if kind < 0.25:
        patch: Any = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), (h, w, 3))
    elif kind < 0.45:
        y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
        patch = other[y:y + h, x:x + w]
    else:
        patch = cv2.resize(other, (w, h), interpolation=cv2.INTER_AREA)
    mask = np.full((h, w, 1), 255, np.uint8)
    if rng.random() < 0.4:
        mask[:] = 0
        cv2.ellipse(mask, ((w / 2, h / 2), (w, h), 0), (255,), -1)
    out = image.copy()
    place = out[top:top + h, left:left + w]
    place[:] = np.where(mask > 0, patch, place)
    return out


def _bent(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Elastic: every pixel comes from a smoothly wandering place nearby."""
    height, width = image.shape[:2]
    cells = int(rng.integers(3, 12))
    far = np.float32(rng.uniform(0.5, 0.35 * height / cells))
    shift: Any = rng.standard_normal((cells, cells, 2)).astype(np.float32) * far
    shift = cv2.resize(shift, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(image, x + shift[..., 0], y + shift[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _relit(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Light and colour: one gain for all channels, one for each, and at times a power."""
    low, high = np.log(_SHADES)
    gain = np.exp(rng.uniform(low, high)) * np.exp(rng.uniform(low, high, 3) * (rng.random() < 0.5))
    levels = np.linspace(0, 1, 256)[:, np.newaxis] ** (np.exp(rng.uniform(-0.5, 0.5)) if rng.random() < 0.3 else 1.0)
    table = np.clip(255 * levels * gain, 0, 255).astype(np.uint8)
    return cv2.LUT(image, table[np.newaxis])


def _shaded(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """A soft-edged polygon of shadow or light."""
    height, width = image.shape[:2]
    mask: Any = np.zeros((height, width), np.float32)
    corners = rng.uniform(-0.2, 1.2, (int(rng.integers(3, 6)), 2)) * (width, height)
    cv2.fillPoly(mask, [corners.astype(np.int32)], (1.0,))
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, 8))[..., np.newaxis]
    return np.clip(image * (1 + mask * np.float32(rng.uniform(-0.7, 0.5))), 0, 255).astype(np.uint8)


def _soiled(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Blur, noise, few pixels, specks or veil."""
    kind = rng.integers(5)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 3))
    if kind == 1:
        noise = rng.standard_normal(image.shape).astype(np.float32) * np.float32(rng.uniform(2, 30))
        return np.clip(image + noise, 0, 255).astype(np.uint8)
    if kind == 2:
        small = tuple(max(8, int(side / rng.uniform(1.5, 4))) for side in image.shape[1::-1])
        small_image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        return cv2.resize(small_image, image.shape[1::-1],
                          interpolation=cv2.INTER_NEAREST if rng.random() < 0.5 else cv2.INTER_LINEAR)
    if kind == 3:
        out = image.copy()
        for _ in range(int(rng.integers(5, 80))):
            x, y = int(rng.integers(image.shape[1])), int(rng.integers(image.shape[0]))
            shade, long = int(rng.integers(256)), int(rng.integers(0, 12))
            cv2.line(out, (x, y), (x + int(rng.integers(-2, 3)), y + long), (shade,) * 3, 1)
        return out
    veil = rng.uniform(0.1, 0.6)
    return cv2.addWeighted(image, 1 - veil, np.full_like(image, int(rng.integers(100, 256))), veil, 0)
