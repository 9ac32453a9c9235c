"""Out-of-distribution scores of a classifier's logits and features; higher = more out-of-distribution.

    from leanood.ood import scores
    score = scores.Energy().fit(in_distribution_outputs)
    score.score(outputs)  # float64 [N]
"""
from __future__ import annotations

from typing import Type

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

NAMES = {
    "msp": MSP, "max_logit": MaxLogit, "energy": Energy, "entropy": Entropy, "gen": GEN, "odin": ODIN,
    "kl_matching": KLMatching, "mahalanobis": Mahalanobis, "relative_mahalanobis": RelativeMahalanobis, "knn": KNN,
    "vim": ViM, "residual": Residual, "react": ReAct, "ash": ASH, "dice": DICE, "she": SHE, "early": EarlyStatistics,
    "fusion": Fusion,
}

__all__ = ["ASH", "DICE", "GEN", "KNN", "MSP", "NAMES", "ODIN", "SHE", "EarlyStatistics", "Energy", "Entropy", "Fusion",
           "KLMatching", "Mahalanobis", "MaxLogit", "ReAct", "RelativeMahalanobis", "Residual", "Score", "ViM",
           "by_name", "name"]


def by_name(name: str) -> Type[Score]:
    """The class called `name`, such as "energy" or "relative_mahalanobis"."""
    if name not in NAMES:
        raise ValueError(f"there is no score {name!r}; the scores are {', '.join(NAMES)}")
    return NAMES[name]


def name(score: Score) -> str:
    """The name that `by_name` knows this score by."""
    for key, value in NAMES.items():
        if type(score) is value:
            return key
    raise ValueError(f"{type(score).__name__} is not one of the scores {', '.join(NAMES)}")
