"""Where in a frame something is odd: a Gaussian at each cell of a network's map. NumPy only, for the device.

PaDiM (Defard, Setkov, Loesch & Audigier, arXiv 2011.08785), but that frames are few: a cell's covariance is drawn
towards the one that all cells share.
"""
from __future__ import annotations

from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from leanood.ood import gaussian

_MOST = 2000  # frames, and variants, that are fitted on
_CHUNK = 512  # frames that are judged at a time, for memory's sake
_SHARED = 0.3  # weight of what cells share in their covariance: of .02, .1 and .3 the best on validation frames
_RIDGE = 1e-3  # of a channel's variance: one that hardly moves counts little until it does


class LocalGaussian:
    """Squared Mahalanobis distances of a map's cells, each to its own mean by its own covariance.

    Attributes:
      cells: (h, w) of the map.
      means: float64 [h·w, C]; whitening: float64 [h·w, C, C]: d² = ‖(x − mean)·whitening‖².
    """

    def __init__(self, cells: Tuple[int, int], means: np.ndarray, whitening: np.ndarray):
        count, channels = cells[0] * cells[1], means.shape[-1]
        if min(cells) < 1 or means.shape != (count, channels) or whitening.shape != (count, channels, channels):
            raise ValueError(f"local: {list(cells)} cells, means {list(means.shape)} and whitening "
                             f"{list(whitening.shape)} don't fit; calibrate the detector again")
        self.cells = cells
        self.means = np.ascontiguousarray(means, np.float64)
        self.whitening = np.ascontiguousarray(whitening, np.float64)

    @classmethod
    def fit(cls, maps: np.ndarray, moved: Optional[np.ndarray] = None, *, lasting: bool = False) -> LocalGaussian:
        """Returns the Gaussians of in-distribution maps [N, h, w, C].

        Args:
          maps: of the frames as they are.
          moved: [M, h, w, C], by how much benign changes move the maps, which widens the covariances.
          lasting: see `gaussian.Gaussian.fit`.
        """
        if maps.ndim != 4:
            raise ValueError(f"the output 'local' is {list(maps.shape)}, but should be a map [N, height, width, "
                             "channels]")
        if len(maps) < 2:
            raise ValueError(f"a map's Gaussians need at least 2 frames to fit, not {len(maps)}; give more training "
                             "data")
        height, width, channels = maps.shape[1:]
        frames = np.asarray(maps, np.float64).reshape(-1, height * width, channels)
        means = frames.mean(axis=0)
        rest = frames - means
        scale = np.sqrt(np.square(rest).mean(axis=(0, 1)))
        scale = np.maximum(scale, _RIDGE * max(1.0, float(np.abs(means).max())) * (scale < 1e-12) + 1e-12)
        covariance = _shared(_by_cell(rest / scale)) + _RIDGE * np.eye(channels)
        whitening = np.linalg.inv(np.linalg.cholesky(covariance)).transpose(0, 2, 1)
        if moved is not None and len(moved):
            changes = np.asarray(moved, np.float64).reshape(-1, height * width, channels) / scale
            whitening = gaussian.overlooking(whitening, _shared(_by_cell(changes)), lasting)
        whitening = whitening / scale[:, np.newaxis]
        # As the file keeps them, so that the tables are of what it will say.
        return cls((height, width), means.astype(np.float32), whitening.astype(np.float32))

    def distances(self, maps: np.ndarray) -> np.ndarray:
        """Returns the cells' distances, float64 [N, h·w], of maps [N, h, w, C] or [h, w, C]."""
        rest = np.asarray(maps, np.float64).reshape(-1, *self.means.shape) - self.means
        white = np.matmul(rest.transpose(1, 0, 2), self.whitening)
        return np.einsum("pnc,pnc->np", white, white)

    def largest(self, maps: np.ndarray) -> np.ndarray:
        """Returns each map's largest distance, float64 [N]."""
        return np.concatenate([self.distances(maps[begin:begin + _CHUNK]).max(axis=1)
                               for begin in range(0, len(maps), _CHUNK)] or [np.zeros(0)])

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {"cells": np.array(self.cells), "means": self.means.astype(np.float32),
                "whitening": self.whitening.astype(np.float32)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LocalGaussian:
        height, width = (int(side) for side in np.asarray(arrays["cells"]).tolist())
        return cls((height, width), np.asarray(arrays["means"]), np.asarray(arrays["whitening"]))


def _shared(covariance: np.ndarray) -> np.ndarray:
    """Returns the cells' covariances [P, C, C], each drawn towards their mean."""
    return (1 - _SHARED) * covariance + _SHARED * covariance.mean(axis=0)


def some(where: np.ndarray) -> np.ndarray:
    """Returns at most as many of the places [N] as are fitted on, evenly spread: a frame has cells enough."""
    return gaussian.some(where, _MOST)


def _by_cell(rows: np.ndarray) -> np.ndarray:
    """Returns the mean outer products of rows [N, P, C] at each cell, float64 [P, C, C]."""
    by_cell = rows.transpose(1, 2, 0)
    return by_cell @ by_cell.transpose(0, 2, 1) / len(rows)
