"""The images of the EdgeML comparison: CIFAR-10, TinyImageNet at 32×32, MNIST; each image's part in it is fixed."""
from __future__ import annotations

import itertools
import os
from typing import Dict, NamedTuple

import numpy as np

from leanood.data import catalog, corruptions

SIZE = (32, 32)
FIT_PER_CLASS = 1000  # training images that statistics are fitted on
CALIBRATION_PER_CLASS = 200  # test images that set thresholds and choose the score, and are then out of the test
MNIST_SELECTION = 2000
SELECTION_SEVERITY = 3
# The selection sets with familiar pixels but no whole familiar object: what stands in for classes never seen.
NEW_CONTENT = ("select/upside_down", "select/quadrants", "select/halves", "select/blend")


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
    select/…: what the score is chosen on, by docs/score_selection.md: NEW_CONTENT, made of every other calibration
    image (upside down, quadrants that change places, half of one image beside half of another, two images blended);
    2,000 other digits, and those calibration images spoilt by each of the corruptions.
    """
    test = _folder(os.path.join(root, "cifar10", "test"), 0)
    chosen = _chosen(test.labels, CALIBRATION_PER_CLASS)
    calibration = Images(test.frames[chosen], test.labels[chosen])
    digits = _folder(os.path.join(root, "mnist"), 0)
    order = np.random.RandomState(0).permutation(len(digits.frames))
    by_name = {
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
            by_name[f"select/{name}"] = _unlabelled(np.stack(
                [corruptions.corrupt(name, frame, SELECTION_SEVERITY, seed=i) for i, frame in enumerate(spoilt)]))
    other = np.roll(spoilt, len(spoilt) // 3, axis=0)
    by_name["select/upside_down"] = _unlabelled(np.ascontiguousarray(spoilt[:, ::-1]))
    by_name["select/quadrants"] = _unlabelled(_quadrants(spoilt))
    by_name["select/halves"] = _unlabelled(_halves(spoilt, other))
    by_name["select/blend"] = _unlabelled(((spoilt.astype(np.uint16) + other) // 2).astype(np.uint8))
    return by_name


def _quadrants(images: np.ndarray) -> np.ndarray:
    """Each image's quadrants in a random order other than their own: parts of objects without the objects."""
    rng = np.random.RandomState(0)
    height, width = (side // 2 for side in SIZE)
    cut = images.reshape(-1, 2, height, 2, width, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 4, height, width, 3)
    orders = [order for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)]
    drawn = np.asarray(orders)[rng.randint(len(orders), size=len(images))]
    mixed = np.take_along_axis(cut, drawn[:, :, None, None, None], axis=1)
    return mixed.reshape(-1, 2, 2, height, width, 3).transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def _halves(images: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The left half of every other image, and the upper half of the rest, beside the same image's half of `others`."""
    mixed = images.copy()
    mixed[::2, :, SIZE[1] // 2:] = others[::2, :, SIZE[1] // 2:]
    mixed[1::2, SIZE[0] // 2:] = others[1::2, SIZE[0] // 2:]
    return mixed


def _folder(path: str, limit: int) -> Images:
    if not os.path.isdir(path):
        raise ValueError(f"there is no folder {path}; unpack the data there, or give another --data")
    data = catalog.open(path)
    classes = sorted(set(data.partition.tolist()))
    labels = np.searchsorted(classes, data.partition)
    if limit:
        kept = np.flatnonzero(_chosen(labels, limit))
        data, labels = data.where(kept), labels[kept]
    images, readable, bad = data.load(SIZE)
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
