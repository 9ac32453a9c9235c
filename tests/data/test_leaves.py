"""Made-up images: repeatable, different, textured and coloured."""
import numpy as np

from leanood.data import leaves


def test_they_are_repeatable_and_differ():
    images = [leaves.image((48, 64), seed) for seed in range(6)]
    assert images[0].shape == (48, 64, 3)
    assert images[0].dtype == np.uint8
    np.testing.assert_array_equal(images[3], leaves.image((48, 64), 3))
    assert len({image.tobytes() for image in images}) == 6


def test_they_are_textured_and_coloured():
    leaf = leaves.image((48, 64), 0).astype(float)
    assert leaf.std() > 10
    assert np.abs(leaf[..., 0] - leaf[..., 1]).mean() > 1
