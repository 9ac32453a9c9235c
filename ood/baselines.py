"""Trivial baselines that no detector may lose to: colour, brightness, sharpness of frames; mean motion. NumPy only.

Each has `fit(frames) -> self`, `score(frames) -> float64 [N]` (higher = more OOD), `to_arrays` (of names `PARTS`, in
their order), `from_arrays`; frames are uint8 RGB [N, h, w, 3] of one size, the detector's; of `Motion` they are stacks
of flows.
"""
from __future__ import annotations

from typing import Callable, Dict, Mapping, Type, TypeVar

import numpy as np

_Self = TypeVar("_Self", bound="_OneNumber")
_Few = TypeVar("_Few", bound="_FewNumbers")
_CHUNK = 64  # frames turned into floats at a time


def windowed(scores: np.ndarray, starts: np.ndarray, window: int = 20) -> np.ndarray:
    """Returns each frame's mean score over the last `window` frames of its sequence, or those there are, [N].

    On sequences a baseline is compared in this form: the detector looks back too.

    Args:
      scores: [N], higher = more OOD.
      starts: bool [N], true on the first frame of each sequence.
      window: number of frames, ≥ 1.
    """
    if window < 1:
        raise ValueError(f"window must be at least one frame, not {window}")
    scores, starts = np.asarray(scores, dtype=np.float64), np.array(starts, dtype=bool)
    starts[:1] = True
    index = np.arange(len(scores))
    age = index - np.maximum.accumulate(np.where(starts, index, 0))
    total, count = np.zeros(len(scores)), np.minimum(age + 1, window)
    for lag in range(min(window, len(scores))):
        reach = np.flatnonzero(age >= lag)
        total[reach] += scores[reach - lag]
    return total / count


class _FewNumbers:
    """Squared Mahalanobis distance of a few numbers of each frame."""

    PARTS = ("mean", "precision")
    _name = ""

    @staticmethod
    def _numbers(frames: np.ndarray) -> np.ndarray:
        """Returns the numbers of frames, float64 [N, D]."""
        raise NotImplementedError

    def fit(self: _Few, frames: np.ndarray) -> _Few:
        few = self._numbers(frames)
        if len(few) <= few.shape[1]:
            raise ValueError(f"the {self._name} baseline needs more than {few.shape[1]} frames to fit, not {len(few)}")
        self._mean = few.mean(axis=0)
        # A pseudo-inverse, for grey frames: their six numbers span two dimensions.
        self._precision = np.linalg.pinv(np.cov(few, rowvar=False), hermitian=True)
        return self

    def score(self, frames: np.ndarray) -> np.ndarray:
        away = self._numbers(frames) - self._mean
        return np.einsum("ni,ij,nj->n", away, self._precision, away)

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {"mean": self._mean, "precision": self._precision}

    @classmethod
    def from_arrays(cls: Type[_Few], arrays: Mapping[str, np.ndarray]) -> _Few:
        result = cls()
        result._mean, result._precision = arrays["mean"], arrays["precision"]
        return result


class Colour(_FewNumbers):
    """Squared Mahalanobis distance of six numbers: mean and standard deviation of R, G and B over the frame."""

    _name = "colour"

    @staticmethod
    def _numbers(frames: np.ndarray) -> np.ndarray:
        return _per_frame(_colour, frames)


class Motion(_FewNumbers):
    """Squared Mahalanobis distance of four numbers: mean and standard deviation of either direction's flow.

    Its frames are stacks of flows, uint8 [N, 2h, w, n], horizontal above vertical; each number is over a whole stack.
    """

    _name = "motion"

    @staticmethod
    def _numbers(frames: np.ndarray) -> np.ndarray:
        return np.concatenate([_motion(np.asarray(frames[begin:begin + _CHUNK], np.float32))
                               for begin in range(0, len(frames), _CHUNK)])


