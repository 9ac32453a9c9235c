"""EfficientNet-Lite0 rebuilt, against the original's channel means of a frame."""
import numpy as np
import pytest
import tf_keras as keras

from leanood.models import efficientnet_lite


@pytest.fixture(scope="module")
def published():
    return efficientnet_lite.published()


@pytest.fixture(scope="module")
def reference(real_data):
    with np.load(real_data / "models" / "efficientnet_lite0_blocks0to10.npz") as arrays:
        return dict(arrays)


def test_the_package_holds_the_published_weights(published, reference):
    known = [name for name in reference if not name.startswith("reference")]
    assert len(known) > 100
    for name in known:
        np.testing.assert_array_equal(published[name], reference[name], err_msg=name)


@pytest.mark.parametrize("size", [(120, 160), (224, 224)])
def test_every_block_is_the_original(published, reference, size):
    key = f"reference_{size[0]}x{size[1]}"
    model = efficientnet_lite.build(size, published, 10)
    blocks = keras.Model(model.input, [model.get_layer(f"block{i}").output for i in range(11)])
    maps = blocks(reference[f"{key}/frame"][np.newaxis].astype(np.float32) / 255)
    for i, block in enumerate(maps):
        np.testing.assert_allclose(block.numpy().mean((1, 2))[0], reference[f"{key}/block{i}_mean"], atol=2e-5)


def test_all_sixteen_blocks_build_and_a_cut_needs_no_more_weights(published):
    assert efficientnet_lite.build((64, 64), published).output_shape == (None, 2, 2, 320)
    few = {name: array for name, array in published.items() if name.startswith(("stem", "block0/"))}
    assert efficientnet_lite.build((64, 64), few, 0).output_shape == (None, 32, 32, 16)


def test_errors_teach(published):
    with pytest.raises(ValueError, match="has the blocks 0 to 15, not 16"):
        efficientnet_lite.build((64, 64), published, 16)
    with pytest.raises(ValueError, match="lacks '_conv_stem.weight'; it is no EfficientNet-Lite0"):
        efficientnet_lite.from_pytorch({})
