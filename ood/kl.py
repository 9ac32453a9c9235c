"""The Kullback–Leibler divergence of each latent's Gaussian posterior from the standard normal prior."""
from __future__ import annotations

import numpy as np

_HALF = np.array(0.5)  # an array: a frame's few latents take less time than making one of a number


def per_latent(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """Returns KL(N(mu, exp(logvar)) ‖ N(0, 1)) of each latent in nats, float64 of the inputs' shape.

    KL_i = ½(μ_i² + σ_i² − ln σ_i² − 1); Kingma & Welling, arXiv 1312.6114, appendix B.

    Args:
      mu: posterior means, [..., Z].
      logvar: logarithms of the posterior variances, [..., Z].
    """
    square, logarithm = np.array(mu, dtype=np.float64), np.array(logvar, dtype=np.float64)  # worked on in place
    # expm1 keeps the digits of a latent that carries nothing, where σ² − 1 and ln σ² cancel.
    divergence = np.expm1(logarithm)
    divergence -= logarithm
    square *= square
    divergence += square
    divergence *= _HALF
    return divergence
