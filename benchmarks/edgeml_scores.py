"""Runs the EdgeML comparison's files over its images, chooses a score and judges all of them."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
from typing import Callable, Dict, Mapping, NamedTuple, Tuple

import edgeml_data
import numpy as np

from leanood.ood import metrics, scores, statistics, threshold
from leanood.tflite import runtime

Outputs = Dict[str, Dict[str, np.ndarray]]  # part -> output name -> [N, D]
RATE = 0.05  # the thresholds' guaranteed false-positive rate
OOD = ("tinyimagenet", "mnist")

# What can be fused: one score of the logits or the features, k-NN and Gaussians of inner layers.
CANDIDATES: Dict[str, Callable[[], scores.Score]] = {
    "msp": scores.MSP, "energy": scores.Energy, "gen": scores.GEN, "vim": scores.ViM, "react": scores.ReAct,
    "relative_mahalanobis": scores.RelativeMahalanobis, "knn": scores.KNN,
    "early: Mahalanobis": lambda: scores.EarlyStatistics("early"),
    "middle: Mahalanobis": lambda: scores.EarlyStatistics("middle"),
    "early: k-NN": lambda: scores.KNN(output="early"),
    "middle: k-NN": lambda: scores.KNN(output="middle"),
    "late: k-NN": lambda: scores.KNN(output="late"),
    "middle: relative Mahalanobis": lambda: scores.RelativeMahalanobis("middle"),
    "late: relative Mahalanobis": lambda: scores.RelativeMahalanobis("late"),
}
_MEMBERS = 6  # at most so many are fused
_LEAST_GAIN = 0.0005  # of the mean AUROC on the selection sets, for a further member


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The fusion that did best on the selection sets, and how each candidate did there."""

    members: Tuple[str, ...]
    weights: Tuple[float, ...]
    auroc: float
    candidates: Dict[str, float]

    def words(self) -> str:
        return " + ".join(f"{weight:g} × {name}" for name, weight in zip(self.members, self.weights))

    def score(self) -> scores.Fusion:
        return scores.Fusion([CANDIDATES[name]() for name in self.members], self.weights)


class Row(NamedTuple):
    """One score of one file against one OOD set."""

    metrics: metrics.OodMetrics
    delta: statistics.Difference  # of AUROC to the float32 file's
    flips: float  # share of decisions that differ from the float32 file's
    false_positives: float  # of the test images at the conformal threshold


def outputs(path: str, parts: Mapping[str, edgeml_data.Images], cache: str, selection: bool) -> Outputs:
    """What a file puts out for each part (those for the selection only if asked for), kept by the file's hash."""
    with open(path, "rb") as stream:
        folder = os.path.join(cache, hashlib.sha256(stream.read()).hexdigest()[:16])
    os.makedirs(folder, exist_ok=True)
    runner = None
    found: Outputs = {}
    for name, images in parts.items():
        if name.startswith("select/") and not selection:
            continue
        kept = os.path.join(folder, name.replace("/", "-") + ".npz")
        if not os.path.exists(kept):
            print(f"{path}: {name}, {len(images.frames)} images", file=sys.stderr)
            runner = runner or runtime.load(path, runtime="litert", trusted=True)
            with open(f"{kept}.partial", "wb") as stream:
                np.savez(stream, **runner.each(images.frames))
            os.replace(f"{kept}.partial", kept)
        with np.load(kept) as arrays:
            found[name] = dict(arrays)
    return found


def choose(own: Outputs, labels: np.ndarray, kept: str) -> Chosen:
    """The best fusion by forward selection on the selection sets; TinyImageNet is not looked at."""
    if os.path.exists(kept):
        with open(kept) as stream:
            found = json.load(stream)
        return Chosen(tuple(found["members"]), tuple(found["weights"]), found["auroc"], found["candidates"])
    names = list(CANDIDATES)
    tables, unseen = halves(own["calibration"])
    whole = scores.Fusion([CANDIDATES[name]() for name in names]).fit(own["fit"], labels).tabulate(tables)
    selection = {"": unseen, **{part: own[part] for part in own if part.startswith("select/")}}
    surprise = {part: np.stack([table.surprise(member.score(found))
                                for table, member in zip(whole.tables, whole.members)])
                for part, found in selection.items()}

    def quality(weights: np.ndarray) -> float:
        inside = weights @ surprise[""]
        return float(np.mean([metrics.evaluate(inside, weights @ surprise[part]).auroc for part in surprise if part]))

    alone = {name: quality(np.eye(len(names))[i]) for i, name in enumerate(names)}
    weights, best = np.zeros(len(names)), 0.0
    while np.count_nonzero(weights) < _MEMBERS:
        trials = [(quality(weights + add * np.eye(len(names))[i]), i, add)
                  for i in range(len(names)) for add in (0.5, 1.0)]
        gained, i, add = max(trials)
        if gained < best + _LEAST_GAIN:
            break
        weights[i] += add
        best = gained
    chosen = Chosen(tuple(names[i] for i in np.flatnonzero(weights)), tuple(weights[weights > 0]), best, alone)
    with open(f"{kept}.partial", "w") as stream:
        json.dump(dataclasses.asdict(chosen), stream, indent=1)
    os.replace(f"{kept}.partial", kept)
    return chosen


def halves(outputs: Mapping[str, np.ndarray]) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
    """Every other frame (for a fusion's tables), and the others (for thresholds, and to choose on)."""
    return ({name: array[::2] for name, array in outputs.items()},
            {name: array[1::2] for name, array in outputs.items()})


def all_scores(chosen: Chosen) -> Dict[str, scores.Score]:
    """Every score of the tables, unfitted, by name; the chosen one last."""
    plain = {name: make() for name, make in scores.NAMES.items() if name != "fusion"}
    return {**plain, "chosen": chosen.score()}


def scored(own: Outputs, labels: np.ndarray, chosen: Chosen) -> Dict[str, Dict[str, np.ndarray]]:
    """By score, of each part the scores [N] ("test") and the decisions bool [N] ("alarms/test").

    Statistics are fitted on the file's own outputs for training images, thresholds on those for calibration images.
    """
    found: Dict[str, Dict[str, np.ndarray]] = {}
    tables, unseen = halves(own["calibration"])
    for name, score in all_scores(chosen).items():
        score.fit(own["fit"], labels)
        if isinstance(score, scores.Fusion):
            score.tabulate(tables)
        found[name] = {part: score.score(own[part]) for part in ("test", *OOD)}
        limit = threshold.conformal(score.score(unseen), RATE)
        found[name].update({f"alarms/{part}": limit.alarms(found[name][part]) for part in ("test", *OOD)})
    return found


def results(mine: Mapping[str, Mapping[str, np.ndarray]],
            reference: Mapping[str, Mapping[str, np.ndarray]]) -> Dict[Tuple[str, str], Row]:
    """By score and OOD set, how a file does beside the reference file."""
    rows = {}
    for name, own in mine.items():
        other = reference[name]
        for ood in OOD:
            flips = np.concatenate([own[f"alarms/{part}"] != other[f"alarms/{part}"] for part in ("test", ood)])
            rows[name, ood] = Row(metrics.evaluate(own["test"], own[ood]),
                                  statistics.auroc_difference(other["test"], other[ood], own["test"], own[ood]),
                                  float(flips.mean()), float(own["alarms/test"].mean()))
    return rows


def accuracy(own: Outputs, labels: np.ndarray) -> float:
    """Share of test images whose largest logit is their class."""
    return float(np.mean(own["test"]["logits"].argmax(axis=1) == labels))
