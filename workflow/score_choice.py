"""Chooses a classifier's score, by in-distribution frames and made-up changes of them.

Of a network that was trained on the classes it sees, the logits tell what is odd; of one that was trained on others and
is shown a road, the features do. No score is best for both, so the file's own outputs decide: each candidate is fitted
on training frames, and ranks stand-ins for what it must notice, unknown content (docs/score_selection.md has which
changes stand in for unseen classes) and spoilt pictures, behind what it must be silent on, validation frames as they
are and as another camera or codec would have given them. Content and pictures count the same. Energy, which takes no
statistics and a hundredth of the arithmetic, stays unless another is a point of mean AUROC better; else the best is
taken.
"""
from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

from leanood.data import dataset, frames, spread
from leanood.ood import classifier_score, metrics, validity
from leanood.workflow import material, network, stand_ins

DEFAULT = "energy"  # where nothing can be compared: it takes no statistics
CANDIDATES = (DEFAULT, "mahalanobis", "energy+mahalanobis", "energy+relative_mahalanobis")
READS = ("logits", "features")
CONTENT = ("upside down", "blended", "pasted object", "occlusion 3")
# One of each kind; light both ways: logits grow with it, and darker frames alone would flatter the energy.
CORRUPTIONS = ("darker 3", "brighter 3", "rain 3", "fog 3", "motion_blur 3", "noise 3", "dead_pixels 3", "glare 3")
TOLERANCE = 0.01  # of AUROC: what is not worth a covariance matrix, and about what 200 frames can tell
JUDGED = 200  # validation frames at most
FEWEST = 30  # frames of train, and of validation, below which nothing is compared


class Candidate(NamedTuple):
    """A score, and how well it ranks stand-ins behind what is in distribution."""

    detector: str
    content: float  # mean AUROC
    corruptions: float
    mean: float  # of those two


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and by what."""

    detector: str
    reason: str
    candidates: Tuple[Candidate, ...] = ()

    def table(self) -> Tuple[List[List[Any]], List[str]]:
        """Rows and headers."""
        return ([[*candidate, "yes" if candidate.detector == self.detector else ""] for candidate in self.candidates],
                ["detector", "content", "corruptions", "mean AUROC", "chosen"])

    def summary(self) -> Dict[str, Any]:
        """Fit for JSON."""
        figures = {candidate.detector: {name: round(value, 4) for name, value in candidate._asdict().items()
                                        if name != "detector"} for candidate in self.candidates}
        return {"chosen_by": self.reason, **({"candidates": figures} if figures else {})}


def choose(loaded: network.Network, gathered: material.Material, seed: int = 0) -> Choice:
    """Returns the score for a file with the outputs READS.

    Args:
      loaded: the file.
      gathered: what it says of the in-distribution frames.
      seed: of the made-up changes.
    """
    train = np.flatnonzero((gathered.split == "train") & (gathered.variant == 0))
    ordinary = np.flatnonzero((gathered.split == "validation") & (gathered.variant == 0))
    for name, count in (("train", len(train)), ("validation", len(ordinary))):
        if count < FEWEST:
            return Choice(DEFAULT, f"the default: {count} frames of {name} are too few to compare scores by, {FEWEST} "
                          "are the least")
    for name in READS:
        if not validity.frames(gathered.outputs, [name]).all():
            return Choice(DEFAULT, f"the default: the output {name!r} is NaN or infinite on some frames")
    chosen = spread.evenly(len(ordinary), JUDGED)
    silent = np.isin(gathered.origin, ordinary[chosen]) & (gathered.variant <= 1)  # one benign variant of each, if any
    known = {name: array[silent] for name, array in gathered.outputs.items()}
    changed = _outputs(loaded, gathered.validation.where(chosen), seed)
    if not all(len(outputs["logits"]) for outputs in changed.values()):
        return Choice(DEFAULT, "the default: the outputs are NaN or infinite on changed frames")
    candidates = tuple(_judge(name, gathered, train, known, changed) for name in CANDIDATES)
    varied = " and benign variants" if silent.sum() > len(chosen) else ""
    return Choice(best(candidates), f"{len(chosen)} validation frames{varied} against {len(changed)} changes of them",
                  candidates)


def best(candidates: Sequence[Candidate]) -> str:
    """Returns the candidate with the largest mean; DEFAULT if that is within TOLERANCE of it."""
    largest = max(candidates, key=lambda candidate: candidate.mean)
    default = next(candidate for candidate in candidates if candidate.detector == DEFAULT)
    return DEFAULT if default.mean >= largest.mean - TOLERANCE else largest.detector


def _judge(name: str, gathered: material.Material, train: np.ndarray, known: Mapping[str, np.ndarray],
           changed: Mapping[str, Mapping[str, np.ndarray]]) -> Candidate:
    """A score, fitted on train, and how it ranks the outputs of changed frames, by kind, behind those of known ones."""
    score = classifier_score.named(name)
    gathered.fit(train, lambda: score)
    ordinary = score.wrapped.score(known)
    auroc = {kind: metrics.evaluate(ordinary, score.wrapped.score(outputs)).auroc for kind, outputs in changed.items()}
    content, low = (float(np.mean([auroc[kind] for kind in kinds])) for kinds in (CONTENT, CORRUPTIONS))
    return Candidate(name, content, low, (content + low) / 2)


def _outputs(loaded: network.Network, judged: dataset.Dataset, seed: int) -> Dict[str, Dict[str, np.ndarray]]:
    """What the network says, by kind, of the frames changed at its own size: large frames cost no more than small."""
    kinds, count = (*CONTENT, *CORRUPTIONS), len(judged)
    changes = [stand_ins.change(kind, judged, seed) for kind in kinds]
    every = dataclasses.replace(
        judged, names=tuple(f"{kind}/{name}" for kind in kinds for name in judged.names),
        partition=np.repeat(kinds, count), sequence=np.full(len(kinds) * count, -1),
        split=np.tile(judged.split, len(kinds)), ood=np.ones(len(kinds) * count, bool), seconds=None, factors={},
        read=lambda i: judged.read(i % count))
    ran = loaded.run(every, "choosing the score", change=lambda frame, i: changes[i // count](
        frames.resize(frame, loaded.size), i % count))
    usable = validity.frames(ran.outputs, READS)
    return {kind: {name: array[usable & (ran.frames.partition == kind)] for name, array in ran.outputs.items()}
            for kind in kinds}
