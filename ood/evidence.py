"""Evidence at several scales: how odd the last 5, 10, …, 160 frames were on average, each scale with its own threshold.

A short window sees what is plainly odd at once; a long one sees what is slightly odd for long, which a short one can't
tell from chance. With e_t = −ln p_t a frame's evidence, in nats, the evidence at scale s is

  S_s(t) = min(mean of the last s of e, mean of the last ⌈s/16⌉ of e),

that is, a window counts only as far as its most recent sixteenth agrees: so an alarm ends within s/16 frames, ten at
the longest scale, of the end of its cause, although the window remembers it for longer. (Of motion it is an eighth:
what shakes or stutters is ordinary now and then.) The score is S = max_s S_s / τ_s, and the alarm is on above 1. A bank
of windows instead of one: Lai, "Sequential change-point detection in quality control and dynamical systems", J. Royal
Statistical Society B 57 (1995) 613-658, section 3; on evidence from p-values as in Shin, Ramdas & Rinaldo,
"E-detectors", arXiv 2203.03532.

Sums are kept in whole units of 2⁻²⁰ nats: they are exact, so that frame by frame and whole sequences agree to the last
bit, nothing drifts, and a sequence can be resumed from its last 160 frames.
"""
from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple

import numpy as np

WINDOWS = (5, 10, 20, 40, 80, 160)  # frames; a quarter of a second to eight seconds at 20 frames/s
SHARE = 16  # the part of a window that has to agree is 1/16, unless the nonconformity says otherwise
ORDINARY = 1.0  # nats: what −ln p is on average in-distribution, and what frames before a sequence's first count as
_UNIT = 1 << 20  # a nat
_MOST = 1e6  # nats a frame: sums stay below 2⁵³ units, which floats still hold exactly


