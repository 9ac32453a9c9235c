"""Streams of frames for a monitor: image folders, `.npy` stacks, videos; cameras and raw bytes are in `live`.

A source never stops for a bad frame: it hands on an item that says why there is none. It runs on the device: NumPy
alone, OpenCV for images, videos and cameras.
"""
from __future__ import annotations

import os
import time
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from leanood.data import decoder, folders, frames


class Item(NamedTuple):
    """One frame of a stream, or the reason why it is missing."""

    name: str
    frame: Optional[np.ndarray]  # uint8 RGB [H, W, 3]
    problem: str  # "" where there is a frame
    captured: float  # time.perf_counter() when the source began to have it
    dropped: int = 0  # frames left out before this one, because the reader was slow


class Source:
    """Iterating gives items; None in between means that nothing came for a while (look whether you should stop).

    Attributes:
      live: whether frames are lost unless they are read in time.
      length: number of frames, None where nobody knows.
    """

    live = False
    length: Optional[int] = None

    def items(self, start: int = 0) -> Iterator[Optional[Item]]:
        """The items from number `start` on."""
        raise NotImplementedError

    def close(self) -> None:
        """Lets go of files and devices."""


def open(spec: str, *, frame_size: Optional[Tuple[int, int]] = None,  # noqa: A001
         stall_s: float = 5.0) -> Source:
    """The source that `spec` names.

    Args:
      spec: a folder of images or `.npy` frames, a `.npy` file [N, H, W, 3], a video file, a camera's number, or "-":
        raw RGB frames on standard input.
      frame_size: (height, width) of raw frames.
      stall_s: a live source that gives nothing for so long gives an item without a frame.

    Raises:
      ValueError, OSError: if there is no such source.
    """
    if not stall_s > 0:
        raise ValueError(f"stall_s is {stall_s}, it must be positive")
    if spec == "-" or spec.isdigit():
        from leanood.data import live

        if spec != "-":
            return live.camera(int(spec), stall_s)
        if frame_size is None:
            raise ValueError("raw frames on standard input need their size: --frame_size=HEIGHTxWIDTH")
        return live.Raw(0, frame_size, stall_s)
    if os.path.isdir(spec):
        return _Folder(spec)
    if not os.path.exists(spec):
        raise FileNotFoundError(f"source {spec} does not exist (it can be a folder, a .npy file, a video, a camera's "
                                "number, or - for raw frames)")
    if spec.lower().endswith(".npy"):
        return _Stack(spec)
    if spec.lower().endswith(frames.IMAGE_SUFFIXES):
        return _Files([spec])
    return _Video(spec)


class _Files(Source):
    """Image files, in the order given."""

    def __init__(self, paths: List[str]) -> None:
        self._paths = paths
        self.length = len(paths)

    def items(self, start: int = 0) -> Iterator[Optional[Item]]:
        for path in self._paths[start:]:
            begin = time.perf_counter()
            try:
                yield Item(path, frames.read_image(path), "", begin)
            except frames.FrameError as error:
                yield Item(path, None, str(error), begin)


class _Folder(_Files):
    """A folder's images, sub-folders too, in natural order (2 before 10)."""

    def __init__(self, folder: str) -> None:
        found = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names
                 if name.lower().endswith(frames.IMAGE_SUFFIXES)]
        if not found:
            raise ValueError(f"source {folder} has no images ({' '.join(frames.IMAGE_SUFFIXES)})")
        super().__init__(sorted(found, key=folders.natural_key))


class _Stack(Source):
    """A `.npy` file of frames [N, H, W, 3], or of one, read frame by frame."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = _open(path)
        try:
            version = np.lib.format.read_magic(self._file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, self._dtype = read(self._file)
        except (ValueError, EOFError) as error:
            self._file.close()
            raise ValueError(f"source {path} is no .npy file: {str(error).splitlines()[0]}") from None
        self._start = self._file.tell()
        if len(shape) not in (3, 4) or shape[-1] not in (1, 3) or fortran or self._dtype.hasobject:
            self._file.close()
            raise ValueError(f"source {path} holds {self._dtype} {list(shape)}, frames are [N, height, width, 3]")
        self.length, self._shape = (int(shape[0]), shape[1:]) if len(shape) == 4 else (1, shape)

    def items(self, start: int = 0) -> Iterator[Optional[Item]]:
        size = int(np.prod(self._shape)) * self._dtype.itemsize
        for i in range(start, self.length or 0):
            begin, name = time.perf_counter(), f"{self._path}[{i}]"
            try:
                self._file.seek(self._start + i * size)
                data = self._file.read(size)
                if len(data) < size:
                    raise frames.FrameError(f"{name}: the file ends before it")
                frame = np.frombuffer(data, self._dtype).reshape(self._shape)
                frame = np.repeat(frame, 3, -1) if self._shape[-1] == 1 else frame
                yield Item(name, frames.check(frame, name), "", begin)
            except frames.FrameError as error:
                yield Item(name, None, str(error), begin)
            except OSError as error:
                yield Item(name, None, f"{name}: cannot be read ({error.strerror or error})", begin)

    def close(self) -> None:
        self._file.close()


class _Video(Source):
    """A video file, by OpenCV."""

    def __init__(self, path: str) -> None:
        self._cv2 = opencv("videos")
        self._path = path
        self._capture = self._cv2.VideoCapture(path)
        if not self._capture.isOpened():
            raise ValueError(f"source {path} is no video that OpenCV can read")
        declared = int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        self.length = declared if declared > 0 else None

    def items(self, start: int = 0) -> Iterator[Optional[Item]]:
        for _ in range(start):  # seeking lands on key frames, decoding doesn't
            if not self._capture.grab():
                return
        i = start
        while True:
            begin = time.perf_counter()
            there, frame = self._capture.read()
            if not there:
                break
            yield Item(f"{self._path}[{i}]", self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB), "", begin)
            i += 1
        if i == 0 or (self.length is not None and i < self.length):
            missing = f"only {i} of its {self.length} frames can be decoded, the rest is damaged or cut off"
            yield Item(f"{self._path}[{i}]", None, f"{self._path}: {missing}", time.perf_counter())

    def close(self) -> None:
        self._capture.release()


def opencv(what: str) -> Any:
    """The cv2 module; raises ValueError where it is not installed."""
    cv2 = decoder.opencv()
    if cv2 is None:
        raise ValueError(f"{what} need OpenCV: pip install 'leanood[video]'")
    return cv2


def _open(path: str) -> Any:
    import builtins

    return builtins.open(path, "rb")
