"""ASH: energy of pruned and reshaped features (Djurisic et al., arXiv 2209.09858)."""
from __future__ import annotations

import numpy as np

from leanood.ood.scores import headed, inputs


class ASH(headed.Headed):
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
        self.percentile, self.variant = headed.percentile(percentile), variant

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
