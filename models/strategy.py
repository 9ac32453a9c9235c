"""Where a training runs: one device, all GPUs of a machine, or several machines (`tf.distribute`)."""
from __future__ import annotations

import os

import tensorflow as tf

CHOICES = ("off", "mirrored", "multi_worker_mirrored")


def choose(name: str) -> tf.distribute.Strategy:
    """Returns the strategy: "off", "mirrored" (this machine's GPUs) or "multi_worker_mirrored".

    The last needs TF_CONFIG on each machine (https://www.tensorflow.org/guide/distributed_training), and the run's
    folder on a disk that all of them share. It must be called before TensorFlow has computed anything.
    """
    if name == "off":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    if name == "multi_worker_mirrored":
        if not os.environ.get("TF_CONFIG"):
            raise ValueError("multi_worker_mirrored needs the environment variable TF_CONFIG, which names the workers")
        return tf.distribute.MultiWorkerMirroredStrategy()
    raise ValueError(f"distribution_strategy is {name!r}, but should be one of {', '.join(CHOICES)}")


def is_chief(distribution: tf.distribute.Strategy) -> bool:
    """True in the one process of those that train together which writes the files."""
    return worker(distribution) == 0


def worker(distribution: tf.distribute.Strategy) -> int:
    """This process's number among those that train together."""
    resolver = distribution.cluster_resolver
    return int(resolver.task_id or 0) if resolver is not None else 0
