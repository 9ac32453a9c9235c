"""Softmax arithmetic that neither overflows nor cancels."""
from __future__ import annotations

import numpy as np


def log_sum_exp(logits: np.ndarray) -> np.ndarray:
    """ln sum_j exp(logits_j), float64 [N]."""
    logits = np.asarray(logits, np.float64)
    top = logits.max(axis=1)
    return top + np.log(np.exp(logits - top[:, None]).sum(axis=1))


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of [N, C], float64, rows sum to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def complements(logits: np.ndarray) -> np.ndarray:
    """1 - softmax of [N, C], float64, exact also where the softmax rounds to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    total = powers.sum(axis=1, keepdims=True)
    rest = total - powers
    rows, top = np.arange(len(powers)), powers.argmax(axis=1)
    powers[rows, top] = 0.0
    rest[rows, top] = powers.sum(axis=1)  # no subtraction of nearly equal numbers
    return rest / total


def unconfidence(logits: np.ndarray) -> np.ndarray:
    """1 - the largest softmax probability, float64 [N] in [0, 1), exact also where that probability rounds to 1."""
    logits = np.asarray(logits, np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    powers[np.arange(len(powers)), powers.argmax(axis=1)] = 0.0
    others = powers.sum(axis=1)
    return others / (1.0 + others)
