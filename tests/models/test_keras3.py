"""Keras 3's saved models: made by Keras 3 in a child process, rebuilt in tf_keras, compared with its own outputs."""
import json
import os
import subprocess
import sys
import textwrap
import zipfile

import numpy as np
import pytest
import tf_keras

from leanood.models import run
from leanood.models.keras3 import layers, reader, rebuild

_MAKE = """
import sys
import numpy as np
import keras
from keras import layers as L
folder = sys.argv[1]
keras.utils.set_random_seed(3)

def shake(model):  # batch normalization's moments and biases are something else than 0 and 1
    random = np.random.default_rng(0)
    model.set_weights([w + random.uniform(0.05, 0.3, w.shape).astype(w.dtype) for w in model.get_weights()])
    return model

block = keras.Sequential([keras.Input((8, 8, 4)), L.Conv2D(6, 3, padding="same", name="inside"),
                          L.BatchNormalization(), L.LeakyReLU(negative_slope=0.3)], name="block")
x = keras.Input((16, 16, 3), name="image")
y = L.Rescaling(1 / 127.5, offset=-1.0)(L.RandomFlip("horizontal")(x))
y = L.Conv2D(4, 3, strides=2, padding="same", activation="hard_sigmoid", name="first")(y)
y = block(y)
shared = L.Dense(6, activation="relu6", name="shared")
z = shared(L.GlobalAveragePooling2D()(y))
z = L.Add()([z, shared(L.Dense(6)(z))])
z = L.Concatenate()([z, L.Activation("hard_swish")(z), L.ReLU(max_value=2.0)(z)])
logits = L.Dense(5, kernel_regularizer=keras.regularizers.L2(1e-4), name="logits")(L.Dropout(0.5)(z))
model = shake(keras.Model(x, {"features": z, "logits": logits}, name="mixed"))
model.save(f"{folder}/mixed.keras")
shake(keras.Sequential([keras.Input((12, 12, 1)), L.SeparableConv2D(3, 3), L.PReLU(shared_axes=[1, 2]),
                        L.LayerNormalization(), L.Flatten(), L.Dense(4, activation="softmax")],
                       name="chain")).save(f"{folder}/chain.h5")
two = [keras.Input((4,), name="a"), keras.Input((4,), name="b")]
keras.Model(two, [L.Subtract()(two), L.Multiply()(two)]).save(f"{folder}/two.keras")
z = keras.Input((4, 4, 2))
y = L.ReLU(6.0)(L.Conv2D(2, 1)(z) + 3.0) * (1 / 6)  # as keras.applications' MobileNetV3 writes hard_sigmoid
shake(keras.Model(z, (y - z / 2.0) * (0.5 + z) - 1.0)).save(f"{folder}/operators.keras")
keras.Model(z, 1.0 - z).save(f"{folder}/minus.keras")
keras.Model(z, keras.ops.sort(z, axis=1)).save(f"{folder}/sort.keras")
keras.Model(z, L.Lambda(lambda t: t + 1)(z)).save(f"{folder}/lambda.keras")

@keras.saving.register_keras_serializable()
class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = L.Dense(2)
    def call(self, x):
        return self.dense(x)
own = Own()
own(np.zeros((1, 3), np.float32))
own.save(f"{folder}/own.keras")
keras.mixed_precision.set_global_policy("mixed_float16")
x = keras.Input((16, 16, 3), name="bild_für_uns")
y = L.Reshape((16, 8))(L.BatchNormalization()(L.Conv2D(8, 4, strides=4, name="é")(x)))
y = L.Add()([y, L.MultiHeadAttention(2, 4)(y, y), L.Attention()([y, y])])
y = L.EinsumDense("abc,cd->abd", output_shape=(None, 6), bias_axes="d")(L.LayerNormalization()(y))
shake(keras.Model(x, L.Dense(3, dtype="float32")(L.GlobalAveragePooling1D()(y)))).save(f"{folder}/modern.keras")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras3")
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", _MAKE, str(folder)], env=environment, capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def test_a_nested_functional_model_keeps_names_weights_and_outputs(saved):
    model = run.load(str(saved / "mixed.keras"))  # proves itself equal to Keras 3's own outputs, or raises
    assert set(model.output) == {"features", "logits"}
    names = [layer.name for layer in model.layers]
    assert {"image", "first", "inside", "shared", "logits"} <= set(names)
    assert model.get_layer("shared").kernel.shape == (6, 6)
    assert len(model.get_layer("shared").inbound_nodes) == 2
    assert not any(isinstance(layer, tf_keras.Model) for layer in model.layers)
    assert model.get_layer("logits").kernel_regularizer.l2 == pytest.approx(1e-4)
    assert float(model.get_layer("batch_normalization").moving_mean[0]) != 0.0


def test_operators_between_layers(saved):
    model = rebuild.load(str(saved / "operators.keras"))  # proven equal on the way
    assert {"Rescaling", "Multiply", "Subtract"} <= {type(layer).__name__ for layer in model.layers}
    with pytest.raises(ValueError, match=r"is an operator without a counterpart in tf_keras"):
        rebuild.load(str(saved / "minus.keras"))


def test_mixed_precision_attention_and_letters_that_tensorflow_lacks(saved):
    model = run.load(str(saved / "modern.keras"))  # proven equal on the way, to Keras 3's own in float32
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert model.input_names == ["bild_f_r_uns"]
    assert model.get_layer("multi_head_attention").count_params() == 2 * 4 * 8 * 4 + 3 * 8 + 8


def test_a_class_of_its_own_and_damage_are_told_before_keras_3_is_asked(saved, tmp_path):
    config = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "Mine"}
    with zipfile.ZipFile(tmp_path / "mine.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert reader._foreign(str(tmp_path / "mine.keras")) == (
        "it is of the class Mine, a program of its own that Keras doesn't have")
    assert reader._foreign(str(saved / "mixed.keras")) == ""
    told = reader._first_line(TypeError("Unknown layer: 'Mine'. Please ensure you are using a scope"))
    assert told == "Unknown layer: 'Mine'"
    data = bytearray((saved / "mixed.keras").read_bytes())
    data[len(data) // 2] ^= 0xff
    (tmp_path / "damaged.keras").write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged.keras is damaged \(model.weights.h5 is not what its checksum says"):
        run.load(str(tmp_path / "damaged.keras"))
    (tmp_path / "page.keras").write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="is no saved Keras model, neither a .keras archive nor HDF5, or is cut off"):
        run.load(str(tmp_path / "page.keras"))


def test_a_rebuilt_model_can_be_saved_and_cloned(saved, tmp_path):
    model = run.load(str(saved / "mixed.keras"))
    model.save(tmp_path / "again.h5")
    again = run.load(str(tmp_path / "again.h5"))
    image = np.random.default_rng(1).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(again(image)["logits"], model(image)["logits"], rtol=1e-6)


def test_a_sequential_h5_and_several_inputs_and_outputs(saved):
    chain = run.load(str(saved / "chain.h5"))
    assert chain.output_shape == (None, 4)
    two = run.load(str(saved / "two.keras"))
    a, b = np.full((1, 4), 3.0, np.float32), np.full((1, 4), 2.0, np.float32)
    difference, product = two([a, b])
    np.testing.assert_allclose(difference, a - b)
    np.testing.assert_allclose(product, a * b)


@pytest.mark.parametrize(("name", "message"), [
    ("sort.keras", r"layer 'sort' \(Sort\) has no counterpart in tf_keras.*convert that SavedModel"),
    ("lambda.keras", r"Keras 3 model that leanood cannot take apart: layer '\w+' is a Lambda, code within the file"),
    ("own.keras", r"Keras 3 model that leanood cannot take apart.*'own.*' \(Own\) is of a class.*that SavedModel")])
def test_what_has_no_counterpart_is_told_in_one_line(saved, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        run.load(str(saved / name))
    assert len(str(caught.value)) < 700
    assert "\n" not in str(caught.value)


def test_who_wrote_a_file_is_told_by_the_file(saved, tmp_path):
    assert rebuild.saved_by_keras3(str(saved / "mixed.keras"))
    assert rebuild.saved_by_keras3(str(saved / "chain.h5"))
    model = tf_keras.Sequential([tf_keras.Input((3,)), tf_keras.layers.Dense(2)])
    for name in ("two.h5", "two.keras"):
        model.save(tmp_path / name)
        assert not rebuild.saved_by_keras3(str(tmp_path / name))
        assert run.load(str(tmp_path / name)).output_shape == (None, 2)
    (tmp_path / "none.keras").write_bytes(b"none")
    assert not rebuild.saved_by_keras3(str(tmp_path / "none.keras"))


def test_outputs_that_differ_are_refused():
    x = tf_keras.Input((2,))
    model = tf_keras.Model(x, tf_keras.layers.Rescaling(2.0)(x))
    given = np.ones((2, 2), np.float32)
    rebuild._prove(model, {"input_0": given, "output_0": 2 * given}, "x")
    with pytest.raises(ValueError, match=r"x: rebuilt in tf_keras, output 0 differs from Keras 3's by 0\.001"):
        rebuild._prove(model, {"input_0": given, "output_0": 2 * given + 1e-3}, "x")


def test_an_activation_that_is_unknown_is_told():
    with pytest.raises(ValueError, match=r"layer 'd' \(Dense\) has the activation 'glu'"):
        layers.build("Dense", "d", {"units": 2, "activation": "glu", "name": "d"})


def test_inception_resnets_own_layer_is_two_of_ours():
    call = layers.build("CustomScaleLayer", "mixed", {"name": "mixed", "scale": 0.3})
    x, residual = tf_keras.Input((2,)), tf_keras.Input((2,))
    model = tf_keras.Model([x, residual], call([x, residual], training=False))
    np.testing.assert_allclose(model([np.array([[1.0, 2.0]]), np.array([[10.0, -10.0]])]), [[4.0, -1.0]], rtol=1e-6)


@pytest.mark.parametrize("name", ["evil.h5", "evil.keras"])
def test_a_model_with_code_in_it_is_not_run_unless_allowed(tmp_path, name):
    trace = tmp_path / "was_run"
    make = textwrap.dedent(f"""
        import tf_keras
        x = tf_keras.Input((2,))
        touch = lambda t: (open({str(trace)!r}, "w").close(), t)[1]
        tf_keras.Model(x, tf_keras.layers.Lambda(touch)(x)).save({str(tmp_path / name)!r})
        import os; os.remove({str(trace)!r})
    """)
    environment = dict(os.environ, TF_USE_LEGACY_KERAS="1")
    subprocess.run([sys.executable, "-c", make], env=environment, check=True, capture_output=True, timeout=200)
    with pytest.raises(ValueError, match="holds code .a Lambda layer.*--unsafe"):
        run.load(str(tmp_path / name))
    assert not trace.exists()
    run.load(str(tmp_path / name), unsafe=True)
    assert trace.exists()
