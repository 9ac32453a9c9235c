"""A model's inputs and outputs: what each looks like, and the arithmetic between numbers and quantized numbers."""
from __future__ import annotations

import dataclasses
from typing import Any, Optional, Tuple

import numpy as np

_UINT8 = np.dtype(np.uint8)


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output of a model."""

    name: str
    index: int
    shape: Tuple[int, ...]
    dtype: Any  # a NumPy scalar type
    scale: float  # real = scale · (quantized − zero_point); 0.0: not quantized
    zero_point: int

    @property
    def quantized(self) -> bool:
        return self.scale != 0.0

    def __str__(self) -> str:
        q = f", real = {self.scale:.6g}·(q − {self.zero_point})" if self.quantized else ""
        return f"{np.dtype(self.dtype).name} {list(self.shape)}{q}"


def quantize(real: np.ndarray, tensor: Tensor) -> np.ndarray:
    """The nearest quantized numbers (ties to even, as XNNPACK rounds), clipped to the tensor's type.

    Args:
      real: floating [...]; NaN is refused, since it would turn into an arbitrary number.
      tensor: a quantized input.
    """
    limits = np.iinfo(tensor.dtype)
    steps = np.rint(np.asarray(real, np.float32) / np.float32(tensor.scale)) + np.float32(tensor.zero_point)
    if np.isnan(steps).any():
        raise ValueError(f"input {tensor.name!r} has NaN, which a quantized input cannot hold")
    return np.clip(steps, limits.min, limits.max).astype(tensor.dtype)


def dequantize(quantized: np.ndarray, tensor: Tensor) -> np.ndarray:
    """float32 scale · (q − zero_point), exact to float32's rounding."""
    return (quantized.astype(np.int32) - np.int32(tensor.zero_point)).astype(np.float32) * np.float32(tensor.scale)


class Input:
    """Writes arrays into one input of a model, converting in one pass and only where it must.

    `write(target, array)` takes
      * uint8 frames, meaning frame / 255: into a uint8 input of scale 1/255 they are copied as they are, other
        quantized inputs look them up in a table of 256, a float input gets the quotient;
      * floating arrays: real values, quantized where the input is;
      * arrays of the input's own type: as they are.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._dtype = np.dtype(tensor.dtype)
        self._single = tensor.shape[1:] if tensor.shape[:1] == (1,) else None  # without the batch dimension
        self._table = self._frame_table()

    def _frame_table(self) -> Optional[np.ndarray]:
        """[256] the quantized value of each byte of a frame; None where bytes go in as they are (or as floats)."""
        if not self.tensor.quantized:
            return None
        table = quantize(np.arange(256, dtype=np.float32) / np.float32(255), self.tensor)
        return None if self._dtype == np.uint8 and np.array_equal(table, np.arange(256)) else table

    def fit(self, array: Any) -> np.ndarray:
        """The array with the input's shape; a missing batch dimension is added.

        Raises:
          ValueError: if the shape or the type is not one that this input takes.
        """
        shape = self.tensor.shape
        if type(array) is np.ndarray and array.dtype is _UINT8 and array.shape == self._single:
            return array.reshape(shape)  # a camera's frame: nothing more to ask
        array = np.asarray(array)
        if array.shape != shape:
            if (1,) + array.shape != shape:
                raise ValueError(f"input {self.tensor.name!r} takes {list(shape)}, not {list(array.shape)}"
                                 + (" (one frame at a time: see Runner.each)" if array.shape[1:] == shape[1:] else ""))
            array = array.reshape(shape)
        if array.dtype != _UINT8 and array.dtype != self._dtype and not (
                array.dtype.kind == "f" and (self._dtype.kind == "f" or self.tensor.quantized)):
            raise ValueError(f"input {self.tensor.name!r} takes {self._dtype.name}"
                             f"{' or floats' if self.tensor.quantized else ''} or uint8 frames, not {array.dtype.name}")
        return array

    def write(self, target: np.ndarray, array: np.ndarray) -> None:
        """Fills `target` (the runtime's own memory, of this input's shape and type) from `fit`'s result."""
        if array.dtype is _UINT8:
            if self._table is not None:
                np.take(self._table, array, out=target, mode="clip")
            elif self._dtype.kind == "f":
                np.copyto(target, array)
                np.divide(target, self._dtype.type(255), out=target)
            else:
                np.copyto(target, array)
        elif array.dtype.kind == "f" and self.tensor.quantized:
            np.copyto(target, quantize(array, self.tensor))
        else:
            np.copyto(target, array, casting="same_kind")
