"""Log p-values that go on beyond the calibration frames: empirical below a high quantile, exponential above it.

A conformal p-value can't fall below 1/(n + 1), so all that is odder than the oddest calibration frame looks alike. The
excesses over a high quantile are close to a generalised Pareto law (Pickands, "Statistical inference using extreme
order statistics", Ann. Statist. 3 (1975) 119-131); its exponential member takes one number, their mean. The evidence
−ln p is then piecewise linear, grows without bound, and is in the same unit, nats, for every nonconformity.
"""
from __future__ import annotations

import bisect
import math
from typing import Dict, Mapping

import numpy as np

QUANTILE = 0.9  # beyond it p is extrapolated: one frame in ten is enough to fit one number
_COUNTED_TAIL = 0.1  # the share of values that the tail beyond counted ones is fitted on
FEWEST = 10  # calibration values that a tail takes
_PLAIN, _MOST = 4.0, 1e6  # nats: up to the first evidence counts as it is; beyond the second nothing more counts
_APART = 1e-300  # knots nearer to each other than that have a slope between them that is no number
POINTS = 256  # below it, −ln p is interpolated between so many quantiles


def cautious(evidence: float) -> float:
    """Returns −ln p, of which what lies beyond 4 nats counts by its logarithm: e, or 4·(1 + ln(e / 4)); in nats.

    Extrapolated evidence is unbounded, and one odd frame must never be the whole story; yet what is far odder should
    rank above what is odd, and a threshold stay within reach, which under a hard bound they would not.
    """
    return evidence if evidence <= _PLAIN else _PLAIN * (1.0 + math.log(min(evidence, _MOST) / _PLAIN))


class Tail:
    """−ln p of a nonconformity, monotone in it, calibrated on in-distribution values.

    Attributes:
      knots: float64 [K], quantiles of the calibration values, increasing; the last is the threshold u.
      evidence: float64 [K], −ln p at the knots, non-decreasing.
      start: u, where extrapolation begins.
      scale: mean excess over u; beyond it −ln p = evidence[-1] + (α − u)/scale.
    """

    def __init__(self, knots: np.ndarray, evidence: np.ndarray, scale: float):
        if knots.shape != evidence.shape or knots.ndim != 1 or not len(knots) or not scale > 0:
            raise ValueError("tail: knots, evidence and scale don't fit; calibrate the detector again")
        self.knots, self.evidence, self.scale = knots, evidence, float(scale)
        self._knots, self._evidence = knots.tolist(), evidence.tolist()
        self.start, self._top = self._knots[-1], self._evidence[-1]

    @classmethod
    def fit(cls, values: np.ndarray) -> Tail:
        """Returns the tail of finite in-distribution nonconformities [N], N ≥ FEWEST."""
        values = np.sort(np.asarray(values, dtype=np.float64))
        count = len(values)
        if count < FEWEST or not np.isfinite(values).all():
            raise ValueError(f"a tail needs at least {FEWEST} finite calibration values; it was given {count}")
        levels = np.linspace(0.0, QUANTILE, min(POINTS, count))
        knots = np.unique(np.quantile(values, levels))
        knots = knots[np.diff(knots, prepend=-np.inf) > _APART]
        # p = share of frames at least as odd, the frame itself counted among them.
        at_least = count - np.searchsorted(values, knots, side="left")
        excess = values[values > knots[-1]] - knots[-1]
        spread = float(values[-1] - values[0])
        scale = float(excess.mean()) if len(excess) else max(spread, 1e-12)
        return cls(knots, -np.log((at_least + 1.0) / (count + 1.0)), max(scale, 1e-12))

    def log_p(self, values: np.ndarray) -> np.ndarray:
        """Returns −ln p float64 [N] ≥ 0 of nonconformities [N]."""
        values = np.asarray(values, dtype=np.float64)
        inside = np.interp(values, self.knots, self.evidence)
        return inside + np.maximum(values - self.start, 0.0) / self.scale

    def log_p_scalar(self, value: float) -> float:
        """Returns `log_p` of one nonconformity, faster."""
        if value >= self.start:
            return self._top + (value - self.start) / self.scale
        place = bisect.bisect_right(self._knots, value)
        if place == 0:
            return self._evidence[0]
        low, high = self._knots[place - 1], self._knots[place]
        share = (value - low) / (high - low)
        return self._evidence[place - 1] + share * (self._evidence[place] - self._evidence[place - 1])

    def value_at(self, evidence: float) -> float:
        """Returns the lowest nonconformity whose −ln p is at least `evidence`."""
        if evidence > self._top:
            return self.start + (evidence - self._top) * self.scale
        place = int(np.searchsorted(self.evidence, evidence, side="left"))
        if place == 0:
            return self._knots[0]
        low, high = self._evidence[place - 1], self._evidence[place]
        return self._knots[place - 1] + (evidence - low) / (high - low) * (self._knots[place] - self._knots[place - 1])

    def to_arrays(self) -> Dict[str, np.ndarray]:
        return {"knots": self.knots, "evidence": self.evidence, "scale": np.array(self.scale)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Tail:
        return cls(np.asarray(arrays["knots"], np.float64), np.asarray(arrays["evidence"], np.float64),
                   float(arrays["scale"]))


class Counted:
    """−ln p by counting every calibration value; beyond the last tenth it goes on exponentially, as a `Tail` does.

    Exact where a `Tail` interpolates, and as large as its calibration set.

    Args:
      values: in-distribution scores [n], n ≥ 1, in any order.

    Attributes:
      values: ascending.
      start, top: where the tail begins, and −ln p there.
      scale: mean excess over `start`; 0 where there is none, and counting goes on.
    """

    def __init__(self, values: np.ndarray):
        self.values = np.sort(np.asarray(values, np.float64))
        n = len(self.values)
        self.start = float(self.values[n - 1 - int(_COUNTED_TAIL * n)])
        above = self.values[self.values > self.start]
        self.scale = float((above - self.start).mean()) if len(above) else 0.0
        # −ln((how many are at least as large + 1) / (n + 1)), by that many.
        self._evidence = -np.log((np.arange(n + 1) + 1.0) / (n + 1.0))
        self.top = float(self._evidence[len(above)])

    def log_p(self, values: np.ndarray) -> np.ndarray:
        """Returns −ln of the share of calibration values that are at least as large as `values` [N], float64 [N]."""
        counted = self._evidence[len(self.values) - self.values.searchsorted(values)]
        if not self.scale > 0:
            return counted
        beyond = values - self.start
        return np.where(beyond > 0, beyond / self.scale + self.top, counted)
