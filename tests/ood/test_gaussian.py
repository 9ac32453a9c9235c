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


@pytest.mark.parametrize(("change", "lasting", "usual"), [(0.1, False, True), (0.1, True, True), (1.5, False, False),
                                                          (30.0, True, False)])
def test_widening_grows_until_variants_of_unseen_frames_are_no_odder(change, lasting, usual):
    """Where frames hardly differ; else it is the usual one."""
    rng = np.random.default_rng(4)
    parts = [frames(5 * i, 300) for i in range(3)]
    varied = [part + change * rng.standard_t(3, size=part.shape) * [1, 1, 1, 1, 0, 0] for part in parts]
    fits = [gaussian.Unwidened.fit(part, changed - part, lasting=lasting) for part, changed in zip(parts, varied)]
    fresh = [frames(5 * i, 4000)[300:] for i in range(3)]
    fresh_varied = [part + change * rng.standard_t(3, size=part.shape) * [1, 1, 1, 1, 0, 0] for part in fresh]

    def beyond(strength):
        return np.mean([(fit.widened(strength).distances(theirs)
                         > np.quantile(fit.widened(strength).distances(part), 0.95)).mean()
                        for fit, part, theirs in zip(fits, fresh, fresh_varied)])

    strength = gaussian.silencing(fits, fresh, fresh_varied)
    assert (strength == 1) == usual
    assert beyond(strength) <= 0.11
    if not usual:
        assert beyond(strength / 2) > 0.09
    assert gaussian.silencing(fits, fresh, [part[:0] for part in fresh]) == 1


def test_one_frame_is_no_distribution():
    with pytest.raises(ValueError, match="at least 2 frames to fit, not 1"):
        gaussian.Gaussian.fit(np.zeros((1, 3)))
