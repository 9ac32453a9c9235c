"""The distillation slides' table with `models.cnn`, on CIFAR-10 and MNIST, and what distilling does to OOD scores.

    python benchmarks/distillation/cnn.py --data=DIR --work=DIR --out=FILE.md [--minutes=15]
    python benchmarks/distillation/cnn.py --cifar10=tfds:cifar10 --mnist=tfds:mnist --data=DIR --work=DIR --out=FILE.md

A teacher of widths (256, 512), students of widths (16, 32): trained alone, on soft targets, and by function matching;
each at the slides' epochs and at a longer schedule of equal steps for all. What is chosen (learning rate, T, α) is
chosen by the accuracy on a tenth of the training images, at seed 0. Accuracies and OOD scores are of the float32
.tflite on the test part. All that was trained and scored is kept in --work: stopped by --minutes (exit status 75) or
killed, the same command goes on; more --seeds or --teachers complete the table.
"""
from __future__ import annotations

import dataclasses
import os
import re
import sys
from typing import Any, Dict, List, Sequence, Tuple

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import pair as pairs  # noqa: E402
import pause  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.files import atomic  # noqa: E402
from leanood.ood import statistics  # noqa: E402
from leanood.tflite.timing import results as results_  # noqa: E402

_DATA = flags.DEFINE_string("data", None, "folder with cifar10/{train,test}, mnist_test/ and tinyimagenet32/",
                            required=True)
_CIFAR10 = flags.DEFINE_string("cifar10", None, "another CIFAR-10: a folder, or tfds:cifar10")
_MNIST = flags.DEFINE_string("mnist", None, "another MNIST, such as tfds:mnist")
_ONLY = flags.DEFINE_list("only", ["mnist", "cifar10"], "of these data sets")
_WORK = flags.DEFINE_string("work", None, "folder for runs, files and scores", required=True)
_OUT = flags.DEFINE_string("out", None, "the Markdown file to write", required=True)
_SEEDS = flags.DEFINE_integer("seeds", 3, "students of each kind", lower_bound=1)
_TEACHERS = flags.DEFINE_integer("teachers", 1, "student i learns from teacher i modulo this", lower_bound=1)
_KINDS = flags.DEFINE_multi_enum("kind", ["alone", "soft", "matching", "shifted"],
                                 ["alone", "soft", "matching", "shifted"], "students to train; alone is always there")
_SCHEDULES = flags.DEFINE_multi_enum("schedule", ["slides", "longer"], ["slides", "longer"], "how long they train")
_UNFINISHED = flags.DEFINE_boolean("unfinished", False, "for a first look: a teacher that is being trained still "
                                   "teaches with its best epoch so far")
_SWEEP = {name: flags.DEFINE_list(name, None, "for a first look: these instead of the settings'")
          for name in ("learning_rates", "temperatures", "alphas")}
_MINUTES = flags.DEFINE_float("minutes", 0, "stop after so many, at the next checkpoint; 0: never", lower_bound=0)

