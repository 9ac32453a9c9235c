"""Makes a raw frame's int8 copy from its float copy, and averages the frame's pixels in float: faster on the CPU.

The converter turns the uint8 frame into int8 for quantized layers and that, or the frame, into float32 for the layers
left in float. TFLite's CPU kernel from uint8 to int8 is slow (benchmarks/limits/filter_bank_cost.py); those from uint8
to float32 and on to int8 are fast. The numbers are the same, since the frame's scale is the same each time.

A network that sees means of so many by so many pixels begins with an average pool. Of int8 XNNPACK has none, and
TFLite's own takes longer than all that follows; so that pool reads the float copy, and its means are rounded to int8.
"""
from __future__ import annotations

from typing import Any, List

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

_QUANTIZE, _DEQUANTIZE = schema.BuiltinOperator.QUANTIZE, schema.BuiltinOperator.DEQUANTIZE
_POOL = schema.BuiltinOperator.AVERAGE_POOL_2D


def from_float(model: bytes) -> bytes:
    """Returns the flatbuffer with uint8 → float32 → int8 in place of a frame's other conversions to the two.

    Args:
      model: a converted file; one that makes no int8 copy of a uint8 frame comes back as it is.
    """
    base = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    graph = base.subgraphs[0]
    first: List[Any] = []
    for frame in (int(i) for i in graph.inputs if graph.tensors[i].type == schema.TensorType.UINT8):
        to_int8 = [operator for operator in _reading(graph, frame) if _code(base, operator) == _QUANTIZE
                   and _same_scale(graph.tensors[frame], graph.tensors[operator.outputs[0]])]
        if not to_int8:
            continue
        sources = [frame, *(int(operator.outputs[0]) for operator in to_int8)]
        to_float = [operator for source in sources for operator in _reading(graph, source)
                    if _code(base, operator) == _DEQUANTIZE]
        convert = to_float[0] if to_float else _operator(
            base, _DEQUANTIZE, frame, _float_like(graph, graph.tensors[frame], b"frame_float"))
        convert.inputs = np.array([frame], np.int32)
        first.append(convert)
        for operator in to_int8:
            copy = int(operator.outputs[0])
            operator.inputs = convert.outputs
            pools = [reader for reader in _reading(graph, copy) if _code(base, reader) == _POOL]
            for pool in pools:
                _average_in_float(base, pool, int(convert.outputs[0]))
            if pools and not _reading(graph, copy):
                graph.operators = [other for other in graph.operators if other is not operator]
    if not first:
        return model
    graph.operators = first + [operator for operator in graph.operators
                               if not any(operator is other for other in first)]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(base))


def _average_in_float(base: Any, pool: Any, frame: int) -> None:
    """Lets an int8 average pool read the float tensor `frame` and puts the rounding of its means to int8 behind it."""
    graph, means = base.subgraphs[0], int(pool.outputs[0])
    in_float = _float_like(graph, graph.tensors[means], graph.tensors[means].name + b"_float")
    pool.inputs, pool.outputs = np.array([frame], np.int32), np.array([in_float], np.int32)
    place = next(i for i, operator in enumerate(graph.operators) if operator is pool)
    graph.operators.insert(place + 1, _operator(base, _QUANTIZE, in_float, means))


def _float_like(graph: Any, tensor: Any, name: bytes) -> int:
    """Adds a float32 tensor of a tensor's shape; returns its place."""
    new = schema.TensorT()
    new.shape, new.type, new.buffer, new.name = tensor.shape, schema.TensorType.FLOAT32, 0, name
    graph.tensors.append(new)
    return len(graph.tensors) - 1


def _operator(base: Any, code: int, source: int, target: int) -> Any:
    """Returns a new conversion from one tensor to another."""
    codes = [max(known.builtinCode, known.deprecatedBuiltinCode) for known in base.operatorCodes]
    if code not in codes:
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = code
        new.version = 1
        base.operatorCodes.append(new)
        codes.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = codes.index(code)
    operator.inputs, operator.outputs = np.array([source], np.int32), np.array([target], np.int32)
    return operator


def _reading(graph: Any, tensor: int) -> List[Any]:
    return [operator for operator in graph.operators if len(operator.inputs) and int(operator.inputs[0]) == tensor]


def _same_scale(unsigned: Any, signed: Any) -> bool:
    """Whether an int8 tensor is a uint8 tensor less 128."""
    here, there = unsigned.quantization, signed.quantization
    return (signed.type == schema.TensorType.INT8 and bool(np.isclose(here.scale[0], there.scale[0], rtol=1e-6))
            and int(here.zeroPoint[0]) - int(there.zeroPoint[0]) == 128)


def _code(base: Any, operator: Any) -> int:
    code = base.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)
