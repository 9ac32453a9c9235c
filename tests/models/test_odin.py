"""ODIN's perturbation follows the gradient, by an analytic one, and raises the confidence that it is meant to raise."""
import numpy as np
import pytest
import tf_keras as keras

from leanood.models import odin
from leanood.ood import scores

RNG = np.random.RandomState(0)
FRAMES = RNG.rand(6, 4, 4, 3).astype(np.float32)


@pytest.fixture(scope="module")
def linear():
    frame = keras.Input((4, 4, 3), name="frame")
    logits = keras.layers.Dense(3, name="logits")(keras.layers.Flatten()(frame))
    return keras.Model(frame, {"logits": logits})


def test_step_is_the_sign_of_the_analytic_gradient(linear):
    weight, bias = linear.get_layer("logits").get_weights()
    logits = (FRAMES.reshape(6, -1) @ weight + bias) / 1000
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    gradient = weight.T[predicted] - p @ weight.T  # d log p_predicted / dx, but for the factor 1/T
    expected = FRAMES + 0.01 * np.sign(gradient).reshape(FRAMES.shape)
    np.testing.assert_allclose(odin.perturbed(linear, FRAMES, epsilon=0.01), expected, atol=1e-6)


def test_confidence_grows(linear):
    def score(frames):
        return scores.ODIN().score({"logits": linear(frames)["logits"].numpy()})

    assert (score(odin.perturbed(linear, FRAMES, epsilon=0.05)) < score(FRAMES)).all()
    np.testing.assert_array_equal(odin.perturbed(linear, FRAMES, epsilon=0.0), FRAMES)


def test_refusals(linear):
    with pytest.raises(ValueError, match="epsilon is -1"):
        odin.perturbed(linear, FRAMES, epsilon=-1)
    with pytest.raises(ValueError, match="temperature is 0"):
        odin.perturbed(linear, FRAMES, epsilon=0.1, temperature=0)
    with pytest.raises(ValueError, match="no output 'logits' among flat"):
        odin.perturbed(keras.Model(linear.input, {"flat": linear.layers[1].output}), FRAMES, epsilon=0.1)
