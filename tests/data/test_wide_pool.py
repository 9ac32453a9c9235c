"""Views for distillation: the same for a seed, of the images' size, and many different ones."""
import numpy as np
import pytest

from leanood.data import wide_pool


def images(count=5, seed=0):
    return np.stack([wide_pool.leaves((48, 64), seed * 100 + i) for i in range(count)])


def test_views_are_repeatable_and_differ():
    found = wide_pool.views(images(), 40, seed=3)
    assert found.shape == (40, 48, 64, 3)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, wide_pool.views(images(), 40, seed=3))
    assert len({view.tobytes() for view in found}) == 40
    assert not np.array_equal(found, wide_pool.views(images(), 40, seed=4))


def test_the_images_stay_and_weights_choose():
    given = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in (0, 200)])
    before = given.copy()
    means = wide_pool.views(given, 100, 0, weights=np.array([1.0, 0.0])).mean((1, 2, 3))
    np.testing.assert_array_equal(given, before)
    assert np.median(means) < 20  # of the black image alone, but for what is pasted and sprinkled


def test_leaves_are_textured_and_coloured():
    leaf = images(1)[0].astype(float)
    assert leaf.std() > 10
    assert np.abs(leaf[..., 0] - leaf[..., 1]).mean() > 1


def test_floats_are_refused():
    with pytest.raises(ValueError, match="views are made of uint8 images"):
        wide_pool.views(np.zeros((2, 8, 8, 3), np.float32), 1, 0)
