"""Keeps off the terminal what C++ libraries print past Python's own streams."""
from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import IO, Iterator


@contextlib.contextmanager
def silence() -> Iterator[IO[bytes]]:
    """Within it, file descriptors 1 and 2 lead to a temporary file, which it yields.

    It holds for the whole process, other threads too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log:
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            yield log
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for i, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, i)
                os.close(descriptor)