class _OneNumber:
    """How far one number of the frame lies from its mean in distribution, in standard deviations.

    Args:
      direction: 0: either side is odd, |z|; −1: only less is, −z; +1: only more is, z. A direction is something told,
        not learnt: in-distribution frames alone can't tell which side OOD will lie on.
    """

    PARTS = ("direction", "mean", "deviation")

    def __init__(self, direction: int = 0):
        if direction not in (-1, 0, 1):
            raise ValueError(f"direction must be -1, 0 or 1, not {direction}")
        self._direction = direction

    @staticmethod
    def _number(frames: np.ndarray) -> np.ndarray:
        """Returns the number of uint8 frames [N, h, w, 3], float64 [N]."""
        raise NotImplementedError

    def fit(self: _Self, frames: np.ndarray) -> _Self:
        number = _per_frame(self._number, frames)
        self._mean, self._deviation = number.mean(), max(number.std(), 1e-9)
        return self

    def score(self, frames: np.ndarray) -> np.ndarray:
        z = (_per_frame(self._number, frames) - self._mean) / self._deviation
        return self._direction * z if self._direction else np.abs(z)

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {"direction": np.array(self._direction), "mean": np.array(self._mean),
                "deviation": np.array(self._deviation)}

    @classmethod
    def from_arrays(cls: Type[_Self], arrays: Mapping[str, np.ndarray]) -> _Self:
        result = cls(int(arrays["direction"]))
        result._mean, result._deviation = float(arrays["mean"]), float(arrays["deviation"])
        return result


class Brightness(_OneNumber):
    """|z| of the mean of all pixels; told that OOD is dark, `direction=-1`, −z."""

    @staticmethod
    def _number(frames: np.ndarray) -> np.ndarray:
        return _sums(frames).sum(axis=1) / frames[0].size


class Sharpness(_OneNumber):
    """|z| of ln(1 + variance of the Laplacian) of the grey frame: blur has less of it, noise and rain more."""

    @staticmethod
    def _number(frames: np.ndarray) -> np.ndarray:
        grey = frames[..., 0].astype(np.int16) + frames[..., 1] + frames[..., 2]  # three times the mean
        laplacian = (grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
                     - 4 * grey[:, 1:-1, 1:-1])
        count = max(1, laplacian[0].size)
        mean = laplacian.sum(axis=(1, 2), dtype=np.int64) / count
        square = np.square(laplacian, dtype=np.int32).sum(axis=(1, 2), dtype=np.int64) / count
        return np.log((square - mean ** 2) / 9.0 + 1.0)


def _per_frame(number: Callable[[np.ndarray], np.ndarray], frames: np.ndarray) -> np.ndarray:
    """Returns `number` of frames, a chunk at a time so that memory stays small."""
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(f"baselines score uint8 RGB frames [N, h, w, 3], not {frames.dtype} {list(frames.shape)}")
    return np.concatenate([number(frames[begin:begin + _CHUNK]) for begin in range(0, len(frames), _CHUNK)])


def _sums(frames: np.ndarray) -> np.ndarray:
    """Returns the sum of each channel of whole-numbered frames [N, h, w, 3], float64 [N, 3]: exact, without floats."""
    return frames.sum(axis=1, dtype=np.uint32).sum(axis=1, dtype=np.float64)


def _colour(frames: np.ndarray) -> np.ndarray:
    count = frames[0].size / 3
    mean = _sums(frames) / count
    square = _sums(np.square(frames, dtype=np.uint16)) / count
    return np.concatenate([mean, np.sqrt(np.maximum(square - mean ** 2, 0.0))], axis=1)


def _motion(stacks: np.ndarray) -> np.ndarray:
    halves = stacks.reshape(len(stacks), 2, -1)  # rows first: the upper half is horizontal
    return np.concatenate([halves.mean(axis=2, dtype=np.float64), halves.std(axis=2, dtype=np.float64)], axis=1)
