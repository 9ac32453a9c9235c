"""What every score is: fitted on in-distribution outputs, higher for odder frames, stored as plain arrays."""
from __future__ import annotations

import math
from typing import Any, Dict, Mapping, Tuple, Type, TypeVar

import numpy as np

from leanood.ood.scores import inputs

Self = TypeVar("Self", bound="Score")


class Score:
    """A nonconformity score: `fit` on in-distribution outputs, then `score` any.

    A subclass names its constructor's arguments in `OPTIONS` and what `fit` learns in `LEARNED`;
    both are attributes and together they are what `to_arrays` stores.
    """

    OPTIONS: Tuple[str, ...] = ()
    LEARNED: Tuple[str, ...] = ()
    HIGHEST: float = math.inf  # what the score can't exceed, where that is known

    def fit(self: Self, outputs: inputs.Outputs, labels: inputs.Array = None) -> Self:
        """This score with the statistics of in-distribution `outputs` [N, D], and `labels` [N] where it uses them."""
        return self

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """How odd each frame is, float64 [N]; higher = more out-of-distribution."""
        raise NotImplementedError

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return ("logits",)

    def to_arrays(self) -> Dict[str, np.ndarray]:
        """Options and learned statistics as arrays that `numpy.savez` stores without pickling."""
        self.require_fit()
        named = {name: getattr(self, name) for name in self.OPTIONS + self.LEARNED}
        return {name: np.asarray(value) for name, value in named.items() if value is not None}

    @classmethod
    def from_arrays(cls: Type[Self], arrays: Mapping[str, np.ndarray]) -> Self:
        """The score that `to_arrays` described."""
        missing = [name for name in cls.LEARNED if name not in arrays]
        if missing:
            raise ValueError(f"{cls.__name__} needs the arrays {', '.join(missing)}, which are not there")
        score = cls(**{name: _plain(arrays[name]) for name in cls.OPTIONS if name in arrays})
        for name in cls.LEARNED:
            value = np.asarray(arrays[name])
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ValueError(f"{cls.__name__}'s array {name} holds NaN or infinity: the file is damaged")
            setattr(score, name, value)
        return score

    def require_fit(self) -> None:
        """Raises if `fit` has not run on a score that learns."""
        if any(getattr(self, name, None) is None for name in self.LEARNED):
            raise ValueError(f"{type(self).__name__} has no statistics yet: call fit with in-distribution outputs")


def _plain(value: np.ndarray) -> Any:
    value = np.asarray(value)
    return value if value.ndim else value.item()
