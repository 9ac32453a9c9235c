"""Which frames a detector may judge: those whose network outputs hold no NaN and no infinity."""
from __future__ import annotations

import math
from typing import Mapping, Sequence

import numpy as np


def frames(outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Returns which frames are finite in every named output, bool [N]; raises ValueError if an output is missing.

    Args:
      outputs: named arrays [N, …].
      names: the outputs that matter.
    """
    missing = [name for name in names if name not in outputs]
    if missing:
        raise ValueError(f"the detector reads the outputs {', '.join(names)}; the network gave {', '.join(outputs)}")
    arrays = [np.asarray(outputs[name]) for name in names]
    if len({len(array) for array in arrays}) != 1:
        raise ValueError(f"the outputs {', '.join(names)} have {[len(array) for array in arrays]} frames")
    return np.logical_and.reduce([np.isfinite(array.reshape(len(array), -1)).all(axis=1) for array in arrays])


def frame(outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> bool:
    """Returns `frames` of one frame, named arrays [1, …] or […], faster."""
    for name in names:
        array = outputs[name]
        # One sum of squares tells of any NaN or infinity; only a sum that overflowed needs a second look.
        if not math.isfinite(np.vdot(array, array)) and not np.isfinite(array).all():
            return False
    return True
