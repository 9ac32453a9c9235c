"""Distance to the k-th nearest in-distribution frame."""
from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

from leanood.ood.scores import covariance, inputs
from leanood.ood.scores.score import Score

_STRIDES = 16  # elements that share one maximum in the first sweep over the similarities
_BLOCK = 1 << 24  # similarities held at once: 64 MB of float32


class KNN(Score):
    """Euclidean distance of z / |z| to its k-th nearest neighbour in a table (Sun et al., arXiv 2204.06507, eq. 3).

    Args:
      neighbours: k. The paper takes 50 of CIFAR's 50,000 training rows; with a smaller table a smaller k.
      rows: at most this many rows are kept, drawn evenly at random; None keeps all. 4,000 rows of 512 numbers are
        8.2 MB and take under a millisecond a frame.
      output: which output is z.
      seed: of the draw.
    """

    OPTIONS = ("neighbours", "rows", "output", "seed")
    LEARNED = ("table",)
    table: np.ndarray  # unit rows, float32 [M, D]

    def __init__(self, neighbours: int = 10, rows: Optional[int] = 4000, output: str = "features", seed: int = 0):
        if neighbours < 1 or (rows is not None and rows < 1):
            raise ValueError(f"neighbours is {neighbours} and rows is {rows}; both must be at least 1")
        self.neighbours, self.rows, self.output, self.seed = neighbours, rows, output, seed

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> KNN:
        """Keeps the table; labels are not used. Where it has fewer than k rows, the farthest one counts."""
        rows = inputs.fitting(outputs, self.output)
        if self.rows is not None and len(rows) > self.rows:
            rows = rows[np.sort(np.random.RandomState(self.seed).permutation(len(rows))[:self.rows])]
        self.table = unit(rows)
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return (self.output,)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """Distance, float64 [N] in [0, 2]."""
        self.require_fit()
        rows = inputs.read(outputs, self.output, self.table.shape[1])
        kth = min(self.neighbours, len(self.table))
        similar = np.empty(len(rows))
        for block in covariance.blocks(len(rows), max(1, _BLOCK // len(self.table))):
            similar[block] = kth_largest(unit(rows[block]) @ self.table.T, kth)
        return np.sqrt(np.maximum(2.0 - 2.0 * similar, 0.0))


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32; a row of zeros stays zero."""
    length = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    return (rows / np.maximum(length, 1e-10)[:, None].astype(rows.dtype)).astype(np.float32, copy=False)


def kth_largest(values: np.ndarray, k: int) -> np.ndarray:
    """The k-th largest of each row of [N, M], [N].

    A full partition reads every value several times. Here one sweep takes the maximum of sixteen values at a time; the
    k groups with the largest maxima hold k values at least, and any value above all other groups' maxima, so the
    k-th largest of those groups is the k-th largest of all.
    """
    n, width = values.shape
    groups = width // _STRIDES
    if groups <= 2 * k:
        return np.partition(values, width - k, axis=1)[:, width - k]
    body = values[:, :groups * _STRIDES].reshape(n, _STRIDES, groups)
    best = np.argpartition(body.max(axis=1), groups - k, axis=1)[:, groups - k:]
    chosen = np.take_along_axis(body, best[:, None, :], axis=2).reshape(n, -1)
    chosen = np.concatenate([chosen, values[:, groups * _STRIDES:]], axis=1)
    return np.partition(chosen, chosen.shape[1] - k, axis=1)[:, chosen.shape[1] - k]