class Scales:
    """The last frames' evidence of one sequence at each scale; every frame costs the same.

    Args:
      windows: numbers of frames, ascending, ≥ 1.
      thresholds: τ of each, in nats, > 0; infinite: this scale never alarms.
      latest: of each window the most recent frames that have to agree with the whole; None: as `latest_of`.
    """

    def __init__(self, windows: Sequence[int], thresholds: Sequence[float], latest: Optional[Sequence[int]] = None):
        self.windows, self.thresholds, self.latest = check(windows, thresholds, latest)
        self.memory = max(self.windows)  # frames: older ones play no part
        lengths = sorted({*self.windows, *self.latest})
        # Each length's sum is a plain integer: faster than NumPy for so few.
        self._lengths = lengths
        self._weights = [1.0 / (length * _UNIT) for length in lengths]
        self._pairs = [(lengths.index(window), lengths.index(part), threshold)
                       for window, part, threshold in zip(self.windows, self.latest, self.thresholds)]
        self._ring = [0] * self.memory
        self._sums = [0] * len(lengths)
        self.reset()

    def reset(self) -> None:
        """Begins a new sequence: as after ordinary frames."""
        self._ring[:] = [_units(ORDINARY)] * self.memory
        self._sums[:] = [length * _units(ORDINARY) for length in self._lengths]
        self._next = 0

    def push(self, evidence: float) -> float:
        """Takes the next frame's evidence −ln p, in nats, ≥ 0; returns the score, the largest S_s / τ_s."""
        ring, sums, place = self._ring, self._sums, self._next
        new = _units(evidence)
        for i, length in enumerate(self._lengths):
            sums[i] += new - ring[place - length]  # a negative place counts from the ring's end
        ring[place] = new
        self._next = place + 1 if place + 1 < self.memory else 0
        means = [total * weight for total, weight in zip(sums, self._weights)]
        score = 0.0
        for window, part, threshold in self._pairs:
            mean = means[window] if means[window] < means[part] else means[part]
            if mean / threshold > score:
                score = mean / threshold
        return score

    def scaled(self, evidence: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Returns the evidence of whole sequences at these scales, in nats, float64 [S, N]; see the function."""
        return scaled(evidence, starts, self.windows, self.latest)


def of(p: np.ndarray) -> np.ndarray:
    """Returns the evidence −ln p, in nats, float64 [N], of p-values in (0, 1], [N], as `Scales` is given it."""
    return np.array([-math.log(value) for value in p.tolist()])  # NumPy's logarithm rounds otherwise


def scores(evidence: np.ndarray, starts: np.ndarray, windows: Sequence[int], thresholds: Sequence[float],
           latest: Optional[Sequence[int]] = None) -> np.ndarray:
    """Returns what `Scales` says of each frame of whole sequences, the largest S_s / τ_s, float64 [N].

    Args:
      evidence: −ln p of each frame, in nats, ≥ 0, [N].
      starts: bool [N], true on the first frame of each sequence.
      windows, thresholds, latest: as of `Scales`.
    """
    windows, thresholds, latest = check(windows, thresholds, latest)
    return (scaled(evidence, starts, windows, latest) / np.array(thresholds)[:, np.newaxis]).max(axis=0)


def scaled(evidence: np.ndarray, starts: np.ndarray, windows: Sequence[int] = WINDOWS,
           latest: Optional[Sequence[int]] = None) -> np.ndarray:
    """Returns the evidence at each scale, S_s, in nats, float64 [S, N]; arguments as of `scores`."""
    evidence = np.asarray(evidence, dtype=np.float64)
    starts = np.array(starts, dtype=bool)
    if evidence.ndim != 1 or starts.shape != evidence.shape:
        raise ValueError(f"evidence {list(evidence.shape)} and starts {list(starts.shape)} must both be [N]")
    if evidence.size and not evidence.min() >= 0:
        raise ValueError("evidence is −ln p of a p-value: it must be a number and not negative")
    starts[:1] = True
    units = np.floor(np.minimum(evidence, _MOST) * _UNIT + 0.5).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(units)])
    after = np.arange(1, len(units) + 1)
    begin = np.maximum.accumulate(np.where(starts, after - 1, 0))
    agreeing = [latest_of(window) for window in windows] if latest is None else latest
    means = {}
    for length in {*windows, *agreeing}:
        before = np.maximum(after - length, begin)
        absent = length - (after - before)
        means[length] = (total[after] - total[before] + absent * _units(ORDINARY)) * (1.0 / (length * _UNIT))
    return np.stack([np.minimum(means[window], means[part]) for window, part in zip(windows, agreeing)])


def latest_of(window: int, share: int = SHARE) -> int:
    """Returns the number of most recent frames, of a window's, that have to agree with the whole: ⌈window / share⌉."""
    return -(-window // share)


def check(windows: Optional[Sequence[int]], thresholds: Optional[Sequence[float]],
          latest: Optional[Sequence[int]] = None) -> Tuple[List[int], List[float], List[int]]:
    """Returns windows, thresholds and latest as lists; raises ValueError unless they fit each other."""
    windows, thresholds = list(windows or ()), [float(threshold) for threshold in thresholds or ()]
    if not windows or any(type(window) is not int or not 1 <= window <= 1 << 12 for window in windows) \
            or windows != sorted(set(windows)):
        raise ValueError(f"the scales' windows are numbers of frames from 1 to 4096, ascending, not {windows}")
    if len(thresholds) != len(windows) or not all(threshold > 0 for threshold in thresholds):
        raise ValueError(f"{len(windows)} scales need as many positive thresholds, not {thresholds}")
    latest = [latest_of(window) for window in windows] if latest is None else list(latest)
    if len(latest) != len(windows) or any(type(part) is not int or not 1 <= part <= window
                                          for part, window in zip(latest, windows)):
        raise ValueError(f"of windows of {windows} frames as many latest parts have to agree, not {latest}")
    return windows, thresholds, latest


def _units(evidence: float) -> int:
    return math.floor((evidence if evidence < _MOST else _MOST) * _UNIT + 0.5)
