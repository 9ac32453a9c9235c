"""Motion as a network sees it: stacks of the optical flows between consecutive frames, uint8 [2h, w, n].

Grey, one size, contrast evened out (CLAHE), dense flow, a crop that leaves out the frame's uncertain rim; horizontal
flow above, vertical flow below, n flows in a row as channels, the newest last: Feng, Ng & Easwaran, "Improving
Variational Autoencoder based Out-of-Distribution Detection for Embedded Real-time Applications", arXiv 2107.11750.
Flow is measured in pixels of the resized frame per frame interval, so it is a statement about speed only at the frame
rate that the detector was trained at. This module runs on the device, and training computes its flows with it.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from leanood.data import decoder, frames

METHODS = ("farneback", "dis")
LATE = 1.5  # frame intervals: two frames further apart in time have a frame missing between them
_CLIP, _TILES = 2.0, (8, 8)  # of CLAHE, as in the paper
# OpenCV's dense inverse search reads memory that it has not written on some smaller frames (64x80, 32x40).
_SMALLEST = {"farneback": 16, "dis": 96}
_NEEDS = "optical flow needs OpenCV: pip install 'leanood[video]'"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How flow is computed.

    Attributes:
      size: (height, width) that frames are resized to.
      crop: (h, w) of the middle that is kept of the flow.
      length: n, flows in a stack; it takes one frame more.
      reach: pixels a frame; a flow of -reach becomes 0, of +reach 255, beyond them it is clipped. The paper's is 64,
        at which a byte's step is half a pixel; the default's is a quarter.
      method: "dis" (dense inverse search, Kroeger et al., ECCV 2016, the ultra-fast preset), which looks at several
        scales and so follows motion of many pixels; or the paper's "farneback" (1 level, 1 iteration, window 15,
        polynomials over 5 pixels, 1.1), which takes over ten times as long and levels off beyond a few pixels.
    """

    size: Tuple[int, int] = (120, 160)
    crop: Tuple[int, int] = (113, 152)
    length: int = 6
    reach: float = 32.0
    method: str = "dis"

    def __post_init__(self) -> None:
        if min(self.crop) < 1 or self.crop[0] > self.size[0] or self.crop[1] > self.size[1]:
            raise ValueError(f"crop: {_size(self.crop)} is no part of frames of {_size(self.size)}")
        if min(self.size) < _SMALLEST.get(self.method, 1):
            raise ValueError(f"size: {self.method} needs frames of at least {_SMALLEST[self.method]} rows and columns, "
                             f"not {_size(self.size)}")
        if self.length < 1:
            raise ValueError(f"length: a stack has at least one flow, not {self.length}")
        if not self.reach > 0:
            raise ValueError(f"reach: {self.reach} pixels a frame; it must be positive")
        if self.method not in METHODS:
            raise ValueError(f"method: {self.method!r} is none of {', '.join(METHODS)}")

    @property
    def shape(self) -> Tuple[int, int, int]:
        """(2h, w, n) of a stack."""
        return 2 * self.crop[0], self.crop[1], self.length

    def to_json(self) -> Dict[str, Any]:
        """What `from_json` reads."""
        return {"size": list(self.size), "crop": list(self.crop), "length": self.length, "reach": self.reach,
                "method": self.method}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Settings:
        """The settings that `to_json` wrote; raises ValueError if a field is missing or of a wrong type."""
        try:
            (height, width), (h, w) = fields["size"], fields["crop"]
            return cls((int(height), int(width)), (int(h), int(w)), int(fields["length"]), float(fields["reach"]),
                       str(fields["method"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"flow: the settings are incomplete or of a wrong type ({error})") from None


class Flow:
    """Computes flows, two frames at a time. An instance serves one thread.

    Args:
      settings: how.

    Raises:
      ValueError: where OpenCV is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._cv2 = decoder.opencv()
        if self._cv2 is None:
            raise ValueError(_NEEDS)
        self.settings = settings
        self._clahe = self._cv2.createCLAHE(_CLIP, _TILES)
        self._dis = None
        if settings.method == "dis":
            self._dis = self._cv2.DISOpticalFlow_create(self._cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        top, left = ((a - b) // 2 for a, b in zip(settings.size, settings.crop))
        self._middle = slice(top, top + settings.crop[0]), slice(left, left + settings.crop[1])

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """What flow is computed from: uint8 [height, width], grey, resized and evened out.

        Args:
          frame: uint8 RGB [H, W, 3] of any size.
        """
        small = frames.resize(frame, self.settings.size)
        return self._clahe.apply(self._cv2.cvtColor(small, self._cv2.COLOR_RGB2GRAY))

    def between(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """The flow between two prepared frames, uint8 [2h, w]: rint(255 · clip((pixels + reach) / (2 reach), 0, 1))."""
        if self._dis is not None:
            pixels = self._dis.calc(before, after, None)
        else:
            pixels = self._cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 1, 15, 1, 5, 1.1, 0)
        pixels = np.concatenate((pixels[..., 0][self._middle], pixels[..., 1][self._middle]))
        pixels += np.float32(self.settings.reach)
        pixels *= np.float32(255 / (2 * self.settings.reach))
        return np.clip(np.rint(pixels, out=pixels), 0, 255, out=pixels).astype(np.uint8)


class Stacker:
    """Frames in, stacks out: a ring of the last n flows, each computed once; the memory is that of n flows.

    Args:
      settings: how.

    Attributes:
      size: (height, width) that frames are resized to.
      shape: of a stack.
      memory: frames before a frame that its stack depends on.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.size, self.shape, self.memory = settings.size, settings.shape, settings.length
        self._flow = Flow(settings)
        self._ring = np.zeros((settings.length,) + settings.shape[:2], np.uint8)
        self._before: Optional[np.ndarray] = None
        self._count = 0  # flows in a row so far

    def push(self, frame: np.ndarray, gap: bool = False) -> Optional[np.ndarray]:
        """The stack that ends with this frame, uint8 [2h, w, n]; None while fewer than n + 1 frames follow each other.

        Args:
          frame: uint8 RGB [H, W, 3].
          gap: a frame is missing before this one: what moved meanwhile is no motion between neighbours.
        """
        if gap:
            self.reset()
        now = self._flow.prepare(frame)
        before, self._before = self._before, now
        if before is None:
            return None
        length = self.settings.length
        self._ring[self._count % length] = self._flow.between(before, now)
        self._count += 1
        if self._count < length:
            return None
        order = np.arange(self._count, self._count + length) % length  # the oldest first
        return np.ascontiguousarray(np.moveaxis(self._ring[order], 0, -1))

    def reset(self) -> None:
        """Forgets all frames: the next one begins a sequence."""
        self._before, self._count = None, 0


def to_pixels(stack: np.ndarray, settings: Settings) -> np.ndarray:
    """A stack's flow in pixels a frame, float32 of its shape, as exactly as its bytes tell."""
    return stack.astype(np.float32) * np.float32(2 * settings.reach / 255) - np.float32(settings.reach)


def _size(size: Tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
