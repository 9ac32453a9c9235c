"""The scores by name, where a new one is entered; `fusion`, which is made of them, joins in `leanood.ood.scores`."""
from __future__ import annotations

from typing import Dict, Mapping, Type

from leanood.ood.scores.ash import ASH
from leanood.ood.scores.confidence import GEN, MSP, ODIN, Energy, Entropy, MaxLogit
from leanood.ood.scores.dice import DICE
from leanood.ood.scores.kl_matching import KLMatching
from leanood.ood.scores.knn import KNN
from leanood.ood.scores.mahalanobis import EarlyStatistics, Mahalanobis, RelativeMahalanobis
from leanood.ood.scores.react import ReAct
from leanood.ood.scores.score import Score
from leanood.ood.scores.she import SHE
from leanood.ood.scores.vim import Residual, ViM

SINGLE: Dict[str, Type[Score]] = {
    "msp": MSP, "max_logit": MaxLogit, "energy": Energy, "entropy": Entropy, "gen": GEN, "odin": ODIN,
    "kl_matching": KLMatching, "mahalanobis": Mahalanobis, "relative_mahalanobis": RelativeMahalanobis, "knn": KNN,
    "vim": ViM, "residual": Residual, "react": ReAct, "ash": ASH, "dice": DICE, "she": SHE, "early": EarlyStatistics,
}


def find(name: str, among: Mapping[str, Type[Score]]) -> Type[Score]:
    """Returns the class called `name`, such as "energy" or "relative_mahalanobis"."""
    if name not in among:
        raise ValueError(f"there is no score {name!r}; the scores are {', '.join(among)}")
    return among[name]


def of(score: Score, among: Mapping[str, Type[Score]]) -> str:
    """Returns the name that `find` knows this score by."""
    for key, value in among.items():
        if type(score) is value:
            return key
    raise ValueError(f"{type(score).__name__} is not one of the scores {', '.join(among)}")
