"""Video files as data sets, frame by frame (OpenCV)."""
from __future__ import annotations

import collections
import os
import threading
from typing import Any, Optional

import cv2
import numpy as np

from leanood.data import dataset, frames, splits

_KEPT = 2 * dataset.CHUNK  # decoded frames: two threads read neighbouring chunks of one stream
_FORWARD = 250  # further ahead than this it pays to seek instead of decoding what lies between


class Video:
    """A video file's frames by number; safe to read from several threads, fast where they read about in order.

    Args:
      path: the file.

    Attributes:
      count: the number of frames that the file announces.
      fps: frames a second; 0 if the file does not say.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept: Any = collections.OrderedDict()
        self._capture = _open(path)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if np.isfinite(fps) and 0 < fps <= 1000 else 0.0
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.count = int(count) if 0 < count < 1 << 31 else self._counted()
        self._next = 0
        self._end = self.count
        if self.count < 1:
            raise ValueError(f"{path}: the video has no frames")

    def read(self, i: int) -> np.ndarray:
        """Frame i, uint8 RGB [H, W, 3], read-only; raises frames.FrameError if the video cannot be decoded so far."""
        with self._lock:
            if i not in self._kept:
                self._decode_to(i)
            return self._kept[i]

    def _decode_to(self, i: int) -> None:
        if not self._next <= i <= self._next + _FORWARD:
            self._seek(i)
        while self._next <= i:
            image = self._capture.read()[1] if self._next < self._end else None
            if image is None:
                self._end = min(self._end, self._next)
                raise frames.FrameError(f"{self._path}#{i:06d}: cannot be decoded; the video is damaged or cut short")
            frame = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            frame.setflags(write=False)  # it may be handed out again
            self._kept[self._next] = frame
            self._next += 1
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)

    def _seek(self, i: int) -> None:
        if i > 0 and self._capture.set(cv2.CAP_PROP_POS_FRAMES, i):
            self._next = int(round(self._capture.get(cv2.CAP_PROP_POS_FRAMES)))
            if self._next == i:
                return
        self._capture.release()
        self._capture = _open(self._path)
        self._next = 0

    def _counted(self) -> int:
        count = 0
        while self._capture.grab():
            count += 1
        self._capture.release()
        self._capture = _open(self._path)
        return count


def open(path: str, *, split_csv: Optional[str] = None, times_csv: Optional[str] = None,  # noqa: A001
         fps: float = 20.0) -> dataset.Dataset:
    """The data set of a video file: one recording, cut by time into splits; frames are named "FILE#000123".

    Args:
      path: the file.
      split_csv, times_csv: as for image folders, by those names.
      fps: frames a second where neither the file nor `times_csv` says.
    """
    video = Video(path)
    base = os.path.basename(path)
    names = tuple(f"{base}#{i:06d}" for i in range(video.count))
    recording = np.zeros(len(names), np.int64)
    sequence, rate, seconds = splits.recorded(recording, names, times_csv, video.fps or fps)
    split = splits.by_time(recording, rate)
    ood = splits.ood_from_csv(times_csv, names) if times_csv else np.zeros(len(names), bool)
    split[np.isin(sequence, sequence[ood])] = "ood"
    if split_csv:
        split = splits.from_csv(split_csv, names)
        ood |= split == "ood"
    return dataset.Dataset(
        names=names, partition=np.full(len(names), os.path.splitext(base)[0]),
        sequence=splits.cut_sequences(sequence, split), split=split, ood=ood, partition_kind="subset",
        fps=rate, read=video.read, description=f"{base} ({len(names)} frames)", seconds=seconds)


def _open(path: str) -> Any:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    # Named outright: OpenCV's own choice would take a % in the path for a numbered series of images.
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ValueError(f"{path}: not a video that OpenCV can decode, nor an image folder")
    return capture
