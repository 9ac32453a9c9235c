"""The small CNNs: their shapes and parameters, their outputs, what they refuse."""
import numpy as np
import pytest
import tf_keras as keras

from leanood.models import cnn, cnn_training


@pytest.mark.parametrize(("size", "widths", "parameters"), [
    # (3·3·3 + 1) 256 + (3·3·256 + 1) 512 + (8·8·512 + 1) 10, and the student's likewise; MNIST's 28×28 end at 7×7.
    ((32, 32), cnn.TEACHER, 28 * 256 + 2305 * 512 + 32769 * 10),
    ((32, 32), cnn.STUDENT, 28 * 16 + 145 * 32 + 2049 * 10),
    ((28, 28), cnn.STUDENT, 28 * 16 + 145 * 32 + 1569 * 10)])
def test_parameters(size, widths, parameters):
    assert cnn.cnn(size, widths=widths).count_params() == parameters


def test_outputs_are_named():
    model = cnn.cnn((8, 12), 4, widths=(3, 5), activation="relu")
    frames = np.random.default_rng(0).random((2, 8, 12, 3), np.float32)
    outputs = model(frames)
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"features": (2, 5), "logits": (2, 4)}
    last = keras.Model(model.input, model.get_layer("conv2_act").output)(frames)
    assert last.shape == (2, 2, 3, 5)
    np.testing.assert_allclose(outputs["features"], last.numpy().mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(("change", "text"), [({"widths": ()}, "widths are"), ({"widths": (4, 0)}, "widths are"),
                                              ({"activation": "gelu"}, "activation is 'gelu'"),
                                              ({"classes": 0}, "classes is 0")])
def test_refused_shapes(change, text):
    with pytest.raises(ValueError, match=text):
        cnn.cnn(**change)


def test_training_learns_and_what_it_saves_has_both_outputs(tmp_path):
    labels = np.arange(24) % 3
    noise = np.random.default_rng(0).integers(0, 60, (24, 8, 8, 3))
    images = (noise + 70 * labels[:, None, None, None]).astype(np.uint8)
    settings = cnn_training.Settings(size=(8, 8), widths=(4, 8), epochs=4, batch_size=8, learning_rate=0.02)
    run, outcome = cnn_training.train(images, labels, (images[:6], labels[:6]), "abc", settings, str(tmp_path))
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]
    assert {"accuracy", "val_accuracy"} <= set(outcome.history[0])
    model = run.model("classifier")
    outputs = model(images / np.float32(255))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"features": (24, 8), "logits": (24, 3)}
    assert [model.get_layer(f"conv{i}").filters for i in (1, 2)] == [4, 8]
    again, _ = cnn_training.train(images, labels, (images[:6], labels[:6]), "abc", settings, str(tmp_path))
    np.testing.assert_allclose(again.model("classifier")(images[:2] / np.float32(255))["logits"],
                               outputs["logits"][:2], atol=1e-6)


@pytest.mark.parametrize(("change", "text"), [({"epochs": 0}, "epochs is 0"), ({"learning_rate": 1.0}, "rate is 1")])
def test_refused_settings(change, text):
    with pytest.raises(ValueError, match=text):
        cnn_training.Settings(**change)
