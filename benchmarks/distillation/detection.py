"""Does a distillation loss that names what OOD scores read keep more of them? CIFAR-10 against TinyImageNet.

    python benchmarks/distillation/detection.py --data=DIR --work=DIR --out=FILE.md [--minutes=15]

The teacher is that of cnn.py, --work may be the same; students of widths (16, 32) learn from it by
`distill(temperature=…, detection=w)`: w = 0 is plain soft targets, more adds the relations between features, their
norms and the logits' scale (`compression.detection_distances`). w is chosen at seed 0 by the mean AUROC of
validation images against changes of them; TinyImageNet is only reported on. Differences are of the same images, by
paired DeLong, each seed's student with w beside the one without. Stopped (exit status 75) or killed, the same
command goes on.
"""
from __future__ import annotations

import dataclasses
import os
import sys
from typing import Any, Dict, List, Sequence, Tuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import pair as pairs  # noqa: E402
import pause  # noqa: E402
import sets  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.files import atomic  # noqa: E402
from leanood.ood import statistics  # noqa: E402
from leanood.tflite.timing import results as results_  # noqa: E402

_DATA = flags.DEFINE_string("data", None, "folder with cifar10/{train,test} and tinyimagenet32/", required=True)
_CIFAR10 = flags.DEFINE_string("cifar10", None, "another CIFAR-10: a folder, or tfds:cifar10")
_WORK = flags.DEFINE_string("work", None, "folder for runs, files and scores", required=True)
_OUT = flags.DEFINE_string("out", None, "the Markdown file to write", required=True)
_SEEDS = flags.DEFINE_integer("seeds", 3, "students of each kind", lower_bound=1)
_UNFINISHED = flags.DEFINE_boolean("unfinished", False, "for a first look: a teacher that is being trained still "
                                   "teaches with its best epoch so far")
_RATE = flags.DEFINE_float("learning_rate", None, "instead of the settings'", lower_bound=0)
_WEIGHTS = flags.DEFINE_list("weights", None, "for a first look: these instead of the settings'")
_MINUTES = flags.DEFINE_float("minutes", 0, "stop after so many, at the next checkpoint; 0: never", lower_bound=0)

