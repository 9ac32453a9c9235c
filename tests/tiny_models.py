"""Writes the tiny .tflite files that the device tests share: python tests/tiny_models.py FOLDER (needs TensorFlow)."""
import os
import sys

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402
from ai_edge_litert.tools import flatbuffer_utils  # noqa: E402

from leanood.models import flow_vae  # noqa: E402
from leanood.tflite import convert  # noqa: E402

SIZE = (32, 32)


def _latent() -> keras.Model:
    x = frame = keras.Input(SIZE + (3,), name="frame")
    for filters in (8, 8):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(x))
    mu, logvar = keras.layers.Dense(4, name="mu"), keras.layers.Dense(4, name="logvar")
    return keras.Model(frame, {"mu": mu(x), "logvar": logvar(x)})


def _classifier() -> keras.Model:
    frame = keras.Input(SIZE + (3,), name="frame")
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(frame)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(frame, {"logits": keras.layers.Dense(5, name="logits")(features), "features": features})


def _two_inputs() -> keras.Model:
    a, b = keras.Input((4,), name="a", batch_size=1), keras.Input((4,), name="b", batch_size=1)
    return keras.Model([a, b], {"sum": a + b, "difference": a - b})


def _int8_ends(model: keras.Model, images: np.ndarray) -> bytes:
    """int8 at the input and at the outputs too."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None] / np.float32(255)] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())


def _dense_12(model: keras.Model) -> bytes:
    """Dynamic range with per-channel dense layers: FULLY_CONNECTED version 12."""
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def _strided_pointwise(images: np.ndarray) -> bytes:
    frame = keras.Input(SIZE + (3,), name="frame")
    return _int8_ends(keras.Model(frame, keras.layers.Conv2D(4, 1, strides=2)(frame)), images)


def _reverse() -> bytes:
    """Three operators of which LiteRT's GPU accelerator takes two."""
    reverse = tf.function(lambda x: {"reversed": tf.reverse_sequence(x * 2.0, [3], 1, 0) * 2.0},
                          input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
    return bytes(tf.lite.TFLiteConverter.from_concrete_functions([reverse.get_concrete_function()]).convert())


def _without_signature(flatbuffer: bytes) -> bytes:
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(flatbuffer))
    model.signatureDefs = []
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _huge_input(flatbuffer: bytes) -> bytes:
    """A valid flatbuffer whose input asks for 12 GiB."""
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(flatbuffer))
    model.subgraphs[0].tensors[0].shape = [1, 32768, 32768, 3]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def main(folder: str) -> None:
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (20,) + SIZE + (3,), dtype=np.uint8)
    latent, classifier = _latent(), _classifier()
    large = keras.Sequential([keras.Input((64,)), keras.layers.Dense(128), keras.layers.Dense(64)])
    float32 = convert.convert(latent)
    files = {
        "latent_float32": float32,
        "latent_float16": convert.convert(latent, quantize="float16"),
        "latent_int8": convert.convert(latent, quantize="int8", representative=images),
        "classifier_float32": convert.convert(classifier),
        "motion": convert.convert(flow_vae.encoder((113, 152), 6, (4, 4, 4, 4), 3)),
        "two_inputs": bytes(tf.lite.TFLiteConverter.from_keras_model(_two_inputs()).convert()),
        "int8_ends": _int8_ends(latent, images),
        "dense_12": _dense_12(large),
        "reverse": _reverse(),
        "strided_pointwise": _strided_pointwise(images),
        "huge_input": _huge_input(float32),
        "without_signature": _without_signature(float32),
        "not_for_gpu": bytes(tf.lite.TFLiteConverter.from_keras_model(
            keras.Sequential([keras.Input((8,), batch_size=1), keras.layers.Dense(8),
                              keras.layers.Lambda(lambda x: tf.sort(x))])).convert()),
    }
    for name, data in files.items():
        with open(os.path.join(folder, name + ".tflite"), "wb") as file:
            file.write(data)


if __name__ == "__main__":
    main(sys.argv[1])
