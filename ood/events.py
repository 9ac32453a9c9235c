"""Alarms as events on sequences: false alarms per hour, detection delay, hit rate. Runs on the host."""
from __future__ import annotations

import dataclasses
from typing import List, Optional, Tuple

import numpy as np
from scipy import special


@dataclasses.dataclass(frozen=True)
class FalseAlarms:
    """False alarms in in-distribution driving."""
    count: int
    hours: float
    per_hour: float
    low: float  # ends of the exact Poisson interval, per hour
    high: float


@dataclasses.dataclass(frozen=True)
class Detections:
    """What became of the sequences that turn OOD, one entry each."""
    hit: np.ndarray  # bool [S]: an alarm while OOD
    delay: np.ndarray  # int64 [S], frames from onset to the alarm; the sequence's length where it was missed
    already: np.ndarray  # bool [S]: the alarm was on before onset, by a false alarm: a hit with delay 0
    fps: float

    @property
    def hit_rate(self) -> float:
        """Share of the sequences that were detected."""
        return float(self.hit.mean())

    @property
    def median_delay(self) -> float:
        """Frames; a miss counts as its sequence's length."""
        return float(np.median(self.delay))

    @property
    def mean_delay(self) -> float:
        """Frames; a miss counts as its sequence's length."""
        return float(self.delay.mean())

    @property
    def median_delay_seconds(self) -> float:
        """Seconds; a miss counts as its sequence's length."""
        return self.median_delay / self.fps


def crossings(alarm: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Returns which frames raise the alarm, bool [N]: it is on, and was off or not yet begun on the frame before.

    Args:
      alarm: bool [N], score > threshold (or invalid).
      starts: bool [N], true on the first frame of each sequence.
    """
    alarm, starts = _flags(alarm, starts)
    before = np.append(False, alarm[:-1])
    return alarm & (starts | ~before)


def false_alarms(alarm: np.ndarray, starts: np.ndarray, fps: float, ood: Optional[np.ndarray] = None,
                 confidence: float = 0.95) -> FalseAlarms:
    """Returns the count of upward crossings in in-distribution time with its exact Poisson (Garwood) interval.

    Args:
      alarm: bool [N], score > threshold (or invalid).
      starts: bool [N], true on the first frame of each sequence.
      fps: frames per second, > 0.
      ood: bool [N]; from a sequence's first OOD frame on neither alarms nor time are counted. None: all frames are ID.
      confidence: of the two-sided interval.
    """
    raised = crossings(alarm, starts)
    counted = np.ones(len(raised), dtype=bool)
    if ood is not None:
        ood, starts = _flags(ood, starts)
        for begin, end in _sequences(starts):
            counted[begin:end] = ~np.logical_or.accumulate(ood[begin:end])
    hours = _hours(int(counted.sum()), fps)
    if not hours:
        raise ValueError("there is no in-distribution time to count false alarms in")
    count = int(np.count_nonzero(raised & counted))
    low, high = poisson_interval(count, confidence)
    return FalseAlarms(count, hours, count / hours, low / hours, high / hours)


def poisson_interval(count: int, confidence: float = 0.95) -> Tuple[float, float]:
    """Returns the exact two-sided interval of a Poisson mean of which `count` was seen (Garwood, Biometrika 1936)."""
    tail = (1 - confidence) / 2
    low = float(special.gammaincinv(count, tail)) if count else 0.0
    return low, float(special.gammaincinv(count + 1, 1 - tail))


def detections(alarm: np.ndarray, starts: np.ndarray, ood: np.ndarray, fps: float) -> Detections:
    """Returns hits and delays of the sequences that turn OOD; others are left out.

    A sequence is detected by an alarm on one of the frames of its first OOD stretch; an alarm after that is a miss.

    Args:
      alarm: bool [N], score > threshold (or invalid).
      starts: bool [N], true on the first frame of each sequence.
      ood: bool [N], which frames are OOD.
      fps: frames per second, > 0.
    """
    _hours(0, fps)
    alarm, starts = _flags(alarm, starts)
    ood, starts = _flags(ood, starts)
    hit, delay, already = [], [], []
    for begin, end in _sequences(starts):
        turned = ood[begin:end]
        if not turned.any():
            continue
        onset = int(np.argmax(turned))
        stretch = alarm[begin + onset:end][np.logical_and.accumulate(turned[onset:])]
        hit.append(bool(stretch.any()))
        delay.append(int(np.argmax(stretch)) if stretch.any() else end - begin)
        already.append(bool(stretch[0] and onset and alarm[begin + onset - 1]))
    if not hit:
        raise ValueError("no sequence turns OOD: there is nothing to detect")
    return Detections(np.array(hit), np.array(delay, dtype=np.int64), np.array(already), fps)


def _flags(values: np.ndarray, starts: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    values, starts = np.asarray(values, dtype=bool), np.array(starts, dtype=bool)
    if values.ndim != 1 or values.shape != starts.shape:
        raise ValueError(f"one flag a frame is needed, of one shape [N]: {values.shape} and starts {starts.shape}")
    starts[:1] = True
    return values, starts


def _sequences(starts: np.ndarray) -> List[Tuple[int, int]]:
    begins = np.flatnonzero(starts).tolist()
    return list(zip(begins, begins[1:] + [len(starts)]))


def _hours(frames: int, fps: float) -> float:
    if not fps > 0:
        raise ValueError(f"fps must be positive to tell time, not {fps}")
    return frames / fps / 3600
