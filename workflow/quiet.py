"""Loads TensorFlow without the greetings and warnings that its C++ and Python halves print."""
from __future__ import annotations

import os

from leanood.tflite import silence


def tensorflow() -> None:
    """Imports TensorFlow and Keras 2; a verb calls it before it imports anything that needs them.

    LEANOOD_TRACEBACK, which shows tracebacks, lets the messages through too.
    """
    # tfmot works on Keras 2 only, and Keras is chosen when TensorFlow is first imported.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    if os.environ.get("LEANOOD_TRACEBACK"):
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with silence.silence():
        import tensorflow as tf
        import tf_keras  # noqa: F401

        tf.config.list_physical_devices()  # looks for a GPU, and says so
        tf.get_logger().setLevel("ERROR")
