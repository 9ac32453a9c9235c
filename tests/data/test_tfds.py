"""TensorFlow Datasets by name, on the small stand-in for MNIST that it brings along: nothing is downloaded."""
import collections

import numpy as np
import pytest

from leanood.data import catalog

tfds = pytest.importorskip("tensorflow_datasets")


def test_labels_are_partitions_and_its_test_split_is_kept(tmp_path, monkeypatch):
    builder = tfds.testing.DummyMnist(data_dir=str(tmp_path))
    monkeypatch.setattr(tfds, "builder", lambda name: builder)
    data = catalog.open("tfds:mnist")
    original_split = np.array([name.split("/")[0] for name in data.names])
    counts = collections.Counter(original_split.tolist())
    assert set(counts) == {"train", "test"}
    np.testing.assert_array_equal(data.split == "test", original_split == "test")
    assert set(data.split) == {"train", "calibration", "validation", "test"}
    assert data.description == f"tfds:mnist ({len(data)} images)"
    images, _, bad = data.load((28, 28))
    assert not bad
    examples = {split: list(tfds.as_numpy(builder.as_dataset(split=split))) for split in counts}
    for i, name in enumerate(data.names):
        split, number = name.split("/")
        example = examples[split][int(number)]
        assert data.partition[i] == str(example["label"])
        np.testing.assert_array_equal(images[i], np.repeat(example["image"], 3, axis=-1))


def test_what_it_does_not_know_is_one_line(monkeypatch):
    def unknown(name):
        raise RuntimeError("not found\nDid you mean: cifar10?")

    monkeypatch.setattr(tfds, "builder", unknown)
    with pytest.raises(ValueError, match="tfds:none: cannot be prepared .not found Did you mean: cifar10") as error:
        catalog.open("tfds:none")
    assert "\n" not in str(error.value)
