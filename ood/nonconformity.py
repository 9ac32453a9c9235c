"""Nonconformity measures: how odd a frame is, in one column per partition, from the network's outputs.

`KlTopK` is the detector of the paper: Ramakrishna et al., arXiv 2108.11800.
"""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple, Type, TypeVar

import numpy as np

from leanood.ood import kl, ranking

_Self = TypeVar("_Self", bound="Nonconformity")


class Nonconformity:
    """What a detector asks of a nonconformity. Higher = more OOD; `score` and `score_frame` agree to rounding."""

    name: str  # as the detector's configuration calls it
    inputs: Tuple[str, ...]  # the outputs of the network that it reads
    partitions: Tuple[str, ...]  # names of its columns, known once fitted
    extrapolates: bool = False  # its α has a tail worth following beyond the calibration frames (see `tail`)
    warnings: Tuple[str, ...] = ()  # one sentence for each thing that the user should know of the fit

    def fit(self: _Self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None) -> _Self:
        """Fits in-distribution outputs and returns itself.

        Args:
          outputs: named arrays [N, …].
          partition: each frame's partition, str [N]; None: all are of one partition, "all".
          starts: bool [N], true on the first frame of each sequence; None for unordered images.
        """
        raise NotImplementedError

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        """Returns the nonconformity, float64 [N, P], of outputs [N, …] that are finite; `starts` as in `fit`."""
        raise NotImplementedError

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        """Returns the nonconformity, a list of P floats, of one frame's finite outputs [1, …] or […].

        Args:
          first: whether the frame begins a sequence; otherwise it follows the frame of the previous call.
        """
        raise NotImplementedError

    def to_arrays(self) -> Dict[str, np.ndarray]:
        """Returns everything fitted, as named arrays."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls: Type[_Self], arrays: Mapping[str, np.ndarray]) -> _Self:
        """Returns the fitted nonconformity that `to_arrays` described; raises ValueError if it describes none."""
        raise NotImplementedError


class KlTopK(Nonconformity):
    """α = Σ KL_i over each partition's k most telling latents (`ranking`), on outputs `mu` and `logvar` [N, Z]."""

    name = "kl-topk"
    inputs = ("mu", "logvar")

    def __init__(self, k: int = 1):
        if k < 1:
            raise ValueError(f"k, the number of latents per partition, must be at least 1, not {k}")
        self.k = k

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None) -> KlTopK:
        divergence = kl.per_latent(outputs["mu"], outputs["logvar"])
        frames, latents = divergence.shape
        if self.k > latents:
            raise ValueError(f"k = {self.k} latents per partition were asked for, the encoder has {latents}")
        label = np.full(frames, "all") if partition is None else np.asarray(partition).astype(str)
        names, chosen, warnings = [], [], []
        for name in np.unique(label).tolist():
            own = label == name
            ranked = ranking.rank(divergence[own], None if starts is None else _own_starts(own, starts))
            names.append(name)
            chosen.append(ranked.order[:self.k])
            if ranked.warning:
                warnings.append(f"partition {name!r}: {ranked.warning}")
        self._select(tuple(names), np.stack(chosen))
        self.warnings = tuple(warnings)
        return self

    def _select(self, partitions: Tuple[str, ...], latents: np.ndarray) -> None:
        self.partitions = partitions
        self.latents = latents  # int64 [P, k]
        self._columns = latents.T.ravel()  # the first choice of each partition, then the second, …

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        divergence = kl.per_latent(np.asarray(outputs["mu"])[:, self._columns],
                                   np.asarray(outputs["logvar"])[:, self._columns])
        # Added in one fixed order, here and in score_frame: matrix products and np.sum don't promise theirs.
        columns = len(self.partitions)
        total = divergence[:, :columns].copy()
        for begin in range(columns, divergence.shape[1], columns):
            total += divergence[:, begin:begin + columns]
        return total

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        divergence = kl.per_latent(np.ravel(outputs["mu"])[self._columns],
                                   np.ravel(outputs["logvar"])[self._columns]).tolist()
        columns = len(self.partitions)
        total = divergence[:columns]
        for place in range(columns, len(divergence)):
            total[place % columns] += divergence[place]
        return total

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {"partitions": np.array(self.partitions), "latents": self.latents}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> KlTopK:
        partitions, latents = np.asarray(arrays["partitions"]), np.asarray(arrays["latents"])
        if latents.ndim != 2 or latents.dtype.kind not in "iu" or partitions.shape != latents.shape[:1] \
                or not latents.size or latents.min() < 0:
            raise ValueError(f"kl-topk: latents {latents.dtype}{list(latents.shape)} don't fit partitions "
                             f"{list(partitions.shape)}; calibrate the detector again")
        result = cls(k=latents.shape[1])
        result._select(tuple(partitions.astype(str).tolist()), latents.astype(np.int64))
        return result


def _own_starts(own: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the starts of the scenes that remain of sequences when only `own` frames are kept."""
    begins = np.asarray(starts, dtype=bool).copy()
    begins[1:] |= ~own[:-1]
    begins[:1] = True
    return begins[own]
