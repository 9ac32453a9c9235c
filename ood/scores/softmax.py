"""Softmax arithmetic that neither overflows nor cancels.

Arrays are held class by class, [C, N]: a reduction over few classes is then a few vector operations over many frames.
"""
from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from leanood.ood.scores import covariance

_ELEMENTS = 1 << 14  # logits turned class by class at a time: 128 kB of float64, which malloc reuses and a cache holds


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


def log_sum_exp(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """ln sum_j exp(logits_j / temperature), float64 [N], of logits [N, C]."""
    return in_blocks(_log_sum_exp, logits if temperature == 1.0 else logits / temperature)


def largest(logits: np.ndarray) -> np.ndarray:
    """The largest of logits [N, C], float64 [N]."""
    return in_blocks(_largest, logits)


def in_blocks(function: Callable[[np.ndarray], np.ndarray], logits: np.ndarray) -> np.ndarray:
    """`function` of logits [n, C] -> [n], applied to few enough frames at a time that no array of it is large.

    Fresh memory costs a page fault for every 4 kB, which takes longer than the arithmetic on it.
    """
    step = max(1, _ELEMENTS // logits.shape[1])
    if len(logits) <= step:
        return function(logits).astype(np.float64, copy=False)
    result = np.empty(len(logits))
    for rows in covariance.blocks(len(logits), step):
        result[rows] = function(logits[rows])
    return result


def _largest(logits: np.ndarray) -> np.ndarray:
    # Class by class the maximum is a few vector operations.
    return np.ascontiguousarray(logits.T).max(axis=0)


def _log_sum_exp(logits: np.ndarray) -> np.ndarray:
    shifted = logits.T.astype(np.float64, order="C")
    largest = shifted.max(axis=0)
    shifted -= largest
    return largest + np.log(np.exp(shifted, out=shifted).sum(axis=0))


def entropy(parts: Softmax) -> np.ndarray:
    """Entropy of the softmax in nats, float64 [N], >= 0."""
    expected = np.einsum("cn,cn->n", parts.powers, parts.shifted) / parts.total
    return np.maximum(np.log1p(parts.others) - expected, 0.0)
