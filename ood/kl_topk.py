"""The paper's nonconformity: the KL divergence of the most telling latents (Ramakrishna et al., arXiv 2108.11800).

A factor (brightness, rain) has a column of its own. Subsets (bright, medium) are pooled in one: KL is measured from the
same prior whatever the subset, so columns would differ only in which latents they read, and of these the least
informative would say each time that all is well.
"""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from leanood.ood import kl, nonconformity, ranking

_STILL = 1e-6  # nats²: variance of a KL that tells nothing


class KlTopK(nonconformity.Nonconformity):
    """α = Σ KL_i over each partition's k most telling latents (`ranking`), on outputs `mu` and `logvar` [N, Z].

    Args:
      k: latents a partition.
      rank_by: one of `ranking.BY`.
    """

    name = "kl-topk"
    inputs = ("mu", "logvar")

    def __init__(self, k: int = 1, rank_by: str = "variance"):
        if k < 1:
            raise ValueError(f"k, the number of latents per partition, must be at least 1, not {k}")
        if rank_by not in ranking.BY:
            raise ValueError(f"rank_by is {rank_by!r}; latents can be ranked by {', '.join(ranking.BY)}")
        self.k, self.rank_by = k, rank_by

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[nonconformity.Variants] = None) -> KlTopK:
        divergence = kl.per_latent(outputs["mu"], outputs["logvar"])
        frames, latents = divergence.shape
        if self.k > latents:
            raise ValueError(f"k = {self.k} latents per partition were asked for, the encoder has {latents}")
        label = np.full(frames, "all") if partition is None else np.asarray(partition).astype(str)
        names, chosen, warnings = [], [], []
        for name in np.unique(label).tolist():
            members = label == name
            ranked = ranking.rank(divergence[members], None if starts is None else _starts_within(members, starts),
                                  self.rank_by)
            names.append(name)
            chosen.append(ranked.order[:self.k])
            if ranked.warning:
                warnings.append(f"partition {name!r}: {ranked.warning}")
            if ranked.value[ranked.order[0]] < _STILL:
                warnings.append(f"partition {name!r}: the KL of no latent varies (at most by a variance of "
                                f"{ranked.value.max():.2g}): the encoder tells nothing, and the detector is blind")
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


def _starts_within(members: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the starts of the scenes that remain of sequences when only `own` frames are kept."""
    begins = np.asarray(starts, dtype=bool).copy()
    begins[1:] |= ~members[:-1]
    begins[:1] = True
    return begins[members]
