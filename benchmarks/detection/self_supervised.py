"""A backbone that needs no ImageNet: trained on a user's own frames, without labels; how much does it add?

    python benchmarks/detection/self_supervised.py --data=$LEANOOD_TEST_DATA/data --runs=runs --task=transforms
    leanood train --model=backbone --backbone=runs/transforms_duckietown.h5 --downscale=1 --data=… --out=runs/transforms
    leanood convert --model=runs/transforms --quantize=int8
    python benchmarks/detection/groups.py … --files=transforms=runs/transforms/encoder_int8.tflite

Two tasks: tell which of eight transforms a frame went through (Gidaris et al., arXiv 1803.07728; Golan & El-Yaniv,
arXiv 1805.10917), and tell a frame's two views from those of other frames (SimCLR: Chen et al., arXiv 2002.05709).
None of the transforms is a kind that groups.py judges by: those must stay unseen. Five strided convolutions, as small
as the students of the backbone; training frames only; Adam with a cosine schedule.
"""
from __future__ import annotations

import os
import warnings
from typing import Any, Callable, List, Sequence, Tuple

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import sets  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402
from absl import flags  # noqa: E402

from leanood.data import resampling, tone  # noqa: E402
from leanood.tools import command  # noqa: E402
from leanood.workflow import progress  # noqa: E402

_TASK = flags.DEFINE_enum("task", "transforms", ["transforms", "contrast"], "what it learns")
_SET = flags.DEFINE_enum("set", "duckietown", ["duckietown", "donkeycar"], "whose frames")
_STEPS = flags.DEFINE_integer("steps", 1500, "of training, each of 64 frames", lower_bound=50)

_WIDTHS = (16, 24, 40, 80, 80)
_BATCH, _RATE, _TEMPERATURE = 64, 2e-3, 0.2
_Random = np.random.Generator


