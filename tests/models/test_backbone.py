"""Backbones: where they can be cut, that a cut is the mean of a map, and what is refused."""
import numpy as np
import pytest
import tf_keras as keras

from leanood.models import backbone, efficientnet_lite


@pytest.fixture(scope="module")
def lite():
    return backbone.load("efficientnet_lite0", (64, 96))


def test_cuts_are_the_ends_of_blocks_of_middling_maps(lite):
    assert lite.input_scale == "unit"
    layers = backbone.cuts(lite.model)
    assert layers == [f"block{i}" for i in range(3, 11)]
    assert lite.model.get_layer("block3").output_shape[1:3] == (8, 12)
    assert lite.model.get_layer("block10").output_shape[1:3] == (4, 6)


def test_a_cut_is_the_mean_of_the_layers_map(lite):
    frames = np.random.default_rng(0).random((2, 64, 96, 3), dtype=np.float32)
    kept = backbone.cut(lite.model, "block5")
    whole = keras.Model(lite.model.input, lite.model.get_layer("block5").output)(frames).numpy()
    np.testing.assert_allclose(kept(frames)["features"], whole.mean((1, 2)), atol=1e-5)
    assert not any(layer.name.startswith("block6") for layer in kept.layers)
    assert backbone.cuts(kept) == ["block3", "block4", "block5"]
    assert backbone.cuts(backbone.cut(kept, "block3")) == ["block3"]


def test_a_map_beside_the_features(lite):
    frames = np.random.default_rng(2).random((2, 64, 96, 3), dtype=np.float32)
    kept = backbone.cut(lite.model, "block6", local=True)
    eighth = keras.Model(lite.model.input, lite.model.get_layer("block4").output)(frames).numpy()
    outputs = kept(frames)
    assert outputs["local"].shape == (2, 8, 12, 40)  # of the last block of an eighth of the frame
    np.testing.assert_allclose(outputs["local"], eighth, atol=1e-5)
    np.testing.assert_allclose(outputs["features"], backbone.cut(lite.model, "block6")(frames)["features"], atol=1e-5)
    large = backbone.load("efficientnet_lite0", (96, 160)).model
    frames = np.random.default_rng(3).random((1, 96, 160, 3), dtype=np.float32)
    third = keras.Model(large.input, large.get_layer("block3").output)(frames).numpy()  # 12 rows, averaged to 6
    np.testing.assert_allclose(backbone.cut(large, "block3", local=True)(frames)["local"],
                               third.reshape(1, 6, 2, 10, 2, 40).mean((2, 4)), atol=1e-5)
    with pytest.raises(ValueError, match="the backbone has no map 'block99'; it can be cut at block3, block4"):
        backbone.cut(lite.model, "block99", local=True)


def test_a_shrunk_backbone_sees_means_of_pixels():
    frames = np.random.default_rng(1).random((2, 64, 96, 3), dtype=np.float32)
    small = efficientnet_lite.build((32, 48), efficientnet_lite.published(), 5)
    shrunk = backbone.load("efficientnet_lite0", (64, 96), downscale=2).model
    means = frames.reshape(2, 32, 2, 48, 2, 3).mean((2, 4))
    expected = small(means).numpy().mean((1, 2))
    np.testing.assert_allclose(backbone.cut(shrunk, "block5")(frames)["features"], expected, atol=1e-4)
    assert backbone.cuts(shrunk) == backbone.cuts(backbone.load("efficientnet_lite0", (64, 96)).model)


def test_a_file_is_a_backbone_too(tmp_path):
    frame = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(4, 8, strides=8, name="patch")(frame)
    keras.Model(frame, keras.layers.Dense(2)(keras.layers.Flatten()(x))).save(tmp_path / "own.h5")
    loaded = backbone.load(str(tmp_path / "own.h5"), (64, 64), input_scale="bytes")
    assert loaded.input_scale == "bytes"
    assert backbone.cuts(loaded.model) == ["patch"]
    with pytest.raises(ValueError, match=r"own.h5 takes \[64, 64, 3\], not frames of 32x64; give its own --size"):
        backbone.load(str(tmp_path / "own.h5"), (32, 64))
    with pytest.raises(ValueError, match="a file's model sees frames as they are"):
        backbone.load(str(tmp_path / "own.h5"), (64, 64), downscale=2)


def test_slips_are_told(lite):
    with pytest.raises(ValueError, match="the backbone has no map 'block99'; it can be cut at block3, block4"):
        backbone.cut(lite.model, "block99")
    with pytest.raises(ValueError, match="'resnet' is no file; it can be efficientnet_lite0, mobilenet_v2"):
        backbone.load("resnet", (64, 64))
    with pytest.raises(ValueError, match="at least 32x32 pixels, not 64x64 shrunk by 3"):
        backbone.load("efficientnet_lite0", (64, 64), downscale=3)
