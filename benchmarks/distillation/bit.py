"""Function matching at small scale: a tiny BiT teacher's student beside the same student trained on labels.

    python benchmarks/distillation/bit.py --data=DIR --work=DIR [--minutes=15]

A BiT ResNet-v2 (`models.bit`: GroupNorm, weight-standardised convolutions) learns CIFAR-10 from all training images. A
student CNN is then shown 2,000 of them: it matches the teacher's function (both see the same cropped, flipped, mixed-up
view, the teacher stays as it is), or it learns those images' labels in as many steps. It is what the recipes
`function_matching.flowers_fast`, `_medium` and `_long` do with R101x3 on GPUs, to be seen in minutes. Stopped (exit
status 75) or killed, the same command goes on.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Callable, Sequence, Tuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import pause  # noqa: E402
import sets  # noqa: E402
import tf_keras as keras  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.compression import function_matching, views  # noqa: E402
from leanood.data import spread  # noqa: E402
from leanood.models import bit, classifier_training, cnn, cnn_training, run  # noqa: E402
from leanood.tflite.timing import results  # noqa: E402

_DATA = flags.DEFINE_string("data", None, "folder with cifar10/{train,test}", required=True)
_CIFAR10 = flags.DEFINE_string("cifar10", None, "another CIFAR-10: a folder, or tfds:cifar10")
_WORK = flags.DEFINE_string("work", None, "folder for the runs", required=True)
_SEEDS = flags.DEFINE_integer("seeds", 3, "students of each kind", lower_bound=1)
_MINUTES = flags.DEFINE_float("minutes", 0, "stop after so many, at the next checkpoint; 0: never", lower_bound=0)

SIZE = (32, 32)
Part = Tuple[np.ndarray, np.ndarray]  # images uint8 [N, 32, 32, 3], labels int64 [N]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How teacher and students are trained.

    Attributes:
      depth, width: of the BiT, see `bit.bit`.
      teacher_epochs: of the teacher, over all training images.
      images: of them that the students see; the fewer, the more the teacher's function is worth.
      student: widths of its convolutions.
      matching: the function matching; the label training has as many steps of as many images.
    """

    depth: Tuple[int, ...] = (1, 1)
    width: int = 1
    teacher_epochs: int = 2
    images: int = 2000
    student: Tuple[int, ...] = cnn.STUDENT
    matching: function_matching.Settings = function_matching.Settings(
        steps=1280, learning_rate=3e-3, temperature=2.0, batch_size=64, warm_up_steps=100, every=128,
        augment=views.Augment(crop=0.25, flip=True, mixup=True))


def settings() -> Settings:
    """Returns the settings of the study."""
    return Settings()


def main(argv: Sequence[str]) -> None:
    try:
        sys.exit(study(settings(), pause.Clock(_MINUTES.value, _WORK.value)))
    except pause.Paused:
        print("paused: the same command goes on", file=sys.stderr)
        sys.exit(pause.STATUS)


def study(how: Settings, clock: pause.Clock) -> int:
    """Trains what is not there yet, prints the table; returns the exit status."""
    data = sets.open("cifar10", _CIFAR10.value or os.path.join(_DATA.value, "cifar10"))
    whole, test = sets.part(data, "train", SIZE), sets.part(data, "test", SIZE)
    shown = spread.evenly(len(whole[0]), how.images)
    learnt = whole[0][shown], whole[1][shown]
    folder = os.path.join(_WORK.value, "bit")
    teacher = _taught(lambda: bit.bit(SIZE, 10, depth=how.depth, width=how.width), whole, how.teacher_epochs,
                      os.path.join(folder, "teacher"), 0, shift=4, flip=True)
    before = [weight.copy() for weight in teacher.get_weights()]
    epochs = round(how.matching.steps / -(-how.images // how.matching.batch_size))
    matched, labelled, fell = [], [], True
    for seed in range(_SEEDS.value):
        clock.check()
        labelled.append(_right(_taught(lambda: cnn.cnn(SIZE, 10, widths=how.student), learnt, epochs,
                                       os.path.join(folder, f"labels-{seed}"), seed,
                                       learning_rate=how.matching.learning_rate), test))
        clock.check()
        keras.utils.set_random_seed(seed)
        student = cnn.cnn(SIZE, 10, widths=how.student)
        outcome = function_matching.match(student, teacher, learnt[0], dataclasses.replace(how.matching, seed=seed),
                                          os.path.join(folder, f"matching-{seed}"))
        fell &= outcome.history[-1]["loss"] < outcome.history[0]["loss"]
        matched.append(_right(student, test))
    frozen = all(np.array_equal(old, new) for old, new in zip(before, teacher.get_weights()))
    gain = 100 * float(np.mean(matched) - np.mean(labelled))
    print(f"teacher {100 * _right(teacher, test):.2f} %; {how.matching.steps} steps of {how.matching.batch_size}: "
          f"labels {_words(labelled)}, function matching {_words(matched)}; loss fell: {fell}, teacher frozen: "
          f"{frozen}")
    return results.write(__file__, [
        results.Figure(f"function matching of a BiT {how.depth} beside labels, {how.matching.steps} steps each",
                       f"{gain:+.2f} points of accuracy", "> 0", gain > 0 and fell and frozen)],
        {"teacher": _right(teacher, test), "labels": labelled, "matching": matched, "loss fell": fell,
         "teacher frozen": frozen})


def _taught(make: Callable[[], keras.Model], learnt: Part, epochs: int, folder: str, seed: int,
            **more: Any) -> keras.Model:
    """A model that learnt the labels, from its folder where it is finished."""
    settings_ = cnn_training.Settings(SIZE, epochs=epochs, seed=seed, **more)  # of its batches and its optimiser

    def build() -> keras.Model:
        whole = make()
        model = keras.Model(whole.input, whole.get_layer("logits").output)
        rate = keras.optimizers.schedules.CosineDecay(
            settings_.learning_rate, epochs * -(-len(learnt[0]) // settings_.batch_size), alpha=0.01)
        model.compile(keras.optimizers.Adam(rate, clipnorm=1.0),
                      keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
        return model

    if not os.path.exists(os.path.join(folder, "classifier.h5")):
        classifier_training.train(*learnt, (learnt[0][:0], learnt[1][:0]), [str(i) for i in range(10)], settings_,
                                  folder, config={"model": "small", "input_scale": "unit", "seed": seed,
                                                  "epochs": epochs}, epochs=epochs, build=build, whole=make)
    model = make()
    model.set_weights(run.Run(folder).model("classifier").get_weights())
    return model


def _right(model: keras.Model, part: Part) -> float:
    said = model.predict(part[0] / np.float32(255), batch_size=250, verbose=0)["logits"]
    return float(np.mean(said.argmax(axis=1) == part[1]))


def _words(shares: Sequence[float]) -> str:
    spread = f" ± {100 * np.std(shares, ddof=1):.2f}" if len(shares) > 1 else ""
    return f"{100 * np.mean(shares):.2f}{spread} %"


if __name__ == "__main__":
    app.run(main)
