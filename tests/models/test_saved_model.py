"""SavedModels without Keras's layers are converted, quantized too, by their outputs' names."""
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.models import saved_model
from leanood.tflite import convert, runtime

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, function): as Keras 3's `model.export` or plain TensorFlow writes it."""
    keras.utils.set_random_seed(0)

    class Subclassed(tf.Module):
        def __init__(self):
            super().__init__()
            self.conv = keras.layers.Conv2D(6, 3, strides=2, activation="relu")
            self.dense = keras.layers.Dense(4, kernel_initializer="random_normal")
            self(tf.zeros((1, 16, 16, 3)))

        def __call__(self, x):
            features = tf.reduce_mean(self.conv(x), [1, 2])
            return {"output_0": self.dense(features), "output_1": features}

    module = Subclassed()
    folder = str(tmp_path_factory.mktemp("saved") / "model")
    serve = tf.function(module.__call__, input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32, name="image")])
    tf.saved_model.save(module, folder, signatures={"serving_default": serve})
    return folder, module


@pytest.mark.parametrize(("quantize", "tolerance"), [("float32", 1e-5), ("int8", 0.05)])
def test_a_saved_model_is_converted_by_names(exported, quantize, tolerance):
    folder, module = exported
    assert saved_model.is_program(folder)
    model = saved_model.SavedModel(folder).select({"logits": "output_0", "features": "output_1"})
    flatbuffer = convert.convert(model, quantize=quantize, representative=IMAGES, input_scale="signed")
    outputs = runtime.load(flatbuffer, trusted=True).each(IMAGES[:8])
    expected = module(tf.constant(IMAGES[:8] / np.float32(127.5) - 1))
    np.testing.assert_allclose(outputs["logits"], expected["output_0"], atol=tolerance)
    np.testing.assert_allclose(outputs["features"], expected["output_1"], atol=tolerance)


def test_what_a_saved_model_lacks_is_told(exported, tmp_path):
    with pytest.raises(ValueError, match="has no output 'avg_pool'; it has output_0, output_1"):
        saved_model.SavedModel(exported[0]).select({"features": "avg_pool"})
    (tmp_path / "saved_model.pb").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="could not be loaded as a SavedModel"):
        saved_model.SavedModel(str(tmp_path))


def test_compress_says_why_it_cannot(exported):
    from leanood.workflow import compress

    with pytest.raises(ValueError, match=r"a program, whose graph can't be taken apart.*leanood convert --quantize"):
        compress.compress(model=exported[0], recipe="shrink(0.5)+int8")
