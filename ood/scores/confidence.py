"""Scores of the logits alone, with nothing to fit: MSP, max-logit, energy, entropy, GEN, ODIN's temperature."""
from __future__ import annotations

from typing import Optional

import numpy as np

from leanood.ood.scores import inputs, softmax
from leanood.ood.scores.score import Score


class MSP(Score):
    """1 - maximum softmax probability (Hendrycks & Gimpel, arXiv 1610.02136, section 2)."""

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, 1), float64 [N]."""
        return softmax.unconfidence(inputs.read(outputs, "logits"))


class MaxLogit(Score):
    """Minus the largest logit (Hendrycks et al., arXiv 1911.11132, section 3)."""

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        return -inputs.read(outputs, "logits").max(axis=1).astype(np.float64)


class Energy(Score):
    """Free energy -T ln sum_j exp(logit_j / T) (Liu et al., arXiv 2010.03759, eq. 4)."""

    OPTIONS = ("temperature",)

    def __init__(self, temperature: float = 1.0):
        self.temperature = _positive("temperature", temperature)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        logits = inputs.read(outputs, "logits")
        return -self.temperature * softmax.log_sum_exp(logits / self.temperature)


class Entropy(Score):
    """Shannon entropy of the softmax in nats (Macedo et al., arXiv 1908.05569, eq. 7)."""

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, ln C], float64 [N]."""
        logits = np.asarray(inputs.read(outputs, "logits"), np.float64)
        # H = lse(z) - sum_j p_j z_j; shifting by the maximum keeps both terms small.
        logits = logits - logits.max(axis=1, keepdims=True)
        return np.maximum(softmax.log_sum_exp(logits) - (softmax.probabilities(logits) * logits).sum(axis=1), 0.0)


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
        logits = inputs.read(outputs, "logits")
        if self.top < logits.shape[1]:
            # The softmax is taken over all classes before the tail is left out.
            product = softmax.probabilities(logits) * softmax.complements(logits)
            largest = np.argpartition(-logits, self.top - 1, axis=1)[:, :self.top]
            product = np.take_along_axis(product, largest, axis=1)
        else:
            product = softmax.probabilities(logits) * softmax.complements(logits)
        return (product ** self.gamma).sum(axis=1)


class ODIN(Score):
    """1 - maximum softmax probability at temperature T (Liang et al., arXiv 1706.02690, eq. 1).

    The paper's input perturbation needs the gradient, so it is done on the host before inference
    (`leanood.models.odin`); on the device the temperature is what is left.

    Args:
      temperature: T; the paper takes 1000.
    """

    OPTIONS = ("temperature",)

    def __init__(self, temperature: float = 1000.0):
        self.temperature = _positive("temperature", temperature)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In [0, 1), float64 [N]."""
        return softmax.unconfidence(inputs.read(outputs, "logits").astype(np.float64) / self.temperature)


def _positive(name: str, value: Optional[float]) -> float:
    if value is None or not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}; it must be a positive number")
    return value