Row = Tuple[str, int, List[str]]  # what it is, its epochs, a run's folder for each seed
Swept = Dict[Tuple[float, float], float]  # (T, α) -> accuracy on the validation part


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a data set's part of the table is trained.

    Attributes:
      size: (height, width) of the images.
      epochs: of teacher and students, the slides'.
      longer: epochs of the students' longer schedule.
      views: epochs of function matching's views, which are seen again and again.
      learning_rates: of the students; chosen for the student alone, and kept for the others.
      temperatures, alphas: of the soft targets.
      slides: accuracies in percent of the slides' teacher and student.
    """

    size: Tuple[int, int]
    epochs: int
    longer: int
    views: int
    slides: Tuple[float, float]
    learning_rates: Tuple[float, ...] = (1e-3, 3e-3)
    temperatures: Tuple[float, ...] = (2.0, 4.0, 8.0)
    alphas: Tuple[float, ...] = (0.5, 1.0)


def settings(name: str) -> Settings:
    """Returns the settings of "mnist" or "cifar10"."""
    return {"mnist": Settings((28, 28), epochs=25, longer=100, views=25, slides=(97.78, 97.50)),
            "cifar10": Settings((32, 32), epochs=10, longer=40, views=5, slides=(69.72, 58.55))}[name]


def main(argv: Sequence[str]) -> None:
    clock = pause.Clock(_MINUTES.value, _WORK.value)
    given = {"cifar10": _CIFAR10.value or os.path.join(_DATA.value, "cifar10"),
             "mnist": _MNIST.value or os.path.join(_DATA.value, "mnist_test")}
    text, figures, details = [], [], {}
    try:
        for name in _ONLY.value:
            how = dataclasses.replace(settings(name), **{
                field: tuple(map(float, flag.value)) for field, flag in _SWEEP.items() if flag.value})
            pair = pairs.Pair(name, how.size, given[name], _DATA.value, _WORK.value, clock)
            part, more, kept = study(pair, how)
            text.append(part)
            figures += more
            details[name] = kept
    except pause.Paused:
        print("paused: the same command goes on", file=sys.stderr)
        sys.exit(pause.STATUS)
    atomic.write_text(_OUT.value, "\n".join(text))
    print("\n".join(text))
    sys.exit(results_.write(__file__, figures, details))


def study(pair: pairs.Pair, chosen_by: Settings) -> Tuple[str, List[results_.Figure], Dict[str, Any]]:
    """One data set's tables in Markdown, its figures beside their targets, and its numbers."""
    def students(what: str, distil: str, epochs: int) -> Row:
        return what, epochs, [pair.student(teachers[seed % len(teachers)], distil, seed)
                              for seed in range(_SEEDS.value)]

    rate = max(chosen_by.learning_rates, key=lambda rate: pair.validation(pair.alone(0, chosen_by.epochs, rate)))
    teachers = [pair.teacher(seed, chosen_by.epochs, _UNFINISHED.value)
                for seed in range(min(_TEACHERS.value, _SEEDS.value))]
    temperature, alpha, swept = choose(pair, teachers[0], chosen_by, rate)
    after = re.findall(r"after-(\d+)$", teachers[0])
    rows: List[Row] = [("teacher (256, 512)" + (", unfinished" if after else ""),
                        int(after[0]) if after else chosen_by.epochs, teachers)]
    for epochs in (among for name, among in (("slides", chosen_by.epochs), ("longer", chosen_by.longer))
                   if name in _SCHEDULES.value):
        rows.append(("student alone", epochs, [pair.alone(seed, epochs, rate) for seed in range(_SEEDS.value)]))
        if "soft" in _KINDS.value:
            rows.append(students(f"soft targets, T = {temperature:g}, α = {alpha:g}",
                                 _distil(epochs, rate, temperature, alpha), epochs))
        if "matching" in _KINDS.value:
            rows.append(students(f"function matching, T = {temperature:g}",
                                 f"distill({epochs}, temperature={temperature}, matching=True, learning_rate={rate}, "
                                 f"views={min(chosen_by.views, epochs)})", epochs))
        if "shifted" in _KINDS.value and epochs == chosen_by.longer:
            rows.append(("student alone, images shifted and flipped", epochs,
                         [pair.shifted(seed, epochs, rate) for seed in range(_SEEDS.value)]))
    judged = [[pair.judged(folder) for folder in folders] for _, _, folders in rows]
    accuracy = {(what, epochs): 100 * np.array([run.accuracy for run in runs])
                for (what, epochs, _), runs in zip(rows, judged)}
    text = "\n".join([
        f"## {pair.name}\n", f"Teachers: {len(teachers)}; students of each kind: {_SEEDS.value}. Chosen on the "
        f"validation part: learning rate {rate:g}, T = {temperature:g}, α = {alpha:g}.\n",
        _accuracies(rows, accuracy, chosen_by), "", _sweep(swept, chosen_by), "",
        *(line for ood in pair.ood_names() for line in _aurocs(rows, judged, ood))])
    details = {f"{what}, {epochs} epochs": {
        "accuracy": list(accuracy[what, epochs]),
        "auroc": {f"{score} {ood}": [_auroc(run, score, ood).auroc for run in runs]
                  for score in pairs.SCORES for ood in pair.ood_names()}}
        for (what, epochs, _), runs in zip(rows, judged)}
    return text, _figures(pair, rows, accuracy), details


