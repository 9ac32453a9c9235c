"""A `.npy` file's header, read strictly: of numbers only, in the form that NumPy writes, no longer than the file.

`numpy.load` evaluates the header as Python's literals, and believes its shape: a damaged file may cost all memory, or
end in any of a dozen exceptions (format: numpy/lib/format.py).
"""
from __future__ import annotations

import math
import os
import re
import struct
from typing import BinaryIO, NamedTuple, Tuple

import numpy as np

_FORM = re.compile(rb"\{'descr': '([<>|=][fiub][0-9]{1,3})', 'fortran_order': (True|False), "
                   rb"'shape': \(((?:[0-9]{1,12}, ?)*[0-9]{0,12}),?\),? *\} *\n?")
_LONGEST = 10_000  # bytes of a header, NumPy's own bound


class Header(NamedTuple):
    """What a `.npy` file says of its array."""

    dtype: np.dtype
    shape: Tuple[int, ...]
    fortran: bool
    start: int  # where the numbers begin

    @property
    def size(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.shape) * self.dtype.itemsize


def header(file: BinaryIO) -> Header:
    """The header; the file then stands at the array's first byte.

    Raises:
      ValueError: if it isn't a .npy file of numbers.
    """
    magic = file.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}.get(magic)
    if width is None:
        raise ValueError("not a .npy file of numbers, or a truncated one")
    count = file.read(width)
    length = struct.unpack("<H" if width == 2 else "<I", count)[0] if len(count) == width else _LONGEST + 1
    match = _FORM.fullmatch(file.read(length)) if length <= _LONGEST else None
    if match is None:
        raise ValueError("not a .npy file of numbers, or a truncated one")
    try:
        dtype = np.dtype(match.group(1).decode())
    except TypeError:
        raise ValueError("not a .npy file of numbers, or a truncated one") from None
    shape = tuple(int(n) for n in match.group(3).replace(b" ", b"").split(b",") if n)
    return Header(dtype, shape, match.group(2) == b"True", 8 + width + length)


def read(file: BinaryIO) -> np.ndarray:
    """The array of a regular file.

    Raises:
      ValueError: if it isn't a .npy file of numbers, or is shorter or longer than its header says.
    """
    told = header(file)
    if os.fstat(file.fileno()).st_size - told.start != told.size:
        raise ValueError("not a .npy file of numbers, or a truncated one (it is not as long as its header says)")
    array = np.frombuffer(file.read(told.size), told.dtype)
    return array.reshape(told.shape, order="F" if told.fortran else "C")
