"""Reads a TFLite flatbuffer without a runtime: its operators, tensors and metadata. Every offset is checked.

Field numbers: tensorflow/lite/schema/schema.fbs; encoding: https://flatbuffers.dev/internals.
"""
from __future__ import annotations

import dataclasses
import itertools
import math
import struct
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np

from leanood.tflite import operators

# TensorType -> name.
TYPES = ("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64",
         "complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16", "int2", "uint4")
_BYTES = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "int64": 8, "bool": 1, "int16": 2, "int8": 1,
          "float64": 8, "complex64": 8, "complex128": 16, "uint64": 8, "uint32": 4, "uint16": 2, "bfloat16": 2}
_CONV_2D_OPTIONS = 1  # of the union BuiltinOptions
_READINGS = 8  # times its size that a file's tables, vectors and texts may add up to; real ones stay below 2
_LONGEST = 1 << 16  # shapes, channels, operators' tensors


class FlatbufferError(ValueError):
    """Bytes that are no sound TFLite flatbuffer."""


@dataclasses.dataclass(frozen=True)
class Operator:
    """One operator of the main graph."""

    name: str  # as in the schema, e.g. "CONV_2D"; of a custom one its own name
    version: int
    custom: bool
    inputs: Tuple[int, ...]  # tensors; -1: left out
    outputs: Tuple[int, ...]
    strides: Tuple[int, int] = (1, 1)  # of CONV_2D: (down, across)


@dataclasses.dataclass(frozen=True)
class TensorInfo:
    """One tensor of the main graph."""

    name: str
    type: str
    shape: Tuple[int, ...]
    scales: Tuple[float, ...]  # empty: not quantized; several: one per channel
    zero_points: Tuple[int, ...]
    constant: bool

    @property
    def size(self) -> int:
        """Bytes; an open dimension counts as 1."""
        return math.prod(max(1, n) for n in self.shape) * _BYTES.get(self.type, 0)


@dataclasses.dataclass(frozen=True)
class Graph:
    """The main graph, subgraph 0."""

    tensors: List[TensorInfo]
    operators: List[Operator]
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]
    subgraphs: int
    metadata: Dict[str, bytes]

    def arena_bytes(self) -> int:
        """Bytes of the tensors that are alive at once at the worst operator: the least that an arena can have."""
        last: Dict[int, int] = {}
        born: Dict[int, int] = {tensor: -1 for tensor in self.inputs}
        for step, operator in enumerate(self.operators):
            for tensor in operator.inputs:
                last[tensor] = step
            for tensor in operator.outputs:
                born[tensor] = step
                last.setdefault(tensor, step)
        last.update({tensor: len(self.operators) for tensor in self.outputs})
        change = [0] * (len(self.operators) + 2)  # by how much each step has more alive than the one before
        for tensor, birth in born.items():
            begin, end = max(birth, 0), last.get(tensor, -1)
            if begin <= end:
                change[begin] += self.tensors[tensor].size
                change[end + 1] -= self.tensors[tensor].size
        return max(itertools.accumulate(change[:len(self.operators)]), default=0)


def read(data: bytes) -> Graph:
    """The main graph of a model's bytes.

    Raises:
      FlatbufferError: if they are not a TFLite model.
    """
    if data[4:8] != b"TFL3":
        raise FlatbufferError("not a TFLite file (it does not bear the mark TFL3)")
    try:
        return _graph(_model(data))
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise FlatbufferError(f"the flatbuffer is corrupt ({error})") from None


def truncated(data: bytes, count: int) -> bytes:
    """The same model cut after its first `count` operators; the last one's first output is the graph's.

    The bytes are patched in place: vectors are only shortened. Signatures, which would name tensors that are no outputs
    any more, are emptied.
    """
    graph = read(data)
    if not 0 < count <= len(graph.operators):
        raise FlatbufferError(f"the model has {len(graph.operators)} operators, it cannot be cut after {count}")
    model = _model(data)
    main = next(model.tables(2))
    patched = bytearray(data)
    struct.pack_into("<I", patched, main.place_of(3), count)
    outputs = main.place_of(2)
    struct.pack_into("<I", patched, outputs, 1)
    struct.pack_into("<i", patched, outputs + 4, graph.operators[count - 1].outputs[0])
    if model.place_of(7):
        struct.pack_into("<I", patched, model.place_of(7), 0)
    return bytes(patched)


class _Budget:
    """Bytes that may still be looked at: a crafted file refers to the same bytes over and over."""

    def __init__(self, size: int) -> None:
        self._left = _READINGS * size

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise FlatbufferError("it refers to the same bytes over and over")


