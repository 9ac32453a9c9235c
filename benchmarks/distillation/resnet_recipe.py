"""What each part of `leanood train --model=resnet18`'s recipe brings, in accuracy and in OOD detection: CIFAR-10.

    python benchmarks/distillation/resnet_recipe.py --data=DIR --work=DIR --out=FILE.md [--minutes=15]

The same narrow network, epochs and seed, each time with one part of the recipe. A part is fit to be the default if it
costs neither accuracy nor detection on the validation part: there detection is the mean AUROC of `energy` over changes
that stand in for OOD images; TinyImageNet is only reported on. Stopped (exit status 75) or killed, the same command
goes on.
"""
from __future__ import annotations

import os
import sys
import time
from typing import Any, Dict, List, Mapping, Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pair as pairs  # noqa: E402
import pause  # noqa: E402
import sets  # noqa: E402
from absl import app, flags  # noqa: E402

import leanood  # noqa: E402
from leanood.files import atomic  # noqa: E402
from leanood.ood import statistics  # noqa: E402
from leanood.tflite.timing import results as results_  # noqa: E402

_DATA = flags.DEFINE_string("data", None, "folder with cifar10/{train,test} and tinyimagenet32/", required=True)
_WORK = flags.DEFINE_string("work", None, "folder for runs, files and scores", required=True)
_OUT = flags.DEFINE_string("out", None, "the Markdown file to write", required=True)
_WIDTH = flags.DEFINE_float("width", 0.25, "of the network", lower_bound=0)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "of each training", lower_bound=1)
_MINUTES = flags.DEFINE_float("minutes", 0, "stop after so many, at the next checkpoint; 0: never", lower_bound=0)

PLAIN: Mapping[str, Any] = {"cutout": 0, "label_smoothing": 0.0, "progressive_resizing": 0.0}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "shift and flip alone": {}, "cutout of 8": {"cutout": 8}, "smaller images first": {"progressive_resizing": 0.5},
    "label smoothing of 0.1": {"label_smoothing": 0.1}}
_SCORES = ("msp", "energy", "relative_mahalanobis", "knn")


def main(argv: Sequence[str]) -> None:
    pair = pairs.Pair("cifar10", (32, 32), os.path.join(_DATA.value, "cifar10"), _DATA.value, _WORK.value,
                      pause.Clock(_MINUTES.value, _WORK.value))
    try:
        rows = {name: _row(pair, {**PLAIN, **recipe}) for name, recipe in RECIPES.items()}
    except pause.Paused:
        print("paused: the same command goes on", file=sys.stderr)
        sys.exit(pause.STATUS)
    text = "\n".join(_table(rows)) + "\n"
    atomic.write_text(_OUT.value, text)
    print(text)
    sys.exit(results_.write(__file__, _figures(rows), {"width": _WIDTH.value, "epochs": _EPOCHS.value, "rows": rows}))


def _row(pair: pairs.Pair, recipe: Mapping[str, Any]) -> Dict[str, float]:
    """Accuracies and AUROCs in percent, and the minutes that the training took, of one recipe."""
    name = "-".join(["resnet", f"{_WIDTH.value:g}", str(_EPOCHS.value), *(f"{value:g}" for value in recipe.values())])
    begin = time.monotonic()
    folder = pair.trained(name, lambda data, out: leanood.train(
        data, out, model="resnet18", width=_WIDTH.value, size=(32, 32), epochs=_EPOCHS.value, **recipe))
    took, kept = (time.monotonic() - begin) / 60, os.path.join(folder, "minutes.txt")
    if not os.path.exists(kept):  # of a training that was paused, the last part's
        atomic.write_text(kept, f"{took:.2f}")
    with open(kept, encoding="utf-8") as file:
        minutes = float(file.read())
    judged = pair.judged(folder)
    return {"minutes": minutes, "validation accuracy": 100 * pair.validation(folder),
            "validation energy": 100 * pair.selection(folder, sets.CHANGES)["energy"],
            "accuracy": 100 * judged.accuracy,
            **{score: 100 * statistics.auroc_interval(judged.scores[score, "test"],
                                                      judged.scores[score, "TinyImageNet"]).auroc for score in _SCORES}}


def _table(rows: Mapping[str, Mapping[str, float]]) -> List[str]:
    columns = list(next(iter(rows.values())))
    return [f"ResNet-18 of {_WIDTH.value:g} of the width, {_EPOCHS.value} epochs of 45,000 images, seed 0; accuracy "
            "and AUROC in %, against TinyImageNet but for the validation columns:\n",
            "| recipe | " + " | ".join(columns) + " |", "| --- |" + " ---: |" * len(columns),
            *(f"| {name} | " + " | ".join(f"{row[column]:.1f}" for column in columns) + " |"
              for name, row in rows.items())]


def _figures(rows: Mapping[str, Mapping[str, float]]) -> List[results_.Figure]:
    """Beside the plain recipe's, what each part does on the validation part."""
    plain, *others = rows
    gains = {name: [rows[name][column] - rows[plain][column] for column in ("validation accuracy", "validation energy")]
             for name in others}
    return [results_.Figure(f"{name}: validation accuracy, AUROC of energy on stand-ins, beside {plain}",
                            f"{accuracy:+.2f}, {energy:+.2f} points", "≥ 0, ≥ 0", min(accuracy, energy) >= 0)
            for name, (accuracy, energy) in gains.items()]


if __name__ == "__main__":
    app.run(main)
