"""What lies outside the principal subspace of the features: residual and ViM."""
from __future__ import annotations

from typing import Optional, Tuple

import numpy as np

from leanood.ood.scores import covariance, head, inputs, softmax
from leanood.ood.scores.score import Score


class Residual(Score):
    """Length of z's part outside the principal subspace of the features (Wang et al., arXiv 2203.10807, section 4.1).

    Args:
      dimensions: of the principal subspace; None takes the paper's: 1000 of 2048 features, 512 of 768, else half.
      weight, bias: the last layer, float [D, C] and [C]. The origin is then the paper's, -(W^T)^+ b; None recovers
        the layer from `features` and `logits`, or takes the features' mean where there are no logits.
    """

    OPTIONS = ("dimensions",)
    LEARNED: Tuple[str, ...] = ("origin", "complement")
    origin: np.ndarray  # float32 [D]
    complement: np.ndarray  # orthonormal columns, float32 [D, D - dimensions]

    def __init__(self, dimensions: Optional[int] = None, weight: inputs.Array = None, bias: inputs.Array = None):
        if dimensions is not None and dimensions < 1:
            raise ValueError(f"dimensions is {dimensions}; the principal subspace has at least one")
        self.dimensions = dimensions
        self.weight, self.bias = head.given(weight, bias)

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> Residual:
        """Learns origin and subspace; labels are not used."""
        rows = inputs.fitting(outputs, "features")
        width = rows.shape[1]
        dimensions = _paper_dimensions(width) if self.dimensions is None else self.dimensions
        if not dimensions < width and width > 1:
            raise ValueError(f"dimensions is {dimensions}; it must be less than the {width} features")
        if self.weight is None and "logits" not in outputs:
            origin = covariance.class_means(rows, np.zeros(len(rows), np.int64), np.array([len(rows)]))[0]
        else:
            weight, bias = head.of(self.weight, self.bias, outputs)
            origin = -np.linalg.pinv(weight.astype(np.float64).T) @ bias
        moment = covariance.second_moment(rows, origin)
        axes = np.linalg.eigh(moment)[1]  # ascending: the first columns are the smallest
        self.origin = origin.astype(np.float32)
        self.complement = np.ascontiguousarray(axes[:, :max(width - dimensions, 1)], np.float32)
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return ("features",)

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """Length in feature units, float64 [N], >= 0."""
        self.require_fit()
        return self._length(inputs.read(outputs, "features", len(self.origin)))

    def _length(self, rows: np.ndarray) -> np.ndarray:
        squared = np.empty(len(rows))
        for block in covariance.blocks(len(rows)):
            outside = (rows[block] - self.origin).astype(np.float32, copy=False) @ self.complement
            squared[block] = np.einsum("nd,nd->n", outside, outside)
        return np.sqrt(squared)


class ViM(Residual):
    """Virtual-logit matching: alpha times the residual, minus the energy's log-sum-exp (arXiv 2203.10807, eq. 7–8).

    A monotone form of the virtual class's softmax probability. alpha makes the virtual logit as large on average as
    the largest logit.

    Args: as for `Residual`.
    """

    LEARNED = ("origin", "complement", "alpha")
    alpha: np.ndarray  # float64 scalar

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> ViM:
        """Learns origin, subspace and alpha; labels are not used."""
        logits = inputs.fitting(outputs, "logits")
        super().fit(outputs)
        length = self._length(inputs.read(outputs, "features")).mean()
        # Features that never leave the subspace (a single frame) say nothing of how to scale it.
        self.alpha = np.asarray(float(logits.max(axis=1).mean()) / length if length > 0 else 1.0)
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return ("features", "logits")

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In logits, float64 [N]."""
        length = super().score(outputs)
        return float(self.alpha) * length - softmax.log_sum_exp(inputs.read(outputs, "logits"))


def _paper_dimensions(width: int) -> int:
    if width >= 2048:
        return 1000
    return 512 if width >= 768 else max(width // 2, 1)
