"""Zeros by magnitude: how many, where, and that fine-tuning keeps them."""
import numpy as np
import pytest
import tf_keras

from leanood.compression import cluster, distill, prune, rebuild

L = tf_keras.layers


def encoder():
    tf_keras.utils.set_random_seed(0)
    x = frame = L.Input((16, 16, 3), name="frame")
    for i, width in enumerate((8, 12)):
        x = L.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = L.ReLU(name=f"act{i}")(L.BatchNormalization(name=f"bn{i}")(x))
    x = L.Dense(20, activation="relu", name="dense")(L.Flatten(name="flat")(x))
    return tf_keras.Model(frame, {"mu": L.Dense(5, name="mu")(x), "logvar": L.Dense(5, name="logvar")(x)})


def kernels(model):
    return {layer.name: layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")}


def zeros(model):
    return {name: float(np.mean(kernel == 0)) for name, kernel in kernels(model).items()}


@pytest.fixture(scope="module")
def finetune():
    images = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    return distill.Finetune(images, epochs=2, batch_size=8)


def test_pruning_at_once_zeroes_the_smallest_weights_and_keeps_the_rest():
    model = encoder()
    pruned = prune.prune(model, 0.7)
    for name in ("conv0", "conv1", "dense"):
        before, after = kernels(model)[name], kernels(pruned)[name]
        assert np.mean(after == 0) == pytest.approx(0.7, abs=0.005)
        np.testing.assert_array_equal(after[after != 0], before[after != 0])
        assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min()
    assert (zeros(pruned)["mu"], zeros(pruned)["logvar"]) == (0, 0)
    assert zeros(model)["dense"] == 0
    assert list(pruned.output) == ["mu", "logvar"]


def test_a_global_threshold_is_one_threshold():
    model = encoder()
    pruned = prune.prune(model, 0.6, method="model", exclude=())
    before = np.concatenate([k.ravel() for k in kernels(model).values()])
    after = np.concatenate([k.ravel() for k in kernels(pruned).values()])
    assert np.mean(after == 0) == pytest.approx(0.6, abs=0.003)
    assert np.abs(before[after == 0]).max() <= np.abs(after[after != 0]).min() * 1.01
    assert len({round(share, 2) for share in zeros(pruned).values()}) > 1


def test_sparsity_for_named_layers_only():
    shares = zeros(prune.prune(encoder(), {"conv1": 0.5, "mu": 0.25}))
    assert shares == pytest.approx({"conv0": 0, "conv1": 0.5, "dense": 0, "mu": 0.25, "logvar": 0}, abs=0.01)


def test_two_of_every_four_input_channels_are_zero():
    kernel = kernels(prune.prune(encoder(), structure="2:4"))["conv1"]  # [3, 3, 8, 12]
    groups = np.moveaxis(kernel, -2, -1).reshape(-1, 4)
    np.testing.assert_array_equal(np.sum(groups == 0, axis=1), 2)


@pytest.mark.parametrize("arguments", [{}, {"schedule": "constant"}, {"method": "model"}, {"structure": "2:4"}])
def test_fine_tuning_moves_the_rest_and_keeps_the_zeros(arguments, finetune):
    model = encoder()
    pruned = prune.prune(model, 0.6, finetune=finetune, **arguments)
    share = zeros(pruned)
    assert share["dense"] == pytest.approx(0.5 if arguments.get("structure") else 0.6, abs=0.15 if arguments else 0.01)
    kept = kernels(pruned)["dense"] != 0
    assert np.any(kernels(pruned)["dense"][kept] != kernels(model)["dense"][kept])


@pytest.mark.parametrize(("arguments", "message"), [
    ({"sparsity": 1.0}, r"sparsity 1.0 is not in \(0, 1\)"),
    ({"sparsity": {"bn0": 0.5}}, "no layer named 'bn0' can be pruned; those that can: conv0, conv1"),
    ({"method": "l1"}, "method 'l1' is unknown; it may be 'layer', 'model'"),
    ({"structure": "1:4"}, "structure '1:4' is unknown"),
    ({"schedule": "cubic"}, "schedule 'cubic' is unknown"),
    ({"exclude": ("conv0", "conv1", "dense", "mu", "logvar")}, "no layer of model .* is left to prune"),
])
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        prune.prune(encoder(), **{"sparsity": 0.5, **arguments})


def distinct(kernel, by_filter=False):
    parts = kernel.reshape(-1, kernel.shape[-1]).T if by_filter else kernel.reshape(1, -1)
    return max(len(np.unique(part)) for part in parts)


@pytest.mark.parametrize("initialisation", list(cluster.INITIALISATIONS))
def test_clustered_kernels_have_few_values_near_the_old_ones(initialisation):
    model = encoder()
    clustered = cluster.cluster(model, 8, initialisation=initialisation)
    for name in ("conv0", "conv1", "dense"):
        before, after = kernels(model)[name], kernels(clustered)[name]
        assert distinct(after) <= 8
        assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
    assert distinct(kernels(clustered)["mu"]) == 100


def test_clusters_by_filter_keep_more_detail():
    model = encoder()
    before = kernels(model)["conv1"]
    coarse, fine = (kernels(cluster.cluster(model, 8, per_channel=flag))["conv1"] for flag in (False, True))
    assert distinct(fine, by_filter=True) <= 8
    assert distinct(fine) > 8 >= distinct(coarse)
    assert np.abs(fine - before).mean() < np.abs(coarse - before).mean()


def test_clustering_after_pruning_keeps_the_zeros_through_fine_tuning(finetune):
    pruned = prune.prune(encoder(), 0.6)
    clustered = cluster.cluster(pruned, 8, finetune=finetune)
    assert zeros(clustered) == pytest.approx(zeros(pruned), abs=1e-6)
    assert distinct(kernels(clustered)["dense"]) <= 8


@pytest.mark.parametrize(("arguments", "message"), [
    ({"clusters": 1}, "1 clusters are too few"),
    ({"initialisation": "random"}, "initialisation 'random' is unknown; it may be linear, density, kmeans"),
])
def test_wrong_clusterings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        cluster.cluster(encoder(), **arguments)


def test_subclassed_models_are_refused():
    class Own(tf_keras.Model):
        pass

    for step in (prune.prune, cluster.cluster):
        with pytest.raises(rebuild.UnsupportedModel, match="is subclassed"):
            step(Own())
