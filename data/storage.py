"""Arrays that lie in memory where they are small, else in a file that is gone with them."""
from __future__ import annotations

import tempfile
from typing import Any, Tuple

import numpy as np

MEMORY = 2 << 30  # bytes of frames that are kept in memory


def empty(shape: Tuple[int, ...], dtype: Any, memory: int = MEMORY) -> np.ndarray:
    """Returns an array of that shape to be filled; a file of the temporary folder holds it beyond `memory` bytes."""
    if int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize <= memory:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:  # the mapping outlives the file's name
        return np.memmap(file, dtype, "w+", shape=shape)
