"""Frames: uint8 RGB [H, W, 3]. Reading one from a file, checking one, and the one area resize.

Training, calibration and device share this resize, so that a detector meets the pixels that it was calibrated on.
This module runs on the device: it needs NumPy alone; OpenCV decodes images and speeds the resize up where it is there.
"""
from __future__ import annotations

import functools
import os
from typing import Any, Tuple

import numpy as np

from leanood.data import decoder, integrity, npy
from leanood.files import regular

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff", ".npy")
_LARGEST = 512 << 20  # bytes of an image file


class FrameError(ValueError):
    """A frame that must not be scored: corrupt, of a wrong shape or type, or not finite."""


def check(frame: Any, name: str = "frame") -> np.ndarray:
    """The frame as uint8 RGB [H, W, 3]; raises FrameError, naming it, if it is none.

    Args:
      frame: [H, W, 3], uint8 as it is (not copied); or floating, finite and within [0, 1], which becomes
        rint(255 · frame). Other types, channels and dimensions, NaN and infinity are refused.
      name: what the error calls it.
    """
    frame = np.asarray(frame)
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise FrameError(f"{name}: its shape is {_shape(frame)}, a frame's is [height, width, 3] (RGB)")
    if 0 in frame.shape:
        raise FrameError(f"{name}: its shape is {_shape(frame)}, it has no pixels")
    if frame.dtype == np.uint8:
        return frame
    if frame.dtype.kind != "f":
        raise FrameError(f"{name}: its type is {frame.dtype}, a frame's is uint8 (or float within [0, 1])")
    low, high = float(frame.min()), float(frame.max())  # both are NaN if one pixel is
    if not np.isfinite(low + high):
        raise FrameError(f"{name}: it has pixels that are not finite (NaN or infinity)")
    if low < 0.0 or high > 1.0:
        raise FrameError(f"{name}: its floats lie in [{low:g}, {high:g}], a float frame's in [0, 1]; or pass uint8")
    return np.rint(frame * np.float32(255)).astype(np.uint8)


def from_bytes(data: bytes, size: Tuple[int, int], name: str = "frame") -> np.ndarray:
    """A raw frame (rows of RGB bytes, no header) as uint8 [H, W, 3], read-only.

    Args:
      data: exactly H · W · 3 bytes.
      size: (H, W).
      name: what the error calls it.
    """
    height, width = size
    if len(data) != height * width * 3:
        raise FrameError(f"{name}: {len(data)} bytes, a raw {width}x{height} RGB frame has {height * width * 3}")
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def read_image(path: Any) -> np.ndarray:
    """The image file's frame, uint8 RGB [H, W, 3].

    Grey images get three equal channels, an alpha channel is dropped, 16-bit images are scaled to 8, EXIF rotation is
    applied. `.npy` files (uint8, or float within [0, 1]) are read by NumPy alone, others need OpenCV.

    Raises:
      FrameError: naming the file, if it is missing, empty, truncated, corrupt or not an image.
    """
    name = os.fspath(path)
    try:
        with regular.open(name) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST:
                raise FrameError(f"{name}: larger than {_LARGEST >> 20} MiB, which no image is")
            if name.lower().endswith(".npy"):
                return check(_rgb(npy.read(file)), name)
            data = file.read()
    except FrameError:
        raise
    except OSError as error:
        raise FrameError(f"{name}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise FrameError(f"{name}: {error}") from None
    return decode(data, name)


def decode(data: bytes, name: str = "image") -> np.ndarray:
    """The frame in an encoded image's bytes, uint8 RGB [H, W, 3], as `read_image` reads it from a file."""
    wrong = integrity.problem(data)
    if wrong:
        raise FrameError(f"{name}: {wrong}")
    cv2 = decoder.opencv()
    if cv2 is None:
        raise FrameError(f"{name}: reading images needs OpenCV: pip install 'leanood[video]'")
    image, complaint = decoder.decode(data)
    if complaint:
        raise FrameError(f"{name}: damaged ({complaint})")
    if image is None:
        raise FrameError(f"{name}: not an image that OpenCV can decode")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def resize(frames: np.ndarray, size: Tuple[int, int], opencv: bool = True) -> np.ndarray:
    """The frames at another size, uint8 [..., h, w, 3], each output pixel the mean over the area that it covers.

    Shrinking by two and more begins with halvings (means of 2×2 pixels, rounded), as long as both sides are even: they
    cost an eighth of the general resize, which then has little left to do. With and without OpenCV the result is the
    same but for one level on rare rounding ties.

    Args:
      frames: uint8 [..., H, W, 3]; returned as they are if they already have that size.
      size: (h, w), smaller or larger.
      opencv: False never uses OpenCV.
    """
    if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] != 3:
        raise FrameError(f"frames: {getattr(frames, 'dtype', type(frames))} {_shape(np.asarray(frames))}, "
                         "to be resized they must be uint8 [..., height, width, 3]")
    height, width = frames.shape[-3:-1]
    new_height, new_width = int(size[0]), int(size[1])
    if min(new_height, new_width, height, width) < 1:
        raise FrameError(f"size: cannot resize {height}x{width} to {new_height}x{new_width}")
    if (height, width) == (new_height, new_width):
        return frames
    flat = frames.reshape((-1, height, width, 3))
    out = np.empty((len(flat), new_height, new_width, 3), np.uint8)
    cv2 = decoder.opencv() if opencv else None
    count = halvings((height, width), (new_height, new_width))
    for source, target in zip(flat, out):
        for _ in range(count):
            source = _halve(source, target, cv2)
        if source is not target:
            _resize_area(source, target, cv2)
    return out.reshape(frames.shape[:-3] + out.shape[1:])


