"""A lock on a file for one process at a time; it falls free with the process, however that ends."""
from __future__ import annotations

import contextlib
import os
from typing import Iterator

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Held(OSError):
    """Another process holds the lock."""


@contextlib.contextmanager
def exclusive(path: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock while the block runs; on Windows, which has no such locks, it holds nothing.

    Args:
      path: the lock's file, made if it is not there; it stays behind, empty. A link is refused.
      wait: for another process to give it up.

    Raises:
      Held: if another process has it, and `wait` is false.
      OSError: if the file cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(path, _FLAGS, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise Held(error.errno, f"{path}: another process holds it") from error
        yield
    finally:
        os.close(handle)
