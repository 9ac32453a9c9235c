"""KL per latent, against numerical integration of its definition."""
import numpy as np
import pytest
from scipy import integrate, stats

from leanood.ood import kl


@pytest.mark.parametrize(("mu", "logvar"), [(0.0, 0.0), (1.5, -2.0), (-0.3, 0.7), (3.0, 1.0)])
def test_equals_the_integral(mu, logvar):
    posterior, prior = stats.norm(mu, np.exp(logvar / 2)), stats.norm()

    def integrand(z):
        return posterior.pdf(z) * (posterior.logpdf(z) - prior.logpdf(z))

    assert kl.per_latent(mu, logvar) == pytest.approx(integrate.quad(integrand, -30, 30, points=[mu])[0], abs=1e-7)


def test_keeps_shape_and_digits_of_an_idle_latent():
    logvar = np.array([[1e-7, -1e-7]], dtype=np.float64)
    divergence = kl.per_latent(np.zeros((1, 2), np.float32), logvar)
    assert divergence.shape == (1, 2)
    assert divergence.dtype == np.float64
    np.testing.assert_allclose(divergence, 0.25 * logvar ** 2, rtol=1e-5)  # ½(v²/2 + …)
