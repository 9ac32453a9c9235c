"""The twin autoencoders of motion: shapes, the published size, the loss, the optimal prior, and what is deployed."""
from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.models import flow_vae, flow_vae_training, motion_statistics

SMALL = {"size": (36, 45), "length": 3, "widths": (4, 6), "latents": 3}


def _small(**options) -> flow_vae.FlowVae:
    keras.utils.set_random_seed(0)
    decoder = flow_vae.decoder((36, 45), 3, (4, 6), 3)
    return flow_vae.FlowVae(flow_vae.encoder(**SMALL), decoder, **options)


def _stacks(count: int, seed: int = 0) -> np.ndarray:
    """Smooth flows: a speed a stack and direction, and a little noise."""
    rng = np.random.default_rng(seed)
    speed = rng.uniform(0.3, 0.7, (count, 2, 1, 1, 1)).repeat(36, axis=2)
    values = speed.reshape(count, 72, 1, 1) + rng.normal(0, 0.02, (count, 72, 45, 3))
    return np.clip(values, 0, 1).astype(np.float32)


def test_the_defaults_are_the_published_size():
    model = flow_vae.encoder(batch_norm=True)
    assert model.count_params() == pytest.approx(2.19e6, rel=0.005)
    assert model.output_shape == {name: (None, 12) for name in ("mu_h", "logvar_h", "mu_v", "logvar_v")}
    assert flow_vae.decoder().output_shape == (None, 226, 152, 6)


def test_each_encoder_sees_its_own_direction():
    model = flow_vae.encoder(**SMALL)
    stacks = _stacks(1)
    changed = stacks.copy()
    changed[:, 36:] = 0.0
    before, after = model(stacks), model(changed)
    np.testing.assert_array_equal(before["mu_h"], after["mu_h"])
    assert np.abs(before["mu_v"] - after["mu_v"]).max() > 1e-3


def test_the_loss_is_half_the_squared_error_plus_both_divergences():
    model = _small(beta=0.7)
    stacks = _stacks(4)
    latent = {name: values.numpy().astype(np.float64) for name, values in model.encoder(2 * stacks - 1).items()}
    decoded = model.decoder({"z_h": latent["mu_h"], "z_v": latent["mu_v"]}).numpy()
    wanted = 0.5 * ((decoded - stacks) ** 2).sum(axis=(1, 2, 3))
    for direction in "hv":
        mu, logvar = latent[f"mu_{direction}"], latent[f"logvar_{direction}"]
        wanted = wanted + 0.7 * 0.5 * (mu ** 2 + np.exp(logvar) - logvar - 1).sum(axis=1)
    model.compile()
    losses = model.evaluate(tf.data.Dataset.from_tensors(stacks), verbose=0, return_dict=True)
    assert losses["loss"] == pytest.approx(wanted.mean(), rel=1e-4)


def test_what_is_deployed_takes_unit_stacks_and_has_the_same_divergences():
    model = _small(optimal_prior=True)
    model.prior_mean.assign([[0.3, -0.2, 0.1], [1.0, 0.0, -1.0]])
    model.prior_variance.assign([[0.5, 2.0, 1.0], [4.0, 0.1, 1.5]])
    stacks = _stacks(5)
    model.compile()
    trained = model.evaluate(tf.data.Dataset.from_tensors(stacks), verbose=0, return_dict=True)
    encoder, decoder = flow_vae.deployed(model)
    latent = {name: values.numpy() for name, values in encoder(stacks).items()}
    for direction in "hv":
        mu, logvar = latent[f"mu_{direction}"], latent[f"logvar_{direction}"]
        assert trained[f"kl_{direction}"] == pytest.approx(
            0.5 * (mu ** 2 + np.exp(logvar) - logvar - 1).sum(axis=1).mean(), rel=1e-4)
    np.testing.assert_allclose(decoder({"z_h": latent["mu_h"], "z_v": latent["mu_v"]}), model(stacks), atol=1e-5)


