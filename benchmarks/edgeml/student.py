"""Distils the given ResNet-18 into a quarter-width one: the student row of docs/edgeml.md.

The teacher's int8 file looks once at three fixed views of each training image (its outputs are cached); the student
learns its logits (KL at temperature 4) and, through a linear map that is dropped afterwards, its features. No labels
are used. Killed, the same command goes on from the last epoch.

    python benchmarks/edgeml/student.py --data=DIR --model=resnet18_cifar10.h5 --work=DIR
"""
from __future__ import annotations

import os
import sys
from typing import Sequence, Tuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import image_sets  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.files import atomic  # noqa: E402
from leanood.models import classifier, classifier_training, resnet, run, training  # noqa: E402
from leanood.tflite import convert, runtime  # noqa: E402

_DATA = flags.DEFINE_string("data", None, "folder with cifar10/, tinyimagenet32/ and mnist/", required=True)
_MODEL = flags.DEFINE_string("model", None, "the teacher, a Keras .h5 that takes x/127.5 - 1", required=True)
_WORK = flags.DEFINE_string("work", None, "folder for caches and the run", required=True)
_EPOCHS = flags.DEFINE_integer("epochs", 20, "passes over the training images", lower_bound=1)
_WIDTH = flags.DEFINE_float("width", 0.25, "the student's width")

_VIEWS = 3
_SHIFT = 4
_TEMPERATURE = 4.0
_BATCH = 128


def main(argv: Sequence[str]) -> None:
    images = image_sets.training(_DATA.value).frames
    os.makedirs(_WORK.value, exist_ok=True)
    logits, features = _teacher(images)
    config = {"model": "resnet18", "width": _WIDTH.value, "input_scale": "unit", "epochs": _EPOCHS.value,
              "teacher": _MODEL.value}
    folder = run.Run.create(os.path.join(_WORK.value, f"student_{_WIDTH.value:g}"), config)
    keras.utils.set_random_seed(0)
    student = resnet.resnet18(image_sets.SIZE, logits.shape[-1], width=_WIDTH.value)
    mapped = keras.layers.Dense(features.shape[-1], name="mapped")(student.get_layer("features").output)
    model = keras.Model(student.input, {"logits": student.get_layer("logits").output, "mapped": mapped})
    steps = -(-len(images) // _BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.01, max(_EPOCHS.value - 1, 1) * steps, warmup_target=0.2,
                                                  warmup_steps=steps)
    optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=2e-4)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    model.compile(optimizer, {"logits": _softened_kl, "mapped": "mse"})
    training.fit(model, lambda epoch: _batches(images, logits, features, epoch), folder=folder, epochs=_EPOCHS.value)
    folder.save("classifier", student)
    print(folder.file("classifier.h5"))


def _softened_kl(teacher: tf.Tensor, student: tf.Tensor) -> tf.Tensor:
    """T^2 KL(teacher || student) at temperature T (Hinton et al., arXiv 1503.02531, section 2)."""
    target = tf.nn.softmax(teacher / _TEMPERATURE)
    log_ratio = tf.nn.log_softmax(teacher / _TEMPERATURE) - tf.nn.log_softmax(student / _TEMPERATURE)
    return _TEMPERATURE ** 2 * tf.reduce_sum(target * log_ratio, axis=-1)


def _views(count: int) -> Tuple[np.ndarray, np.ndarray]:
    """Where each view of each image is cut, int32 [V, N, 2] in 0..2 shift, and whether it is mirrored, bool [V, N]."""
    rng = np.random.RandomState(0)
    offsets = rng.randint(0, 2 * _SHIFT + 1, (_VIEWS, count, 2)).astype(np.int32)
    return offsets, rng.rand(_VIEWS, count) < 0.5


def _view(images: tf.Tensor, offsets: tf.Tensor, mirrored: tf.Tensor) -> tf.Tensor:
    cut = classifier_training.shifted(images, offsets, _SHIFT)
    return tf.where(mirrored[:, None, None, None], cut[:, :, ::-1], cut)


def _teacher(images: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The teacher's logits float32 [V, N, C] and features float16 [V, N, D] in units of their spread; cached."""
    offsets, mirrored = _views(len(images))
    views = []
    runner = None
    for view in range(_VIEWS):
        path = os.path.join(_WORK.value, f"teacher_view{view}.npz")
        if not os.path.exists(path):
            if runner is None:
                teacher = classifier.load(_MODEL.value, size=image_sets.SIZE)
                runner = runtime.load(convert.convert(teacher, quantize="int8", representative=images[::100],
                                                      input_scale="signed"))
            rows = []
            for start in range(0, len(images), 1000):
                part = slice(start, start + 1000)
                pixels = _view(*map(tf.constant, (images[part], offsets[view, part], mirrored[view, part])))
                rows += [{name: value[0].copy() for name, value in runner(frame).items()} for frame in pixels.numpy()]
                print(f"\rteacher: view {view + 1} of {_VIEWS}, {start + len(pixels)} images", end="", file=sys.stderr)
            print(file=sys.stderr)
            with atomic.replacing(path) as stream:
                np.savez(stream, logits=np.stack([row["logits"] for row in rows]),
                         features=np.stack([row["features"] for row in rows]).astype(np.float16))
        with np.load(path) as file:
            views.append((file["logits"], file["features"]))
    logits, features = (np.stack(parts) for parts in zip(*views))
    return logits, (features / np.maximum(features[0].std(axis=0, dtype=np.float32), 0.05)).astype(np.float16)


def _batches(images: np.ndarray, logits: np.ndarray, features: np.ndarray, epoch: int) -> tf.data.Dataset:
    view = epoch % _VIEWS
    offsets, mirrored = (part[view] for part in _views(len(images)))
    order = np.random.default_rng(epoch).permutation(len(images))
    kept = [tf.constant(array) for array in (images, offsets, mirrored, logits[view], features[view])]

    def batch(chosen: tf.Tensor) -> tuple:
        frames, at, mirror, target, deep = (tf.gather(array, chosen) for array in kept)
        pixels = tf.cast(_view(frames, at, mirror), tf.float32) / 255.0
        return pixels, {"logits": target, "mapped": tf.cast(deep, tf.float32)}

    return tf.data.Dataset.from_tensor_slices(order).batch(_BATCH).map(batch).prefetch(2)


if __name__ == "__main__":
    app.run(main)
