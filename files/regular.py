"""Opens regular files only: a pipe among the images would make a reader wait for ever, a device would fill memory."""
from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO


def open(path: str) -> BinaryIO:  # noqa: A001
    """The file, opened for reading bytes.

    Raises:
      OSError: if it cannot be opened, or is a pipe, a device or a folder.
    """
    # Without O_NONBLOCK, opening a pipe waits for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a pipe, a device or a folder, not a file", path)
    return os.fdopen(descriptor, "rb")