_OOD = "TinyImageNet"
Compared = Dict[str, List[statistics.Difference]]  # score -> a difference for each seed


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the students are trained.

    Attributes:
      teacher_epochs: of the teacher.
      epochs: of the students.
      learning_rate: of the students.
      temperature: of the soft targets.
      weights: of the terms for detection, one of which is chosen.
    """

    teacher_epochs: int = 10
    epochs: int = 10
    learning_rate: float = 3e-3
    temperature: float = 4.0
    weights: Tuple[float, ...] = (0.03, 0.1, 0.3)


def settings() -> Settings:
    """Returns the settings of the study."""
    return Settings()


def main(argv: Sequence[str]) -> None:
    clock = pause.Clock(_MINUTES.value, _WORK.value)
    pair = pairs.Pair("cifar10", (32, 32), _CIFAR10.value or os.path.join(_DATA.value, "cifar10"), _DATA.value,
                      _WORK.value, clock)
    try:
        how = settings()
        if _RATE.value:
            how = dataclasses.replace(how, learning_rate=_RATE.value)
        if _WEIGHTS.value:
            how = dataclasses.replace(how, weights=tuple(map(float, _WEIGHTS.value)))
        text, figures, details = study(pair, how)
    except pause.Paused:
        print("paused: the same command goes on", file=sys.stderr)
        sys.exit(pause.STATUS)
    atomic.write_text(_OUT.value, text)
    print(text)
    sys.exit(results_.write(__file__, figures, details))


def study(pair: pairs.Pair, how: Settings) -> Tuple[str, List[results_.Figure], Dict[str, Any]]:
    """The tables in Markdown, the figure beside its target, and the numbers."""
    teacher = pair.teacher(0, how.teacher_epochs, _UNFINISHED.value)

    def student(weight: float, seed: int) -> str:
        more = f", detection={weight}" if weight else ""
        return pair.student(teacher, f"distill({how.epochs}, temperature={how.temperature}, "
                            f"learning_rate={how.learning_rate}, alpha=1.0{more})", seed)

    selected = {weight: pair.selection(student(weight, 0), sets.CHANGES) for weight in (0.0, *how.weights)}
    chosen = max(how.weights, key=lambda weight: np.mean(list(selected[weight].values())))
    plain, aware = ([pair.judged(student(weight, seed)) for seed in range(_SEEDS.value)] for weight in (0.0, chosen))
    source = pair.judged(teacher)
    differences = {score: [statistics.auroc_difference(*_of(a, score), *_of(b, score)) for a, b in zip(plain, aware)]
                   for score in pairs.SCORES}
    accuracy = {"plain": [100 * run.accuracy for run in plain], "aware": [100 * run.accuracy for run in aware]}
    text = "\n".join([
        f"Students of {how.epochs} epochs, T = {how.temperature:g}, {_SEEDS.value} seeds; the chosen weight is "
        f"{chosen:g}. Accuracy: teacher {100 * source.accuracy:.2f}, soft targets {np.mean(accuracy['plain']):.2f}, "
        f"with the terms for detection {np.mean(accuracy['aware']):.2f} (each seed's difference: "
        + ", ".join(f"{b - a:+.2f}" for a, b in zip(*accuracy.values())) + ").\n",
        *_table(source, plain, aware, differences), "", *_selection(selected)])
    kept = {score: float(np.mean([row.delta for row in rows])) for score, rows in differences.items()}
    best = max(kept, key=lambda score: kept[score])
    figures = [results_.Figure(
        f"{_OOD}: AUROC of students with the terms for detection beside soft targets alone, mean of all scores",
        f"{100 * np.mean(list(kept.values())):+.2f} points (most: `{best}` {100 * kept[best]:+.2f})", "> 0",
        bool(np.mean(list(kept.values())) > 0))]
    return text, figures, {
        "chosen": chosen, "selection": {str(weight): row for weight, row in selected.items()}, "accuracy": accuracy,
        "differences": {score: [row._asdict() for row in rows] for score, rows in differences.items()}}


def _of(run: pairs.Judged, score: str) -> Tuple[np.ndarray, np.ndarray]:
    return run.scores[score, "test"], run.scores[score, _OOD]


def _table(source: pairs.Judged, plain: Sequence[pairs.Judged], aware: Sequence[pairs.Judged],
           differences: Compared) -> List[str]:
    lines = [f"AUROC against {_OOD}, % (mean over seeds), and the difference at each seed with its 95% interval:\n",
             "| score | teacher | soft targets | with the terms | difference | "
             + " | ".join(f"seed {seed}" for seed in range(len(plain))) + " |",
             "| --- |" + " ---: |" * (4 + len(plain))]
    for score, rows in differences.items():
        means = [100 * np.mean([statistics.auroc_interval(*_of(run, score)).auroc for run in runs])
                 for runs in ([source], plain, aware)]
        by_seed = " | ".join(f"{100 * row.delta:+.2f} ({100 * row.low:+.2f} to {100 * row.high:+.2f})" for row in rows)
        lines.append(f"| `{score}` | " + " | ".join(f"{mean:.2f}" for mean in means)
                     + f" | {100 * np.mean([row.delta for row in rows]):+.2f} | {by_seed} |")
    return lines


def _selection(selected: Dict[float, Dict[str, float]]) -> List[str]:
    lines = ["What the weight was chosen by: AUROC %, validation images against changes of them, seed 0:\n",
             "| weight | " + " | ".join(f"`{score}`" for score in pairs.SCORES) + " | mean |",
             "| ---: |" + " ---: |" * (len(pairs.SCORES) + 1)]
    for weight, row in selected.items():
        values = [100 * row[score] for score in pairs.SCORES]
        lines.append(f"| {weight:g} | " + " | ".join(f"{value:.1f}" for value in (*values, np.mean(values))) + " |")
    return lines


if __name__ == "__main__":
    app.run(main)
