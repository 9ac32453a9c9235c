"""Squared Mahalanobis distance to a Gaussian fitted with Ledoit & Wolf's shrinkage, one matrix product away."""
from __future__ import annotations

from typing import Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

FEWEST, MOST = 20, 8  # frames of a partition that has a mean of its own, and how many such partitions
# How much benign changes widen a Gaussian, chosen on validation data. Of images: the least that stays silent. Of
# driving, where what lasts adds up over a window: of those with as many hits the one that codecs move the least.
_BENIGN, _LASTING = 0.1, 2.0
_ASKED, _ALLOWED = 0.05, 0.1  # shares of frames and of their benign variants beyond one distance
_MOST = 2.0 ** 14  # times the usual: then what changes move says nothing
_ENOUGH = 500  # frames of each fit to see it by


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
        return Unwidened.fit(features, spread, partition, lasting=lasting).widened()

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


class Unwidened(NamedTuple):
    """The Gaussian of frames as they are, with how far benign changes move them: `widened` makes one of it.

    Attributes:
      means: float64 [K, D], of partitions; scale: float64 [D], each feature's standard deviation.
      whitening: float64 [D, D], of features over their scale, to axes along which changes move them independently.
      ratio: float64 [D], λ, the variance of what changes move along each.
      lasting: see `Gaussian.fit`.
    """

    means: np.ndarray
    scale: np.ndarray
    whitening: np.ndarray
    ratio: np.ndarray
    lasting: bool

    @classmethod
    def fit(cls, features: np.ndarray, spread: Optional[np.ndarray] = None,
            partition: Optional[np.ndarray] = None, *, lasting: bool = False) -> Unwidened:
        """Returns it; arguments as of `Gaussian.fit`."""
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
        ratio = np.zeros(len(whitening))
        if spread is not None and len(spread):
            moved = np.asarray(spread, dtype=np.float64) / scale
            ratio, axes = _moved_along(whitening, moved.T @ moved / len(moved))
            whitening = whitening @ axes
        return cls(means, scale, whitening, ratio, lasting)

    def widened(self, strength: float = 1.0) -> Gaussian:
        """Returns the Gaussian with what changes move overlooked, so many times as much as usual."""
        whitening = self.whitening * _say(self.ratio, self.lasting, strength)
        # The same distances by a triangular matrix, which is half zeros in a file.
        whitening = np.asarray(np.linalg.qr(whitening.T, mode="r")).T / self.scale[:, np.newaxis]
        offset = self.means @ whitening
        return Gaussian(whitening, offset[0] if len(offset) == 1 else offset)


def silencing(fits: Sequence[Unwidened], frames: Sequence[np.ndarray], variants: Sequence[np.ndarray]) -> float:
    """Returns how many times the usual widening, 1 at least, keeps benign variants from standing out.

    Where frames hardly differ (a simulator's, lossless ones of one place), the usual widening leaves any codec's
    variants beyond many or all of them. So it is doubled until at most 10% of the variants lie beyond the distance that
    5% of the frames exceed, all judged by fits that saw neither them nor their like; a mean over the fits.

    Args:
      fits: some, each of other frames.
      frames: for each fit the features [N, D] of frames that it hasn't seen.
      variants: for each the features [M, D] of their variants.
    """
    judged = [(fit, some(ordinary), some(varied)) for fit, ordinary, varied in zip(fits, frames, variants)
              if len(varied)]
    strength = 1.0
    while strength < _MOST and judged:
        beyond = []
        for fit, ordinary, varied in judged:
            widened = fit.widened(strength)
            limit = np.quantile(widened.distances(ordinary), 1 - _ASKED)
            beyond.append(float((widened.distances(varied) > limit).mean()))
        if np.mean(beyond) <= _ALLOWED:
            break
        strength *= 2
    return strength


def some(rows: np.ndarray, most: int = _ENOUGH) -> np.ndarray:
    """Returns at most so many of the rows [N, …], evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int))]


def overlooking(whitening: np.ndarray, moved: np.ndarray, lasting: bool = False) -> np.ndarray:
    """Returns a whitening […, D, D] that counts for little what benign changes move, by their mean outer product.

    Args:
      whitening: of the frames as they are; moved: [D, D] likewise, in the same units.
      lasting: see `Gaussian.fit`.
    """
    ratio, axes = _moved_along(whitening, moved)
    return np.asarray(whitening @ (axes * _say(ratio, lasting)[..., np.newaxis, :]))


def _moved_along(whitening: np.ndarray, moved: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Returns λ […, D], the variance of benign changes of white features, and its axes […, D, D]."""
    ratio, axes = np.linalg.eigh(np.swapaxes(whitening, -1, -2) @ moved @ whitening)
    return np.maximum(ratio, 0.0), axes  # rounding may leave less


def _say(ratio: np.ndarray, lasting: bool, strength: float = 1.0) -> np.ndarray:
    """Returns by how much each axis counts after widening, in (0, 1]."""
    return 1.0 / np.sqrt(1.0 + strength * (_LASTING * ratio if lasting else _BENIGN * ratio ** 2))
