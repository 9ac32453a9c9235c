"""What a nonconformity is: how far a frame is from typical, in one column per partition, from the network's outputs."""
from __future__ import annotations

import math
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple, Type, TypeVar

import numpy as np

from leanood.ood import evidence

_Self = TypeVar("_Self", bound="Nonconformity")


class Variants(NamedTuple):
    """Benign variants of in-distribution frames: how the outputs look when nothing has changed that a person sees."""

    outputs: Mapping[str, np.ndarray]  # named arrays [M, …]
    origin: np.ndarray  # int64 [M], each variant's place among the N frames that it is a variant of
    starts: Optional[np.ndarray]  # bool [M], true where a variant doesn't follow the one before; None: unordered images


class Nonconformity:
    """What a detector asks of a nonconformity. Higher = more OOD; `score` and `score_frame` agree to rounding."""

    name: str  # as the detector's configuration calls it
    inputs: Tuple[str, ...]  # the outputs of the network that it reads
    partitions: Tuple[str, ...]  # names of its columns, known once fitted
    partition_kind: Optional[str] = None  # of columns that are its own, not the data set's partitions ("factor")
    extrapolates: bool = False  # its α has a tail worth following beyond the calibration frames (see `tail`)
    share: int = evidence.SHARE  # a window's evidence counts as far as its latest 1/share agrees
    highest: float = math.inf  # what α can't exceed, where that is known
    warnings: Tuple[str, ...] = ()  # one sentence for each thing that the user should know of the fit

    def fit(self: _Self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[Variants] = None) -> _Self:
        """Fits in-distribution outputs and returns itself.

        Args:
          outputs: named arrays [N, …].
          partition: each frame's partition, str [N]; None: all are of one partition, "all".
          starts: bool [N], true on the first frame of each sequence; None for unordered images.
          variants: of those frames, for a measure that can learn what to overlook; others leave them alone.
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

    @property
    def cells(self) -> Optional[Tuple[int, int]]:
        """Rows and columns of `map`; None of a measure that doesn't say where a frame is odd."""
        return None

    def map(self) -> Optional[np.ndarray]:
        """Returns where the last frame that `score_frame` saw is odd, −ln p of each cell, float64 [h, w]; or None."""
        return None

    def maps(self, outputs: Mapping[str, np.ndarray]) -> Optional[np.ndarray]:
        """Returns `map` of each frame, float64 [N, h, w], of outputs [N, …]; or None."""
        return None

    def to_arrays(self) -> Dict[str, np.ndarray]:
        """Returns everything fitted, as named arrays."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls: Type[_Self], arrays: Mapping[str, np.ndarray]) -> _Self:
        """Returns the fitted nonconformity that `to_arrays` described; raises ValueError if it describes none."""
        raise NotImplementedError
