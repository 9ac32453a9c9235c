"""Benign changes that nothing is fitted to: other codecs, lenses, sensors and tones.

The list was written down before any detector was judged by it, but for the last three, of which a person sees two. On
validation frames it was in view when the links of `data/variants.py` were chosen; on test frames it has chosen nothing.
"""
from __future__ import annotations

import os
import tempfile
from typing import Any, Callable, Dict

import cv2
import numpy as np

from leanood.data import codecs

Change = Callable[[np.ndarray, int], np.ndarray]


def changes() -> Dict[str, Change]:
    """Name -> the change of a frame uint8 [H, W, 3] with its number."""
    return {
        "WebP at quality 80": _still(".webp", cv2.IMWRITE_WEBP_QUALITY, 80),
        "WebP at quality 90": _still(".webp", cv2.IMWRITE_WEBP_QUALITY, 90),
        "JPEG 2000": _still(".jp2", cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 200),
        "JPEG twice": lambda frame, i: codecs.jpeg(codecs.jpeg(frame, 88), 80),
        "MPEG-2": _video("MPG2", ".avi"), "WMV": _video("WMV2", ".avi"), "Flash video": _video("FLV1", ".flv"),
        "limited range": _limited_range,
        "turned by 0.5°": _moved(0.5, 1.0), "turned by -1°": _moved(-1.0, 1.0),
        "1% larger": _moved(0.0, 1.01), "2% larger": _moved(0.0, 1.02),
        "saturation -5%": _saturation(0.95), "saturation +5%": _saturation(1.05),
        "contrast -3%": _linear(0.97, 128 * 0.03), "contrast +3%": _linear(1.03, -128 * 0.03),
        "2 levels brighter": _linear(1.0, 2.0), "2 levels darker": _linear(1.0, -2.0),
        "blur of 0.4 pixels": lambda frame, i: cv2.GaussianBlur(frame, (3, 3), 0.4),
        "denoised": lambda frame, i: cv2.bilateralFilter(frame, 5, 6, 2),
        "vignette of 4%": _vignette, "shot noise": _shot_noise, "noise of luma": _luma_noise,
        "6 bits a channel": lambda frame, i: (frame & 0xFC) + 2,
        "RGB565": _rgb565, "a black line around it": _framed, "every other row a pixel aside": _interlaced,
    }


def _rgb565(frame: np.ndarray, i: int) -> np.ndarray:
    most = (1 << np.array([5, 6, 5])) - 1
    return _rounded(np.floor(frame / 255.0 * most + 0.5) / most * 255)


def _framed(frame: np.ndarray, i: int) -> np.ndarray:
    return cv2.copyMakeBorder(frame[1:-1, 1:-1], 1, 1, 1, 1, cv2.BORDER_CONSTANT)


def _interlaced(frame: np.ndarray, i: int) -> np.ndarray:
    out = frame.copy()
    out[1::2, 1:] = frame[1::2, :-1]
    return out


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _still(suffix: str, *options: int) -> Change:
    def change(frame: np.ndarray, i: int) -> np.ndarray:
        data = cv2.imencode(suffix, np.ascontiguousarray(frame[..., ::-1]), list(options))[1]
        return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return change


def _video(code: str, suffix: str) -> Change:
    """Each frame as a key frame."""
    def change(frame: np.ndarray, i: int) -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "frame" + suffix)
            size, before = frame.shape[1::-1], cv2.getLogLevel()
            cv2.setLogLevel(0)  # it would tell of a tag that it replaces
            writer: Any = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 20.0, size)
            cv2.setLogLevel(before)
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            writer.release()
            reader = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
            there, coded = reader.read()
            reader.release()
            if not there:
                raise ValueError(f"this OpenCV writes no {code}")
            return cv2.cvtColor(coded, cv2.COLOR_BGR2RGB)
    return change


def _limited_range(frame: np.ndarray, i: int) -> np.ndarray:
    """Luma and chroma squeezed into 16 to 235 and 240, rounded, and back."""
    coded = cv2.cvtColor(frame, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    scale, zero = np.array([219, 224, 224], np.float32) / 255, np.array([0, 128, 128], np.float32)
    coded = np.rint((coded - zero) * scale) / scale + zero
    return cv2.cvtColor(_rounded(coded), cv2.COLOR_YCrCb2RGB)


def _moved(degrees: float, scale: float) -> Change:
    def change(frame: np.ndarray, i: int) -> np.ndarray:
        height, width = frame.shape[:2]
        matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), degrees, scale)
        return cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return change


def _saturation(factor: float) -> Change:
    def change(frame: np.ndarray, i: int) -> np.ndarray:
        grey = frame.mean(axis=-1, keepdims=True)
        return _rounded(grey + (frame - grey) * factor)
    return change


def _linear(gain: float, offset: float) -> Change:
    return lambda frame, i: _rounded(frame * gain + offset)


def _vignette(frame: np.ndarray, i: int) -> np.ndarray:
    height, width = frame.shape[:2]
    down, across = np.mgrid[:height, :width]
    squared = ((down / height - 0.5) ** 2 + (across / width - 0.5) ** 2) / 0.5
    return _rounded(frame * (1 - 0.04 * squared)[..., np.newaxis])


def _shot_noise(frame: np.ndarray, i: int) -> np.ndarray:
    """Its variance grows with the light, to 1.5 levels of standard deviation at white."""
    return _rounded(frame + np.random.default_rng(i).normal(size=frame.shape) * np.sqrt(frame / 255.0) * 1.5)


def _luma_noise(frame: np.ndarray, i: int) -> np.ndarray:
    return _rounded(frame + 1.2 * np.random.default_rng(i).normal(size=(*frame.shape[:2], 1)))
