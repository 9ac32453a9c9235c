"""Which layers can be shrunk how far."""
import numpy as np
import tf_keras

from leanood.compression import sensitivity, shrink

L = tf_keras.layers


def model_with_an_idle_layer():
    """Layer "idle" makes 4 channels of which only the first is read; layer "busy" makes 4 equal ones."""
    x = frame = L.Input((2,), name="frame")
    a = L.Dense(4, use_bias=False, name="idle")(x)
    b = L.Dense(4, use_bias=False, name="busy")(x)
    model = tf_keras.Model(frame, {"out": L.Dense(1, use_bias=False, name="out")(L.Concatenate()([a, b]))})
    model.get_layer("idle").set_weights([np.array([[9.0, 1, 1, 1], [0, 0, 0, 0]])])
    model.get_layer("busy").set_weights([np.ones((2, 4))])
    model.get_layer("out").set_weights([np.array([1.0, 0, 0, 0, 1, 1, 1, 1])[:, None]])
    return model


def evaluate(model):
    return float(abs(model(np.array([[1.0, 1.0]]))["out"].numpy() - 17).item())  # 9 + 4 × 2 = 17


def test_the_idle_layer_may_lose_three_quarters_and_the_busy_one_nothing():
    lines = []
    result = sensitivity.analyse(model_with_an_idle_layer(), evaluate, (0.75, 0.25, 0.5), progress=lines.append)
    assert result.layers == (("idle",), ("busy",))
    assert result.ratios == (0.25, 0.5, 0.75)
    assert result.baseline == 0
    np.testing.assert_allclose(result.values, [[0, 0, 0], [2, 4, 6]])
    assert result.ratios_within(0.1) == {"idle": 0.75, "busy": 0.0}
    assert result.ratios_within(4.0) == {"idle": 0.75, "busy": 0.5}
    assert len(lines) == 6
    assert lines[-1] == "busy −75%: 6 (baseline 0)"


def test_each_value_is_that_of_the_model_really_shrunk():
    tf_keras.utils.set_random_seed(0)
    frame = L.Input((12, 12, 3), name="frame")
    x = L.Conv2D(8, 3, strides=2, activation="sigmoid", name="stem")(frame)  # 0.5 where nothing comes in
    x = L.BatchNormalization(name="bn")(L.DepthwiseConv2D(3, padding="same", name="depthwise")(x))
    y = L.SeparableConv2D(8, 3, padding="same", activation="relu", name="separable")(x)
    x = L.Conv2DTranspose(6, 3, name="up")(L.Add(name="add")([x, y]))
    x = L.Dense(5, activation="tanh", name="hidden")(L.Flatten(name="flat")(x))
    model = tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(x)})
    images = np.random.default_rng(0).random((4, 12, 12, 3), np.float32)

    def measure(candidate):
        return float(np.abs(candidate(images)["mu"]).sum())

    result = sensitivity.analyse(model, measure, (0.25, 0.5), importance="activation", images=images)
    assert len(result.layers) == 3
    for names, row in zip(result.layers, result.values):
        for ratio, value in zip(result.ratios, row):
            small = shrink.shrink(model, dict.fromkeys(names, ratio), importance="activation", images=images,
                                  multiple=1)
            np.testing.assert_allclose(value, measure(small), rtol=1e-5)


def test_for_a_measure_that_should_be_high_the_sign_turns():
    result = sensitivity.Sensitivity((("a", "b"),), (0.3, 0.6), np.array([[0.95, 0.7]]), 0.96)
    assert result.ratios_within(0.02, higher_is_better=True) == {"a": 0.3, "b": 0.3}


def test_the_plot_is_an_image(tmp_path):
    result = sensitivity.Sensitivity((("a", "b"), ("c",)), (0.3, 0.6), np.array([[0.95, 0.7], [1, 2]]), 0.96)
    sensitivity.plot(result, str(tmp_path / "s.png"), "AUROC")
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["s.png"]
