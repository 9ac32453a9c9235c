"""Converts a Functional Keras model to a TFLite flatbuffer that keeps its outputs' names (needs TensorFlow)."""
from __future__ import annotations

import hashlib
import tempfile
import warnings
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.data import input_scales
from leanood.tflite import compat, silence
from leanood.tflite.rewrite import int8, requantize, strides

QUANTIZATIONS = ("float32", "float16", "dynamic", "int8", "int16")
TARGETS = tuple(compat.TARGETS)


def convert(
    model: keras.Model,
    *,
    quantize: str = "float32",
    representative: Optional[np.ndarray] = None,
    input_scale: str = "unit",
    target: str = "generic",
    size: Optional[Tuple[int, int]] = None,
    float_outputs: bool = True,
    float_branches: Sequence[str] = ("early", "motion"),
) -> bytes:
    """Returns the flatbuffer of `model`: one frame in, every output by its name, float32.

    The signature `serving_default` takes `frame` [1, h, w, 3]: float32 in [0, 1], or, for "int8", uint8 with scale
    1/255, so that raw frames go in as they are.

    Args:
      model: Functional or Sequential (or `models.saved_model.SavedModel`), float32 [N, h, w, 3] -> named outputs
        (`output_names`). It may be quantization-aware: then "int8" takes the ranges that it has learnt.
      quantize: "float32"; "float16" (weights); "dynamic" (int8 weights, float activations); "int8" (both); "int16"
        (int8 weights, 16-bit activations).
      representative: uint8 [N, h, w, 3], N ≥ 1 training images at the model's size, that set int8's and int16's ranges.
      input_scale: what the model was trained on: "unit" x/255, "signed" x/127.5 − 1, "bytes" x.
      target: "generic", "jetson-nano" or "gpu": a file that its runtime could not load is refused.
      size: (height, width) to fix a model to whose own is open.
      float_outputs: in "int8", the operation that makes an output (a head) computes in float32, since scores need more
        resolution than 256 steps. A quantization-aware model decides this itself.
      float_branches: outputs, where the model has them, of which in "int8" all that leads to them alone computes in
        float32: statistics with powers, which 256 steps cannot hold.

    Raises:
      ValueError: if an argument doesn't fit, or if the file would not load on its target.
    """
    _check(model, quantize, representative, input_scale, target)
    height, width, channels = _input_shape(model, size)
    if representative is not None and representative.shape[1:] != (height, width, channels):
        raise ValueError(f"representative has images of shape {representative.shape[1:]}, but the model takes "
                         f"{(height, width, channels)}")
    scale, offset = input_scales.SCALES[input_scale]
    aware = _is_quantization_aware(model)

    @tf.function(input_signature=[tf.TensorSpec((1, height, width, channels), tf.float32, name="frame")])
    def serve(frame: tf.Tensor) -> Dict[str, tf.Tensor]:
        if aware and quantize == "int8":
            frame = tf.quantization.fake_quant_with_min_max_args(frame, 0.0, 1.0)  # the range of raw frames
        x = frame if (scale, offset) == (1.0, 0.0) else frame * scale + offset
        return {name: tf.identity(y, name=name) for name, y in named(model, model(x, training=False)).items()}

    with silence.silence(), warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        warnings.simplefilter("ignore")
        # Through a SavedModel: only there does the signature keep its names. Nothing else of a Keras model is needed
        # but its variables, and the whole of it takes far longer to write.
        variables = tf.Module()
        variables.held = getattr(model, "variables", ())
        try:
            tf.saved_model.save(variables, folder, signatures={"serving_default": serve})
        except AssertionError:  # a layer has resources that are no variables
            tf.saved_model.save(model, folder, signatures={"serving_default": serve})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["serving_default"])
        try:
            # Per-channel fully connected layers become version 12 of the operation, which tflite-runtime 2.14 lacks.
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
            if quantize == "int8" and representative is not None and not aware:
                flatbuffer = int8.convert(converter, representative, float_outputs, float_branches)
            elif quantize == "int16" and representative is not None:
                flatbuffer = int8.convert_wide(converter, representative)
            else:
                flatbuffer = _plain(converter, quantize)
        except Exception as error:
            raise ValueError(f"TensorFlow's converter refused the model ({quantize}): {_reason(error)}") from error
    flatbuffer = requantize.from_float(flatbuffer) if quantize == "int8" else flatbuffer
    if target == "gpu":
        flatbuffer = strides.without_strides(flatbuffer)
    problems = compat.check(flatbuffer, target)
    if problems:
        raise ValueError(f"the file would not load on {target}: {'; '.join(problems)}")
    return flatbuffer


