"""Live sources of frames: cameras, of which only the newest frame counts, and raw frames through a pipe."""
from __future__ import annotations

import os
import select
import threading
import time
from typing import Callable, Iterator, List, Optional, Tuple

import numpy as np

from leanood.data import chroma, decoder, frames, stream

PIXEL_FORMATS = ("rgb", "yuv420")  # rows of RGB; planes Y, U, V with chroma halved both ways (FFmpeg's yuv420p)
_TICK_S = 0.2  # how long an iteration may take to notice that it should stop


class Live(stream.Stream):
    """A source that goes on by itself: a thread takes its frames, a slow reader gets the newest, others are dropped."""

    live = True

    def __init__(self, name: str, read: Callable[[], Optional[np.ndarray]], stall_s: float,
                 release: Callable[[], None] = lambda: None) -> None:
        """A live source.

        Args:
          name: what items are called.
          read: waits for the next frame, uint8 RGB [H, W, 3]; None if there is none to be had.
          stall_s: after so long without a frame an item without one is given; a source whose every read fails for so
            long has vanished.
          release: lets go of the device.
        """
        self._name, self._read, self._stall_s, self._release = name, read, stall_s, release
        self._arrived = threading.Condition()
        self._newest: Optional[Tuple[np.ndarray, float]] = None
        self._taken = 0
        self._thread = threading.Thread(target=self._capture, daemon=True)
        self._closed = self._vanished = False

    def items(self, start: int = 0) -> Iterator[Optional[stream.Item]]:
        self._thread.start()
        number, since = start, time.perf_counter()
        while not self._closed:
            with self._arrived:
                if self._newest is None and not self._vanished:
                    self._arrived.wait(_TICK_S)
                newest, taken = self._newest, self._taken
                self._newest, self._taken = None, 0
            now = time.perf_counter()
            if newest is not None:
                yield stream.Item(f"{self._name}[{number}]", newest[0], "", newest[1], taken - 1, newest[1])
                number, since = number + 1, time.perf_counter()
            elif self._vanished:
                yield stream.Item(f"{self._name}[{number}]", None, f"{self._name}: the source has vanished", now)
                return
            elif now - since >= self._stall_s:
                stalled = f"{self._name}: no frame for {self._stall_s:g} s"
                yield stream.Item(f"{self._name}[{number}]", None, stalled, now)
                number, since = number + 1, now
            else:
                yield None

    def _capture(self) -> None:
        failing_since: Optional[float] = None
        while not self._closed:
            frame = self._read()
            now = time.perf_counter()
            if frame is None:
                failing_since = failing_since or now
                if now - failing_since >= self._stall_s:
                    break
                time.sleep(0.01)
                continue
            failing_since = None
            with self._arrived:
                self._newest = (frame, now)
                self._taken += 1
                self._arrived.notify()
        with self._arrived:
            self._vanished = True
            self._arrived.notify()

    def close(self) -> None:
        self._closed = True
        if self._thread.is_alive():
            self._thread.join(1.0)
        if not self._thread.is_alive():  # a device must not be let go while it is being read
            self._release()


def camera(number: int, stall_s: float) -> Live:
    """The camera that OpenCV knows by that number."""
    cv2 = decoder.required("cameras")
    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise ValueError(f"camera {number} does not open (is it plugged in, and not in use?)")

    def read() -> Optional[np.ndarray]:
        there, frame = capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if there and frame is not None else None

    return Live(f"camera {number}", read, stall_s, capture.release)


class Raw(stream.Stream):
    """Raw frames, one after the other, from a file descriptor. Whoever writes waits for us: nothing is dropped."""

    def __init__(self, descriptor: int, size: Tuple[int, int], stall_s: float, pixel_format: str = "rgb") -> None:
        self._descriptor, self._size, self._stall_s, self._format = descriptor, size, stall_s, pixel_format
        if pixel_format not in PIXEL_FORMATS:
            raise ValueError(f"pixel_format is {pixel_format!r}; raw frames are {' or '.join(PIXEL_FORMATS)}")
        if min(size) < 1:
            raise ValueError(f"raw frames of {size[0]}x{size[1]} have no pixels")

    def items(self, start: int = 0) -> Iterator[Optional[stream.Item]]:
        planar = self._format == "yuv420"
        length = chroma.yuv420_bytes(self._size) if planar else self._size[0] * self._size[1] * 3
        decode = chroma.from_yuv420 if planar else frames.from_bytes
        number, missing, begin = 0, length, time.perf_counter()
        parts: List[bytes] = []
        while True:
            if not select.select([self._descriptor], [], [], _TICK_S)[0]:
                if time.perf_counter() - begin >= self._stall_s:
                    yield stream.Item(f"stdin[{number}]", None, f"stdin: no frame for {self._stall_s:g} s",
                                       time.perf_counter())
                    begin = time.perf_counter()
                else:
                    yield None
                continue
            part = os.read(self._descriptor, missing)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
            if missing == 0:
                name = f"stdin[{number}]"
                if number >= start:
                    frame = decode(b"".join(parts), self._size, name)
                    yield stream.Item(name, frame, "", time.perf_counter())
                number, parts, missing, begin = number + 1, [], length, time.perf_counter()
        if parts:
            yield stream.Item(f"stdin[{number}]", None, f"stdin: the last frame has {length - missing} bytes of "
                               f"{length}: the writer stopped, or --frame_size is wrong", time.perf_counter())
