"""Oxford Flowers-102 in its original layout: `jpg/image_00001.jpg`, `imagelabels.mat`, `setid.mat`.

Nilsback & Zisserman, "Automated flower classification over a large number of classes", ICVGIP 2008.
"""
from __future__ import annotations

import os
from typing import Any

import numpy as np

from leanood.data import dataset, frames

_LABELS, _SETS = "imagelabels.mat", "setid.mat"


def is_flowers(folder: str) -> bool:
    """Returns whether a folder has the data set's two tables."""
    return all(os.path.isfile(os.path.join(folder, name)) for name in (_LABELS, _SETS))


def open(folder: str) -> dataset.Dataset:  # noqa: A001
    """Returns the data set of a folder with `jpg/`, `imagelabels.mat` and `setid.mat`; its classes are the partitions.

    The official training set is the split "train", the official test set "test"; the images of the official validation
    set go in turn to "calibration" and "validation".

    Args:
      folder: where the archives were unpacked.

    Raises:
      ValueError: if a table is missing or damaged, or names an image that isn't there.
    """
    labels = _read(os.path.join(folder, _LABELS), "labels")
    count = len(labels)
    split = np.full(count, "", dtype="<U11")
    for key, name in (("trnid", "train"), ("valid", "validation"), ("tstid", "test")):
        numbers = _read(os.path.join(folder, _SETS), key)
        if numbers.size and not 1 <= numbers.min() <= numbers.max() <= count:
            raise ValueError(f"{os.path.join(folder, _SETS)}: {key} names image {numbers.max()}, there are {count}")
        if (split[numbers - 1] != "").any():
            raise ValueError(f"{os.path.join(folder, _SETS)}: {key} names images that another set has too")
        split[numbers - 1] = name
    for label in np.unique(labels):  # in turn within each class, so that both parts know all of them
        split[np.flatnonzero((split == "validation") & (labels == label))[::2]] = "calibration"
    names = tuple(f"jpg/image_{number:05d}.jpg" for number in range(1, count + 1))
    if not os.path.isfile(os.path.join(folder, names[0])):
        raise ValueError(f"{folder} has the tables of Flowers-102, but no {names[0]}; unpack 102flowers.tgz there")
    return dataset.Dataset(
        names=names, partition=np.array([f"class{label:03d}" for label in labels]),
        sequence=np.full(count, -1, np.int64), split=split, ood=np.zeros(count, bool), partition_kind="subset", fps=0.0,
        read=lambda i: frames.read_image(os.path.join(folder, *names[i].split("/"))),
        description=f"Flowers-102 ({count} images)")


def _read(path: str, key: str) -> np.ndarray:
    """Returns a table's whole numbers, int64 [N]."""
    try:
        from scipy import io
    except ImportError:
        raise ValueError(f"{path} needs SciPy to be read: pip install 'leanood[train]'") from None
    try:
        tables: Any = io.loadmat(path)
        return np.asarray(tables[key], np.int64).ravel()
    except KeyError:
        raise ValueError(f"{path} has no table {key!r}: it is not Flowers-102's") from None
    except Exception as error:  # noqa: BLE001 - SciPy's reader raises many kinds on damaged files
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())[:100]}); fetch it again") from None
