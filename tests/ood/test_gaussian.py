"""The Gaussian's distances, recomputed with explicit covariances; what benign changes move counts for little."""
import numpy as np
import pytest
from sklearn import covariance

from leanood.ood import gaussian


def frames(seed=0, count=400, width=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, width)) @ rng.normal(size=(width, width)) + rng.normal(size=width)


def test_distances_are_mahalanobis_with_ledoit_and_wolfs_covariance():
    x = frames()
    standard = (x - x.mean(0)) / x.std(0)
    precision = np.linalg.inv(covariance.LedoitWolf(assume_centered=True).fit(standard).covariance_)
    fitted = gaussian.Gaussian.fit(x)
    np.testing.assert_allclose(fitted.distances(x), np.einsum("nd,de,ne->n", standard, precision, standard), rtol=1e-9)
    again = gaussian.Gaussian.from_arrays(fitted.to_arrays())
    assert np.array_equal(again.distances(x), fitted.distances(x))


def test_benign_changes_widen_the_covariance():
    x = frames()
    moved = np.random.default_rng(1).normal(size=(300, 6)) * [9.0, 1.0, 0.1, 0.0, 0.0, 0.0]
    scale = x.std(0)
    standard, changes = (x - x.mean(0)) / scale, moved / scale
    s = covariance.LedoitWolf(assume_centered=True).fit(standard).covariance_
    b = changes.T @ changes / len(changes)
    precision = np.linalg.inv(s + gaussian._BENIGN * b @ np.linalg.inv(s) @ b)
    np.testing.assert_allclose(gaussian.Gaussian.fit(x, moved).distances(x),
                               np.einsum("nd,de,ne->n", standard, precision, standard), rtol=1e-9)
    precision = np.linalg.inv(s + gaussian._LASTING * b)
    np.testing.assert_allclose(gaussian.Gaussian.fit(x, moved, lasting=True).distances(x),
                               np.einsum("nd,de,ne->n", standard, precision, standard), rtol=1e-9)
    assert np.array_equal(gaussian.Gaussian.fit(x, moved[:0]).whitening, gaussian.Gaussian.fit(x).whitening)


def test_what_is_moved_most_says_least():
    x = np.random.default_rng(2).normal(size=(2000, 2))
    moved = np.random.default_rng(3).normal(size=(2000, 2)) * [10.0, 0.3]
    plain, widened = gaussian.Gaussian.fit(x), gaussian.Gaussian.fit(x, moved)
    odd = np.array([[6.0, 0.0], [0.0, 6.0]]) + x.mean(0)
    much, little = widened.distances(odd) / plain.distances(odd)
    assert much < 0.01  # changes of a hundred times the frames' variance
    assert little > 0.95  # of a tenth


def test_one_frame_is_no_distribution():
    with pytest.raises(ValueError, match="at least 2 frames to fit, not 1"):
        gaussian.Gaussian.fit(np.zeros((1, 3)))
