"""Energy of reshaped features: ReAct clips them, ASH prunes them, DICE prunes the last layer's weights."""
from __future__ import annotations

from typing import Tuple

import numpy as np

from leanood.ood.scores import covariance, head, inputs, softmax
from leanood.ood.scores.score import Score

_ROWS = 256  # a block of reshaped features stays in the processor's cache


class _Headed(Score):
    """Scores that run the last layer again; `weight` [D, C] and `bias` [C], or both recovered by least squares."""

    LEARNED: Tuple[str, ...] = ("kernel", "offset")
    kernel: np.ndarray  # float32 [D, C]
    offset: np.ndarray  # float32 [C]

    def __init__(self, weight: inputs.Array = None, bias: inputs.Array = None):
        self.weight, self.bias = head.given(weight, bias)

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> _Headed:
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
        found = np.empty(len(features))
        for block in covariance.blocks(len(features), _ROWS):
            shaped = self._shape(features[block])
            found[block] = -softmax.log_sum_exp(shaped @ self.kernel + self.offset)
        return found

    def _shape(self, features: np.ndarray) -> np.ndarray:
        return features


class ReAct(_Headed):
    """Energy, features clipped from above at an in-distribution percentile (Sun et al., arXiv 2111.12797, eq. 1).

    Args:
      percentile: of all in-distribution feature values, in percent; the paper takes 90.
      weight, bias: the last layer, float [D, C] and [C]; None recovers it from `features` and `logits`.
    """

    OPTIONS = ("percentile",)
    LEARNED = _Headed.LEARNED + ("limit",)
    limit: np.ndarray  # float32 scalar

    def __init__(self, percentile: float = 90.0, weight: inputs.Array = None, bias: inputs.Array = None):
        super().__init__(weight, bias)
        self.percentile = _percentile(percentile)

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


class ASH(_Headed):
    """Energy, a frame's small features set to zero and the rest reshaped (Djurisic et al., arXiv 2209.09858, sec. 3).

    Applied to the pooled features, as OpenOOD does. Ties at the cut are all kept.

    Args:
      percentile: share of features that is pruned, in percent; the paper takes 60 (p), 65 (b) and 90 (s).
      variant: "s" scales what is left by exp(sum before / sum after), "p" leaves it, "b" makes it one value with the
        sum before. A frame whose kept features sum to nothing stays as it is.
      weight, bias: the last layer, float [D, C] and [C]; None recovers it from `features` and `logits`.
    """

    OPTIONS = ("percentile", "variant")

    def __init__(self, percentile: float = 65.0, variant: str = "s",
                 weight: inputs.Array = None, bias: inputs.Array = None):
        super().__init__(weight, bias)
        if variant not in ("s", "p", "b"):
            raise ValueError(f"variant is {variant!r}; it is 's', 'p' or 'b'")
        self.percentile, self.variant = _percentile(percentile), variant

    def _shape(self, features: np.ndarray) -> np.ndarray:
        width = features.shape[1]
        pruned = min(int(round(width * self.percentile / 100.0)), width - 1)
        cut = np.partition(features, pruned, axis=1)[:, pruned, None]
        kept = features >= cut
        shaped = np.where(kept, features, 0)
        if self.variant == "p":
            return shaped
        before = features.sum(axis=1, keepdims=True)
        if self.variant == "b":
            # Where few features are active, the cut is zero: silent features stay silent.
            return np.where(kept & (features != 0), before / (width - pruned), 0)
        after = shaped.sum(axis=1, keepdims=True)
        ratio = np.divide(before, after, out=np.zeros_like(before), where=after > 0)
        # Non-negative features keep the ratio within D / kept; others must not overflow.
        return shaped * np.exp(np.minimum(ratio, 20.0))


class DICE(_Headed):
    """Energy with only the last layer's largest contributions kept (Sun & Li, arXiv 2111.09805, eq. 3–5).

    A weight's contribution is its value times the feature's in-distribution mean.

    Args:
      percentile: share of weights that is set to zero, in percent; the paper takes 90.
      weight, bias: the last layer, float [D, C] and [C]; None recovers it from `features` and `logits`.
    """

    OPTIONS = ("percentile",)

    def __init__(self, percentile: float = 90.0, weight: inputs.Array = None, bias: inputs.Array = None):
        super().__init__(weight, bias)
        self.percentile = _percentile(percentile)

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> DICE:
        """Learns which weights stay; labels are not used."""
        super().fit(outputs)
        mean = inputs.fitting(outputs, "features").mean(axis=0, dtype=np.float64)
        contribution = mean[:, None] * self.kernel
        cut = np.percentile(contribution, self.percentile)
        self.kernel = np.where(contribution > cut, self.kernel, 0).astype(np.float32)
        return self


def _percentile(value: float) -> float:
    if not 0 <= value < 100:
        raise ValueError(f"percentile is {value}; it must be in [0, 100)")
    return value
