"""Which layers suffer from int8: the report must name the one that was made to suffer."""
import numpy as np
import pytest
import tf_keras

from leanood.compression import errors

L = tf_keras.layers
X = np.random.default_rng(0).random((8, 8, 8, 3), np.float32)


def model_with_an_outlier():
    """One channel of "wild" is so large that int8 rounds the others away, and "mu" reads nothing but those."""
    tf_keras.utils.set_random_seed(0)
    x = frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(8, 3, activation="relu", name="tame")(x)
    x = L.Conv2D(8, 3, name="wild")(x)
    model = tf_keras.Model(frame, {"mu": L.Dense(3, name="mu")(L.GlobalAveragePooling2D(name="pool")(x))})
    kernel, bias = model.get_layer("wild").get_weights()
    bias[0] = 1e4 * np.abs(kernel).mean()
    model.get_layer("wild").set_weights([kernel, bias])
    head, bias = model.get_layer("mu").get_weights()
    head[0] = 0
    model.get_layer("mu").set_weights([head, bias])
    return model


def test_every_layer_is_reported_and_the_weakened_one_is_worst():
    report = errors.by_layer(model_with_an_outlier(), X)
    by_name = {error.layer: error for error in report}
    assert {"tame", "wild", "mu"} <= set(by_name)
    assert by_name["tame"].snr_db > 30
    assert by_name["tame"].cosine > 0.999
    assert [error.snr_db for error in report] == sorted(error.snr_db for error in report)
    assert [error.layer for error in report if error.snr_db < 20] == ["mu"]
    assert by_name["mu"].kind == "Dense"


def test_measures_by_hand():
    real, quantized = np.array([1.0, -1.0, 0.5]), np.array([11, -9, 6], np.int8)  # (q − 1) · 0.1 = 1, −1, 0.5
    assert errors._cosine(real, quantized, 0.1, 1) == pytest.approx(1)
    assert errors._snr_db(real + [0, 0, 0.1], quantized, 0.1, 1) == pytest.approx(10 * np.log10(2.36 / 0.01), abs=1e-6)


def test_no_images_is_an_error():
    with pytest.raises(ValueError, match="images are needed"):
        errors.by_layer(model_with_an_outlier(), X[:0])
