"""How far int8 activations stray from float ones, layer by layer: which layers to leave in float.

Through TensorFlow's quantization debugger, so that what is compared is what the converter really writes: each
operation in int8 beside the same in float, both fed with what the int8 operations before it made.
"""
from __future__ import annotations

import re
from typing import Iterator, NamedTuple

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.compression import rebuild
from leanood.models import named_outputs


class LayerError(NamedTuple):
    """How one operation's activations differ between float and int8.

    Attributes:
      layer: the Keras layer that it came from, or the tensor's name where none is found.
      kind: that layer's class, e.g. "Conv2D".
      cosine: similarity of the two, in [-1, 1]; mean over images.
      snr_db: 10 log10 of the float activations' power over the error's, in decibels; mean over images.
    """
    layer: str
    kind: str
    cosine: float
    snr_db: float


def by_layer(model: tf_keras.Model, images: np.ndarray) -> list[LayerError]:
    """The operations of a float model, from the worst signal-to-noise ratio under int8 to the best.

    Args:
      model: Functional, its input size fixed.
      images: float32 [N, h, w, c] in the model's input range; a few dozen.
    """
    rebuild.check(model)
    if len(images) == 0:
        raise ValueError("errors: images are needed to compare activations on")

    def samples() -> Iterator[list[np.ndarray]]:
        for image in images:
            yield [image[np.newaxis].astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=samples)
    # From the finished model once more: only then does the interpreter keep the tensors that are to be compared.
    debugger = tf.lite.experimental.QuantizationDebugger(
        quant_debug_model_content=debugger.get_debug_quantized_model(), debug_dataset=samples,
        debug_options=tf.lite.experimental.QuantizationDebugOptions(
            layer_direct_compare_metrics={"cosine": _cosine, "snr_db": _snr_db}))
    debugger.run()
    errors = [LayerError(*_layer(tensor, model), float(metrics["cosine"]), float(metrics["snr_db"]))
             for tensor, metrics in debugger.layer_statistics.items()]
    return sorted(errors, key=lambda error: error.snr_db)


def _layer(verified: str, model: tf_keras.Model) -> tuple[str, str]:
    """Name and kind of the layer that a "NumericVerify/<tensor>:<index>" belongs to.

    A fused operation is named after all its layers, of which the last counts.
    """
    tensor = verified.partition("/")[2].rpartition(":")[0]
    output = re.match(r"StatefulPartitionedCall[:_](\d)", tensor)
    if output:
        outputs = sorted(named_outputs.of(model).items())
        name = outputs[int(output[1])][1].node.layer.name
        return name, type(model.get_layer(name)).__name__
    for part in reversed(tensor.split(";")):
        for layer in model.layers:
            if f"/{layer.name}/" in f"/{part}/":
                return layer.name, type(layer).__name__
    return tensor, ""


def _cosine(real: np.ndarray, quantized: np.ndarray, scale: float, zero_point: int) -> float:
    restored = (quantized.astype(np.float64) - zero_point) * scale
    norms = float(np.linalg.norm(real) * np.linalg.norm(restored))
    return float(np.sum(real * restored)) / norms if norms else 1.0


def _snr_db(real: np.ndarray, quantized: np.ndarray, scale: float, zero_point: int) -> float:
    restored = (quantized.astype(np.float64) - zero_point) * scale
    noise = float(np.sum((real - restored) ** 2))
    return float(10 * np.log10(max(float(np.sum(real ** 2)), 1e-30) / max(noise, 1e-30)))
