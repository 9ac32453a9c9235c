"""BiT: parameters of the paper's networks, published weights by name, outputs equal to a NumPy forward pass."""
import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.models import bit, run

_TINY = dict(size=(37, 29), classes=5, depth=(1, 2), width=1)


def _convolve(x, kernel, stride=1, pad=0):
    """Cross-correlation by loops over the window, float64; x [N, h, w, C], kernel [k, k, C, F]."""
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    size = kernel.shape[0]
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:3])
    out = 0
    for i in range(size):
        for j in range(size):
            out = out + x[:, i:i + stride * rows:stride, j:j + stride * columns:stride] @ kernel[i, j]
    return out


def _standardize(kernel):
    flat = kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)
    return ((flat - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-10)).reshape(kernel.shape)


def _normalize(x, gamma, beta):
    n, h, w, c = x.shape
    groups = x.reshape(n, h * w, 32, c // 32)
    mean, variance = groups.mean((1, 3), keepdims=True), groups.var((1, 3), keepdims=True)
    return ((groups - mean) / np.sqrt(variance + 1e-5)).reshape(x.shape) * gamma.ravel() + beta.ravel()


def _forward(arrays, x, units):
    """The published network in NumPy: (features, logits)."""
    def norm(x, name):
        return np.maximum(_normalize(x, arrays[f"{name}/group_norm/gamma"], arrays[f"{name}/group_norm/beta"]), 0)

    def conv(x, name, **arguments):
        return _convolve(x, _standardize(arrays[f"{name}/standardized_conv2d/kernel"]), **arguments)

    x = conv(x.astype(np.float64), "resnet/root_block", stride=2, pad=3)
    x = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    rows, columns = ((n - 3) // 2 + 1 for n in x.shape[1:3])
    x = np.max([x[:, i:i + 2 * rows:2, j:j + 2 * columns:2] for i in range(3) for j in range(3)], axis=0)
    for block, count in enumerate(units, start=1):
        for unit in range(1, count + 1):
            inside, stride = f"resnet/block{block}/unit{unit:02d}", 2 if block > 1 and unit == 1 else 1
            active = norm(x, f"{inside}/a")
            shortcut = conv(active, f"{inside}/a/proj", stride=stride) if unit == 1 else x
            y = norm(conv(active, f"{inside}/a"), f"{inside}/b")
            y = norm(conv(y, f"{inside}/b", stride=stride, pad=1), f"{inside}/c")
            x = shortcut + conv(y, f"{inside}/c")
    features = norm(x, "resnet").mean((1, 2))
    return features, features @ arrays["resnet/head/conv2d/kernel"][0, 0] + arrays["resnet/head/conv2d/bias"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """(arrays, path): a file of the published layout, with a tiny network's shapes and random values."""
    random, model = np.random.default_rng(0), bit.bit(**_TINY)
    arrays = {}
    for name, (layer, place) in bit.weight_names(model).items():
        shape = model.get_layer(layer).get_weights()[place].shape
        if "group_norm" in name:
            shape = (1, 1, 1, *shape)
        elif name == "resnet/head/conv2d/kernel":
            shape = (1, 1, *shape)
        arrays[name] = random.normal(1.0 if name.endswith("gamma") else 0.0, 0.3, shape).astype(np.float32)
    path = tmp_path_factory.mktemp("bit") / "BiT-tiny.npz"
    np.savez(path, **arrays)
    return arrays, str(path)


def test_published_weights_give_the_outputs_of_a_numpy_forward_pass(published):
    arrays, path = published
    model = bit.bit(**_TINY)
    bit.load_weights(model, path)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 37, 29, 3)).astype(np.float32)
    outputs = model(images)
    features, logits = _forward(arrays, images, _TINY["depth"])
    np.testing.assert_allclose(outputs["features"], features, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(outputs["logits"], logits, rtol=1e-3, atol=1e-3)


def test_plain_convolutions_give_the_same_outputs_and_save(published, tmp_path):
    model = bit.bit(**_TINY)
    bit.load_weights(model, published[1])
    plain = bit.with_plain_convolutions(model)
    assert not any(isinstance(layer, bit.StandardizedConv2D) for layer in plain.layers)
    images = np.random.default_rng(1).uniform(-1, 1, (1, 37, 29, 3)).astype(np.float32)
    np.testing.assert_allclose(plain(images)["logits"], model(images)["logits"], rtol=1e-4, atol=1e-4)
    model.save(tmp_path / "bit.h5")
    np.testing.assert_allclose(run.load(str(tmp_path / "bit.h5"))(images)["logits"], model(images)["logits"])


def test_parameters_are_the_published_networks():
    # timm's resnetv2_50x1_bit with 1,000 classes: 25.55 M.
    def parameters(depth, width):
        with tf.Graph().as_default():  # shapes only: the weights stay unmade
            model = bit.bit((64, 64), 1000, depth=depth, width=width)
            return sum(int(np.prod(w.shape)) for w in model.weights)

    assert parameters(50, 1) == 25_549_352


def test_names_are_the_published_ones():
    names = bit.weight_names(bit.bit(**_TINY))
    assert {"resnet/root_block/standardized_conv2d/kernel", "resnet/block1/unit01/a/proj/standardized_conv2d/kernel",
            "resnet/block2/unit02/c/standardized_conv2d/kernel", "resnet/block2/unit01/b/group_norm/beta",
            "resnet/group_norm/gamma", "resnet/head/conv2d/bias"} <= set(names)
    assert "resnet/block2/unit02/a/proj/standardized_conv2d/kernel" not in names
    assert len(set(names.values())) == len(names)


def test_a_file_with_other_classes_leaves_the_head(published):
    model = bit.bit(**{**_TINY, "classes": 7})
    bit.load_weights(model, published[1])
    assert not model.get_layer("logits").get_weights()[0].any()
    gamma = published[0]["resnet/group_norm/gamma"].ravel()
    np.testing.assert_array_equal(model.get_layer("norm").get_weights()[0], gamma)


@pytest.mark.parametrize(("change", "text"), [
    ({"depth": (1, 1)}, "has an array 'resnet/block2/unit02/.*no place for"),
    ({"depth": (1, 3)}, "has no array 'resnet/block2/unit03/"), ({"width": 2}, "it is of another width")])
def test_a_file_of_another_network_is_refused(published, change, text):
    with pytest.raises(ValueError, match=text):
        bit.load_weights(bit.bit(**{**_TINY, **change}), published[1])


def test_what_is_no_file_of_arrays_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="x.npz is no .npz of arrays"):
        bit.load_weights(bit.bit(**_TINY), str(tmp_path / "x.npz"))


@pytest.mark.parametrize(("change", "text"), [({"depth": 51}, "depth is 51"), ({"width": 0}, "width is 0"),
                                              ({"classes": 0}, "classes is 0"), ({"depth": ()}, r"depth is \(\)")])
def test_refused_shapes(change, text):
    with pytest.raises(ValueError, match=text):
        bit.bit(**{**_TINY, **change})


def test_the_units_are_those_of_the_published_depths():
    # A network's depth counts its convolutions on the way through, and the head.
    assert {depth: 3 * sum(units) + 2 for depth, units in bit.UNITS.items()} == {50: 50, 101: 101, 152: 152}
    assert isinstance(bit.r50x1((32, 32), 3), keras.Model)
