"""Takes the stride out of pointwise convolutions with int8 weights, which LiteRT's GPU accelerator computes wrongly.

LiteRT 2.3 runs a 1×1 convolution of stride 2 with quantized weights (a ResNet's shortcut) without complaint and is
off by several percent; of stride 1, or with float weights, it is right. Pooling over 1×1 with that stride first, which
picks the same pixels, leaves the result as it was.
"""
from __future__ import annotations

import copy
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from leanood.tflite import compat, flatbuffer


def without_strides(model: bytes) -> bytes:
    """Returns the flatbuffer with a pooling before each strided pointwise convolution with int8 weights.

    Args:
      model: a converted file; one without such a convolution comes back as it is.
    """
    described = flatbuffer.read(model)
    base = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    graph, changed = base.subgraphs[0], False
    operators = []
    for operator, description in zip(graph.operators, described.operators):
        if compat.is_strided_pointwise(description, described):
            operators.append(_pooling(base, graph, operator))
            changed = True
        operators.append(operator)
    if not changed:
        return model
    graph.operators = operators
    return bytes(flatbuffer_utils.convert_object_to_bytearray(base))


def _pooling(base: Any, graph: Any, convolution: Any) -> Any:
    """The pooling that takes over the convolution's stride; the convolution then reads what it makes."""
    source, options = graph.tensors[convolution.inputs[0]], convolution.builtinOptions
    picked = copy.copy(source)
    picked.name = source.name + b"/picked"
    picked.buffer = 0
    height, width = graph.tensors[convolution.outputs[0]].shape[1:3]
    picked.shape = np.array([source.shape[0], height, width, source.shape[3]], np.int32)
    picked.shapeSignature = None
    graph.tensors.append(picked)
    pool = schema.Pool2DOptionsT()
    pool.padding, pool.filterHeight, pool.filterWidth = schema.Padding.VALID, 1, 1
    pool.strideH, pool.strideW = options.strideH, options.strideW
    options.strideH = options.strideW = 1
    operator = schema.OperatorT()
    operator.opcodeIndex = _code(base)
    operator.inputs = np.array([convolution.inputs[0]], np.int32)
    operator.outputs = np.array([len(graph.tensors) - 1], np.int32)
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Pool2DOptions, pool
    convolution.inputs = np.concatenate([operator.outputs, convolution.inputs[1:]]).astype(np.int32)
    return operator


def _code(base: Any) -> int:
    """The index of MAX_POOL_2D (version 2 knows int8), which is added where there is none."""
    kind = schema.BuiltinOperator.MAX_POOL_2D
    for index, code in enumerate(base.operatorCodes):
        if code.builtinCode == kind and code.version == 2:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kind
    code.version = 2
    base.operatorCodes.append(code)
    return len(base.operatorCodes) - 1
