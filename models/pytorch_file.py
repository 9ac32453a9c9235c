"""Reads the arrays of a PyTorch checkpoint of the legacy format (before version 1.6), with NumPy alone.

Such a file is five pickles and then the storages' bytes. A pickle may call whatever it names, so this one may name four
things: `_rebuild_tensor_v2`, `OrderedDict` and two storages. Anything else is refused before it is called.
"""
from __future__ import annotations

import collections
import pickle
from typing import Any, BinaryIO, Dict, List, NamedTuple, Tuple

import numpy as np

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_STORAGES: Dict[str, np.dtype] = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class _Tensor(NamedTuple):
    """A tensor whose storage is still to be read."""

    storage: str
    offset: int  # in elements
    shape: Tuple[int, ...]
    stride: Tuple[int, ...]  # in elements


def read(path: str) -> Dict[str, np.ndarray]:
    """Returns a checkpoint's tensors by name, float32 or int64 in PyTorch's layout (kernels are OIHW).

    Args:
      path: of a state dictionary saved by PyTorch before 1.6, or with `_use_new_zipfile_serialization=False`.

    Raises:
      ValueError: if the file is none, is damaged, or names anything but tensors of floats and whole numbers.
    """
    with open(path, "rb") as stream:
        try:
            if (_load(stream), _load(stream)) != (_MAGIC, _PROTOCOL):
                raise ValueError("its first words are not those of the legacy format; save the state dictionary with "
                                 "torch.save(..., _use_new_zipfile_serialization=False)")
            if not dict(_load(stream)).get("little_endian"):
                raise ValueError("it was written on a big-endian machine")
            types: Dict[str, np.dtype] = {}
            tensors, keys = _load(stream, types), _load(stream)
            storages = {key: _storage(stream, types[key]) for key in _words(keys)}
            return {name: _view(storages[tensor.storage], tensor) for name, tensor in tensors.items()
                    if isinstance(tensor, _Tensor)}
        except ValueError as error:
            raise ValueError(f"{path} is no PyTorch checkpoint that can be read: {error}") from error
        except Exception as error:  # a damaged pickle may raise anything
            raise ValueError(f"{path} is no PyTorch checkpoint that can be read: {type(error).__name__}: "
                             f"{error}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: BinaryIO, types: Dict[str, np.dtype]) -> None:
        super().__init__(stream, encoding="utf-8")
        self._types = types

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _STORAGES:
            return name
        raise ValueError(f"it names {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: Any) -> str:
        # ("storage", type, key, device, number of elements, view)
        kind, storage, key = pid[:3]
        if kind != "storage" or storage not in _STORAGES:
            raise ValueError(f"it holds a {kind!r} of {storage!r}, not a storage")
        self._types[key] = _STORAGES[storage]
        return str(key)


def _load(stream: BinaryIO, types: Any = None) -> Any:
    return _Unpickler(stream, {} if types is None else types).load()


def _words(keys: Any) -> List[str]:
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its list of storages is damaged")
    return keys


def _rebuild(storage: str, offset: int, shape: Tuple[int, ...], stride: Tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(stride))


def _storage(stream: BinaryIO, dtype: np.dtype) -> np.ndarray:
    count = int.from_bytes(stream.read(8), "little", signed=True)
    data = stream.read(count * dtype.itemsize) if count >= 0 else b""
    if count < 0 or len(data) != count * dtype.itemsize:
        raise ValueError("it ends before its last storage does")
    return np.frombuffer(data, dtype)


def _view(storage: np.ndarray, tensor: _Tensor) -> np.ndarray:
    last = tensor.offset + sum((count - 1) * step for count, step in zip(tensor.shape, tensor.stride))
    if len(tensor.shape) != len(tensor.stride) or min((0, tensor.offset, *tensor.shape, *tensor.stride)) < 0 \
            or last >= len(storage):
        raise ValueError(f"a tensor {list(tensor.shape)} reaches beyond its storage of {len(storage)}")
    strides = [step * storage.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset:], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)
