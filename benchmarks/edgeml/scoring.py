"""Runs the EdgeML comparison's files over its images, chooses a score and judges all of them."""
from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
from typing import Callable, Dict, Iterable, Mapping, NamedTuple, Tuple

import image_sets
import numpy as np

from leanood.files import atomic
from leanood.ood import image_threshold, metrics, scores, statistics
from leanood.tflite import runtime

Outputs = Dict[str, Dict[str, np.ndarray]]  # part -> output name -> [N, D]
RATE = 0.05  # the thresholds' guaranteed false-positive rate
OOD = ("tinyimagenet", "mnist")


class View(NamedTuple):
    """A question that the chosen score asks of an image: its weight, and the scores that could answer it."""

    weight: float
    candidates: Dict[str, Callable[[], scores.Score]]


# Reasons and figures are in docs/score_selection.md. ViM is in no view: being energy plus residual, it would count the
# logits twice. The last view knows nothing of content; half a vote lets it settle clear cases without blurring others.
VIEWS = {
    "how sure is the network": View(1.0, {
        "msp": scores.MSP, "max_logit": scores.MaxLogit, "energy": scores.Energy, "gen": scores.GEN,
        "react": scores.ReAct}),
    "where does it lie between the classes": View(1.0, {
        "mahalanobis": scores.Mahalanobis, "relative_mahalanobis": scores.RelativeMahalanobis, "knn": scores.KNN,
        "she": scores.SHE, "late: relative Mahalanobis": lambda: scores.RelativeMahalanobis("late"),
        "late: k-NN": lambda: scores.KNN(output="late")}),
    "does it look like the training images": View(0.5, {"early: Mahalanobis": scores.EarlyStatistics}),
}
CANDIDATES = {name: make for view in VIEWS.values() for name, make in view.candidates.items()}


@dataclasses.dataclass(frozen=True)
class Chosen:
    """One score of each view, with the views' weights.

    new_content: mean AUROC of the fusion on the sets `image_sets.NEW_CONTENT`; unlike: on the other selection sets;
    candidates: every candidate's new_content, alone.
    """

    members: Tuple[str, ...]
    weights: Tuple[float, ...]
    new_content: float
    unlike: float
    candidates: Dict[str, float]

    def words(self) -> str:
        return " + ".join(name if weight == 1 else f"{weight:g} × {name}"
                          for name, weight in zip(self.members, self.weights))

    def score(self) -> scores.Fusion:
        return scores.Fusion([CANDIDATES[name]() for name in self.members], self.weights)


class Row(NamedTuple):
    """One score of one file against one OOD set."""

    metrics: metrics.OodMetrics
    delta: statistics.Difference  # of AUROC to the float32 file's
    flips: float  # share of decisions that differ from the float32 file's
    false_positives: float  # of the test images at the conformal threshold


def outputs(path: str, parts: Mapping[str, image_sets.Images], cache: str, selection: bool) -> Outputs:
    """What a file puts out for each part (those for the selection only if asked for), kept by the file's hash."""
    with open(path, "rb") as stream:
        folder = os.path.join(cache, hashlib.sha256(stream.read()).hexdigest()[:16])
    os.makedirs(folder, exist_ok=True)
    runner = None
    by_part: Outputs = {}
    for name, images in parts.items():
        if name.startswith("select/") and not selection:
            continue
        kept = os.path.join(folder, name.replace("/", "-") + ".npz")
        if not os.path.exists(kept):
            print(f"{path}: {name}, {len(images.frames)} images", file=sys.stderr)
            runner = runner or runtime.load(path, runtime="litert", trusted=True)
            with atomic.replacing(kept) as stream:
                np.savez(stream, **runner.each(images.frames))
        with np.load(kept) as arrays:
            by_part[name] = dict(arrays)
    return by_part


