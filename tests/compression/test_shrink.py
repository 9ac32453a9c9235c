"""Removing channels: the result must equal the original with the same channels masked."""
import numpy as np
import pytest
import tf_keras
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leanood.compression import channels, importance, rebuild, report, shrink

L = tf_keras.layers


def randomise(model, seed=0):
    """Weights under which every channel, batch normalisation's shifts included, matters."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = [rng.normal(0, 1 / np.sqrt(max(np.prod(w.shape[:-1]), 1)), w.shape) for w in layer.get_weights()]
        if isinstance(layer, L.BatchNormalization):
            weights = [rng.uniform(0.5, 1.5, w.shape) for w in weights]
        layer.set_weights(weights)
    return model


def masked(model, graph, removed):
    """The original model in which whatever reads a removed channel reads nothing: its weights for it are zero."""
    copy = rebuild.clone(model)
    for name, labels in graph.reads.items():
        layer, gone = copy.get_layer(name), removed[labels]
        weights = layer.get_weights()
        if isinstance(layer, L.SeparableConv2D):
            weights[0][:, :, gone] = 0
        elif isinstance(layer, L.Conv2DTranspose):
            weights[0][..., gone] = 0
        else:
            weights[0][..., gone, :] = 0
        layer.set_weights(weights)
    return copy


def assert_equals_masking(model, ratio=0.5, scope="layer", free=(), criterion="l2", multiple=1):
    x = np.random.default_rng(1).random((2, *model.input_shape[1:]), np.float32)
    graph = channels.trace(model, free)
    scores = importance.scores(model, graph, criterion, x)
    removed = shrink.select(graph, scores, ratio, scope=scope, multiple=multiple)
    small = shrink.shrink(model, ratio, scope=scope, importance=criterion, images=x, multiple=multiple, free=free)
    expected, actual = masked(model, graph, removed)(x), small(x)
    assert set(expected) == set(actual)
    for name, labels in graph.ends.items():
        np.testing.assert_allclose(actual[name], expected[name].numpy()[..., ~removed[labels]], atol=1e-5, rtol=1e-5)
    return small, removed


def beta_vae():
    x = frame = L.Input((16, 16, 3), name="frame")
    for i, width in enumerate((8, 12, 6)):
        x = L.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = L.MaxPooling2D(name=f"pool{i}")(L.LeakyReLU(0.1, name=f"act{i}")(L.BatchNormalization(name=f"bn{i}")(x)))
    x = L.Dense(20, activation="relu", name="dense")(L.Flatten(name="flat")(x))
    return randomise(tf_keras.Model(frame, {"mu": L.Dense(5, name="mu")(x), "logvar": L.Dense(5, name="logvar")(x)}))


@pytest.mark.parametrize("criterion", importance.CRITERIA)
def test_an_encoder_shrinks_to_half_its_widths_and_equals_masking(criterion):
    small, _ = assert_equals_masking(beta_vae(), criterion=criterion)
    widths = {layer.name: layer.output_shape[-1] for layer in small.layers}
    assert [widths[name] for name in ("conv0", "conv1", "conv2", "dense", "mu", "logvar")] == [4, 6, 3, 10, 5, 5]


def test_the_caller_s_model_is_left_alone():
    model = beta_vae()
    before = [w.copy() for w in model.get_weights()]
    shrink.shrink(model, 0.5)
    for old, new in zip(before, model.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_coupled_layers_shrink_together_in_a_residual_block():
    frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(8, 3, padding="same", name="a")(frame)
    y = L.Conv2D(6, 3, padding="same", name="b")(x)
    y = L.Conv2D(8, 3, padding="same", name="c")(y)
    z = L.GlobalAveragePooling2D(name="gap")(L.Add(name="add")([x, y]))
    model = randomise(tf_keras.Model(frame, {"logits": L.Dense(3, name="logits")(z)}))
    assert channels.trace(model).coupled() == [("a", "c"), ("b",)]
    small, _ = assert_equals_masking(model)
    assert [small.get_layer(n).filters for n in "abc"] == [4, 3, 4]


def test_a_decoder_s_dense_units_go_by_whole_channels():
    z = L.Input((5,), name="z")
    x = L.Reshape((4, 4, 6), name="image")(L.Dense(96, activation="relu", name="dense")(z))
    x = L.UpSampling2D(name="up")(x)
    x = L.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu", name="deconv")(x)
    model = randomise(tf_keras.Model(z, {"image": L.Conv2D(3, 3, padding="same", name="out")(x)}))
    small, _ = assert_equals_masking(model)
    assert (small.get_layer("dense").units, small.get_layer("deconv").filters) == (48, 4)


def test_squeeze_and_excitation_depthwise_and_separable():
    frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="a")(frame)
    x = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="dw")(x)
    x = L.SeparableConv2D(10, 3, depth_multiplier=2, padding="same", activation="sigmoid", name="sep")(x)
    gate = L.Dense(10, activation="sigmoid", name="gate")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Multiply()([x, gate])
    x = L.PReLU(shared_axes=[1, 2], name="prelu")(x)
    x = L.Concatenate()([L.ZeroPadding2D(1)(x), L.Conv2D(4, 3, padding="same", name="b")(L.ZeroPadding2D(1)(x))])
    x = L.Flatten()(L.AveragePooling2D()(x))
    assert_equals_masking(randomise(tf_keras.Model(frame, {"logits": L.Dense(3, name="logits")(x)})))


def test_outputs_keep_their_width_unless_they_are_free():
    frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(8, 3, name="a")(frame)
    early = L.GlobalAveragePooling2D(name="early")(x)
    model = randomise(tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(L.Flatten()(x)), "early": early}))
    with pytest.raises(rebuild.UnsupportedModel, match="no layer of model .* has channels that could be removed"):
        shrink.shrink(model, 0.5, free=())
    small, _ = assert_equals_masking(model, free=("early",))
    assert {k: v.shape[-1] for k, v in small.output.items()} == {"mu": 2, "early": 4}


def test_what_mixes_channels_in_an_unknown_way_keeps_them():
    frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(8, 3, name="a")(frame)
    x = L.LayerNormalization(name="norm")(x)
    x = L.Conv2D(8, 3, activation="softmax", name="b")(x)
    x = L.Conv2D(8, 3, groups=2, name="c")(x)
    x = L.Conv2D(8, 1, name="d")(x)
    model = tf_keras.Model(frame, {"logits": L.Dense(2, name="logits")(L.Flatten()(x))})
    assert list(channels.trace(model).removable()) == ["d"]


def test_a_global_threshold_takes_from_the_weak_layer_and_leaves_every_layer_a_channel():
    x = np.full(9, 0.5)
    graph = channels.Graph({"strong": np.array([1, 2, 3, 4]), "weak": np.array([5, 6, 7, 8])}, {}, {}, {}, 9)
    x[1:5], x[5:9] = (4, 3, 2, 5), (0.1, 0.4, 0.3, 0.2)
    removed = shrink.select(graph, x, 0.5, scope="model")
    assert np.flatnonzero(removed).tolist() == [3, 5, 7, 8]  # weak keeps its best, so the fourth comes from strong
    assert np.flatnonzero(shrink.select(graph, x, 0.5)).tolist() == [2, 3, 5, 8]
    assert np.flatnonzero(shrink.select(graph, x, {"weak": 0.25})).tolist() == [5]
    assert np.flatnonzero(shrink.select(graph, x, 0.5, exclude=("weak",))).tolist() == [2, 3]
    assert np.flatnonzero(shrink.select(graph, x, 0.75, multiple=2)).tolist() == [2, 3, 5, 8]


def test_importance_by_hand():
    x = frame = L.Input((3,), name="frame")
    x = L.Dense(2, use_bias=False, name="a")(x)
    model = tf_keras.Model(frame, {"out": L.Dense(1, use_bias=False, name="out")(x)})
    model.get_layer("a").set_weights([np.array([[3.0, 1], [4, 0], [0, 0]])])
    model.get_layer("out").set_weights([np.array([[1.0], [10]])])
    graph = channels.trace(model)
    group = graph.makes["a"]
    np.testing.assert_allclose(importance.scores(model, graph, "l2")[group], np.array([5, 1]) / 3)
    np.testing.assert_allclose(importance.scores(model, graph, "l1")[group], np.array([7, 1]) / 4)
    images = np.array([[1, 1, 0], [1, 0, 0]], np.float32)  # a = (7, 1), (3, 1)
    np.testing.assert_allclose(importance.scores(model, graph, "activation", images)[group],
                               np.array([np.sqrt(29), 10]) / np.mean([np.sqrt(29), 10]), rtol=1e-6)
    # out = 17 and 13; |a · d(out²)/da| = |a · 2 out · w|
    taylor = np.array([7 * 34 * 1 + 3 * 26 * 1, 1 * 34 * 10 + 1 * 26 * 10])
    np.testing.assert_allclose(importance.scores(model, graph, "taylor", images)[group], taylor / np.mean(taylor), 1e-6)


def test_fine_tuning_is_handed_the_small_model_and_the_teacher():
    calls = []
    model = beta_vae()
    small = shrink.shrink(model, 0.5, multiple=1, finetune=lambda student, teacher: calls.append((student, teacher)))
    assert calls[0][0] is small
    assert calls[0][1] is model


@pytest.mark.parametrize(("arguments", "message"), [
    ({"ratio": 1.0}, r"ratio 1.0 of every layer is not in \[0, 1\)"),
    ({"ratio": {"conv9": 0.5}}, "no layer named 'conv9' makes channels; those that do: conv0, "),
    ({"importance": "l3"}, "importance 'l3' is unknown; it may be l1, l2"),
    ({"importance": "taylor"}, "importance 'taylor' needs images"),
    ({"scope": "all"}, "scope 'all' is unknown; it may be layer, model"),
])
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        shrink.shrink(beta_vae(), **arguments)


def test_multiply_adds_fall_with_the_square():
    model = beta_vae()
    before = report.multiply_adds(model)["conv1"]
    assert report.multiply_adds(shrink.shrink(model, 0.5, multiple=1))["conv1"] * 4 == before


@st.composite
def random_graphs(draw):
    """A model of 3 to 7 random layers over a pool of tensors, so that branches, sums and concatenations arise."""
    frame = L.Input((8, 8, 3), name="frame")
    pool = [L.Conv2D(draw(st.integers(2, 6)), 3, padding="same", name="stem")(frame)]
    widths = st.integers(2, 6)
    for i in range(draw(st.integers(3, 7))):
        x = draw(st.sampled_from(pool))
        kind = draw(st.sampled_from(["conv", "bn", "depthwise", "separable", "transpose", "add", "multiply", "concat",
                                     "relu", "sigmoid", "pad", "stride", "gate"]))
        name = f"{kind}{i}"
        if kind == "conv":
            x = L.Conv2D(draw(widths), 3, padding="same", activation="relu", name=name)(x)
        elif kind == "bn":
            x = L.BatchNormalization(name=name)(x)
        elif kind == "depthwise":
            x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=draw(st.integers(1, 2)), name=name)(x)
        elif kind == "separable":
            x = L.SeparableConv2D(draw(widths), 3, padding="same", name=name)(x)
        elif kind == "transpose":
            x = L.Conv2DTranspose(draw(widths), 3, padding="same", name=name)(x)
        elif kind in ("add", "multiply", "concat"):
            merge = {"add": L.Add, "multiply": L.Multiply, "concat": L.Concatenate}[kind]
            mates = [t for t in pool if t.shape[1:3] == x.shape[1:3] and (kind == "concat" or t.shape[3] == x.shape[3])]
            x = merge(name=name)([x, draw(st.sampled_from(mates))])
        elif kind == "relu":
            x = L.LeakyReLU(0.1, name=name)(x)
        elif kind == "sigmoid":
            x = L.Activation("sigmoid", name=name)(x)
        elif kind == "pad":
            x = L.MaxPooling2D(3, strides=1, name=name)(L.ZeroPadding2D(1, name=f"zero{i}")(x))
        elif kind == "stride":
            x = L.AveragePooling2D(2, padding="same", name=name)(x)
        else:
            gate = L.Dense(x.shape[-1], activation="sigmoid", name=f"units{i}")(L.GlobalAveragePooling2D()(x))
            x = L.Multiply(name=name)([x, L.Reshape((1, 1, x.shape[-1]), name=f"reshape{i}")(gate)])
        pool.append(x)
    flat = L.Flatten(name="flatten")(pool[-1])
    pooled = L.GlobalMaxPooling2D(name="pooled")(draw(st.sampled_from(pool)))
    joined = L.Concatenate(name="join")([flat, pooled])
    model = tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(joined), "logvar": L.Dense(2, name="logvar")(pooled)})
    return randomise(model, draw(st.integers(0, 99)))


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(random_graphs(), st.sampled_from([0.3, 0.5, 0.9]), st.sampled_from(shrink.SCOPES), st.sampled_from([1, 2]))
def test_random_graphs_shrink_to_what_masking_gives(model, ratio, scope, multiple):
    small, removed = assert_equals_masking(model, ratio, scope, multiple=multiple)
    assert small.count_params() <= model.count_params()
    if removed.any():
        assert small.count_params() < model.count_params()


def test_resnet18_shrinks_in_every_stage(real_data):
    model = tf_keras.models.load_model(real_data / "models" / "resnet18_cifar10.h5", compile=False)
    fixed = rebuild.clone(model, (32, 32, 3))
    small, _ = assert_equals_masking(fixed, 0.5, multiple=8)
    assert 3.8 < sum(report.multiply_adds(fixed).values()) / sum(report.multiply_adds(small).values()) < 4.2
