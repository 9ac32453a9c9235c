"""Changes of what a frame shows, not of how it was taken: light, colour and sharpness stay as they were, almost.

A third kind of row beside corruptions (`corruptions`) and real scenes, and the hardest: statistics of pixels hardly
move. Sizes are shares of the frame's, so that a frame may be changed at its own resolution. A mirrored road is a road,
and so isn't among them.
"""
from __future__ import annotations

from typing import Callable, Mapping, Optional

import cv2
import numpy as np

from leanood.data import corruptions

# (frame uint8 [h, w, 3], generator, another frame or image) -> uint8 [h, w, 3]
_Change = Callable[[np.ndarray, np.random.Generator, np.ndarray], np.ndarray]
_OTHERS = ("pasted object", "blended")


def change(name: str, frame: np.ndarray, seed: int, other: Optional[np.ndarray] = None) -> np.ndarray:
    """Returns a changed frame, uint8 [h, w, 3].

    Args:
      name: of NAMES.
      frame: uint8 [h, w, 3].
      seed: where, and how much.
      other: for "pasted object" an image of anything, for "blended" another in-distribution frame, uint8 [h', w', 3].
    """
    if name not in NAMES:
        raise ValueError(f"content change {name!r} is unknown; it may be {', '.join(NAMES)}")
    if name in _OTHERS and other is None:
        raise ValueError(f"{name!r} needs another image, other=")
    return _CHANGES[name](frame, np.random.default_rng((seed, NAMES.index(name))), frame if other is None else other)


def _occluded(severity: int) -> _Change:
    return lambda frame, rng, _: corruptions.corrupt("occlusion", frame, severity, seed=int(rng.integers(1 << 30)))


def _upside_down(frame: np.ndarray, rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(frame[::-1])


def _elastic(frame: np.ndarray, rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """Every pixel comes from 1/460 of the height away (standard deviation), smooth over 1/40 of it."""
    height, width = frame.shape[:2]
    sigma = height / 40
    shift = np.stack([cv2.GaussianBlur(rng.standard_normal((height, width)), (0, 0), sigma) for _ in range(2)])
    shift = (shift * (height / 460 / shift.std())).astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(frame, x + shift[0], y + shift[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _shadow(frame: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """Half the light on one or two polygons of five corners in the lower half."""
    height, width = frame.shape[:2]
    out = frame.copy()
    for _polygon in range(int(rng.integers(1, 3))):
        corners = np.stack([rng.uniform(0, width, 5), rng.uniform(height / 2, height, 5)], axis=1)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [corners.astype(np.int32)], (1,))
        out[mask > 0] //= 2
    return out


def _pasted_object(frame: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """Another image, a sixth to a third of the height tall and wide, in the lower half."""
    height, width = frame.shape[:2]
    side = int(height * rng.uniform(1 / 6, 1 / 3))
    top, left = int(rng.integers(height // 2, height - side + 1)), int(rng.integers(width - side + 1))
    out = frame.copy()
    out[top:top + side, left:left + side] = cv2.resize(other, (side, side), interpolation=cv2.INTER_LINEAR)
    return out


def _copied_piece(frame: np.ndarray, rng: np.random.Generator, _: np.ndarray) -> np.ndarray:
    """A square of the frame, 4/15 of the height tall and wide, a second time elsewhere."""
    height, width = frame.shape[:2]
    side = height * 4 // 15
    (top, to_top), (left, to_left) = rng.integers(height - side + 1, size=2), rng.integers(width - side + 1, size=2)
    out = frame.copy()
    out[to_top:to_top + side, to_left:to_left + side] = frame[top:top + side, left:left + side]
    return out


def _blended(frame: np.ndarray, rng: np.random.Generator, other: np.ndarray) -> np.ndarray:
    """Half the frame, half another in-distribution one."""
    if other.shape != frame.shape:
        raise ValueError(f"blended: the other frame is {list(other.shape)}, this one {list(frame.shape)}")
    return cv2.addWeighted(frame, 0.5, other, 0.5, 0)


_CHANGES: Mapping[str, _Change] = {
    "occlusion 1": _occluded(1), "occlusion 3": _occluded(3), "upside down": _upside_down, "elastic": _elastic,
    "shadow": _shadow, "pasted object": _pasted_object, "copied piece": _copied_piece, "blended": _blended}
NAMES = tuple(_CHANGES)
