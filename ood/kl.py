"""The Kullback–Leibler divergence of each latent's Gaussian posterior from the standard normal prior."""
from __future__ import annotations

import numpy as np


def per_latent(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """Returns KL(N(mu, exp(logvar)) ‖ N(0, 1)) of each latent in nats, float64 of the inputs' shape.

    KL_i = ½(μ_i² + σ_i² − ln σ_i² − 1); Kingma & Welling, arXiv 1312.6114, appendix B.

    Args:
      mu: posterior means, [..., Z].
      logvar: logarithms of the posterior variances, [..., Z].
    """
    mu = np.asarray(mu, dtype=np.float64)
    logvar = np.asarray(logvar, dtype=np.float64)
    # expm1 keeps the digits of a latent that carries nothing, where σ² − 1 and ln σ² cancel.
    return 0.5 * (mu * mu + (np.expm1(logvar) - logvar))
