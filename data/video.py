"""Video files as data sets, frame by frame (OpenCV)."""
from __future__ import annotations

import collections
import os
import threading
from typing import Any, Optional, Sequence

import cv2
import numpy as np

from leanood.data import dataset, folders, frames, splits

_KEPT = 2 * dataset.CHUNK  # decoded frames: two threads read neighbouring chunks of one stream
_OPEN = 3  # videos of a folder that are open at a time: each keeps its last frames
_AGREE = 1.02  # frames a second of a folder's videos: 30 and 29.97 are one rate
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


class Films:
    """Several videos' frames by number, a few of the files open at a time; safe to read from several threads.

    Args:
      paths: the files.

    Attributes:
      counts, rates: of each, as of `Video`.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        self._lock = threading.Lock()
        self._open: Any = collections.OrderedDict()
        films = [self._film(number) for number in range(len(self._paths))]
        self.counts, self.rates = [film.count for film in films], [film.fps for film in films]
        self._begins = np.cumsum([0, *self.counts])

    def read(self, i: int) -> np.ndarray:
        """Frame i, counted over all files one after another, as of `Video.read`."""
        number = int(np.searchsorted(self._begins, i, "right")) - 1
        return self._film(number).read(i - int(self._begins[number]))

    def _film(self, number: int) -> Video:
        with self._lock:
            film = self._open.pop(number, None) or Video(self._paths[number])
            self._open[number] = film
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
            return film


def open(path: str, *, split_csv: Optional[str] = None, times_csv: Optional[str] = None,  # noqa: A001
         fps: float = 20.0) -> dataset.Dataset:
    """The data set of a video file or of a folder of them: each a recording, cut by time into splits.

    Frames are named "FILE#000123". A lone video is a partition by its name, in a folder those of a sub-folder are one.

    Args:
      path: the file or the folder.
      split_csv, times_csv: as for image folders, by those names.
      fps: frames a second where neither the file nor `times_csv` says.

    Raises:
      ValueError: naming the video that can't be decoded, or two whose frames a second differ.
    """
    whole = os.path.isdir(path)
    labels = folders.files(path, frames.VIDEO_SUFFIXES) if whole else (os.path.basename(path),)
    root = path if whole else os.path.dirname(path)
    if os.path.isfile(os.path.join(root, folders.LABELS)) and whole:
        raise ValueError(f"{path}: {folders.LABELS} is read beside images; of videos, a column `ood` of --times_csv "
                         "says which frames are out of distribution")
    films = Films([os.path.join(root, *label.split("/")) for label in labels])
    rates = np.array([rate or fps for rate in films.rates])
    if rates.max() > _AGREE * rates.min() and not times_csv:
        raise ValueError(f"{path}: {labels[rates.argmin()]} has {rates.min():g} frames a second, "
                         f"{labels[rates.argmax()]} {rates.max():g}; a detector counts in frames: bring them to one "
                         "rate")
    names = tuple(f"{label}#{i:06d}" for label, count in zip(labels, films.counts) for i in range(count))
    recording = np.repeat(np.arange(len(labels)), films.counts)
    sequence, rate, seconds = splits.recorded(recording, names, times_csv, float(np.median(rates)))
    split = splits.by_time(recording, rate)
    ood = splits.ood_from_csv(times_csv, names) if times_csv else np.zeros(len(names), bool)
    split[np.isin(sequence, sequence[ood])] = "ood"
    if split_csv:
        split = splits.from_csv(split_csv, names)
        ood |= split == "ood"
    base = os.path.basename(os.path.abspath(path))
    parts = [os.path.dirname(label) or "all" for label in labels] if whole else [os.path.splitext(base)[0]]
    return dataset.Dataset(
        names=names, partition=np.repeat(parts, films.counts),
        sequence=splits.cut_sequences(sequence, split), split=split, ood=ood, partition_kind="subset",
        fps=rate, read=films.read, seconds=seconds,
        description=f"{base} ({f'{len(labels)} videos, ' if whole else ''}{len(names)} frames)")


def _open(path: str) -> Any:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    # Named outright: OpenCV's own choice would take a % in the path for a numbered series of images.
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise ValueError(f"{path}: not a video that OpenCV can decode, nor an image folder")
    return capture
