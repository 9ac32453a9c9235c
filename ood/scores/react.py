"""ReAct: energy of clipped features (Sun et al., arXiv 2111.12797)."""
from __future__ import annotations

import math
from typing import Optional

import numpy as np

from leanood.ood.scores import headed, inputs

# The percentile of 2 million values is known to 2e-4 of a rank; more would only cost time.
_VALUES = 1 << 21


class ReAct(headed.Headed):
    """Energy, features clipped from above at an in-distribution percentile (Sun et al., arXiv 2111.12797, eq. 1).

    Args:
      percentile: of all in-distribution feature values, in percent; the paper takes 90.
      weight, bias: the last layer, float [D, C] and [C]; None recovers it from `features` and `logits`.
      limit: the clip itself, where it is known; with the layer given too, nothing is left to fit.
    """

    OPTIONS = ("percentile",)
    LEARNED = headed.Headed.LEARNED + ("limit",)
    limit: np.ndarray  # float32 scalar

    def __init__(self, percentile: float = 90.0, weight: inputs.Array = None, bias: inputs.Array = None,
                 limit: Optional[float] = None):
        super().__init__(weight, bias)
        self.percentile = headed.percentile(percentile)
        self._given = limit is not None
        if limit is None:
            return
        if not math.isfinite(limit):
            raise ValueError(f"limit is {limit}; it must be finite")
        self.limit = np.asarray(limit, np.float32)
        if self.weight is not None and self.bias is not None:
            self.kernel, self.offset = self.weight, self.bias

    def _learn(self, features: np.ndarray) -> None:
        if self._given:
            return
        count = max(1, _VALUES // features.shape[1])
        if len(features) > count:  # drawn, not evenly spaced: classes may take turns
            features = features[np.random.default_rng(0).choice(len(features), count, replace=False, shuffle=False)]
        self.limit = np.asarray(np.percentile(features, self.percentile), np.float32)

    def _shape(self, features: np.ndarray) -> np.ndarray:
        return np.minimum(features, self.limit)