def choose(by_part: Outputs, labels: np.ndarray) -> Chosen:
    """Of each view the score that tells new content best from other calibration images; nothing else is searched.

    Args:
      by_part: what the file puts out for "fit", "calibration" and every "select/…".
      labels: classes [N] of "fit".
    """
    tables, unseen = halves(by_part["calibration"])
    whole = scores.Fusion([make() for make in CANDIDATES.values()]).fit(by_part["fit"], labels).tabulate(tables)
    parts = {part: arrays for part, arrays in by_part.items() if part.startswith("select/")}
    inside = _surprise(whole, unseen)
    outside = {part: _surprise(whole, arrays) for part, arrays in parts.items()}

    def quality(weights: Mapping[str, float], among: Iterable[str]) -> float:
        fused = sum(weight * inside[name] for name, weight in weights.items())
        return float(np.mean([
            metrics.evaluate(fused, sum(weight * outside[part][name] for name, weight in weights.items())).auroc
            for part in among]))

    alone = {name: quality({name: 1.0}, image_sets.NEW_CONTENT) for name in CANDIDATES}
    chosen = {max(view.candidates, key=lambda name: alone[name]): view.weight for view in VIEWS.values()}
    others = [part for part in parts if part not in image_sets.NEW_CONTENT]
    return Chosen(tuple(chosen), tuple(chosen.values()), quality(chosen, image_sets.NEW_CONTENT),
                  quality(chosen, others), alone)


def _surprise(fusion: scores.Fusion, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
    """-ln p [N] of each candidate."""
    return {name: table.log_p(member.score(outputs))
            for name, table, member in zip(CANDIDATES, fusion.tables, fusion.members)}


def halves(outputs: Mapping[str, np.ndarray]) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """Every other frame (for a fusion's tables), and the others (for thresholds, and to choose on)."""
    return ({name: array[::2] for name, array in outputs.items()},
            {name: array[1::2] for name, array in outputs.items()})


def all_scores(chosen: Chosen) -> Dict[str, scores.Score]:
    """Every score of the tables, unfitted, by name; the chosen one last."""
    plain = {name: make() for name, make in scores.NAMES.items() if name != "fusion"}
    return {**plain, "chosen": chosen.score()}


def scored(by_part: Outputs, labels: np.ndarray, chosen: Chosen) -> Dict[str, Dict[str, np.ndarray]]:
    """By score, of each part the scores [N] ("test") and the decisions bool [N] ("alarms/test").

    Statistics are fitted on the file's own outputs for training images, thresholds on those for calibration images.
    """
    by_score: Dict[str, Dict[str, np.ndarray]] = {}
    tables, unseen = halves(by_part["calibration"])
    for name, score in all_scores(chosen).items():
        score.fit(by_part["fit"], labels)
        if isinstance(score, scores.Fusion):
            score.tabulate(tables)
        by_score[name] = {part: score.score(by_part[part]) for part in ("test", *OOD)}
        limit = image_threshold.conformal(score.score(unseen), RATE)
        by_score[name].update({f"alarms/{part}": limit.alarms(by_score[name][part]) for part in ("test", *OOD)})
    return by_score


def results(mine: Mapping[str, Mapping[str, np.ndarray]],
            reference: Mapping[str, Mapping[str, np.ndarray]]) -> Dict[Tuple[str, str], Row]:
    """By score and OOD set, how a file does beside the reference file."""
    rows = {}
    for name, by_set in mine.items():
        other = reference[name]
        for ood in OOD:
            flips = np.concatenate([by_set[f"alarms/{part}"] != other[f"alarms/{part}"] for part in ("test", ood)])
            rows[name, ood] = Row(metrics.evaluate(by_set["test"], by_set[ood]),
                                  statistics.auroc_difference(other["test"], other[ood], by_set["test"], by_set[ood]),
                                  float(flips.mean()), float(by_set["alarms/test"].mean()))
    return rows


def accuracy(by_part: Outputs, labels: np.ndarray) -> float:
    """Share of test images whose largest logit is their class."""
    return float(np.mean(by_part["test"]["logits"].argmax(axis=1) == labels))
