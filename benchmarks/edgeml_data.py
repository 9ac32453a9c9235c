"""The images of the EdgeML comparison: CIFAR-10, TinyImageNet at 32×32, MNIST; each image's part in it is fixed."""
from __future__ import annotations

import os
from typing import Dict, NamedTuple

import numpy as np

from leanood.data import corruptions, dataset

SIZE = (32, 32)
FIT_PER_CLASS = 1000  # training images that statistics are fitted on
CALIBRATION_PER_CLASS = 200  # test images that set thresholds and choose the score, and are then out of the test
MNIST_SELECTION = 2000
SELECTION_SEVERITY = 3


class Images(NamedTuple):
    """uint8 [N, 32, 32, 3] and class indices int64 [N] (-1 where there are none)."""

    frames: np.ndarray
    labels: np.ndarray


def training(root: str, limit: int = 0) -> Images:
    """All 50,000 training images, by class; `limit` a class keeps the first of a fixed random order."""
    return _folder(os.path.join(root, "cifar10", "train"), limit)


def parts(root: str) -> Dict[str, Images]:
    """The parts of the comparison by name.

    fit: training images for statistics. calibration: 2,000 test images for tables, thresholds and the choice.
    test: the other 8,000. tinyimagenet: 5,000, only ever tested on. mnist: 8,000 digits to test on.
    select/…: what the score is chosen on: 2,000 other digits, and every other calibration image spoilt by each of
    the corruptions, cut into tiles that change places, and blended in pairs.
    """
    test = _folder(os.path.join(root, "cifar10", "test"), 0)
    chosen = _chosen(test.labels, CALIBRATION_PER_CLASS)
    calibration = Images(test.frames[chosen], test.labels[chosen])
    digits = _folder(os.path.join(root, "mnist"), 0)
    order = np.random.RandomState(0).permutation(len(digits.frames))
    found = {
        "fit": training(root, FIT_PER_CLASS),
        "calibration": calibration,
        "test": Images(test.frames[~chosen], test.labels[~chosen]),
        "tinyimagenet": _unlabelled(_folder(os.path.join(root, "tinyimagenet32"), 0).frames),
        "mnist": _unlabelled(digits.frames[order[MNIST_SELECTION:]]),
        "select/mnist": _unlabelled(digits.frames[order[:MNIST_SELECTION]]),
    }
    spoilt = calibration.frames[::2]
    for name in corruptions.NAMES:
        if name != "frozen":  # a single frame cannot show it
            found[f"select/{name}"] = _unlabelled(np.stack(
                [corruptions.corrupt(name, frame, SELECTION_SEVERITY, seed=i) for i, frame in enumerate(spoilt)]))
    found["select/tiles"] = _unlabelled(_tiles(spoilt))
    found["select/blend"] = _unlabelled(
        ((spoilt.astype(np.uint16) + np.roll(spoilt, len(spoilt) // 3, axis=0)) // 2).astype(np.uint8))
    return found


def _tiles(images: np.ndarray, tile: int = 8) -> np.ndarray:
    """Each image's tiles in a random order: its colours and textures without its objects."""
    rng = np.random.RandomState(0)
    count = SIZE[0] // tile
    cut = images.reshape(-1, count, tile, count, tile, 3).transpose(0, 1, 3, 2, 4, 5)
    cut = cut.reshape(-1, count * count, tile, tile, 3)
    mixed = np.stack([image[rng.permutation(count * count)] for image in cut])
    return mixed.reshape(-1, count, count, tile, tile, 3).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def _folder(path: str, limit: int) -> Images:
    if not os.path.isdir(path):
        raise ValueError(f"there is no folder {path}; unpack the data there, or give another --data")
    found = dataset.open(path)
    classes = sorted(set(found.partition.tolist()))
    labels = np.searchsorted(classes, found.partition)
    if limit:
        kept = np.flatnonzero(_chosen(labels, limit))
        found, labels = found.where(kept), labels[kept]
    images, readable, bad = found.load(SIZE)
    if bad:
        raise ValueError(f"{path} has unreadable images, such as {bad[0]}; unpack it again")
    return Images(images, labels.astype(np.int64))


def _chosen(labels: np.ndarray, count: int) -> np.ndarray:
    """bool [N]: `count` of each class, drawn by a fixed seed."""
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen[members[np.random.RandomState(label).permutation(len(members))[:count]]] = True
    return chosen


def _unlabelled(images: np.ndarray) -> Images:
    return Images(images, np.full(len(images), -1, np.int64))
