"""DICE: energy with a pruned last layer (Sun & Li, arXiv 2111.09805)."""
from __future__ import annotations

import numpy as np

from leanood.ood.scores import headed, inputs


class DICE(headed.Headed):
    """Energy with only the last layer's largest contributions kept (Sun & Li, arXiv 2111.09805, eq. 3–5).

    A weight's contribution is its value times the feature's in-distribution mean.

    Args:
      percentile: share of weights that is set to zero, in percent; the paper takes 90.
      weight, bias: the last layer, float [D, C] and [C]; None recovers it from `features` and `logits`.
    """

    OPTIONS = ("percentile",)

    def __init__(self, percentile: float = 90.0, weight: inputs.Array = None, bias: inputs.Array = None):
        super().__init__(weight, bias)
        self.percentile = headed.percentile(percentile)

    def _learn(self, features: np.ndarray) -> None:
        mean = features.mean(axis=0, dtype=np.float64)
        contribution = mean[:, None] * self.kernel
        cut = np.percentile(contribution, self.percentile)
        self.kernel = np.where(contribution > cut, self.kernel, 0).astype(np.float32)
