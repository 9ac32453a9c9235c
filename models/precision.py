"""What a training computes in: float32, or bfloat16 with float32 weights where the machine has the arithmetic.

On an AMD EPYC with avx512_bf16 a β-VAE's training step took 0.64 to 0.76 of its float32 processor
time (`benchmarks/limits/training_step.py --bf16`); without such hardware bfloat16 is emulated and slower.
"""
from __future__ import annotations

import contextlib
from typing import Iterator

import tensorflow as tf
import tf_keras as keras

CHOICES = ("float32", "bf16", "auto")
_POLICIES = {"float32": "float32", "bf16": "mixed_bfloat16"}


def resolve(choice: str) -> str:
    """Returns "float32" or "bf16"; "auto" takes bf16 where this machine's processor or GPU computes in it."""
    if choice not in CHOICES:
        raise ValueError(f"precision is {choice!r}, but should be one of {', '.join(CHOICES)}")
    return ("bf16" if _has_bf16() else "float32") if choice == "auto" else choice


@contextlib.contextmanager
def building(precision: str) -> Iterator[None]:
    """Within it, layers are built to compute in `precision` ("float32" or "bf16")."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(_POLICIES[precision])
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


def as_float32(model: keras.Model) -> keras.Model:
    """Returns a copy of a Functional model that computes in float32, for saving and converting."""
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"]["dtype"] = "float32"
    copy = keras.Model.from_config(config)
    copy.set_weights(model.get_weights())
    return copy


def _has_bf16() -> bool:
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return capability >= (8, 0)  # NVIDIA Ampere
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            flags = stream.read()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
