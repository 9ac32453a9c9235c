"""Redoes the EdgeML tables: what quantization costs a CIFAR-10 classifier's detection of TinyImageNet and MNIST.

    python benchmarks/edgeml/tables.py --data=DIR --model=resnet18_cifar10.h5 --work=DIR --out=docs/edgeml.md

Every number is of the converted file, scored on one CPU thread by LiteRT. Files and their outputs are kept in --work,
so that the same command goes on where it was stopped. The score is chosen by the int8 file's outputs for altered
CIFAR-10 images (docs/score_selection.md); TinyImageNet is looked at only to fill the tables.
"""
from __future__ import annotations

import os
import sys
from typing import Sequence

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import image_sets  # noqa: E402
import latency  # noqa: E402
import networks  # noqa: E402
import report  # noqa: E402
import scoring  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.files import atomic  # noqa: E402
from leanood.tflite.timing import results as results_  # noqa: E402

_DATA = flags.DEFINE_string("data", None, "folder with cifar10/, tinyimagenet32/ and mnist/", required=True)
_MODEL = flags.DEFINE_string("model", None, "the given Keras .h5, which takes x/127.5 - 1", required=True)
_WORK = flags.DEFINE_string("work", None, "folder for files and caches", required=True)
_OUT = flags.DEFINE_string("out", None, "the Markdown file to write", required=True)
_ROUNDS = flags.DEFINE_integer("rounds", 40, "turns that each file is timed for", lower_bound=1)


def main(argv: Sequence[str]) -> None:
    files = networks.make(_DATA.value, _MODEL.value, _WORK.value)
    parts = image_sets.parts(_DATA.value)
    outputs = {name: scoring.outputs(file.path, parts, os.path.join(_WORK.value, "outputs"),
                                           selection=name == "int8") for name, file in files.items()}
    chosen = scoring.choose(outputs["int8"], parts["fit"].labels)
    print(f"chosen: {chosen.words()}", file=sys.stderr)
    scored = {name: scoring.scored(by_part, parts["fit"].labels, chosen) for name, by_part in outputs.items()}
    results = {name: scoring.results(mine, scored["float32"]) for name, mine in scored.items()}
    accuracy = {name: scoring.accuracy(by_part, parts["test"].labels) for name, by_part in outputs.items()}
    times = latency.measure([file.path for file in files.values()], rounds=_ROUNDS.value)
    text = report.write(files, accuracy, results, times, chosen)
    atomic.write_text(_OUT.value, text)
    results_.write(__file__, [], {
        "score": chosen.words(), "accuracy": accuracy,
        "ms": {f"{os.path.basename(path)}, {runtime}": ms for (path, runtime), ms in times.items()}, "text": text})
    print(text)


if __name__ == "__main__":
    app.run(main)