class _Table:
    """A flatbuffer's table: fields by number, absent ones give their default."""

    def __init__(self, data: bytes, place: int, budget: _Budget) -> None:
        self._data = data
        self._place = place
        self._budget = budget
        vtable = place - struct.unpack_from("<i", data, place)[0]
        if not 0 <= vtable < len(data):
            raise FlatbufferError("a table's fields lie outside the file")
        size = struct.unpack_from("<H", data, vtable)[0]
        budget.spend(size)
        self._fields = struct.unpack_from(f"<{max(0, size // 2 - 2)}H", data, vtable + 4)

    def _field(self, number: int) -> Optional[int]:
        offset = self._fields[number] if number < len(self._fields) else 0
        return self._place + offset if offset else None

    def _target(self, number: int) -> Optional[int]:
        place = self._field(number)
        return None if place is None else place + struct.unpack_from("<I", self._data, place)[0]

    def scalar(self, number: int, code: str, default: Any) -> Any:
        place = self._field(number)
        return default if place is None else struct.unpack_from("<" + code, self._data, place)[0]

    def vector(self, number: int, code: str) -> Tuple[Any, ...]:
        place = self._target(number)
        if place is None:
            return ()
        dtype = np.dtype("<" + code)
        count = struct.unpack_from("<I", self._data, place)[0]
        if place + 4 + count * dtype.itemsize > len(self._data) or (code != "u1" and count > _LONGEST):
            raise FlatbufferError("a vector ends outside the file, or is absurdly long")
        self._budget.spend(4 + count * dtype.itemsize)
        return tuple(np.frombuffer(self._data, dtype, count, place + 4).tolist())

    def place_of(self, number: int) -> int:
        """Where a vector's length stands; 0 if there is none."""
        return self._target(number) or 0

    def length(self, number: int) -> int:
        place = self._target(number)
        return 0 if place is None else struct.unpack_from("<I", self._data, place)[0]

    def text(self, number: int) -> str:
        place = self._target(number)
        if place is None:
            return ""
        return self.bytes_at(place).decode("utf-8", "replace")

    def bytes_at(self, place: int) -> bytes:
        """The bytes whose number stands at `place`."""
        count = struct.unpack_from("<I", self._data, place)[0]
        if place + 4 + count > len(self._data):
            raise FlatbufferError("a vector ends outside the file")
        self._budget.spend(4 + count)
        return self._data[place + 4:place + 4 + count]

    def tables(self, number: int) -> Iterator[_Table]:
        place = self._target(number)
        if place is None:
            return
        count = struct.unpack_from("<I", self._data, place)[0]
        if place + 4 + 4 * count > len(self._data):
            raise FlatbufferError("a vector ends outside the file")
        for entry in range(place + 4, place + 4 + 4 * count, 4):
            yield _Table(self._data, entry + struct.unpack_from("<I", self._data, entry)[0], self._budget)

    def table(self, number: int) -> Optional[_Table]:
        place = self._target(number)
        return None if place is None else _Table(self._data, place, self._budget)


def _model(data: bytes) -> _Table:
    return _Table(data, struct.unpack_from("<I", data, 0)[0], _Budget(len(data) + _LONGEST))


def _graph(model: _Table) -> Graph:
    subgraphs = list(model.tables(2))
    if not subgraphs:
        raise FlatbufferError("the model has no graph")
    main = subgraphs[0]
    buffers = list(model.tables(4))
    codes = [_code(code) for code in model.tables(1)]
    nodes = []
    for node in main.tables(3):
        index = node.scalar(0, "I", 0)
        name, version, custom = codes[index]
        options = node.table(4) if name == "CONV_2D" and node.scalar(3, "B", 0) == _CONV_2D_OPTIONS else None
        strides = (options.scalar(2, "i", 1), options.scalar(1, "i", 1)) if options else (1, 1)
        nodes.append(Operator(name, version, custom, node.vector(1, "i4"), node.vector(2, "i4"), strides))
    metadata = {}
    for entry in model.tables(6):
        buffer = buffers[entry.scalar(1, "I", 0)]
        metadata[entry.text(0)] = buffer.bytes_at(buffer.place_of(0)) if buffer.length(0) else b""
    return Graph([_tensor(tensor, buffers) for tensor in main.tables(0)], nodes, main.vector(1, "i4"),
                 main.vector(2, "i4"), len(subgraphs), metadata)


def _code(code: _Table) -> Tuple[str, int, bool]:
    # Codes from 127 on need the newer, wider field; older files have only the narrow one.
    number = max(code.scalar(0, "b", 0), code.scalar(3, "i", 0))
    version = code.scalar(2, "i", 1)
    name = operators.NAMES[number] if 0 <= number < len(operators.NAMES) else f"operator {number}"
    custom = name == operators.CUSTOM
    return (code.text(1) or name) if custom else name, version, custom


def _tensor(tensor: _Table, buffers: List[_Table]) -> TensorInfo:
    number = tensor.scalar(1, "b", 0)
    quantization = tensor.table(4)
    buffer = buffers[tensor.scalar(2, "I", 0)]
    return TensorInfo(
        tensor.text(3), TYPES[number] if 0 <= number < len(TYPES) else f"type {number}", tensor.vector(0, "i4"),
        quantization.vector(2, "f4") if quantization else (), quantization.vector(3, "i8") if quantization else (),
        buffer.length(0) > 0 or buffer.scalar(2, "Q", 0) > 0)
