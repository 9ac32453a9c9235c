"""OpenCV's image decoder, and what it complains of.

A JPEG whose middle is damaged decodes to a picture with a false part; libjpeg and libpng notice most such damage, but
only print a line to the process's standard error. So that is listened to. JPEG has no checksum: damage that still
reads as a valid stream (most single wrong bytes) goes unnoticed.
"""
from __future__ import annotations

import contextlib
import functools
import os
import re
import tempfile
import threading
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np

_COMPLAINT = re.compile(rb"(?m)^(Corrupt JPEG data|Premature end of JPEG|Unsupported marker|libpng |Invalid ).*$\n?")
# Cheap cameras pad their JPEGs with a few bytes before the end marker; damage leaves dozens.
_PADDING = re.compile(r"Corrupt JPEG data: (\d|1[0-6]) extraneous bytes before marker 0xd9")


@functools.lru_cache(maxsize=None)
def opencv() -> Any:
    """The cv2 module, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def decode(data: bytes) -> Tuple[Optional[np.ndarray], str]:
    """(the image uint8 BGR [H, W, 3], or None if OpenCV cannot decode it; what the decoder complains of, or empty).

    Several threads decode side by side. Where something was said meanwhile, it cannot be known by whom: then the image
    is decoded once more, alone.
    """
    with _ear.shared():
        image = _decode(data)
        silent = not _ear.heard()
    if silent:
        return image, ""
    with _ear.alone() as said:
        image = _decode(data)
    return image, "" if _PADDING.fullmatch(said[0]) else said[0]


def _decode(data: bytes) -> Optional[np.ndarray]:
    cv2 = opencv()
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises gigapixels, for one
        return None


class _Ear:
    """Catches what is written to the process's standard error while at least one thread listens."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._listening = 0  # threads within `shared` or `alone`
        self._waiting = 0  # threads that want to be alone: others wait for them
        self._stderr = -1  # standard error itself; -1 while nobody listens

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Within it, what is said can be heard, by all who listen."""
        with self._changed:
            while self._waiting:
                self._changed.wait()
            self._begin()
        try:
            yield
        finally:
            with self._changed:
                self._end()

    def heard(self) -> bool:
        """True if anything was said since the first of those who listen now began."""
        return self._stderr >= 0 and os.fstat(_file().fileno()).st_size > 0

    @contextlib.contextmanager
    def alone(self) -> Iterator[List[str]]:
        """Within it nobody else listens; afterwards the list that it yields holds the first complaint, or ""."""
        said = [""]
        with self._changed:
            self._waiting += 1
            while self._listening:
                self._changed.wait()
            self._begin()
        try:
            yield said
        finally:
            with self._changed:
                self._waiting -= 1
                said[0] = self._end()

    def _begin(self) -> None:
        self._listening += 1
        if self._listening > 1:
            return
        try:
            self._stderr = os.dup(2)
        except OSError:  # standard error is closed: nothing is said, nothing is heard
            return
        os.dup2(_file().fileno(), 2)

    def _end(self) -> str:
        """The first complaint; the last to leave hands everything else on to standard error."""
        self._listening -= 1
        self._changed.notify_all()
        if self._listening or self._stderr < 0:
            return ""
        os.dup2(self._stderr, 2)
        os.close(self._stderr)
        self._stderr = -1
        file = _file()
        length = os.fstat(file.fileno()).st_size
        if not length:
            return ""
        file.seek(0)
        text = file.read(length)
        file.seek(0)
        file.truncate()
        complaint = _COMPLAINT.search(text)
        rest = _COMPLAINT.sub(b"", text)
        if rest:
            os.write(2, rest)
        return complaint.group().decode("utf-8", "replace").strip() if complaint else ""


_ear = _Ear()


@functools.lru_cache(maxsize=None)
def _file() -> Any:
    return tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - kept for the process's life


def required(what: str) -> Any:
    """The cv2 module; raises ValueError where it is not installed."""
    cv2 = opencv()
    if cv2 is None:
        raise ValueError(f"{what} need OpenCV: pip install 'leanood[video]'")
    return cv2