def describe(flatbuffer: bytes, **settings: Any) -> Dict[str, Any]:
    """Returns a converted file's provenance, ready for JSON: its hash and size, versions, and the settings given."""
    return {**settings, "sha256": hashlib.sha256(flatbuffer).hexdigest(), "bytes": len(flatbuffer),
            "tensorflow": tf.__version__}


def named(model: keras.Model, outputs: Any) -> Dict[str, Any]:
    """Returns a model's outputs by name, without the prefix that quantization-aware training gives them.

    Args:
      model: any Keras model; a dict of outputs keeps its keys, others take their layers' names.
      outputs: what calling the model returned.
    """
    if isinstance(outputs, dict):
        by_name = dict(outputs)
    else:
        values = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        by_name = dict(zip(model.output_names, values))
    plain = {name[len("quant_"):] if name.startswith("quant_") else name: y for name, y in by_name.items()}
    if len(plain) != len(by_name):
        raise ValueError(f"the model's outputs {', '.join(by_name)} share a name once `quant_` is dropped; rename them")
    return plain


def with_unit_input(model: keras.Model, input_scale: str) -> keras.Model:
    """Returns the model behind a rescaling, so that it takes frames in [0, 1].

    Args:
      model: Functional or Sequential, one image in.
      input_scale: what it was trained on, see `convert`.
    """
    scale, offset = input_scales.SCALES[input_scale]
    frame = keras.Input(model.inputs[0].shape[1:], name="frame")
    outputs = model(keras.layers.Rescaling(scale, offset, name="input_scale")(frame))
    return keras.Model(frame, named(model, outputs), name=model.name)


def with_outputs(model: keras.Model, layers: Dict[str, str]) -> keras.Model:
    """Returns the same model (weights shared) with chosen layers as its outputs.

    Args:
      model: Functional or Sequential.
      layers: output name -> layer name, e.g. {"features": "avg_pool", "logits": "predictions"}.
    """
    known = [layer.name for layer in model.layers]
    for layer in layers.values():
        if layer not in known:
            raise ValueError(f"the model has no layer {layer!r}; its last are {', '.join(known[-8:])}")
    return keras.Model(model.input, {name: model.get_layer(layer).output for name, layer in layers.items()},
                       name=model.name)


def _plain(converter: tf.lite.TFLiteConverter, quantize: str) -> bytes:
    if quantize != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":  # the graph carries its own ranges
        converter.inference_input_type = tf.uint8
    return bytes(converter.convert())


def _check(model: keras.Model, quantize: str, representative: Optional[np.ndarray], input_scale: str,
           target: str) -> None:
    for name, value, allowed in (("quantize", quantize, QUANTIZATIONS), ("target", target, TARGETS),
                                 ("input_scale", input_scale, tuple(input_scales.SCALES))):
        if value not in allowed:
            raise ValueError(f"{name} is {value!r}, but should be one of {', '.join(allowed)}")
    if not (getattr(model, "_is_graph_network", False) or getattr(model, "from_signature", False)):
        raise ValueError(f"{type(model).__name__} is no Functional or Sequential Keras model; build it with "
                         "tf_keras.Model(inputs, outputs)")
    if len(model.inputs) != 1:
        raise ValueError(f"the model has {len(model.inputs)} inputs, but should have one: the frame")
    if representative is not None and (representative.dtype != np.uint8 or representative.ndim != 4
                                       or not len(representative)):
        raise ValueError(f"representative is {representative.dtype} {list(representative.shape)}, but should be "
                         "uint8 [N, h, w, channels] with N ≥ 1")
    if quantize in ("int8", "int16") and representative is None and (
            quantize == "int16" or not _is_quantization_aware(model)):
        raise ValueError(f"{quantize} needs representative training images to set its ranges, but representative is "
                         "None")


def _is_quantization_aware(model: keras.Model) -> bool:
    return any(layer.name.startswith("quant") for layer in model.layers)


def _input_shape(model: keras.Model, size: Optional[Tuple[int, int]]) -> Tuple[int, int, int]:
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[-1] is None:
        raise ValueError(f"the model's input is {tuple(shape)}, but should be [N, height, width, channels]")
    given = tuple(shape[1:3])
    if None in given and size is None:
        raise ValueError(f"the model's input {tuple(shape)} leaves the spatial size open; give size=(height, width)")
    fixed = tuple(size) if size is not None else given
    if any(o not in (None, f) for o, f in zip(given, fixed)):
        raise ValueError(f"size is {fixed}, but the model is fixed to {given}")
    return (int(fixed[0]), int(fixed[1]), int(shape[-1]))


def _reason(error: Exception) -> str:
    """The error's first line, without the places in the graph that the converter puts before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    _, place, said = lines[0].partition("error: loc(")
    return said.rpartition("): ")[2][:300] if place and "): " in said else lines[0]
