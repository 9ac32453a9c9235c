"""Streams of recorded frames: image files and folders, `.npy` stacks, videos. On the device: NumPy alone, OpenCV for
images and videos.
"""
from __future__ import annotations

import contextlib
import itertools
import os
import re
import time
from typing import Iterator, List, Optional, Sequence

import numpy as np

from leanood.data import decoder, folders, frames, npy, stream
from leanood.files import regular

_LARGEST = 1 << 30  # bytes of a stack's frame

_DIGITS = re.compile(r"\d+")


class Files(stream.Stream):
    """Image files, in the order given."""

    def __init__(self, paths: List[str]) -> None:
        if any(not path.lower().endswith(".npy") for path in paths):
            decoder.required("image files")
        self._paths = paths
        self._gaps = gaps(paths)
        self.length = len(paths)

    def items(self, start: int = 0) -> Iterator[Optional[stream.Item]]:
        for path, gap in zip(self._paths[start:], self._gaps[start:]):
            begin = time.perf_counter()
            try:
                yield stream.Item(path, frames.read_image(path), "", begin, gap=gap)
            except frames.FrameError as error:
                yield stream.Item(path, None, str(error), begin)


def gaps(paths: Sequence[str]) -> List[bool]:
    """For each file whether one is missing before it: the numbers in the names step by more than they usually do.

    A file of another folder than the one before begins anew. Names without numbers have no gaps.
    """
    runs = [_DIGITS.findall(os.path.splitext(os.path.basename(path))[0]) for path in paths]
    numbers = [int(digits[-1]) if digits else None for digits in runs]
    steps = [None if a is None or b is None else b - a for a, b in zip(numbers, numbers[1:])]
    forward = sorted(step for step in steps if step is not None and step > 0)
    step = forward[len(forward) // 2] if forward else 0
    jumps = [bool(step) and stride is not None and not 0 < stride <= step for stride in steps]
    moved = [os.path.dirname(a) != os.path.dirname(b) for a, b in zip(paths, paths[1:])]
    return [False] + [jump or other for jump, other in zip(jumps, moved)] if paths else []


def folder(path: str) -> stream.Stream:
    """A folder's images, or else its videos, sub-folders too, in natural order (2 before 10)."""
    paths = [os.path.join(path, *name.split("/"))
             for name in folders.files(path, frames.IMAGE_SUFFIXES + frames.VIDEO_SUFFIXES)]
    images = [name for name in paths if name.lower().endswith(frames.IMAGE_SUFFIXES)]
    if images:
        return Files(images)
    if paths:
        return Videos(paths)
    raise ValueError(f"source {path} has no images ({' '.join(frames.IMAGE_SUFFIXES)}) and no videos "
                     f"({' '.join(frames.VIDEO_SUFFIXES)}){folders.others(path)}")


class Stack(stream.Stream):
    """A `.npy` file of frames [N, H, W, 3], or of one, read frame by frame."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = regular.open(path)
        try:
            told = npy.header(self._file)
        except ValueError as error:
            self._file.close()
            raise ValueError(f"source {path}: {error}") from None
        self._start, self._dtype, shape = told.start, told.dtype, told.shape
        if len(shape) not in (3, 4) or shape[-1] not in (1, 3) or told.fortran or 0 in shape[1:]:
            self._file.close()
            raise ValueError(f"source {path} holds {self._dtype} {list(shape)}, frames are [N, height, width, 3]")
        if told.size // (shape[0] if len(shape) == 4 else 1) > _LARGEST:
            self._file.close()
            raise ValueError(f"source {path} says that a frame is {list(shape[-3:])}: larger than any camera's")
        self.length, self._shape = (int(shape[0]), shape[1:]) if len(shape) == 4 else (1, shape)

    def items(self, start: int = 0) -> Iterator[Optional[stream.Item]]:
        size = int(np.prod(self._shape)) * self._dtype.itemsize
        for i in range(start, self.length or 0):
            begin, name = time.perf_counter(), f"{self._path}[{i}]"
            try:
                self._file.seek(self._start + i * size)
                data = self._file.read(size)
                if len(data) < size:  # whatever number of frames its header promises
                    yield stream.Item(name, None, f"{name}: the file ends before it", begin)
                    return
                frame = np.frombuffer(data, self._dtype).reshape(self._shape)
                frame = np.repeat(frame, 3, -1) if self._shape[-1] == 1 else frame
                yield stream.Item(name, frames.check(frame, name), "", begin)
            except frames.FrameError as error:
                yield stream.Item(name, None, str(error), begin)
            except OSError as error:
                yield stream.Item(name, None, f"{name}: cannot be read ({error.strerror or error})", begin)

    def close(self) -> None:
        self._file.close()


class Video(stream.Stream):
    """A video file, by OpenCV."""

    def __init__(self, path: str) -> None:
        self._cv2 = decoder.required("videos")
        self._path = path
        self._capture = self._cv2.VideoCapture(path)
        if not self._capture.isOpened():
            raise ValueError(f"source {path} is no video that OpenCV can read")
        declared = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self.length = declared if declared > 0 else None

    def items(self, start: int = 0) -> Iterator[Optional[stream.Item]]:
        for _ in range(start):  # seeking lands on key frames, decoding doesn't
            if not self._capture.grab():
                return
        i = start
        while True:
            begin = time.perf_counter()
            there, frame = self._capture.read()
            if not there:
                break
            yield stream.Item(f"{self._path}[{i}]", self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), "", begin)
            i += 1
        if i == 0 or (self.length is not None and i < self.length):
            missing = f"only {i} of its {self.length} frames can be decoded, the rest is damaged or cut off"
            yield stream.Item(f"{self._path}[{i}]", None, f"{self._path}: {missing}", time.perf_counter())

    def close(self) -> None:
        self._capture.release()


class Videos(stream.Stream):
    """Video files one after another; a file that can't be read is one invalid frame."""

    def __init__(self, paths: List[str]) -> None:
        decoder.required("videos")
        self._paths = paths
        lengths = [_length(path) for path in paths]
        self.length = None if None in lengths else sum(length or 0 for length in lengths)

    def items(self, start: int = 0) -> Iterator[Optional[stream.Item]]:
        return itertools.islice(self._all(), start, None)  # how many frames a file has is known when it has been read

    def _all(self) -> Iterator[Optional[stream.Item]]:
        for number, path in enumerate(self._paths):
            try:
                film = _film(path)
            except ValueError as error:
                yield stream.Item(path, None, str(error), time.perf_counter())
                continue
            with contextlib.closing(film):
                begins = number > 0
                for item in film.items():
                    yield item._replace(gap=begins) if item else item
                    begins = False


def _length(path: str) -> Optional[int]:
    """The number of items of a video file, None where it doesn't say."""
    try:
        with contextlib.closing(_film(path)) as film:
            return film.length
    except ValueError:
        return 1  # that says so


def _film(path: str) -> Video:
    if not os.path.isfile(path):  # a pipe would be waited for
        raise ValueError(f"source {path} is no file")
    return Video(path)