def halvings(size: Tuple[int, int], smaller: Tuple[int, int]) -> int:
    """How many halvings `resize` begins with on the way from `size` to `smaller`, both (height, width)."""
    count = 0
    (height, width), (new_height, new_width) = size, smaller
    while height >= 2 * new_height and width >= 2 * new_width and height % 2 == 0 and width % 2 == 0:
        height, width, count = height // 2, width // 2, count + 1
    return count


def _halve(image: np.ndarray, last: np.ndarray, cv2: Any) -> np.ndarray:
    """Means of 2×2 pixels, halves rounded up, as OpenCV does it: in `last` if they fit in it."""
    shape = image.shape[0] // 2, image.shape[1] // 2, 3
    half = last if last.shape == shape else np.empty(shape, np.uint8)
    if cv2 is not None:
        cv2.resize(image, (shape[1], shape[0]), dst=half, interpolation=cv2.INTER_AREA)
        return half
    rows = image[0::2].astype(np.uint16)
    rows += image[1::2]
    sums = rows[:, 0::2] + rows[:, 1::2]
    half[...] = (sums + 2) >> 2
    return half


def _resize_area(source: np.ndarray, target: np.ndarray, cv2: Any) -> None:
    """Writes into `target` the means over the areas that its pixels cover of `source`."""
    (height, width), (new_height, new_width) = source.shape[:2], target.shape[:2]
    if (height, width) == (new_height, new_width):
        target[...] = source
    # Where an axis grows, OpenCV's "area" is another: a bilinear sample if the other shrinks; where pixels' borders
    # coincide (6 rows to 34) it may take the wrong neighbour.
    elif cv2 is not None and height >= new_height and width >= new_width:
        cv2.resize(source, (new_width, new_height), dst=target, interpolation=cv2.INTER_AREA)
    elif height % new_height == 0 and width % new_width == 0:
        _shrink_by_integers(source, target)
    else:
        rows = taps(height, new_height)
        columns = taps(width, new_width)
        half = np.ascontiguousarray(_resize_rows(source, *rows).swapaxes(0, 1))
        full = _resize_rows(half, *columns)
        target[...] = np.rint(full, out=full).swapaxes(0, 1)


def _shrink_by_integers(source: np.ndarray, target: np.ndarray) -> None:
    """Writes the block means of `source`, rounded as OpenCV rounds them, into `target`."""
    down, across = source.shape[0] // target.shape[0], source.shape[1] // target.shape[1]
    area = down * across
    total: Any = np.uint16 if area * 255 < 1 << 16 else np.uint32
    rows: Any = source[0::down].astype(total)
    for i in range(1, down):
        rows += source[i::down]
    sums = rows[:, 0::across].copy()
    for i in range(1, across):
        sums += rows[:, i::across]
    target[...] = np.rint(sums * np.float32(1.0 / area))


def _resize_rows(image: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """float32 [count, ...]: `image` [n, ...] resized along its first axis by `taps`."""
    out = np.zeros((rows.shape[1],) + image.shape[1:], np.float32)
    for row, weight in zip(rows, weights):
        out += image[row] * weight[:, None, None]
    return out


@functools.lru_cache(maxsize=64)
def taps(length: int, count: int) -> Tuple[np.ndarray, np.ndarray]:
    """(rows, weights), int [K, count], float32 [K, count]: the cells of `length` that each of `count` covers."""
    scale = length / count
    begin = np.arange(count) * scale
    end = np.minimum(begin + scale, length)
    first = np.floor(begin).astype(np.int64)
    rows = first + np.arange(int(np.ceil(scale)) + 1)[:, None]
    overlap = np.clip(np.minimum(end, rows + 1) - np.maximum(begin, rows), 0.0, None)
    overlap[overlap < 1e-6] = 0.0  # the rounding of begin and end is no overlap
    used = overlap.any(axis=1)
    weights = (overlap / overlap.sum(axis=0))[used].astype(np.float32)
    return np.minimum(rows, length - 1)[used], weights


def _rgb(image: np.ndarray) -> np.ndarray:
    """`image` [H, W], [H, W, 1 | 3 | 4] with three channels: grey repeated, alpha dropped."""
    if image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 1):
        return np.repeat(image.reshape(image.shape[:2] + (1,)), 3, axis=-1)
    return image[..., :3] if image.ndim == 3 and image.shape[-1] == 4 else image


def _shape(array: np.ndarray) -> str:
    return "[" + ", ".join(str(n) for n in array.shape) + "]"
