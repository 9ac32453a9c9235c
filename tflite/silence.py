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


def tensorflow() -> None:
    """Imports TensorFlow and Keras 2 without their greetings and warnings; call it before anything that needs them.

    LEANOOD_TRACEBACK, which shows tracebacks, lets the messages through too.
    """
    # tfmot works on Keras 2 only, and Keras is chosen when TensorFlow is first imported.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if os.environ.get("LEANOOD_TRACEBACK"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence():
        import tensorflow as tf
        import tf_keras  # noqa: F401

        tf.config.list_physical_devices()  # looks for a GPU, and says so
        tf.get_logger().setLevel("ERROR")
