"""Rewriting Functional graphs."""
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from leanood.compression import channels, rebuild
from leanood.models import filter_bank

L = tf_keras.layers


def encoder(size=(8, 8)):
    frame = L.Input((*size, 3), name="frame")
    x = L.Conv2D(4, 3, padding="same", name="conv")(frame)
    x = L.ReLU(name="relu")(L.BatchNormalization(name="bn")(x))
    y = L.Conv2D(4, 3, padding="same", name="conv_b")(x)
    x = L.Flatten(name="flat")(L.Add(name="add")([x, y]))
    return tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(x), "logvar": L.Dense(2, name="logvar")(x)}, name="enc")


def frames(count=3, size=(8, 8)):
    return np.random.default_rng(0).random((count, *size, 3), np.float32)


def test_clone_computes_the_same_and_shares_nothing():
    model = encoder()
    copy = rebuild.clone(model)
    before, after = model(frames()), copy(frames())
    assert set(after) == {"mu", "logvar"}
    assert copy.input_names == ["frame"]
    np.testing.assert_allclose(after["mu"], before["mu"], atol=1e-6)
    copy.get_layer("conv").set_weights([np.zeros((3, 3, 3, 4)), np.zeros(4)])
    np.testing.assert_array_equal(model(frames())["mu"], before["mu"])


def test_a_list_of_outputs_becomes_a_dict_by_layer_name():
    frame = L.Input((4,), name="frame")
    model = tf_keras.Model(frame, [L.Dense(2, name="b")(frame), L.Dense(3, name="a")(frame)])
    assert {k: v.shape for k, v in rebuild.clone(model)(np.ones((5, 4))).items()} == {"a": (5, 3), "b": (5, 2)}


def test_an_open_size_can_be_fixed():
    frame = L.Input((None, None, 3), name="frame")
    model = tf_keras.Model(frame, L.GlobalAveragePooling2D(name="features")(L.Conv2D(4, 3, name="c")(frame)))
    fixed = rebuild.clone(model, (8, 8, 3))
    assert fixed.input_shape == (None, 8, 8, 3)
    np.testing.assert_allclose(fixed(frames())["features"], model(frames()), atol=1e-6)


def test_a_shared_layer_stays_shared():
    frame = L.Input((4,), name="frame")
    dense = L.Dense(4, name="twice")
    model = tf_keras.Model(frame, {"out": dense(dense(frame))})
    copy = rebuild.clone(model)
    assert [layer.name for layer in copy.layers].count("twice") == 1
    np.testing.assert_allclose(copy(np.ones((2, 4)))["out"], model(np.ones((2, 4)))["out"], atol=1e-6)


def test_replace_may_lengthen_and_remove():
    model = encoder()

    def replace(layer):
        if layer.name == "relu":
            return []
        if layer.name == "bn":
            return [rebuild.fresh(layer), L.Activation("tanh", name="squash")]
        return [rebuild.fresh(layer)]

    new = rebuild.rewrite(model, replace)
    rebuild.copy_weights(model, new)
    expected = np.tanh(tf_keras.Model(model.input, model.get_layer("bn").output)(frames()))
    np.testing.assert_allclose(tf_keras.Model(new.input, new.get_layer("squash").output)(frames()), expected, atol=1e-6)


def test_operators_and_early_statistics_are_cloned_too():
    frame = L.Input((16, 16, 3), name="frame")
    x = L.Conv2D(8, 3, name="conv")(frame)
    x = tf.reduce_mean(x * 2.0 + 1.0, axis=[1, 2])[:, :5]
    model = filter_bank.with_statistics(tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(x)}))
    for name, values in rebuild.clone(model)(frames(size=(16, 16))).items():
        np.testing.assert_allclose(values, model(frames(size=(16, 16)))[name], atol=1e-6)
    assert rebuild.heads(model) == ("mu",)
    assert set(channels.trace(model, ("early",)).makes["conv"]) == {channels.FIXED}


def test_heads_are_the_layers_that_make_the_outputs():
    assert set(rebuild.heads(encoder())) == {"mu", "logvar"}
    frame = L.Input((4,), name="frame")
    features = L.ReLU(name="features")(L.Dense(3, name="d")(frame))
    probability = L.Softmax(name="p")(L.Dense(2, name="logits")(features))
    assert rebuild.heads(tf_keras.Model(frame, {"features": features, "p": probability})) == ("logits",)


def test_models_that_cannot_be_read_are_refused():
    class Own(tf_keras.Model):
        pass

    with pytest.raises(rebuild.UnsupportedModel, match="'own' is subclassed"):
        rebuild.check(Own(name="own"))
    inner = encoder()
    nested = tf_keras.Model(inner.input, inner(inner.input)["mu"], name="outer")
    with pytest.raises(rebuild.UnsupportedModel, match="layer 'enc' of model 'outer' is itself a model"):
        rebuild.check(nested)
    a, b = L.Input((3,)), L.Input((3,))
    twins = tf_keras.Model([a, b], L.Add()([a, b]))
    with pytest.raises(rebuild.UnsupportedModel, match="has 2 inputs"):
        rebuild.check(twins)
