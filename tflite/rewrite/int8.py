"""Static int8 quantization: ranges from representative frames, and float arithmetic where 256 steps are too few."""
from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Sequence, Set

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import convert as tf_convert
from tensorflow.lite.python import schema_py_generated as schema


def convert(converter: tf.lite.TFLiteConverter, representative: np.ndarray, float_outputs: bool,
            float_branches: Sequence[str]) -> bytes:
    """Returns the flatbuffer: `frame` uint8 with scale 1/255 in, float32 out.

    Args:
      converter: of a graph with the signature `frame` float32 [1, h, w, C] in [0, 1] -> named outputs.
      representative: uint8 [N, h, w, C].
      float_outputs: the operations that make the outputs compute in float32.
      float_branches: outputs of which all that leads to them alone computes in float32.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _samples(representative)
    converter._experimental_calibrate_only = True
    calibrated = converter.convert()
    # Only this step below the converter can leave chosen operations in float.
    return bytes(tf_convert.mlir_quantize(
        calibrated, input_data_type=tf.uint8, output_data_type=tf.float32,
        disable_per_channel_for_dense_layers=converter._experimental_disable_per_channel_quantization_for_dense_layers,
        denylisted_nodes=_float_nodes(calibrated, float_outputs, float_branches)))


def convert_wide(converter: tf.lite.TFLiteConverter, representative: np.ndarray) -> bytes:
    """Returns the flatbuffer with 8-bit weights and 16-bit activations ("16x8"): `frame` float32 in, float32 out.

    What has no 16-bit kernel computes in float32.

    Args:
      converter, representative: as for `convert`.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: _samples(representative)
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    return bytes(converter.convert())


def _samples(images: np.ndarray) -> Iterator[Dict[str, np.ndarray]]:
    for i, image in enumerate(images):
        frame = image[np.newaxis].astype(np.float32) / np.float32(255)
        if i == 0:
            # The input's range is what was seen: these two pixels make it 0…1, so that raw frames go in unconverted.
            frame.flat[0], frame.flat[1] = 0.0, 1.0
        yield {"frame": frame}


def _float_nodes(flatbuffer: bytes, float_outputs: bool, float_branches: Sequence[str]) -> List[str]:
    """Names of the operations that are to stay float: each is named like the tensor it makes."""
    model = schema.Model.GetRootAs(flatbuffer, 0)
    graph, signature = model.Subgraphs(0), model.SignatureDefs(0)
    outputs = {signature.Outputs(i).Name().decode(): signature.Outputs(i).TensorIndex()
               for i in range(signature.OutputsLength())}
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    makers = {int(output): operator for operator in operators for output in operator.OutputsAsNumpy()}

    def leading_to(tensors: Iterable[int]) -> Set[int]:
        upstream: Set[int] = set()
        waiting = list(tensors)
        while waiting:
            tensor = waiting.pop()
            if tensor in makers and tensor not in upstream:
                upstream.add(tensor)
                waiting.extend(int(i) for i in makers[tensor].InputsAsNumpy())
        return upstream

    branches = leading_to(tensor for name, tensor in outputs.items() if name in float_branches)
    kept = branches - leading_to(tensor for name, tensor in outputs.items() if name not in float_branches)
    if float_outputs:
        kept.update(outputs.values())
    return [graph.Tensors(tensor).Name().decode() for tensor in sorted(kept)]
