"""Energy of features that a subclass reshapes before the last layer runs again: what ReAct, ASH and DICE share."""
from __future__ import annotations

from typing import Tuple

import numpy as np

from leanood.ood.scores import covariance, head, inputs, softmax
from leanood.ood.scores.score import Score

_ROWS = 256  # a block of reshaped features stays in the processor's cache


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
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return ("features",)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        self.require_fit()
        features = inputs.read(outputs, "features", len(self.kernel))
        result = np.empty(len(features))
        for block in covariance.blocks(len(features), _ROWS):
            shaped = self._shape(features[block])
            result[block] = -softmax.log_sum_exp(shaped @ self.kernel + self.offset)
        return result

    def _shape(self, features: np.ndarray) -> np.ndarray:
        return features


def percentile(value: float) -> float:
    """Returns the percentile, checked: within [0, 100)."""
    if not 0 <= value < 100:
        raise ValueError(f"percentile is {value}; it must be in [0, 100)")
    return value
