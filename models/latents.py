"""What a trained encoder's latents carry, and what of: nats of each, correlation with what is known of the frames.

A latent is *active* if it carries 0.1 nats or more of a frame on average. (Var(μ) > 0.01, the measure of Burda, Grosse
and Salakhutdinov, arXiv 1509.00519, section 5.2, calls latents of 0.01 nats active.) A detector lives on active
latents: with none it is blind, and where all are active β was too small to tell what matters from texture.
"""
from __future__ import annotations

import dataclasses
from typing import Dict, List, Mapping, Tuple

import numpy as np

ACTIVE = 0.1  # nats


@dataclasses.dataclass(frozen=True)
class Latents:
    """Z latents of an encoder, as seen on N frames."""

    nats: np.ndarray  # mean KL of each, float64 [Z]
    active: np.ndarray  # bool [Z]
    correlations: Dict[str, np.ndarray]  # name of a known quantity -> Pearson's r of each latent's μ with it, [Z]

    @property
    def warning(self) -> str:
        """One sentence where latents can't serve a detector, else empty."""
        if not self.active.any():
            return ("no latent is active: the encoder tells nothing of the frame, and no detector of its KL can work; "
                    "train with a lower --beta, or longer")
        if self.active.all():
            return (f"all {len(self.active)} latents are active: KL is spread over texture, and it is left to chance "
                    "which latent tells light; train with a higher --beta")
        return ""

    def rows(self) -> List[Tuple[object, ...]]:
        """(latent, nats, active, correlations …) of each, most nats first: the table under `headers`."""
        return [(int(i), float(self.nats[i]), "yes" if self.active[i] else "no",
                 *(float(r[i]) for r in self.correlations.values())) for i in np.argsort(-self.nats, kind="stable")]

    def headers(self) -> List[str]:
        """Of `rows`."""
        return ["latent", "nats", "active", *self.correlations]


def describe(mu: np.ndarray, kl: np.ndarray, known: Mapping[str, np.ndarray]) -> Latents:
    """Returns what latents carry on in-distribution frames.

    Args:
      mu: the encoder's output, [N, Z].
      kl: KL per latent, in nats, [N, Z], of `ood.kl.per_latent`.
      known: quantities by name, [N], NaN where unknown: brightness, sharpness, a factor's level.
    """
    mu = np.asarray(mu, np.float64)
    nats = kl.mean(axis=0)
    return Latents(nats, nats >= ACTIVE, {name: _correlation(mu, values) for name, values in known.items()})


def _correlation(mu: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns Pearson's r of each column with the values, over the frames where these are known; 0 where one rests."""
    there = np.isfinite(values)
    mu, values = mu[there] - mu[there].mean(axis=0), values[there] - values[there].mean()
    scale = np.sqrt((mu ** 2).sum(axis=0) * (values ** 2).sum())
    return np.where(scale > 0, values @ mu / np.where(scale > 0, scale, 1.0), 0.0)
