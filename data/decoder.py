"""OpenCV's image decoder, and what it complains of.

A JPEG whose middle is damaged decodes to a picture with a false part; libjpeg and libpng notice most such damage, but
only print a line to the process's standard error. So that is listened to. JPEG has no checksum: damage that still
reads as a valid stream (most single wrong bytes) goes unnoticed.
"""
from __future__ import annotations

import functools
import os
import re
import tempfile
import threading
from typing import Any, Optional, Tuple

import numpy as np

_COMPLAINT = re.compile(rb"(?m)^(Corrupt JPEG data|Premature end of JPEG|Unsupported marker|libpng |Invalid ).*$\n?")
# Cheap cameras pad their JPEGs with a few bytes before the end marker; damage leaves dozens.
_PADDING = re.compile(r"Corrupt JPEG data: (\d|1[0-6]) extraneous bytes before marker 0xd9")
_lock = threading.Lock()


@functools.lru_cache(maxsize=None)
def opencv() -> Any:
    """The cv2 module, or None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    return cv2


def decode(data: bytes) -> Tuple[Optional[np.ndarray], str]:
    """(the image uint8 BGR [H, W, 3], or None if OpenCV cannot decode it; what the decoder complains of, or empty)."""
    cv2 = opencv()
    with _lock:
        heard = _Listener()
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # a header that promises gigapixels, for one
            image = None
        finally:
            said = heard.stop()
    return image, "" if _PADDING.fullmatch(said) else said


class _Listener:
    """Catches what is written to the process's standard error until `stop`; the caller holds the lock."""

    def __init__(self) -> None:
        try:
            self._own = os.dup(2)
        except OSError:  # standard error is closed: nothing is said, nothing is heard
            self._own = -1
            return
        os.dup2(_file().fileno(), 2)

    def stop(self) -> str:
        """The first complaint; everything else that was written meanwhile goes on to standard error."""
        if self._own < 0:
            return ""
        os.dup2(self._own, 2)
        os.close(self._own)
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


@functools.lru_cache(maxsize=None)
def _file() -> Any:
    return tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - kept for the process's life


def required(what: str) -> Any:
    """The cv2 module; raises ValueError where it is not installed."""
    cv2 = opencv()
    if cv2 is None:
        raise ValueError(f"{what} need OpenCV: pip install 'leanood[video]'")
    return cv2
