"""Energy of features that a subclass reshapes before the last layer runs again: what ReAct, ASH and DICE share."""
from __future__ import annotations

from typing import Tuple

import numpy as np

from leanood.ood.scores import covariance, head, inputs, softmax
from leanood.ood.scores.score import Score

_ELEMENTS = 1 << 15  # features reshaped at a time: 128 kB of float32, which malloc reuses and a cache holds


class Headed(Score):
    """Scores that run the last layer again; `weight` [D, C] and `bias` [C], or both recovered by least squares."""

    LEARNED: Tuple[str, ...] = ("kernel", "offset")
    kernel: np.ndarray  # float32 [D, C]
    offset: np.ndarray  # float32 [C]

    def __init__(self, weight: inputs.Array = None, bias: inputs.Array = None):
        self.weight, self.bias = head.given(weight, bias)

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> Headed:
        """Learns what is to be learned from `features` [N, D] (and `logits` [N, C] where no layer was given)."""
        features = inputs.fitting(outputs, "features")
        self.kernel, self.offset = head.of(self.weight, self.bias, outputs)
        if len(self.kernel) != features.shape[1]:
            raise ValueError(f"weight has {len(self.kernel)} rows; the features have {features.shape[1]} columns")
        self._learn(features)
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return ("features",)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        self.require_fit()
        features = inputs.read(outputs, "features", len(self.kernel), finite=False)
        logits = np.empty((len(features), self.kernel.shape[1]), np.result_type(features, self.kernel))
        # Looked at, reshaped and multiplied block by block, features come from memory once.
        for block in covariance.blocks(len(features), max(1, _ELEMENTS // features.shape[1])):
            part = features[block]
            inputs.require_finite(part, "features", block.start)
            np.matmul(self._shape(part), self.kernel, out=logits[block])
        logits += self.offset
        return -softmax.log_sum_exp(logits)

    def _learn(self, features: np.ndarray) -> None:
        """Learns what the reshaping needs from features [N, D], N ≥ 1; the last layer is known."""

    def _shape(self, features: np.ndarray) -> np.ndarray:
        return features


def percentile(value: float) -> float:
    """Returns the percentile, checked: within [0, 100)."""
    if not 0 <= value < 100:
        raise ValueError(f"percentile is {value}; it must be in [0, 100)")
    return value
