"""A classifier's last linear layer, given or recovered from what it does."""
from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

from leanood.ood.scores import inputs


def given(weight: inputs.Array, bias: inputs.Array) -> Tuple[Optional[np.ndarray], Optional[np.ndarray]]:
    """The checked layer, float32 [D, C] and [C]; (None, None) where it is to be recovered."""
    if weight is None:
        if bias is not None:
            raise ValueError("bias is given without weight; give both, or neither to have them recovered")
        return None, None
    weight = np.asarray(weight, np.float32)
    if weight.ndim != 2:
        raise ValueError(f"weight has shape {list(weight.shape)}; a dense layer's kernel is [D, C]")
    bias = np.zeros(weight.shape[1], np.float32) if bias is None else np.asarray(bias, np.float32)
    if bias.shape != weight.shape[1:]:
        raise ValueError(f"bias has shape {list(bias.shape)}; weight {list(weight.shape)} needs [{weight.shape[1]}]")
    return weight, bias


def recovered(features: np.ndarray, logits: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """The layer with logits = features @ weight + bias by least squares, float32 [D, C] and [C].

    Exact for a linear layer (to rounding, or to a quantized file's steps). Directions that the features never vary
    in, and those that rounding hides (singular values under 1e-6 of the largest), get weight zero.

    Args:
      features: [N, D]; at most 8 D rows, evenly spaced, are used.
      logits: [N, C].
    """
    if len(features) != len(logits):
        raise ValueError(f"there are {len(features)} rows of features and {len(logits)} of logits; both are [N, .]")
    step = max(1, len(features) // (8 * features.shape[1]))
    rows, targets = features[::step].astype(np.float64), logits[::step].astype(np.float64)
    centre, middle = rows.mean(axis=0), targets.mean(axis=0)
    weight = np.linalg.lstsq(rows - centre, targets - middle, rcond=1e-6)[0]
    return weight.astype(np.float32), (middle - centre @ weight).astype(np.float32)


def of(weight: inputs.Array, bias: inputs.Array, outputs: inputs.Outputs) -> Tuple[np.ndarray, np.ndarray]:
    """The given layer, else the one recovered from `features` and `logits`."""
    if weight is None or bias is None:
        return recovered(inputs.fitting(outputs, "features"), inputs.fitting(outputs, "logits"))
    return weight, bias
