"""What a score may read: one named output as a finite [N, D] array, and labels as class indices."""
from __future__ import annotations

import math
from typing import Any, Mapping, Optional, Tuple

import numpy as np

Outputs = Mapping[str, np.ndarray]
Array = Optional[np.ndarray]


def read(outputs: Outputs, name: str, width: Optional[int] = None, finite: bool = True) -> np.ndarray:
    """The output `name` as float32 or float64 [N, D]; a float32 array is not copied.

    Args:
      outputs: named arrays [N, D]; halves and integers (a dequantized file's ties included) become float64.
      name: which of them.
      width: the D that the score was fitted with; None takes any.
      finite: False leaves it to the caller to `require_finite`, block by block while they are in the cache.
    """
    if name not in outputs:
        raise ValueError(f"there is no output {name!r} among {', '.join(sorted(outputs)) or 'none'}; "
                         "name the output when converting, or choose a score that does without")
    values = np.asarray(outputs[name])
    if values.dtype.kind not in "fiub":
        raise ValueError(f"output {name!r} is {values.dtype}; a score reads real numbers")
    if values.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"output {name!r} has shape {list(values.shape)}; a score reads [N, D], one row a frame")
    if width is not None and values.shape[1] != width:
        raise ValueError(f"output {name!r} has {values.shape[1]} columns; the score was fitted on {width}")
    if finite:
        require_finite(values, name)
    return values


def require_finite(values: np.ndarray, name: str, first: int = 0) -> None:
    """Raises if values [N, D] hold NaN or infinity.

    Args:
      values: of the output `name`.
      name: for the message.
      first: the number of their first row.
    """
    # One BLAS call says "all finite"; where the squares overflow, values are looked at one by one.
    if not math.isfinite(np.vdot(values, values)) and not np.isfinite(values).all():
        row = first + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise ValueError(f"output {name!r} holds NaN or infinity in row {row}: such a frame has no score")


def fitting(outputs: Outputs, name: str) -> np.ndarray:
    """Like `read`, for statistics: at least one row."""
    values = read(outputs, name)
    if not len(values):
        raise ValueError(f"output {name!r} has no rows: statistics need in-distribution frames")
    return values


def classes(outputs: Outputs, labels: Optional[Any], count: int) -> Tuple[np.ndarray, int]:
    """Class indices int64 [N] in 0..K-1, and K.

    Args:
      outputs: where `labels` is None, the class that `logits` predicts stands in; with no logits, one class.
      labels: any integers or strings [N].
      count: N.
    """
    if labels is None:
        labels = read(outputs, "logits").argmax(axis=1) if "logits" in outputs else np.zeros(count, np.int64)
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise ValueError(f"labels have shape {list(labels.shape)}; {count} frames need [{count}]")
    names, indices = np.unique(labels, return_inverse=True)
    return indices.reshape(-1), len(names)
