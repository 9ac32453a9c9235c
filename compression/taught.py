"""What a teacher says of images, worked out once and kept: for every epoch, a resumed run, its other students."""
from __future__ import annotations

import hashlib
import os
import zipfile
from typing import Any, Callable, Mapping

import numpy as np
import tf_keras

from leanood.files import atomic

Outputs = Mapping[str, np.ndarray]


class Kept:
    """A folder with a teacher's outputs for a set of images.

    Args:
      folder: where they are kept, one file for each set of views; it is made.
      teachers: whose outputs they are.
      images: uint8 (or scaled float32) [N, h, w, c].
      *views: whatever else the views follow from, of which `repr` tells all.
    """

    def __init__(self, folder: str, teachers: tf_keras.Model | list[tf_keras.Model], images: np.ndarray,
                 *views: Any) -> None:
        digest = hashlib.sha256(repr((images.shape, str(images.dtype), views)).encode())
        for i in range(0, len(images), 1024):
            digest.update(np.asarray(images[i:i + 1024]).tobytes())
        for teacher in [teachers] if isinstance(teachers, tf_keras.Model) else teachers:
            digest.update(repr([(type(layer).__name__, layer.output_shape) for layer in teacher.layers]).encode())
            for weight in teacher.get_weights():
                digest.update(weight.tobytes())
        self._folder, self._key = folder, digest.hexdigest()[:16]
        os.makedirs(folder, exist_ok=True)

    def get(self, epoch: int | None, compute: Callable[[], Outputs | None]) -> Outputs | None:
        """The outputs for that epoch's views (None: the images as they are), [N, ...] by name.

        A file that is damaged is computed and written anew; None, from `compute`, is not kept.
        """
        path = os.path.join(self._folder, f"{self._key}{'' if epoch is None else f'-{epoch}'}.npz")
        if os.path.exists(path):
            try:
                with np.load(path, allow_pickle=False) as file:
                    return dict(file)
            except (OSError, ValueError, zipfile.BadZipFile):
                pass
        outputs = compute()
        if outputs is None:
            return None
        with atomic.replacing(path) as stream:
            np.savez(stream, **outputs)
        return outputs
