"""The data sets of the distillation studies: CIFAR-10 and MNIST with their parts fixed, and what is OOD to each."""
from __future__ import annotations

import os
from typing import Callable, Dict, Tuple

import numpy as np

from leanood.data import catalog, content_changes, corruptions, dataset

_VALIDATION = 0.1  # of the training images
_MNIST_TEST = 2000  # of 10,000, where MNIST is its test digits alone
_GREY = 2000  # of CIFAR-10's test images, in grey
_SEVERITY = 3


def open(name: str, spec: str) -> dataset.Dataset:  # noqa: A001
    """Returns the labelled images with the splits train, validation and test.

    Args:
      name: "cifar10" or "mnist".
      spec: a folder with train/<class>/ and test/<class>/; a folder <class>/, of which a fifth is the test part; or
        "tfds:NAME".
    """
    if os.path.isdir(os.path.join(spec, "train")):
        parts = [catalog.open(os.path.join(spec, part)) for part in ("train", "test")]
        test = np.repeat([False, True], [len(part) for part in parts])
    else:
        parts = [catalog.open(spec)]
        test = parts[0].split == "test"
        if not spec.startswith("tfds:"):
            test = np.zeros(len(parts[0]), bool)
            test[np.random.RandomState(0).permutation(len(test))[:_MNIST_TEST]] = True
    partition = np.concatenate([part.partition for part in parts])
    split = np.where(test, "test", "train").astype("<U10")
    rest = np.flatnonzero(~test)
    split[rest[np.random.RandomState(1).permutation(len(rest))[:round(_VALIDATION * len(rest))]]] = "validation"
    ends = np.cumsum([0, *(len(part) for part in parts)])

    def read(i: int) -> np.ndarray:
        part = int(np.searchsorted(ends, i, "right")) - 1
        return parts[part].read(i - int(ends[part]))

    return dataset.Dataset(
        names=tuple(f"{number}/{image}" for number, part in enumerate(parts) for image in part.names),
        partition=partition, sequence=np.full(len(partition), -1, np.int64), split=split,
        ood=np.zeros(len(split), bool), partition_kind="subset", fps=0.0, read=read,
        description=f"{name} ({len(split)} images)")


def part(data: dataset.Dataset, name: str, size: Tuple[int, int], at_most: int = 0) -> Tuple[np.ndarray, np.ndarray]:
    """Returns images uint8 [N, h, w, 3] and class indices int64 [N] of a split; `at_most`: evenly spread ones."""
    chosen = data.where(data.split == name)
    if at_most and len(chosen) > at_most:
        chosen = chosen.where(np.linspace(0, len(chosen) - 1, at_most).astype(np.int64))
    images, readable, bad = chosen.load(size)
    if bad:
        raise ValueError(f"unreadable images, such as {bad[0]}; unpack the data again")
    return images, np.searchsorted(np.unique(data.partition), readable.partition)


def ood(name: str, size: Tuple[int, int], test: np.ndarray, root: str) -> Dict[str, np.ndarray]:
    """Returns what is out of distribution, uint8 [M, h, w, 3] by name; only ever tested on.

    CIFAR-10: TinyImageNet at 32×32. MNIST: CIFAR-10's test images in grey; its own test digits, each spoilt by one of
    the corruptions.

    Args:
      name: of the in-distribution set.
      size: (h, w).
      test: that set's test images.
      root: folder with cifar10/ and tinyimagenet32/.
    """
    if name == "cifar10":
        return {"TinyImageNet": _all(os.path.join(root, "tinyimagenet32"), size)}
    photos = _all(os.path.join(root, "cifar10", "test"), size)
    photos = photos[np.linspace(0, len(photos) - 1, _GREY).astype(np.int64)]
    grey = np.repeat(photos.mean(axis=3, keepdims=True).round().astype(np.uint8), 3, axis=3)
    return {"grey CIFAR-10": grey, "corrupted digits": spoilt(test)}


def spoilt(images: np.ndarray) -> np.ndarray:
    """Returns the images, each spoilt by one of the corruptions in turn, uint8 [N, h, w, 3]."""
    names = [name for name in corruptions.NAMES if name != "frozen"]  # which a single frame cannot show
    return np.stack([corruptions.corrupt(names[i % len(names)], image, _SEVERITY, seed=i)
                     for i, image in enumerate(images)])


def _each(name: str) -> Callable[[np.ndarray], np.ndarray]:
    def change(images: np.ndarray) -> np.ndarray:
        others = np.roll(images, len(images) // 3, axis=0)
        return np.stack([content_changes.change(name, image, i, other)
                         for i, (image, other) in enumerate(zip(images, others))])

    return change


# What stands in for OOD images where something is chosen: familiar pixels in no familiar order, and spoilt images.
CHANGES: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    **{name: _each(name) for name in ("upside down", "blended", "copied piece", "occlusion 3")}, "spoilt": spoilt}


def _all(folder: str, size: Tuple[int, int]) -> np.ndarray:
    images, _, bad = catalog.open(folder).load(size)
    if bad:
        raise ValueError(f"{folder} has unreadable images, such as {bad[0]}; unpack it again")
    return images
