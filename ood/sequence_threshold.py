"""A sequence's alarm threshold for a stated rate of false alarms, extrapolated where validation is short. On the host.

False alarms are upward crossings of τ by S in in-distribution driving. Where validation is long enough to hold ten of
them at the stated rate, τ is the level that lets no more through. Where it is shorter, the tail is extrapolated: S is a
random walk reflected at zero, whose excursions from zero have peaks with an exponential tail (Iglehart, "Extreme values
in the GI/G/1 queue", Annals of Math. Statistics 1972). So above a level u, crossings become rarer as
  rate(τ) = crossings(u) / hours · exp(−(τ − u) / scale),   scale = mean excess over u of the peaks beyond it.
It never goes below a level that validation itself crossed more often than stated.

For single images see `image_threshold`.
"""
from __future__ import annotations

import dataclasses
import math
from typing import Tuple

import numpy as np

from leanood.ood import events

_LAST_RESORT = 0.99  # of the highest score there is
_COUNTABLE = 10  # so many expected crossings are counted, not extrapolated: ±30%
_FEWEST_PEAKS = 5


@dataclasses.dataclass(frozen=True)
class AlarmThreshold:
    """A threshold and what it rests on."""
    value: float  # τ: the alarm is on where S > τ
    per_hour: float  # the false alarms that were asked for
    hours: float  # of in-distribution validation
    crossings: int  # of τ, seen in it
    low: float  # exact 95% Poisson interval of those, per hour
    high: float
    extrapolated: bool
    expected: float  # false alarms per hour that the tail promises at τ; where it was counted, those seen
    expected_low: float  # 95% interval of the promise, from the numbers of crossings and peaks behind it
    expected_high: float
    peaks: int  # peaks that the tail rests on; 0 where nothing was extrapolated
    scale: float  # mean excess of the tail, nats; 0 where nothing was extrapolated
    warning: str  # one sentence where the promise rests on little, else empty


def choose(score: np.ndarray, starts: np.ndarray, fps: float, per_hour: float) -> AlarmThreshold:
    """Returns the threshold for `per_hour` false alarms an hour.

    Args:
      score: S on in-distribution validation sequences, [N], finite.
      starts: bool [N], true on the first frame of each sequence.
      fps: frames per second, > 0.
      per_hour: false alarms per hour to allow, > 0.
    """
    score = np.asarray(score, dtype=np.float64)
    if not per_hour > 0:
        raise ValueError(f"a threshold is chosen for a positive false-alarm rate, not {per_hour} per hour")
    if not fps > 0:
        raise ValueError(f"fps must be positive to tell time, not {fps}")
    if not score.size or not np.isfinite(score).all():
        raise ValueError("a threshold needs the finite scores of in-distribution validation sequences")
    hours = len(score) / fps / 3600
    allowed = per_hour * hours
    counted = _counted(score, starts, allowed)
    if allowed >= _COUNTABLE:
        count = int(events.crossings(score > counted, starts).sum())
        low, high = (bound / hours for bound in events.poisson_interval(count))
        return AlarmThreshold(counted, per_hour, hours, count, low, high, extrapolated=False, expected=count / hours,
                              expected_low=low, expected_high=high, peaks=0, scale=0.0, warning="")
    level, scale, peaks = _tail(score, starts)
    beyond = max(int(events.crossings(score > level, starts).sum()), 1)
    value = max(counted, level + scale * math.log(max(beyond / allowed, 1.0)))
    distance = (value - level) / scale
    expected = beyond / hours * math.exp(-distance)
    # ln(rate) errs by the count's 1/√beyond and the scale's distance/√peaks.
    spread = math.exp(1.96 * math.sqrt(1 / beyond + distance ** 2 / max(peaks, 1)))
    warning = "" if peaks >= _FEWEST_PEAKS else (
        f"the score left zero {peaks} times in {60 * hours:.1f} minutes of in-distribution validation: too little to "
        "tell how often it would reach the threshold; validate on more")
    count = int(events.crossings(score > value, starts).sum())
    low, high = (bound / hours for bound in events.poisson_interval(count))
    return AlarmThreshold(value, per_hour, hours, count, low, high, extrapolated=True, expected=expected,
                          expected_low=expected / spread, expected_high=expected * spread, peaks=peaks, scale=scale,
                          warning=warning)


def within_reach(threshold: float, highest: float, largest: float) -> float:
    """Returns the threshold, lowered to between what was seen and what the score can reach, where it lies beyond.

    Extrapolated from too little driving it can come to lie where the score never gets: such an alarm never sounds.

    Args:
      threshold: τ.
      highest: what the score can't exceed; it may be infinite.
      largest: score seen in in-distribution driving.
    """
    if threshold < highest:
        return threshold
    return (largest + highest) / 2 if largest < highest else highest * _LAST_RESORT


def peaks_of(score: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns the peak of each excursion of S above zero, [K]; a sequence's end ends an excursion."""
    score = np.asarray(score, dtype=np.float64)
    inside = score > 0
    begins = events.crossings(inside, starts)
    peaks = np.zeros(int(begins.sum()))
    np.maximum.at(peaks, np.cumsum(begins)[inside] - 1, score[inside])
    return peaks


def _tail(score: np.ndarray, starts: np.ndarray) -> Tuple[float, float, int]:
    """Returns the level u, the scale above it and the number of peaks beyond u: the top quarter, at least ten."""
    peaks = np.sort(peaks_of(score, starts))[::-1]
    count = min(len(peaks), max(2 * _FEWEST_PEAKS, len(peaks) // 4))
    level = float(peaks[count]) if count < len(peaks) else 0.0
    scale = float(np.mean(peaks[:count]) - level) if count else 0.0
    if count < _FEWEST_PEAKS:
        scale = max(scale, 1.0)  # of valid independent p-values P(M ≥ e^s) ≤ e^(−s): a scale of one nat at most
    return level, max(scale, 1e-9), count


def _counted(score: np.ndarray, starts: np.ndarray, allowed: float) -> float:
    """Returns the lowest τ from which on no level is crossed more than `allowed` times."""
    before = np.append(0.0, score[:-1])
    before[np.asarray(starts, dtype=bool)] = 0.0
    rises = score > before
    levels = np.unique(np.append(score, 0.0))
    # A rise from a to b crosses the levels in [a, b).
    count = np.searchsorted(np.sort(before[rises]), levels, "right") \
        - np.searchsorted(np.sort(score[rises]), levels, "right")
    too_many = np.flatnonzero(count > allowed)
    return float(levels[too_many[-1] + 1]) if len(too_many) else 0.0
