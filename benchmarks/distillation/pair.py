"""A teacher, its students and their files in a work folder: each trained, converted and scored once, then read."""
from __future__ import annotations

import glob
import json
import os
import re
import sys
from typing import Any, Callable, Dict, Mapping, NamedTuple, Tuple

import numpy as np
import pause
import sets

import leanood
from leanood.data import dataset, spread
from leanood.files import atomic
from leanood.models import cnn
from leanood.ood import scores
from leanood.tflite import runtime

SCORES = ("msp", "max_logit", "energy", "gen", "mahalanobis", "relative_mahalanobis", "knn")
STUDENT = f"student(cnn, widths='{','.join(map(str, cnn.STUDENT))}', epochs=0)"
_FIT = 5000  # training images that scores' statistics are fitted on
_BATCH = 64
Scored = Dict[Tuple[str, str], np.ndarray]  # (score, "test" or the name of an OOD set) -> float64 [N]


class Images(NamedTuple):
    """uint8 [N, h, w, 3] and class indices int64 [N]."""

    frames: np.ndarray
    labels: np.ndarray


class Judged(NamedTuple):
    """What a .tflite came to on the test part: the share of right classes, and its OOD scores."""

    accuracy: float
    scores: Scored


class Pair:
    """The networks of one data set.

    Args:
      name: "cifar10" or "mnist".
      size: (h, w) of its images.
      spec: see `sets.open`.
      root: where OOD images are, see `sets.ood`.
      work: folder of all that is made.
      clock: when to stop.
    """

    def __init__(self, name: str, size: Tuple[int, int], spec: str, root: str, work: str, clock: pause.Clock) -> None:
        self.name, self.size, self._spec, self._root, self._clock = name, size, spec, root, clock
        self._work = os.path.join(work, name)
        self._kept: Dict[str, Any] = {}

    def teacher(self, seed: int, epochs: int, unfinished: bool = False) -> str:
        """The folder of a teacher, trained on labels by `leanood.train`.

        Args:
          seed: of its weights and order.
          epochs: of its training.
          unfinished: where it is being trained still, a folder `…-after-N` with its best epoch so far, the N-th.
        """
        name = f"teacher-{seed}"
        begun = glob.glob(os.path.join(self._work, name, "checkpoints", "best-*.index"))
        if not unfinished or not begun or os.path.exists(os.path.join(self._work, name, "classifier.h5")):
            return self._trained(name, seed, epochs, cnn.TEACHER)
        best = max(begun, key=os.path.getmtime)[:-len(".index")]
        folder = os.path.join(self._work, f"{name}-after-{best.rpartition('-')[2]}")
        if not os.path.exists(os.path.join(folder, "classifier.h5")):
            import tensorflow as tf

            from leanood.models import run

            model = cnn.cnn(self.size, 10, widths=cnn.TEACHER)
            tf.train.Checkpoint(weights=model.weights).read(best).expect_partial()
            run.Run.create(folder, {"model": "cnn", "input_scale": "unit", "seed": seed}).save("classifier", model)
        return folder

    def alone(self, seed: int, epochs: int, rate: float) -> str:
        """The folder of a student that learns labels alone, by `leanood.train`."""
        return self._trained(f"alone-{epochs}-{rate:g}-{seed}", seed, epochs, cnn.STUDENT, learning_rate=rate)

    def shifted(self, seed: int, epochs: int, rate: float) -> str:
        """The folder of a student that learns labels alone, from images shifted and flipped."""
        def train(data: dataset.Dataset, out: str) -> None:  # no verb's business
            from leanood.models import cnn_training

            learnt, held = self._part("train"), self._part("validation")
            settings = cnn_training.Settings(self.size, cnn.STUDENT, epochs=epochs, batch_size=_BATCH, seed=seed,
                                             learning_rate=rate, shift=4, flip=True)
            cnn_training.train(learnt.frames, learnt.labels, (held.frames, held.labels), [str(i) for i in range(10)],
                               settings, out)

        return self.trained(f"shifted-{epochs}-{rate:g}-{seed}", train)

    def student(self, teacher: str, distil: str, seed: int) -> str:
        """The folder of a student, trained by the recipe's step `distil` towards the teacher of a folder."""
        self._clock.check()
        folder = os.path.join(self._work, f"{os.path.basename(teacher)}-{_slug(distil)}-{seed}")
        if not os.path.exists(os.path.join(folder, "classifier.h5")):
            from leanood.compression import recipe
            from leanood.models import run

            print(f"{self.name}: {distil}, seed {seed}", file=sys.stderr, flush=True)
            learnt, held = self._part("train"), self._part("validation")
            taught = run.Run(teacher).model("classifier")
            made = run.Run.create(folder, {"model": "cnn", "input_scale": "unit", "seed": seed, "recipe": distil})
            result = recipe.run(recipe.parse(f"{STUDENT}+{distil}"), taught, learnt.frames, labels=learnt.labels,
                                validation=held.frames, validation_labels=held.labels, batch_size=_BATCH, seed=seed,
                                folder=os.path.join(folder, "steps"), keep=os.path.join(self._work, "taught"))
            made.save("classifier", result.model)
        return folder

    def validation(self, folder: str) -> float:
        """The share of right classes on the validation part."""
        path = os.path.join(folder, "validation.json")
        if not os.path.exists(path):
            from leanood.models import run

            held = self._part("validation")
            said = run.Run(folder).model("classifier").predict(held.frames / np.float32(255), batch_size=500, verbose=0)
            atomic.write_json(path, {"accuracy": float(np.mean(said["logits"].argmax(axis=1) == held.labels))})
        with open(path, encoding="utf-8") as file:
            return float(json.load(file)["accuracy"])

    def judged(self, folder: str) -> Judged:
        """What the float32 .tflite of a run's folder comes to on the test part."""
        path = os.path.join(folder, "scores.npz")
        if not os.path.exists(path):
            self._clock.check()
            print(f"{self.name}: scoring {os.path.basename(folder)}", file=sys.stderr, flush=True)
            file = os.path.join(folder, "classifier_float32.tflite")
            leanood.convert(folder, file)
            runner = runtime.load(file, trusted=True)
            test = self._part("test")
            fitted, right, scored = self._outputs(runner, "fit"), runner.each(test.frames), {}
            others = {name: runner.each(frames) for name, frames in self._ood().items()}
            for name in SCORES:
                score = scores.by_name(name)().fit(fitted, self._part("fit").labels)
                for part, outputs in {"test": right, **others}.items():
                    scored[f"{name}/{part}"] = score.score(outputs)
            scored["right"] = right["logits"].argmax(axis=1) == test.labels
            with atomic.replacing(path) as stream:
                np.savez(stream, **scored)
        with np.load(path) as arrays:
            by_part = {(key.split("/")[0], key.split("/")[1]): arrays[key] for key in arrays.files if "/" in key}
            return Judged(float(arrays["right"].mean()), by_part)

    def ood_names(self) -> Tuple[str, ...]:
        """The names of the OOD sets."""
        return ("TinyImageNet",) if self.name == "cifar10" else ("grey CIFAR-10", "corrupted digits")

    def selection(self, folder: str, changed: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> Dict[str, float]:
        """Mean AUROC by score of validation images against changes of them: what may be chosen by.

        Args:
          folder: of a student.
          changed: the changes by name, uint8 [N, h, w, 3] -> the same.
        """
        from leanood.models import run
        from leanood.ood import metrics

        path = os.path.join(folder, "selection.json")
        if not os.path.exists(path):
            self._clock.check()
            model = run.Run(folder).model("classifier")
            held = self._part("validation").frames[::2]

            def outputs(frames: np.ndarray) -> Dict[str, np.ndarray]:
                return dict(model.predict(frames / np.float32(255), batch_size=500, verbose=0))

            fitted, inside = outputs(self._part("fit").frames), outputs(held)
            outside = {name: outputs(change(held)) for name, change in changed.items()}
            means = {}
            for name in SCORES:
                score = scores.by_name(name)().fit(fitted, self._part("fit").labels)
                mine = score.score(inside)
                means[name] = float(np.mean([metrics.evaluate(mine, score.score(other)).auroc
                                             for other in outside.values()]))
            atomic.write_json(path, means)
        with open(path, encoding="utf-8") as file:
            return dict(json.load(file))

    def trained(self, name: str, train: Callable[[dataset.Dataset, str], Any]) -> str:
        """The folder of that name with a trained `classifier.h5`; `train`: (data, folder), goes on in a begun one."""
        self._clock.check()
        folder = os.path.join(self._work, name)
        if not os.path.exists(os.path.join(folder, "classifier.h5")):
            print(f"{self.name}: {name}", file=sys.stderr, flush=True)
            train(self._data(), folder)
        return folder

    def _trained(self, name: str, seed: int, epochs: int, widths: Tuple[int, ...], **more: Any) -> str:
        return self.trained(name, lambda data, out: leanood.train(
            data, out, model="cnn", size=self.size, widths=widths, epochs=epochs, batch_size=_BATCH, seed=seed, **more))

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def _data(self) -> dataset.Dataset:
        return self._once("data", lambda: sets.open(self.name, self._spec))

    def _part(self, name: str) -> Images:
        if name == "fit":
            learnt = self._part("train")
            chosen = spread.evenly(len(learnt.frames), _FIT)
            return Images(learnt.frames[chosen], learnt.labels[chosen])
        return self._once(name, lambda: Images(*sets.part(self._data(), name, self.size)))

    def _ood(self) -> Dict[str, np.ndarray]:
        return self._once("ood", lambda: sets.ood(self.name, self.size, self._part("test").frames, self._root))

    def _outputs(self, runner: runtime.Runner, part: str) -> Dict[str, np.ndarray]:
        return runner.each(self._part(part).frames)


def _slug(distil: str) -> str:
    """The recipe's step as a folder's name."""
    return re.sub(r"[^0-9A-Za-z.]+", "-", distil).strip("-")
