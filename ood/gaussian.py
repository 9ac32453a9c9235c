"""Squared Mahalanobis distance to a Gaussian fitted with Ledoit & Wolf's shrinkage, one matrix product away."""
from __future__ import annotations

from typing import Dict, Mapping, Optional

import numpy as np

FEWEST, MOST = 20, 8  # frames of a partition that has a mean of its own, and how many such partitions
# How much benign changes widen a Gaussian, chosen on validation data. Of images: the least that stays silent. Of
# driving, where what lasts adds up over a window: of those with as many hits the one that codecs move the least.
_BENIGN, _LASTING = 0.1, 2.0


class Gaussian:
    """N(mean, covariance) over D features, kept as the map to white noise: d²(x) = ‖x·whitening − offset‖².

    The covariance is shrunk towards a multiple of the identity, in units of each feature's standard deviation: Ledoit &
    Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", J. Multivariate Analysis 88 (2004)
    365-411. So it is invertible of few frames too, and a feature that is constant in training counts little
    until it moves.

    Of partitions each has its own mean, and all have one covariance; what counts is the distance to the nearest.

    Attributes:
      whitening: float64 [D, D]; offset: float64 [D], or [K, D] of K partitions.
    """

    def __init__(self, whitening: np.ndarray, offset: np.ndarray):
        width = offset.shape[-1]
        if whitening.shape != (width, width) or offset.ndim not in (1, 2) or not offset.size:
            raise ValueError(f"gaussian: whitening {list(whitening.shape)} and offset {list(offset.shape)} don't fit")
        self.whitening = np.ascontiguousarray(whitening, dtype=np.float64)
        self.offset = np.ascontiguousarray(offset, dtype=np.float64)

    @classmethod
    def fit(cls, features: np.ndarray, spread: Optional[np.ndarray] = None,
            partition: Optional[np.ndarray] = None, *, lasting: bool = False) -> Gaussian:
        """Returns the Gaussian of finite features [N, D], N ≥ 2 (needs scikit-learn).

        Args:
          features: of the frames as they are.
          spread: [M, D], by how much benign changes move the features. With S the frames' covariance and B the mean
            outer product of the changes, the covariance becomes S + c·B·S⁻¹·B: where changes move the features λ times
            as much (in variance) as frames differ, it grows to 1 + cλ² times. So what they move most says next to
            nothing, and what they move little keeps its say. The mean stays that of the frames as they are.
          partition: each frame's, str [N]; None, with fewer than FEWEST frames in one, or of more than MOST: one mean.
          lasting: changes last, and evidence of them adds up over time: the covariance becomes S + c·B, 1 + cλ times,
            in which every direction that they move loses some of its say.
        """
        from sklearn import covariance as covariances

        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"a Gaussian needs at least 2 frames to fit, not {len(features)}; give more training data")
        mean = features.mean(axis=0)
        means = mean[np.newaxis]
        if partition is not None:
            names, member, counts = np.unique(partition, return_inverse=True, return_counts=True)
            if len(names) <= MOST and counts.min() >= FEWEST:
                means = np.stack([features[member == k].mean(axis=0) for k in range(len(names))])
                features = features - (means - mean)[member]
        scale = features.std(axis=0)
        # A feature that never moved in training has no scale of its own; a thousandth keeps it quiet, not blind.
        scale = np.maximum(scale, 1e-3 * max(1.0, float(np.abs(mean).max())) * (scale < 1e-12) + 1e-12)
        standard = features - mean
        standard /= scale  # in place, here and below: there may be many frames
        covariance = covariances.shrunk_covariance(
            covariances.empirical_covariance(standard, assume_centered=True),
            covariances.ledoit_wolf_shrinkage(standard, assume_centered=True))
        del standard
        try:
            whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T  # whitening·whiteningᵀ is the precision
        except np.linalg.LinAlgError:  # of two frames or three, no shrinkage may be found
            raise ValueError(f"a Gaussian over {features.shape[1]} features can't be fitted to {len(features)} frames; "
                             "give more training data") from None
        if spread is not None and len(spread):
            moved = np.asarray(spread, dtype=np.float64) / scale
            whitening = overlooking(whitening, moved.T @ moved / len(moved), lasting)
        # The same distances by a triangular matrix, which is half zeros in a file.
        whitening = np.asarray(np.linalg.qr(whitening.T, mode="r")).T / scale[:, np.newaxis]
        offset = means @ whitening
        return cls(whitening, offset[0] if len(offset) == 1 else offset)

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Returns d² float64 [N] of features [N, D]."""
        projected = features @ self.whitening
        nearest = np.full(len(projected), np.inf)
        for offset in np.atleast_2d(self.offset):
            white = projected - offset
            np.minimum(nearest, np.einsum("nd,nd->n", white, white), out=nearest)
        return nearest

    def centre(self) -> np.ndarray:
        """Returns the mean, of several the first, float64 [D]; zeros where the whitening has lost it."""
        try:
            centre = np.linalg.solve(self.whitening.T, np.atleast_2d(self.offset)[0])
        except np.linalg.LinAlgError:
            return np.zeros(len(self.whitening))
        return np.asarray(np.nan_to_num(centre, posinf=0.0, neginf=0.0))

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {"whitening": self.whitening, "offset": self.offset}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Gaussian:
        return cls(np.asarray(arrays["whitening"]), np.asarray(arrays["offset"]))


def overlooking(whitening: np.ndarray, moved: np.ndarray, lasting: bool = False) -> np.ndarray:
    """Returns a whitening […, D, D] that counts for little what benign changes move, by their mean outer product.

    Args:
      whitening: of the frames as they are; moved: [D, D] likewise, in the same units.
      lasting: see `Gaussian.fit`.
    """
    ratio, axes = np.linalg.eigh(np.swapaxes(whitening, -1, -2) @ moved @ whitening)
    ratio = np.maximum(ratio, 0.0)[..., np.newaxis, :]  # rounding may leave less
    return np.asarray(whitening @ (axes / np.sqrt(1.0 + (_LASTING * ratio if lasting else _BENIGN * ratio ** 2))))
