"""A network that is shown less, and one that ends earlier: the same weights, fewer multiplications."""
import numpy as np
import pytest
import tf_keras

from leanood.compression import cut, downscale, rebuild, recipe, report
from leanood.models import backbone

L = tf_keras.layers
FRAMES = np.random.default_rng(0).random((3, 32, 48, 3), np.float32)


def features():
    """A network of features like a backbone's: maps of an eighth and a sixteenth, then the mean."""
    tf_keras.utils.set_random_seed(0)
    x = frame = L.Input((32, 48, 3), name="frame")
    for i, width in enumerate((4, 8, 8, 16)):
        x = L.Conv2D(width, 3, strides=2, padding="same", activation="relu", name=f"conv{i}")(x)
    return tf_keras.Model(frame, {"features": L.GlobalAveragePooling2D(name="features")(x)})


def means(frames, factor):
    n, h, w, c = frames.shape
    return frames.reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))


def test_it_sees_means_of_pixels_and_keeps_its_weights():
    model = features()
    small = downscale.downscale(model, 2)
    same = rebuild.clone(model, (16, 24, 3))
    assert small.input_shape == model.input_shape
    np.testing.assert_allclose(small(FRAMES)["features"], same(means(FRAMES, 2))["features"], atol=1e-6)
    assert 3.5 < report.measure(model).multiply_adds / report.measure(small).multiply_adds < 4.5


def test_it_may_be_trained_towards_the_network_that_sees_all():
    pairs = []
    model = features()
    small = downscale.downscale(model, 2, finetune=lambda student, teacher: pairs.append((student, teacher)))
    assert pairs == [(small, model)]


def test_a_layer_tied_to_the_size_is_named():
    frame = L.Input((16, 16, 3), name="frame")
    x = L.Flatten(name="flat")(L.Conv2D(4, 3, name="conv")(frame))
    with pytest.raises(rebuild.UnsupportedModel, match="downscale: layer 'mu' is tied to the input's size"):
        downscale.downscale(tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(x)}), 2)


def test_a_size_too_small_is_told():
    frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(4, 5, name="conv")(frame)
    model = tf_keras.Model(frame, {"features": L.GlobalAveragePooling2D(name="features")(x)})
    with pytest.raises(rebuild.UnsupportedModel, match="downscale: the network can't see 4 times less"):
        downscale.downscale(model, 4)


def test_an_earlier_end_is_the_mean_of_that_map():
    model = features()
    early = cut.cut(model, "conv2")
    expected = tf_keras.Model(model.input, model.get_layer("conv2").output)(FRAMES).numpy().mean((1, 2))
    np.testing.assert_allclose(early(FRAMES)["features"], expected, atol=1e-6)
    assert cut.maps(model) == backbone.cuts(model) == ["conv2", "conv3"]


def test_a_network_with_a_map_can_end_earlier_too():
    whole = features()
    mapped = backbone.cut(whole, "conv3", local=True)
    early = cut.cut(mapped, "conv2")
    expected = backbone.cut(whole, "conv2", local=True)(FRAMES)
    assert set(early.output) == {"features", "local"}
    for name, values in early(FRAMES).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)


def test_what_cannot_be_cut_is_told():
    with pytest.raises(ValueError, match="cut: there is no map 'conv0'; the network can end at conv2, conv3"):
        cut.cut(features(), "conv0")
    frame = L.Input((8, 8, 3), name="frame")
    x = L.GlobalAveragePooling2D(name="features")(frame)
    model = tf_keras.Model(frame, {"features": x, "logits": L.Dense(2, name="logits")(x)})
    with pytest.raises(ValueError, match="the outputs features, logits; only one of features .and local. can"):
        cut.cut(model, "features")


def test_steps_after_a_cut_are_trained_towards_the_cut_network():
    images = (FRAMES * 255).astype(np.uint8).repeat(4, axis=0)
    told = []
    done = recipe.run(recipe.parse("downscale(2)+cut(conv2)+shrink(0.5, epochs=1)+int8"), features(), images,
                      batch_size=4, progress=told.append)
    assert done.quantize == "int8"
    assert done.model(FRAMES)["features"].shape == (3, 8)
    assert [what for what, _ in done.sizes] == ["original", "downscale(2)", "cut('conv2')", "shrink(0.5, epochs=1)"]
