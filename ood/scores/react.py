"""ReAct: energy of clipped features (Sun et al., arXiv 2111.12797)."""
from __future__ import annotations

import numpy as np

from leanood.ood.scores import headed, inputs


class ReAct(headed.Headed):
    """Energy, features clipped from above at an in-distribution percentile (Sun et al., arXiv 2111.12797, eq. 1).

    Args:
      percentile: of all in-distribution feature values, in percent; the paper takes 90.
      weight, bias: the last layer, float [D, C] and [C]; None recovers it from `features` and `logits`.
    """

    OPTIONS = ("percentile",)
    LEARNED = headed.Headed.LEARNED + ("limit",)
    limit: np.ndarray  # float32 scalar

    def __init__(self, percentile: float = 90.0, weight: inputs.Array = None, bias: inputs.Array = None):
        super().__init__(weight, bias)
        self.percentile = headed.percentile(percentile)

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> ReAct:
        """Learns the clip; labels are not used."""
        super().fit(outputs)
        features = inputs.fitting(outputs, "features")
        # The percentile of 5 million values is known to 1e-4 of a rank; more would only cost memory.
        step = max(1, features.size // 5_000_000)
        self.limit = np.asarray(np.percentile(features[::step], self.percentile), np.float32)
        return self

    def _shape(self, features: np.ndarray) -> np.ndarray:
        return np.minimum(features, self.limit)