def test_the_optimal_prior_follows_the_posteriors_moments():
    model = _small(optimal_prior=True)
    model.compile(optimizer=keras.optimizers.Adam(0.0))
    stacks = tf.constant(_stacks(64))
    latent = model.encoder(2.0 * stacks - 1.0)
    for _ in range(1500):
        model._follow(latent)
    mu, variance = latent["mu_v"].numpy(), np.exp(latent["logvar_v"].numpy())
    np.testing.assert_allclose(model.prior_mean[1], mu.mean(axis=0), atol=1e-3)
    spread = (variance + (mu - mu.mean(axis=0)) ** 2).mean(axis=0)
    np.testing.assert_allclose(model.prior_variance[1], spread, rtol=0.02)


def test_training_uses_the_latents_of_both_directions(tmp_path):
    settings = flow_vae_training.Settings(size=(36, 45), length=3, widths=(4, 6), latents=3, epochs=6, batch_size=16,
                                          learning_rate=3e-3, beta=0.1, warm_up=0.0)
    stacks = tf.constant(_stacks(256))

    def batches(epoch: int) -> tf.data.Dataset:
        return tf.data.Dataset.from_tensor_slices(stacks).shuffle(256, seed=epoch).batch(16)

    folder, outcome = flow_vae_training.train(batches, settings, str(tmp_path / "run"), steps=16, flow={"length": 3})
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]
    latent = folder.encoder()(stacks)
    speed = {"h": stacks.numpy()[:, :36].mean(axis=(1, 2, 3)), "v": stacks.numpy()[:, 36:].mean(axis=(1, 2, 3))}
    for direction in "hv":
        mu = latent[f"mu_{direction}"].numpy()
        assert max(abs(np.corrcoef(mu[:, i], speed[direction])[0, 1]) for i in range(3)) > 0.9
    assert folder.config["model"] == "flow_vae"
    assert folder.config["flow"] == {"length": 3}


def test_statistics_are_what_numpy_makes_of_the_flow():
    stacks = np.random.default_rng(1).random((2, 226, 152, 6)).astype(np.float32)
    result = motion_statistics.statistics(tf.constant(stacks)).numpy()
    assert result.shape == (2, 3 * 48 + 2 + 48 * 6)
    for number, half in enumerate((stacks[:, :112], stacks[:, 116:224])):
        flow = half.astype(np.float64).reshape(2, -1, 4, 38, 4, 6).mean(axis=(2, 4)) - 0.5
        flow = flow[:, :24, :36]
        cells = flow.reshape(2, 6, 4, 4, 9, 6)
        change = np.abs(np.diff(flow, axis=3)).reshape(2, 6, 4, 4, 9, 5)
        for begin, wanted in ((0, cells.mean(axis=(2, 4, 5))), (48, cells.std(axis=(2, 4, 5))),
                              (96, change.mean(axis=(2, 4, 5)))):
            np.testing.assert_allclose(result[:, begin + 24 * number:begin + 24 * number + 24], wanted.reshape(2, 24),
                                       atol=2e-5)
        np.testing.assert_allclose(result[:, 144 + number], cells.mean(axis=(1, 2, 3, 4)).std(axis=1), atol=1e-5)
        np.testing.assert_allclose(result[:, 146 + 144 * number:290 + 144 * number],
                                   cells.mean(axis=(2, 4)).reshape(2, 144), atol=1e-5)


def test_the_statistics_become_an_output_of_the_encoder():
    model = motion_statistics.with_statistics(flow_vae.encoder(**SMALL))
    assert set(model.output) == {*flow_vae.OUTPUTS, "motion"}
    with pytest.raises(ValueError, match="already has an output named 'motion'"):
        motion_statistics.with_statistics(model)
    with pytest.raises(ValueError, match="h and w at least 28"):
        motion_statistics.with_statistics(flow_vae.encoder((20, 45), 3, (4,), 3))


@pytest.mark.parametrize(("options", "message"), [
    ({"size": (0, 4)}, "size is"), ({"length": 0}, "at least one flow"), ({"widths": ()}, "widths is"),
    ({"latents": 0}, "latents is 0")])
def test_shapes_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        flow_vae.encoder(**{**SMALL, **options})
