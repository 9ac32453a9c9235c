"""Frames as they come back from a codec: JPEG, and video written and read again by OpenCV's FFmpeg."""
from __future__ import annotations

import os
import tempfile
from typing import Any, Mapping, Tuple

import cv2
import numpy as np

from leanood.data import frames

_SAMPLING = {"4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420, "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
             "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444}
# Name -> code and container. OpenCV's wheels write no H.264 (its encoder isn't theirs to ship); a system's OpenCV may.
VIDEO: Mapping[str, Tuple[str, str]] = {"mpeg4": ("mp4v", ".mp4"), "mjpg": ("MJPG", ".avi"), "h264": ("avc1", ".mp4"),
                                        "vp8": ("VP80", ".avi")}


def jpeg(frame: np.ndarray, quality: int, sampling: str = "4:2:0") -> np.ndarray:
    """The frame after a round trip through JPEG.

    Args:
      frame: uint8 [H, W, 3].
      quality: 1 to 100.
      sampling: of the chroma, 4:2:0, 4:2:2 or 4:4:4.
    """
    frame = frames.check(frame)
    if not 1 <= quality <= 100 or sampling not in _SAMPLING:
        raise ValueError(f"quality, sampling: {quality}, {sampling!r}; a JPEG's are 1 to 100 and one of "
                         f"{', '.join(_SAMPLING)}")
    options = [cv2.IMWRITE_JPEG_QUALITY, int(quality), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _SAMPLING[sampling]]
    data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), options)[1]
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def writes(codec: str) -> bool:
    """True if this OpenCV can write that video codec, one of VIDEO."""
    with tempfile.TemporaryDirectory() as folder:
        writer = _writer(folder, codec, (16, 16), 20.0)
        opened = bool(writer.isOpened())
        writer.release()
        return opened


def video(sequence: np.ndarray, codec: str, fps: float = 20.0) -> np.ndarray:
    """The sequence after it was written as a video file and read again, uint8 [T, H, W, 3].

    Args:
      sequence: uint8 [T, H, W, 3]; odd sides are padded by their last row or column, since chroma is halved.
      codec: of VIDEO.
      fps: frames a second; encoders deal out bits by it.

    Raises:
      ValueError: if this OpenCV doesn't write that codec.
    """
    height, width = sequence.shape[1:3]
    even = np.pad(sequence, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), "edge")
    out = np.empty_like(sequence)
    with tempfile.TemporaryDirectory() as folder:
        writer = _writer(folder, codec, even.shape[1:3], fps)
        if not writer.isOpened():
            raise ValueError(f"codec: this OpenCV writes no {codec}")
        for frame in even:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        reader = cv2.VideoCapture(_path(folder, codec), cv2.CAP_FFMPEG)
        for t in range(len(out)):
            there, frame = reader.read()
            if not there:
                raise ValueError(f"codec: {codec} gave {t} of {len(out)} frames back")
            out[t] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)[:height, :width]
        reader.release()
    return out


def _writer(folder: str, codec: str, size: Tuple[int, ...], fps: float) -> Any:
    if codec not in VIDEO:
        raise ValueError(f"codec: {codec!r} is none of {', '.join(VIDEO)}")
    before = cv2.getLogLevel()
    cv2.setLogLevel(0)  # that an encoder is missing is an answer here, no complaint
    try:
        return cv2.VideoWriter(_path(folder, codec), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*VIDEO[codec][0]), fps,
                               (size[1], size[0]))
    finally:
        cv2.setLogLevel(before)


def _path(folder: str, codec: str) -> str:
    return os.path.join(folder, "frames" + VIDEO[codec][1])
