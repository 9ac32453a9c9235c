"""Scores of the logits alone, with nothing to fit: MSP, max-logit, energy, entropy, GEN, ODIN's temperature."""
from __future__ import annotations

from typing import Optional

import numpy as np

from leanood.ood.scores import inputs, softmax
from leanood.ood.scores.score import Score


class MSP(Score):
    """1 - maximum softmax probability (Hendrycks & Gimpel, arXiv 1610.02136, section 2)."""

    HIGHEST = 1.0

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, 1), float64 [N]."""
        return softmax.unconfidence(inputs.read(outputs, "logits"))


class MaxLogit(Score):
    """Minus the largest logit (Hendrycks et al., arXiv 1911.11132, section 3)."""

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        return -softmax.largest(inputs.read(outputs, "logits"))


class Energy(Score):
    """Free energy -T ln sum_j exp(logit_j / T) (Liu et al., arXiv 2010.03759, eq. 4)."""

    OPTIONS = ("temperature",)

    def __init__(self, temperature: float = 1.0):
        self.temperature = _positive("temperature", temperature)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        return -self.temperature * softmax.log_sum_exp(inputs.read(outputs, "logits"), self.temperature)


class Entropy(Score):
    """Shannon entropy of the softmax in nats (Macedo et al., arXiv 1908.05569, eq. 7)."""

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, ln C], float64 [N]."""
        return softmax.entropy(softmax.softmax(inputs.read(outputs, "logits")))


class GEN(Score):
    """Generalised entropy sum over the M largest p of (p (1 - p))^gamma (Liu et al., CVPR 2023, eq. 5).

    Args:
      gamma: exponent in (0, 1); the paper takes 0.1.
      top: M; the paper takes 100 of 1,000 classes. All where there are fewer.
    """

    OPTIONS = ("gamma", "top")

    def __init__(self, gamma: float = 0.1, top: int = 100):
        self.gamma, self.top = _positive("gamma", gamma), int(_positive("top", top))

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, M 4^-gamma], float64 [N]."""
        parts = softmax.softmax(inputs.read(outputs, "logits"))
        # p (1 - p) = power (total - power) / total^2; of the largest, total - power is what the others sum to.
        terms = parts.total - parts.powers
        np.copyto(terms, parts.others, where=parts.shifted == 0)
        terms *= parts.powers
        with np.errstate(divide="ignore"):  # 0 to the power of gamma is exp(-inf) = 0
            np.log(terms, out=terms)
        terms *= self.gamma
        np.exp(terms, out=terms)
        if self.top < len(terms):
            # The softmax is over all classes; what is left out is the tail of the sum.
            chosen = np.argpartition(-parts.powers, self.top - 1, axis=0)[:self.top]
            terms = np.take_along_axis(terms, chosen, axis=0)
        return terms.sum(axis=0) * parts.total ** (-2.0 * self.gamma)


class ODIN(Score):
    """1 - maximum softmax probability at temperature T (Liang et al., arXiv 1706.02690, eq. 1).

    The paper's input perturbation needs the gradient, so it is done on the host before inference
    (`leanood.models.odin`); on the device the temperature is what is left.

    Args:
      temperature: T; the paper takes 1000.
    """

    OPTIONS = ("temperature",)
    HIGHEST = 1.0

    def __init__(self, temperature: float = 1000.0):
        self.temperature = _positive("temperature", temperature)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, 1), float64 [N]."""
        return softmax.unconfidence(inputs.read(outputs, "logits"), self.temperature)


def _positive(name: str, value: Optional[float]) -> float:
    if value is None or not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; it must be a positive number")
    return value
