"""Softmax arithmetic that neither overflows nor cancels.

Arrays are held class by class, [C, N]: a reduction over few classes is then a few vector operations over many frames.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Softmax(NamedTuple):
    """Of logits [N, C], with the largest of each frame taken off.

    shifted: logit - largest, float64 [C, N], <= 0; powers: exp(shifted); total: sum of powers [N], in [1, C];
    others: total - 1 without the cancellation, [N].
    """

    shifted: np.ndarray
    powers: np.ndarray
    total: np.ndarray
    others: np.ndarray


def softmax(logits: np.ndarray) -> Softmax:
    """The softmax's parts, of logits [N, C]."""
    shifted = logits.T.astype(np.float64, order="C")
    shifted -= shifted.max(axis=0)
    powers = np.exp(shifted)
    tops = shifted == 0
    # Each frame's largest power is exactly 1; where several tie, all but one belong to the others.
    others = (powers - tops).sum(axis=0) + (np.add.reduce(tops, axis=0, dtype=np.intp) - 1)
    return Softmax(shifted, powers, 1.0 + others, others)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """The softmax of logits [N, C], float64 [C, N]."""
    powers = logits.T.astype(np.float64, order="C")
    powers -= powers.max(axis=0)
    np.exp(powers, out=powers)
    powers /= powers.sum(axis=0)
    return powers


def unconfidence(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """1 - the largest softmax probability, float64 [N], of logits [N, C] / temperature; no array is made twice."""
    powers = logits.T.astype(np.float64, order="C")
    powers -= powers.max(axis=0)
    if temperature != 1.0:
        powers /= temperature
    tops = powers == 0
    np.exp(powers, out=powers)
    powers -= tops
    others = powers.sum(axis=0) + (np.add.reduce(tops, axis=0, dtype=np.intp) - 1)
    return others / (1.0 + others)


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """ln sum_j exp(logits_j), float64 [N], of logits [N, C]."""
    shifted = logits.T.astype(np.float64, order="C")
    largest = shifted.max(axis=0)
    shifted -= largest
    return largest + np.log(np.exp(shifted, out=shifted).sum(axis=0))


def entropy(parts: Softmax) -> np.ndarray:
    """Entropy of the softmax in nats, float64 [N], >= 0."""
    expected = np.einsum("cn,cn->n", parts.powers, parts.shifted) / parts.total
    return np.maximum(np.log1p(parts.others) - expected, 0.0)
