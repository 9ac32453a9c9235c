"""Out-of-distribution scores of a classifier's logits and features; higher = more out-of-distribution.

    from leanood.ood import scores
    score = scores.Energy().fit(in_distribution_outputs)
    score.score(outputs)  # float64 [N]
"""
from __future__ import annotations

from typing import Dict, Type

from leanood.ood.scores import names
from leanood.ood.scores.ash import ASH
from leanood.ood.scores.confidence import GEN, MSP, ODIN, Energy, Entropy, MaxLogit
from leanood.ood.scores.dice import DICE
from leanood.ood.scores.fusion import Fusion
from leanood.ood.scores.kl_matching import KLMatching
from leanood.ood.scores.knn import KNN
from leanood.ood.scores.mahalanobis import EarlyStatistics, Mahalanobis, RelativeMahalanobis
from leanood.ood.scores.react import ReAct
from leanood.ood.scores.score import Score
from leanood.ood.scores.she import SHE
from leanood.ood.scores.vim import Residual, ViM

NAMES: Dict[str, Type[Score]] = {**names.SINGLE, "fusion": Fusion}

__all__ = ["ASH", "DICE", "GEN", "KNN", "MSP", "NAMES", "ODIN", "SHE", "EarlyStatistics", "Energy", "Entropy", "Fusion",
           "KLMatching", "Mahalanobis", "MaxLogit", "ReAct", "RelativeMahalanobis", "Residual", "Score", "ViM",
           "by_name", "name"]


def by_name(name: str) -> Type[Score]:
    """Returns the class called `name`, such as "energy" or "relative_mahalanobis"."""
    return names.find(name, NAMES)


def name(score: Score) -> str:
    """Returns the name that `by_name` knows this score by."""
    return names.of(score, NAMES)
