"""Labels for distill(alpha=…): the run's classes, or none where the images are of others."""
import types

import numpy as np

from leanood.workflow import compress


def test_labels_are_the_run_s_classes_or_none():
    shown = types.SimpleNamespace(partition=np.array(["dog", "cat", "dog"]))
    np.testing.assert_array_equal(compress._labels({"classes": ["cat", "cow", "dog"]}, shown), [2, 0, 2])
    for config in ({}, {"classes": ["cat", "cow"]}):
        assert compress._labels(config, shown) is None
    assert compress._labels({"classes": ["cat", "dog"]}, None) is None
