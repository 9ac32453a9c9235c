"""A two-sided nonconformity of the latents: how untypical the KL of all of them is, too little like too much.

Dark, flat frames have *less* KL than ordinary ones, so a one-sided sum calls them safe. Here α is the squared
Mahalanobis distance of ln KL_i, over all latents, from that of the training frames. Typicality as the two-sided
alternative to likelihood: Nalisnick et al., arXiv 1906.02994; the latents' KL: Ramakrishna et al., arXiv 2108.11800.
"""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional

import numpy as np

from leanood.ood import gaussian, kl, nonconformity

_FLOOR = 1e-3  # nats: below it a latent says nothing


class KlTypical(nonconformity.Nonconformity):
    """α = Mahalanobis distance² of ln KL_i of all latents, one column, on outputs `mu` and `logvar` [N, Z]."""

    name = "kl-typical"
    inputs = ("mu", "logvar")
    extrapolates = True

    def __init__(self) -> None:
        self.partitions = ("all",)

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[nonconformity.Variants] = None) -> KlTypical:
        logarithms = _log_kl(outputs["mu"], outputs["logvar"])
        spread = None if variants is None else _log_kl(
            variants.outputs["mu"], variants.outputs["logvar"]) - logarithms[variants.origin]
        self._gaussian = gaussian.Gaussian.fit(
            logarithms, spread, lasting=starts is not None and not np.asarray(starts).all())
        if not np.any(logarithms.max(axis=0) > np.log(2 * _FLOOR)):
            self.warnings = (f"the KL of no latent exceeds {_FLOOR} nats: the encoder tells nothing, and the detector "
                             "is blind",)
        return self

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        return self._gaussian.distances(_log_kl(outputs["mu"], outputs["logvar"]))[:, np.newaxis]

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        logarithms = _log_kl(np.ravel(outputs["mu"]), np.ravel(outputs["logvar"]))
        return self._gaussian.distances(logarithms[np.newaxis]).tolist()

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return self._gaussian.to_arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> KlTypical:
        result = cls()
        result._gaussian = gaussian.Gaussian.from_arrays(arrays)
        return result


def _log_kl(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    return np.log(kl.per_latent(mu, logvar) + _FLOOR)
