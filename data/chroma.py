"""Y'CbCr frames whose colour is sampled more coarsely than their light, as video codecs and cameras hand them on.

ITU-R BT.601, limited range: luma 16 to 235, chroma 16 to 240; cameras, OpenCV and FFmpeg mean that by "yuv420p"
unless they say otherwise. It runs on the device: NumPy alone; OpenCV is faster where it is there.
"""
from __future__ import annotations

from typing import Mapping, Tuple

import numpy as np

from leanood.data import decoder, frames

SAMPLINGS: Mapping[str, Tuple[int, int]] = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}  # pixels down, across
_TO_YUV = np.array([[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32) / 255
_OFFSET = np.array([16.0, 128.0, 128.0], np.float32)
_TO_RGB = np.linalg.inv(_TO_YUV.astype(np.float64)).astype(np.float32)


def yuv420_bytes(size: Tuple[int, int]) -> int:
    """The length of a planar 4:2:0 frame (I420) of that size (H, W) in bytes."""
    height, width = size
    return height * width + 2 * ((height + 1) // 2) * ((width + 1) // 2)


def from_yuv420(data: bytes, size: Tuple[int, int], name: str = "frame", opencv: bool = True) -> np.ndarray:
    """A raw planar 4:2:0 frame (I420, FFmpeg's yuv420p) as uint8 RGB [H, W, 3].

    With and without OpenCV the result is the same but for one level on rounding.

    Args:
      data: exactly `yuv420_bytes(size)` bytes: the rows of Y, then those of U, then those of V.
      size: (H, W); where one is odd, chroma covers the half pixel beyond.
      name: what the error calls it.
      opencv: False never uses OpenCV.
    """
    height, width = size
    if len(data) != yuv420_bytes(size):
        raise frames.FrameError(f"{name}: {len(data)} bytes, a raw {width}x{height} YUV 4:2:0 frame has "
                                f"{yuv420_bytes(size)}")
    flat = np.frombuffer(data, np.uint8)
    cv2 = decoder.opencv() if opencv and height % 2 == width % 2 == 0 else None
    if cv2 is not None:
        return cv2.cvtColor(flat.reshape(height * 3 // 2, width), cv2.COLOR_YUV2RGB_I420)
    luma, chroma = flat[:height * width], flat[height * width:].reshape(2, (height + 1) // 2, (width + 1) // 2)
    return _joined(luma.reshape(height, width), chroma, 2, 2)


def to_yuv420(frame: np.ndarray) -> bytes:
    """The frame's raw planar 4:2:0 bytes (I420), as `from_yuv420` takes them."""
    luma, chroma = _parted(frames.check(frame), 2, 2)
    return luma.tobytes() + chroma.tobytes()


def subsampled(frame: np.ndarray, sampling: str, picked: bool = False) -> np.ndarray:
    """The frame after a round trip through 8-bit Y'CbCr with its chroma averaged over the sampling's pixels.

    Args:
      frame: uint8 [H, W, 3].
      sampling: of SAMPLINGS.
      picked: take the first pixel's chroma instead of the mean, as fast converters (FFmpeg's) do.
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling: {sampling!r} is none of {', '.join(SAMPLINGS)}")
    down, across = SAMPLINGS[sampling]
    return _joined(*_parted(frames.check(frame), down, across, picked), down, across)


def _parted(frame: np.ndarray, down: int, across: int, picked: bool = False) -> Tuple[np.ndarray, np.ndarray]:
    """(Y uint8 [H, W], U and V uint8 [2, h, w]), each chroma sample the mean over `down` × `across` pixels."""
    height, width = frame.shape[:2]
    planes = np.moveaxis(frame.astype(np.float32) @ _TO_YUV.T + _OFFSET, -1, 0)
    if picked:
        chroma = planes[1:, ::down, ::across]
    else:
        chroma = np.pad(planes[1:], ((0, 0), (0, -height % down), (0, -width % across)), "edge")
        chroma = chroma.reshape(2, chroma.shape[1] // down, down, chroma.shape[2] // across, across).mean(axis=(2, 4))
    return np.rint(planes[0]).astype(np.uint8), np.rint(chroma).astype(np.uint8)


def _joined(luma: np.ndarray, chroma: np.ndarray, down: int, across: int) -> np.ndarray:
    """uint8 RGB [H, W, 3] of Y [H, W] and of U and V [2, h, w], each of whose samples serves `down` × `across`."""
    height, width = luma.shape
    large = chroma.repeat(down, axis=1).repeat(across, axis=2)[:, :height, :width]
    yuv = np.stack([luma, *large], axis=-1).astype(np.float32) - _OFFSET
    rgb = yuv @ _TO_RGB.T
    return np.rint(np.clip(rgb, 0.0, 255.0, out=rgb), out=rgb).astype(np.uint8)
