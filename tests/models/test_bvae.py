import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.models import bvae, elbo

SMALL = {"size": (16, 24), "widths": (4, 6), "latents": 5}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((7, 16, 24, 3), dtype=np.float32)


@pytest.fixture(scope="module")
def small():
    keras.utils.set_random_seed(0)
    model = bvae.BetaVae(bvae.encoder(**SMALL), bvae.decoder(**SMALL), beta=1.4, seed=3)
    model.compile(optimizer=keras.optimizers.Adam(1e-3))
    return model


def _kl(mu, logvar):
    """The KL divergence by its integral, on a grid, instead of by its closed form."""
    x = np.linspace(-30, 30, 200_001)
    log_q = -0.5 * ((x - mu) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi))
    log_p = -0.5 * (x**2 + np.log(2 * np.pi))
    return np.sum(np.exp(log_q) * (log_q - log_p)) * (x[1] - x[0])


def test_paper_encoder_has_the_papers_size():
    model = bvae.paper_encoder()
    assert model.count_params() == pytest.approx(8.84e6, rel=1e-3)
    assert _multiply_adds(model) == pytest.approx(1.17e9, rel=2e-3)
    assert model.get_layer("flatten").output_shape == (None, 3136)
    assert {name: tuple(y.shape) for name, y in model.output.items()} == {"mu": (None, 30), "logvar": (None, 30)}


def _multiply_adds(model):
    total = 0
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            positions = np.prod(layer.output_shape[1:-1], initial=1)
            total += positions * np.prod(layer.kernel.shape)
    return total


@pytest.mark.parametrize("pool", ["max", "stride"])
@pytest.mark.parametrize("size", [(16, 24), (17, 25), (5, 7)])
def test_decoder_gives_back_the_encoders_size(size, pool):
    encoder = bvae.encoder(size, (4, 4, 4), 3, (8,), pool=pool, batch_norm=False, activation="leaky_relu")
    decoder = bvae.decoder(size, (4, 4, 4), 3, (8,), batch_norm=False, activation="leaky_relu")
    images = np.zeros((2, *size, 3), np.float32)
    assert decoder(encoder(images)["mu"]).shape == images.shape
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in encoder.layers)


def test_kl_divergence_is_the_integral():
    mu, logvar = np.array([0.0, 1.5, -2.0]), np.array([0.0, -3.0, 1.0])
    expected = [_kl(m, v) for m, v in zip(mu, logvar)]
    np.testing.assert_allclose(elbo.kl_divergence(mu, logvar), expected, rtol=1e-6, atol=1e-9)


def test_kl_divergence_stays_finite_and_leads_back():
    logvar = tf.constant([-1e4, -80.0, 0.0, 80.0, 1e4])
    with tf.GradientTape() as tape:
        tape.watch(logvar)
        kl = elbo.kl_divergence(tf.zeros(5), logvar)
    slope = tape.gradient(kl, logvar).numpy()
    assert np.isfinite(kl).all()
    assert np.isfinite(slope).all()
    assert (np.sign(slope) == [-1, -1, 0, 1, 1]).all()


def test_loss_is_the_elbo(small, images):
    small.reset_metrics()
    figures = {name: float(value) for name, value in small.test_step(tf.constant(images)).items()}
    latent = small.encoder(images)
    p = small.decoder(latent["mu"]).numpy().astype(np.float64)
    bce = -(images * np.log(p) + (1 - images) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()
    kl = np.mean([sum(_kl(m, v) for m, v in zip(*row)) for row in zip(latent["mu"].numpy(), latent["logvar"].numpy())])
    assert figures["reconstruction"] == pytest.approx(bce, rel=1e-5)
    assert figures["kl"] == pytest.approx(kl, rel=1e-4)
    assert figures["loss"] == pytest.approx(bce + 1.4 * kl, rel=1e-5)


def test_mse_is_summed_over_pixels(images):
    logits = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    expected = [np.sum((image - 1 / (1 + np.exp(-y))) ** 2) for image, y in zip(images, logits)]
    np.testing.assert_allclose(elbo.reconstruction_loss(images, logits, "mse"), expected, rtol=1e-5)


def test_noise_depends_on_seed_and_step_alone(small):
    def noise(step):
        return small._noise(tf.constant(step, tf.int64), tf.constant(4)).numpy()

    np.testing.assert_array_equal(noise(7), noise(7))
    assert np.abs(noise(7) - noise(8)).min() > 0
    many = small._noise(tf.constant(1, tf.int64), tf.constant(20_000)).numpy()
    assert abs(many.mean()) < 0.02
    assert many.std() == pytest.approx(1, abs=0.02)


def test_warm_up_lets_beta_grow(images):
    keras.utils.set_random_seed(0)
    model = bvae.BetaVae(bvae.encoder(**SMALL), bvae.decoder(**SMALL), beta=2.0, warm_up=4)
    model.compile(optimizer=keras.optimizers.SGD(0.0))  # nothing moves but the number of the step
    for step in range(6):
        model.reset_metrics()
        figures = {name: float(value) for name, value in model.train_step(tf.constant(images)).items()}
        expected = figures["reconstruction"] + 2.0 * min(1, step / 4) * figures["kl"]
        assert figures["loss"] == pytest.approx(expected, rel=1e-6)


def test_training_lowers_the_loss(images):
    keras.utils.set_random_seed(0)
    model = bvae.BetaVae(bvae.encoder(**SMALL), bvae.decoder(**SMALL), beta=0.5)
    model.compile(optimizer=keras.optimizers.Adam(1e-2))
    losses = model.fit(tf.data.Dataset.from_tensors(images).repeat(40), epochs=2, verbose=0).history["loss"]
    assert losses[1] < losses[0]


@pytest.mark.parametrize(("change", "message"), [
    ({"size": (0, 8)}, "size is .0, 8."), ({"widths": ()}, "widths is"), ({"latents": 0}, "latents is 0"),
    ({"dense": (0,)}, "dense is"), ({"activation": "tanh"}, "activation is 'tanh', but should be one of relu"),
    ({"pool": "mean"}, "pool is 'mean', but should be one of max, stride"),
])
def test_encoder_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        bvae.encoder(**change)


@pytest.mark.parametrize(("change", "message"), [
    ({"beta": -1.0}, "beta is -1.0"), ({"beta": float("nan")}, "beta is nan"),
    ({"reconstruction": "l1"}, "reconstruction is 'l1', but should be one of bce, mse"),
])
def test_vae_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        bvae.BetaVae(bvae.encoder(**SMALL), bvae.decoder(**SMALL), **change)


def test_one_beta_weighs_the_same_at_every_size():
    assert elbo.kl_weight(20.0, (64, 64)) == 20.0
    assert elbo.kl_weight(20.0, (120, 160)) == 93.75
    # An image tiled k times over has k times the reconstruction loss: both terms grow alike.
    images, logits = np.random.default_rng(0).random((2, 1, 8, 8, 3)).astype(np.float32)
    plain, tiled = (float(elbo.reconstruction_loss(np.tile(images, t), np.tile(logits, t), "bce")[0])
                    for t in [(1, 1, 1, 1), (1, 2, 2, 1)])
    assert tiled / plain == pytest.approx(elbo.kl_weight(1.0, (16, 16)) / elbo.kl_weight(1.0, (8, 8)), rel=1e-5)
