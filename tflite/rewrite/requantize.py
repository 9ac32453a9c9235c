"""Makes a raw frame's int8 copy from its float copy, where the graph has both: faster on the CPU.

The converter turns the uint8 frame into int8 for quantized layers and that, or the frame, into float32 for the layers
left in float. TFLite's CPU kernel from uint8 to int8 is slow (benchmarks/limits/filter_bank_cost.py); those from uint8
to float32 and on to int8 are fast. The numbers are the same, since the frame's scale is the same each time.
"""
from __future__ import annotations

from typing import Any, List

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils


def from_float(model: bytes) -> bytes:
    """Returns the flatbuffer with uint8 → float32 → int8 in place of a frame's other conversions to the two.

    Args:
      model: a converted file; one that lacks either conversion comes back as it is.
    """
    base = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    graph = base.subgraphs[0]
    first: List[Any] = []
    for frame in (int(i) for i in graph.inputs if graph.tensors[i].type == schema.TensorType.UINT8):
        to_int8 = [operator for operator in _reading(graph, frame)
                   if _code(base, operator) == schema.BuiltinOperator.QUANTIZE
                   and _same_scale(graph.tensors[frame], graph.tensors[operator.outputs[0]])]
        sources = [frame, *(int(operator.outputs[0]) for operator in to_int8)]
        to_float = [operator for source in sources for operator in _reading(graph, source)
                    if _code(base, operator) == schema.BuiltinOperator.DEQUANTIZE]
        if to_int8 and to_float:
            to_float[0].inputs = np.array([frame], np.int32)
            for operator in to_int8:
                operator.inputs = to_float[0].outputs
            first.append(to_float[0])
    if not first:
        return model
    graph.operators = first + [operator for operator in graph.operators
                               if not any(operator is other for other in first)]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(base))


def _reading(graph: Any, tensor: int) -> List[Any]:
    return [operator for operator in graph.operators if int(operator.inputs[0]) == tensor]


def _same_scale(unsigned: Any, signed: Any) -> bool:
    """Whether an int8 tensor is a uint8 tensor less 128."""
    here, there = unsigned.quantization, signed.quantization
    return (signed.type == schema.TensorType.INT8 and bool(np.isclose(here.scale[0], there.scale[0], rtol=1e-6))
            and int(here.zeroPoint[0]) - int(there.zeroPoint[0]) == 128)


def _code(base: Any, operator: Any) -> int:
    code = base.operatorCodes[operator.opcodeIndex]
    return max(code.builtinCode, code.deprecatedBuiltinCode)
