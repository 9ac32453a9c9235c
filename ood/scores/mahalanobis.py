"""Distances to class means in units of the covariance: Mahalanobis, relative Mahalanobis, early-layer statistics."""
from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

from leanood.ood.scores import covariance, inputs
from leanood.ood.scores.score import Score


class Mahalanobis(Score):
    """min_k (z - m_k)^T S^-1 (z - m_k), class means m_k, one covariance S (Lee et al., arXiv 1807.03888, eq. 2).

    Statistics are kept as float32, so that one frame's matrix fits in a small processor's cache.

    Args:
      output: which output is z.
      shrinkage: of the covariance, see `covariance.pooled`; None is Ledoit and Wolf's.
    """

    OPTIONS = ("output", "shrinkage")
    LEARNED: Tuple[str, ...] = ("centre", "whitening", "means")
    centre: np.ndarray  # overall mean, float32 [D]
    whitening: np.ndarray  # [D, D]: (z - centre) @ whitening has covariance 1 within classes
    means: np.ndarray  # class means, centred and whitened, float32 [K, D]

    def __init__(self, output: str = "features", shrinkage: Optional[float] = None):
        self.output, self.shrinkage = output, shrinkage

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> Mahalanobis:
        """Learns means and covariance; `labels` [N], else the predicted classes, else one class."""
        pooled, centre = self._pooled(outputs, labels)
        whitening = np.linalg.inv(np.linalg.cholesky(pooled.covariance)).T
        self.centre = centre.astype(np.float32)
        self.whitening = np.ascontiguousarray(whitening, np.float32)
        self.means = ((pooled.means - centre) @ whitening).astype(np.float32)
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return (self.output,)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """Squared distance, float64 [N], >= 0."""
        self.require_fit()
        rows = inputs.read(outputs, self.output, len(self.centre))
        distance = np.empty(len(rows))
        squared = np.einsum("kd,kd->k", self.means, self.means)
        for block in covariance.blocks(len(rows)):
            white = (rows[block] - self.centre).astype(np.float32, copy=False) @ self.whitening
            nearest = (squared - 2.0 * (white @ self.means.T)).min(axis=1)
            distance[block] = np.einsum("nd,nd->n", white, white) + nearest
        return np.maximum(distance, 0.0)

    def _pooled(self, outputs: inputs.Outputs, labels: inputs.Array) -> Tuple[covariance.Pooled, np.ndarray]:
        """Class statistics and the overall mean [D]."""
        rows = inputs.fitting(outputs, self.output)
        classes, count = self._classes(outputs, labels, len(rows))
        pooled = covariance.pooled(rows, classes, count, self.shrinkage)
        return pooled, pooled.counts @ pooled.means / len(rows)

    def _classes(self, outputs: inputs.Outputs, labels: inputs.Array, count: int) -> Tuple[np.ndarray, int]:
        return inputs.classes(outputs, labels, count)


class EarlyStatistics(Mahalanobis):
    """Mahalanobis distance of pooled early-layer activations to their in-distribution mean, one class.

    Early layers hold what deep features have dropped (lighting, blur, noise). `early` [N, E] are the statistics of a
    fixed first layer, which `leanood.models.filter_bank` adds as an output, or a network's own early activations,
    averaged.
    """

    def __init__(self, output: str = "early", shrinkage: Optional[float] = None):
        super().__init__(output, shrinkage)

    def _classes(self, outputs: inputs.Outputs, labels: inputs.Array, count: int) -> Tuple[np.ndarray, int]:
        return np.zeros(count, np.int64), 1


class RelativeMahalanobis(Mahalanobis):
    """min_k d_k(z) - d_0(z), d_0 the distance to one Gaussian of all classes (Ren et al., arXiv 2106.09022, eq. 2–4).

    Both covariances are shrunk towards the same multiple of the identity. Then S_0 = S + B with B, the covariance of
    the class means, of rank < K, and by Woodbury's identity the difference of the two distances depends on z
    through K numbers alone: a frame costs K D multiplications in place of 2 D^2, and nothing large cancels.
    With one class the score is 0.

    Args: as for `Mahalanobis`.
    """

    LEARNED = ("centre", "directions", "squared", "between")
    directions: np.ndarray  # S^-1 (m_k - centre), float32 [D, K]
    squared: np.ndarray  # (m_k - centre)^T S^-1 (m_k - centre), float64 [K]
    between: np.ndarray  # [K, K]: |(z - centre) directions between|^2 = d - d_0, to the centre

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> RelativeMahalanobis:
        """Learns both Gaussians; `labels` [N], else the predicted classes, else one class."""
        pooled, centre = self._pooled(outputs, labels)
        weights = pooled.counts / pooled.counts.sum()
        means = (pooled.means - centre).T  # [D, K]
        directions = np.linalg.solve(pooled.covariance, means)
        gram = means.T @ directions
        root = np.sqrt((1.0 - pooled.shrinkage) * weights)
        inner = np.linalg.inv(np.eye(len(weights)) + root[:, None] * gram * root)
        self.centre = centre.astype(np.float32)
        self.directions = np.ascontiguousarray(directions, np.float32)
        self.squared = np.diag(gram).copy()
        self.between = root[:, None] * np.linalg.cholesky((inner + inner.T) / 2)
        return self

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """Difference of squared distances, float64 [N]; negative where one class explains z better than all do."""
        self.require_fit()
        rows = inputs.read(outputs, self.output, len(self.centre))
        along = np.empty((len(rows), len(self.squared)))
        for block in covariance.blocks(len(rows)):
            along[block] = (rows[block] - self.centre).astype(np.float32, copy=False) @ self.directions
        return (self.squared - 2.0 * along).min(axis=1) + ((along @ self.between) ** 2).sum(axis=1)