def choose(pair: pairs.Pair, teacher: str, among: Settings, rate: float) -> Tuple[float, float, Swept]:
    """T and α with the best accuracy on the validation part at seed 0, and that by (T, α)."""
    swept = {(t, a): pair.validation(pair.student(teacher, _distil(among.epochs, rate, t, a), 0))
             for t in among.temperatures for a in among.alphas}
    temperature, alpha = max(swept, key=lambda key: swept[key])
    return temperature, alpha, swept


def _distil(epochs: int, rate: float, temperature: float, alpha: float) -> str:
    return f"distill({epochs}, temperature={temperature}, learning_rate={rate}, alpha={alpha})"


def _accuracies(rows: Sequence[Row], accuracy: Dict[Tuple[str, int], np.ndarray], among: Settings) -> str:
    lines = ["| network | epochs | accuracy % | beside the teacher | beside the student alone | slides |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for number, (what, epochs, _) in enumerate(rows):
        soft = what.startswith("soft") and epochs == among.epochs
        published = among.slides[0] if not number else among.slides[1] if soft else ""
        mine = accuracy[what, epochs]
        differences = [float(mine.mean() - accuracy[rows[0][:2]].mean()), float(
            mine.mean() - accuracy["student alone", epochs].mean())] if number else []
        cells = [f"{value:+.2f}" for value in differences] or ["", ""]
        lines.append(f"| {what} | {epochs} | {_spread(mine, 2)} | {cells[0]} | {cells[1]} | "
                     f"{published} |")
    return "\n".join(lines)


def _sweep(swept: Swept, among: Settings) -> str:
    lines = ["Validation accuracy % by T and α (seed 0):\n", "| α | " + " | ".join(
        f"T = {t:g}" for t in among.temperatures) + " |", "| ---: " * (len(among.temperatures) + 1) + "|"]
    lines += [f"| {a:g} | " + " | ".join(f"{100 * swept[t, a]:.2f}" for t in among.temperatures) + " |"
              for a in among.alphas]
    return "\n".join(lines)


def _aurocs(rows: Sequence[Row], judged: Sequence[Sequence[pairs.Judged]], ood: str) -> List[str]:
    lines = [f"AUROC against {ood}, % (± over seeds; in brackets DeLong's 95% interval at seed 0):\n",
             "| network | epochs | " + " | ".join(f"`{score}`" for score in pairs.SCORES) + " |",
             "| --- | ---: |" + " ---: |" * len(pairs.SCORES)]
    for (what, epochs, _), runs in zip(rows, judged):
        cells = []
        for score in pairs.SCORES:
            intervals = [_auroc(run, score, ood) for run in runs]
            values = 100 * np.array([interval.auroc for interval in intervals])
            cells.append(f"{_spread(values, 1)} ({100 * intervals[0].low:.1f}–{100 * intervals[0].high:.1f})")
        lines.append(f"| {what} | {epochs} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _auroc(run: pairs.Judged, score: str, ood: str) -> statistics.Interval:
    return statistics.auroc_interval(run.scores[score, "test"], run.scores[score, ood])


def _spread(values: np.ndarray, digits: int) -> str:
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _figures(pair: pairs.Pair, rows: Sequence[Row], accuracy: Dict[Tuple[str, int], np.ndarray],
             ) -> List[results_.Figure]:
    """The targets' lines; of the two ways to distil, each is of the one that is better on the validation part."""
    means = {key: float(values.mean()) for key, values in accuracy.items()}
    figures = []
    for epochs in sorted({row[1] for row in rows[1:]}):
        distilled = [row for row in rows[1:] if row[1] == epochs and not row[0].startswith("student alone")]
        if not distilled:
            continue
        what = max(distilled, key=lambda row: np.mean([pair.validation(folder) for folder in row[2]]))[0]
        gain, gap = means[what, epochs] - means["student alone", epochs], means[rows[0][:2]] - means[what, epochs]
        if pair.name == "mnist":
            figures.append(results_.Figure(f"MNIST, {epochs} epochs: the teacher's accuracy less the student's, {what}",
                                           f"{gap:.2f} points", "≤ 0.3 points", gap <= 0.3))
        else:
            longer = epochs == settings(pair.name).longer
            figures.append(results_.Figure(
                f"CIFAR-10, {epochs} epochs: accuracy beside the student's alone, {what}", f"{gain:+.2f} points",
                "≥ 3 points" if longer else "> 0", gain >= 3 if longer else gain > 0))
    return figures


if __name__ == "__main__":
    app.run(main)
