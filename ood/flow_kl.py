"""The published detector of motion: ΣKL of the horizontal and of the vertical encoder, an alarm if either is high.

Feng, Ng & Easwaran, "Improving Variational Autoencoder based Out-of-Distribution Detection for Embedded Real-time
Applications", arXiv 2107.11750: D_h = Σ KL_h, D_v = Σ KL_v; an alarm if D_h ≥ τ_h or D_v ≥ τ_v.
"""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from leanood.ood import kl, nonconformity, tail
from leanood.ood.nonconformity import Variants

DIRECTIONS = ("h", "v")
OUTPUTS = tuple(f"{part}_{direction}" for direction in DIRECTIONS for part in ("mu", "logvar"))


class FlowKl(nonconformity.Nonconformity):
    """α = −ln p of D_h and of D_v, two columns, on OUTPUTS [N, Z]; a stack is as odd as its odder direction.

    As evidence the two are of one unit, so that one threshold on it is a τ_h and a τ_v for one false-alarm rate
    (`thresholds` says which).
    """

    name = "flow-kl"
    inputs = OUTPUTS
    partitions = ("horizontal", "vertical")
    partition_kind = "factor"
    extrapolates = True
    share = 8

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[Variants] = None) -> FlowKl:
        self._tails = [tail.Tail.fit(distances) for distances in divergences(outputs).T]
        return self

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        # One by one, as in score_frame: a vectorised tail rounds otherwise.
        return np.array([[fitted_tail.log_p_scalar(value) for fitted_tail, value in zip(self._tails, row)]
                         for row in divergences(outputs).tolist()]).reshape(-1, len(DIRECTIONS))

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        rows = {name: np.reshape(outputs[name], (1, -1)) for name in OUTPUTS}
        distances = divergences(rows)[0].tolist()
        return [fitted_tail.log_p_scalar(value) for fitted_tail, value in zip(self._tails, distances)]

    def thresholds(self, evidence: float) -> Tuple[float, ...]:
        """(τ_h, τ_v) in nats: the D_h and the D_v whose −ln p is `evidence`."""
        return tuple(fitted_tail.value_at(evidence) for fitted_tail in self._tails)

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {f"{direction}.{name}": array for direction, fitted_tail in zip(DIRECTIONS, self._tails)
                for name, array in fitted_tail.to_arrays().items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FlowKl:
        measure = cls()
        measure._tails = [
            tail.Tail.from_arrays({name: arrays[f"{direction}.{name}"] for name in ("knots", "evidence", "scale")})
            for direction in DIRECTIONS]
        return measure


def divergences(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """(D_h, D_v) of each stack in nats, float64 [N, 2]; their sum is the published score."""
    return np.stack([kl.per_latent(outputs[f"mu_{direction}"], outputs[f"logvar_{direction}"]).sum(axis=1)
                     for direction in DIRECTIONS], axis=1)