def main(argv: Sequence[str]) -> None:
    data = sets.load_data(_SET.value)
    images = data.where((data.split == "train") & ~data.ood).load(sets.SIZE)[0]
    network = _network()
    step, measured = (_transforms if _TASK.value == "transforms" else _contrast)(network)
    rng, rate = np.random.default_rng(0), keras.optimizers.Adam(_RATE)
    values = []
    for i in progress.track(range(_STEPS.value), "training"):
        rate.learning_rate = _RATE * 0.5 * (1 + np.cos(np.pi * i / _STEPS.value))
        values.append(step(images, rng, rate))
    path = os.path.join(sets.RUNS.value, f"{_TASK.value}_{_SET.value}.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras says that HDF5 is old; it is what --backbone reads
        network.save(path, save_format="h5", include_optimizer=False)
    print(f"{path}: {_STEPS.value} steps of {_BATCH} frames, {measured} {np.mean(values[-50:]):.3f} at the end")


def _network() -> keras.Model:
    """Five strided convolutions on frames [N, h, w, 3] in [0, 1], and the mean of the last map."""
    x = frame = keras.Input((*sets.SIZE, 3), name="frame")
    for i, width in enumerate(_WIDTHS):
        x = keras.layers.Conv2D(width, 3, strides=2 if i < 4 else 1, padding="same", activation="relu",
                                kernel_initializer="he_normal", name=f"block{i}")(x)
    return keras.Model(frame, keras.layers.GlobalAveragePooling2D(name="mean")(x), name=_TASK.value)


def _transforms(network: keras.Model) -> Tuple[Callable[..., float], str]:
    """Returns a step of telling transforms apart, and what it returns."""
    kinds: List[Callable[[np.ndarray, _Random], np.ndarray]] = [
        lambda frame, rng: frame, lambda frame, rng: frame[:, ::-1], _turned, _zoomed, _taller,
        _quarters, lambda frame, rng: frame[..., [1, 2, 0]], _half_over]
    head = keras.Sequential([network, keras.layers.Dense(len(kinds))])

    @tf.function
    def learn(frames: tf.Tensor, labels: tf.Tensor, rate: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = head(frames, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        rate.apply_gradients(zip(tape.gradient(loss, head.trainable_variables), head.trainable_variables))
        return tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))

    def step(images: np.ndarray, rng: _Random, rate: Any) -> float:
        labels = rng.integers(len(kinds), size=_BATCH)
        frames = [kinds[label](_lit(images[rng.integers(len(images))], rng), rng) for label in labels]
        return float(learn(_batch(frames), labels, rate))

    return step, "accuracy"


def _contrast(network: keras.Model) -> Tuple[Callable[..., float], str]:
    """Returns a step of telling frames apart by two views of each, and what it returns."""
    head = keras.Sequential([network, keras.layers.Dense(80, activation="relu"), keras.layers.Dense(64)])

    @tf.function
    def learn(views: tf.Tensor, rate: Any) -> tf.Tensor:
        with tf.GradientTape() as tape:
            projected = tf.math.l2_normalize(head(views, training=True), axis=1)
            count = tf.shape(projected)[0]
            likeness = projected @ tf.transpose(projected) / _TEMPERATURE - 1e9 * tf.eye(count)
            partner = (tf.range(count) + count // 2) % count
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(partner, likeness))
        rate.apply_gradients(zip(tape.gradient(loss, head.trainable_variables), head.trainable_variables))
        return loss

    def step(images: np.ndarray, rng: _Random, rate: Any) -> float:
        chosen = images[rng.integers(len(images), size=_BATCH // 2)]
        return float(learn(_batch([_lit(_zoomed(frame, rng), rng) for _ in range(2) for frame in chosen]), rate))

    return step, "loss"


def _batch(frames: List[np.ndarray]) -> tf.Tensor:
    return tf.constant(np.stack(frames).astype(np.float32) / 255)


def _lit(frame: np.ndarray, rng: _Random) -> np.ndarray:
    """The frame in a slightly other light, moved a little: what must not matter."""
    right, down = rng.integers(-4, 5, 2).tolist()
    return tone.white_balance(resampling.shifted(frame, right, down), rng.uniform(0.93, 1.07, 3))


def _warped(frame: np.ndarray, degrees: float, scale: Tuple[float, float]) -> np.ndarray:
    """The frame turned, stretched across and down about its centre."""
    height, width = frame.shape[:2]
    centre = (width / 2 - 0.5, height / 2 - 0.5)
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    stretched = np.diag(scale) @ matrix[:, :2]
    matrix = np.column_stack([stretched, np.asarray(centre) - stretched @ centre])
    return cv2.warpAffine(frame, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)


def _turned(frame: np.ndarray, rng: _Random) -> np.ndarray:
    return _warped(frame, float(rng.uniform(8, 25) * rng.choice([-1, 1])), (1.2, 1.2))


def _zoomed(frame: np.ndarray, rng: _Random) -> np.ndarray:
    factor = float(rng.uniform(1.15, 1.5))
    return _warped(frame, 0.0, (factor, factor))


def _taller(frame: np.ndarray, rng: _Random) -> np.ndarray:
    return _warped(frame, 0.0, (1.0, float(rng.uniform(1.2, 1.6))))


def _quarters(frame: np.ndarray, rng: _Random) -> np.ndarray:
    """The frame's quarters in another order."""
    height, width = (side // 2 for side in frame.shape[:2])
    parts = [frame[y:y + height, x:x + width] for y in (0, height) for x in (0, width)]
    order = [1, 0, 3, 2] if rng.random() < 0.5 else [2, 3, 0, 1]
    return np.vstack([np.hstack([parts[i] for i in order[:2]]), np.hstack([parts[i] for i in order[2:]])])


def _half_over(frame: np.ndarray, rng: _Random) -> np.ndarray:
    """The left half twice."""
    half = frame.shape[1] // 2
    return np.hstack([frame[:, :half], frame[:, :half]])


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/self_supervised.py --data=$LEANOOD_TEST_DATA/data")
