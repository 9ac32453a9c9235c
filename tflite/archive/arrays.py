"""Named arrays as `.npz` bytes and back: numbers and text only, no pickle, no compression, no surprise in size."""
from __future__ import annotations

import io
import re
import struct
import zipfile
from typing import Dict, Mapping

import numpy as np

MAX_ARRAYS = 4096
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")
# What np.lib.format writes; parsed by this pattern instead of Python's own literals.
_HEADER = re.compile(rb"\{'descr': '([<|][fiubU][0-9]{1,6})', 'fortran_order': (True|False), "
                     rb"'shape': \(((?:[0-9]{1,12}, ?)*[0-9]{0,12}),?\), \} *\n")


def to_npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The arrays as the bytes of an uncompressed .npz.

    Args:
      arrays: names of letters, digits, "_", "." and "-" -> numbers, bools or text, without NaN.

    Raises:
      ValueError: naming the array that cannot be kept.
    """
    plain = {}
    for name, array in arrays.items():
        value = np.asarray(array)
        value = value.astype(value.dtype.newbyteorder("<")) if value.dtype.byteorder == ">" else value
        if not _NAME.fullmatch(name):
            raise ValueError(f"array {name!r} needs a name of letters, digits, '_', '.' and '-'")
        if value.dtype.kind not in "fiubU" or value.dtype == np.longdouble:
            raise ValueError(f"array {name!r} is of type {value.dtype}, it may hold numbers, bools and text")
        if not _finite(value):
            raise ValueError(f"array {name!r} has NaN")
        plain[name] = value
    file = io.BytesIO()
    np.savez(file, **plain)  # type: ignore[arg-type]
    return file.getvalue()


def from_npz(data: bytes) -> Dict[str, np.ndarray]:
    """The arrays in `to_npz`'s bytes, read-only.

    Raises:
      ValueError: in one line, if the bytes are anything else.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS or len({m.filename for m in members}) != len(members):
                raise ValueError(f"the calibration has {len(members)} arrays, or one of them twice")
            return {_array_name(m): _array(m.filename, _read(archive, m, len(data))) for m in members}
    except (zipfile.BadZipFile, struct.error, NotImplementedError, RuntimeError, EOFError, OverflowError) as error:
        raise ValueError(f"the calibration's arrays cannot be read ({str(error).splitlines()[0]})") from None


def _array_name(member: zipfile.ZipInfo) -> str:
    name = member.filename[:-len(".npy")]
    if not member.filename.endswith(".npy") or not _NAME.fullmatch(name):
        raise ValueError(f"the calibration has a member of the name {member.filename!r}")
    return name


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo, limit: int) -> bytes:
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > limit or member.flag_bits & 1:
        raise ValueError(f"the calibration's member {member.filename!r} is compressed or too large (a bomb?)")
    return archive.read(member)


def _array(name: str, data: bytes) -> np.ndarray:
    """The array in a .npy file's bytes."""
    if data[:8] != b"\x93NUMPY\x01\x00" or len(data) < 10:
        raise ValueError(f"the calibration's member {name!r} is no array")
    start = 10 + struct.unpack("<H", data[8:10])[0]
    header = _HEADER.fullmatch(data[10:start])
    if header is None:
        raise ValueError(f"the calibration's array {name!r} is of a type or form that is not allowed")
    try:
        dtype = np.dtype(header.group(1).decode())
    except TypeError:  # "<f3" has the form of a type, but is none
        raise ValueError(f"the calibration's array {name!r} is of an unknown type") from None
    shape = tuple(int(n) for n in header.group(3).replace(b" ", b"").split(b",") if n)
    count = 1
    for n in shape:
        count *= n  # Python's integers don't overflow
    if count * dtype.itemsize != len(data) - start:
        raise ValueError(f"the calibration's array {name!r} is truncated or padded")
    array = np.frombuffer(data, dtype, count, start).reshape(shape, order="F" if header.group(2) == b"True" else "C")
    if not _finite(array):
        raise ValueError(f"the calibration's array {name!r} has NaN")
    return array


def _finite(array: np.ndarray) -> bool:
    """No NaN; infinity is a number that a table may end with."""
    return array.dtype.kind != "f" or not np.isnan(array).any()
