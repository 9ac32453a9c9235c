"""Thresholds of the evidence at several scales, for a stated rate of false alarms in the *next* recording. Host only.

Frames of one drive are alike, and drives differ by more than their frames do: thresholds that count frames promise too
much. Here every frame was judged by statistics and tables of the *other* groups: recordings, or blocks of the only one.

Of each scale by itself the highest evidence in every piece of driving (as long as the longest window) is taken, and the
upper tail of these peaks for exponential (peaks over a threshold: Pickands, Ann. Statist. 3 (1975) 119-131). With a
mean excess θ over the level u below the K highest, the *predictive* law of the next excess is P(> x) =
(1 + x / (kθ))^(−k), heavier than the exponential itself the less is known: peaks of one group are half alike, so that K
peaks of G groups are worth k = 2KG / (K + G) independent ones. So

  rate(τ) = C / hours · (1 + (τ − u) / (kθ))^(−k)

with C the times that the evidence rises above u, K at least (extremes come in clusters, of C / K: Leadbetter, "Extremes
and local dependence in stationary sequences", Z. Wahrscheinlichkeitstheorie 65 (1983) 291-306), is solved for the
scale's share of the rate asked for. Shares grow with the square root of the window: what is plainly odd exceeds a short
window's threshold wherever that is, while what is slightly odd for long hangs on the long ones'. They add up to one
(Bonferroni), or to more, as scales alarm together: by how much is counted on the peaks. All are raised together until
the groups themselves raise no more alarms than chance would, at the rate asked for.

Leave-one-group-out as hierarchical conformal prediction has it: Dunn, Wasserman & Ramdas, arXiv 1809.07441; Barber et
al., arXiv 2202.13415. What the promise is worth is *measured*: each group in turn is judged by thresholds that it had
no part in.
"""
from __future__ import annotations

import dataclasses
from typing import NamedTuple, Optional, Sequence, Tuple

import numpy as np

from leanood.ood import events, evidence

_FEWEST = 10  # peaks that the tail rests on, or all but one of them
_SHARE = 6  # of many peaks the highest sixth
_SPREAD = 0.02  # nats: peaks that agree to a hair are not taken to be exact
_CHANCE = 0.9  # two-sided: more alarms than asked for are put down to chance at one in twenty
_STEP = 1.2  # a rate so many times lower is tried where the groups raise more


class Decisive(NamedTuple):
    """The group that raises the thresholds most."""
    frame: int  # its oddest, by the others' thresholds: a place in [0, N)
    raised: float  # τ with it over τ without it, ≥ 1: the geometric mean over the scales


@dataclasses.dataclass(frozen=True)
class ScaleThresholds:
    """A threshold for each scale, and what they rest on."""
    values: Tuple[float, ...]  # τ_s, nats
    per_hour: float  # the false alarms that were asked for
    groups: int
    hours: float  # of in-distribution driving
    left_out: events.FalseAlarms  # alarms in groups that the thresholds, the statistics and the tables hadn't seen
    worst_variant: float  # the same, an hour, of the benign variant with the most; as recorded where there is none
    decisive: Decisive


def choose(scaled: np.ndarray, starts: np.ndarray, groups: np.ndarray, fps: float, per_hour: float,
           variant: Optional[np.ndarray] = None, windows: Sequence[int] = evidence.WINDOWS) -> ScaleThresholds:
    """Returns the thresholds for `per_hour` false alarms an hour.

    Args:
      scaled: evidence at each scale, S_s, [S, N], of `evidence.scaled`; each frame judged without its group.
      starts: bool [N], true on the first frame of each sequence.
      groups: each frame's group, [N]; at least two.
      fps: frames per second, > 0.
      per_hour: false alarms per hour to allow, > 0.
      variant: int [N], 0 where the frame is as recorded; others are benign changes of the same frames: the promise
        is to hold in them too, and their time doesn't count. None: all are as recorded.
      windows: of the S scales, frames.
    """
    scaled, groups = np.asarray(scaled, np.float64), np.asarray(groups)
    starts = np.array(starts, bool)
    variant = np.zeros(len(starts), int) if variant is None else np.asarray(variant)
    if scaled.shape != (len(windows), len(starts)) or not len(starts) == len(groups) == len(variant):
        raise ValueError(f"evidence {list(scaled.shape)} must be [S, N], with {len(windows)} windows, {len(starts)} "
                         f"starts, {len(groups)} groups and {len(variant)} variants")
    if not per_hour > 0:
        raise ValueError(f"thresholds are chosen for a positive false-alarm rate, not {per_hour} per hour")
    if not fps > 0:
        raise ValueError(f"fps must be positive to tell time, not {fps}")
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError("thresholds for the next recording take two groups of in-distribution driving; there is one")
    starts |= np.append(True, (member[1:] != member[:-1]) | (variant[1:] != variant[:-1]))
    parts = [_Group(scaled[:, member == group], starts[member == group], variant[member == group], max(windows))
             for group in range(len(names))]
    share = np.sqrt(windows) / np.sqrt(windows).sum()

    def thresholds(chosen: Sequence[_Group]) -> np.ndarray:
        return _thresholds(chosen, per_hour, share, fps)

    raised = np.zeros(int(variant.max(initial=0)) + 1, int)
    without = np.stack([thresholds(parts[:i] + parts[i + 1:]) for i in range(len(parts))])
    for part, others in zip(parts, without):
        raised += part.alarms(others, len(raised))
    values = thresholds(parts)
    hours = float((variant == 0).sum()) / fps / 3600
    low, high = events.poisson_interval(int(raised[0]))
    return ScaleThresholds(
        values=tuple(values.tolist()), per_hour=per_hour, groups=len(names), hours=hours,
        left_out=events.FalseAlarms(int(raised[0]), hours, raised[0] / hours, low / hours, high / hours),
        worst_variant=float(raised.max()) / hours, decisive=_decisive(scaled, member, values, without))


def _decisive(scaled: np.ndarray, member: np.ndarray, values: np.ndarray, without: np.ndarray) -> Decisive:
    """Returns what raises the thresholds [S] most; without: those without each group, [G, S]."""
    raised = np.exp(np.log(np.maximum(values, _SPREAD) / np.maximum(without, _SPREAD)).mean(axis=1))
    group = int(raised.argmax())
    places = np.flatnonzero(member == group)
    above = (scaled[:, places] / np.maximum(without[group], _SPREAD)[:, np.newaxis]).max(axis=0)
    return Decisive(int(places[above.argmax()]), max(float(raised[group]), 1.0))


class _Group:
    """The evidence of one group's frames, and its peaks.

    Attributes:
      peaks: the highest evidence of each scale in each piece of driving, [S, P].
      frames: as recorded, without the variants.
      copies: how often each is there, variants counted.
      last: the highest number of a variant.
    """

    def __init__(self, scaled: np.ndarray, starts: np.ndarray, variant: np.ndarray, length: int):
        self._scaled, self._starts, self._variant = scaled, starts, variant
        place = np.arange(len(starts))
        age = place - np.maximum.accumulate(np.where(starts, place, 0))
        self.peaks = np.maximum.reduceat(scaled, np.flatnonzero(age % length == 0), axis=1)
        self.frames = int((variant == 0).sum())
        self.copies = len(starts) / max(self.frames, 1)
        self.last = int(variant.max(initial=0))

    def rises(self, levels: np.ndarray) -> np.ndarray:
        """Returns how often the evidence at each scale rises above its level, int64 [S]."""
        above = self._scaled > levels[:, np.newaxis]
        before = np.roll(above, 1, axis=1) & ~self._starts
        return np.count_nonzero(above & ~before, axis=1)

    def alarms(self, thresholds: np.ndarray, variants: int) -> np.ndarray:
        """Returns how often the alarm is raised in each variant, int64 [variants]."""
        if not (self.peaks > thresholds[:, np.newaxis]).any():
            return np.zeros(variants, int)
        raised = events.crossings((self._scaled > thresholds[:, np.newaxis]).any(axis=0), self._starts)
        return np.bincount(self._variant[raised], minlength=variants)


def _thresholds(parts: Sequence[_Group], per_hour: float, share: np.ndarray, fps: float) -> np.ndarray:
    """Returns τ [S] for so many false alarms an hour, of which each scale has its share [S]."""
    peaks = np.concatenate([part.peaks for part in parts], axis=1)
    member = np.repeat(np.arange(len(parts)), [part.peaks.shape[1] for part in parts])
    frames = sum(part.frames for part in parts)
    hours, copies = frames / fps / 3600, sum(part.copies * part.frames for part in parts) / max(frames, 1)
    count = round(copies * max(_FEWEST, peaks.shape[1] / copies / _SHARE))
    count = min(count, peaks.shape[1] - 1)
    if count < 1:
        return peaks[:, 0]
    variants = 1 + max(part.last for part in parts)

    tails = [_Tail.fit(scale_peaks, member, count, copies) for scale_peaks in peaks]
    # Scales overlap: of what they would count apart, the family counts so much.
    apart = np.min([tail.share(scale_peaks) / part for tail, scale_peaks, part in zip(tails, peaks, share)], axis=0)
    overlap = max(float((apart <= 1).sum()) / count, 1 / len(share))
    levels = np.array([tail.level for tail in tails])
    rises = np.maximum(sum(part.rises(levels) for part in parts), count) / copies / hours
    rate = per_hour / overlap
    while True:
        thresholds = np.array([tail.threshold(often / (rate * part))
                               for tail, often, part in zip(tails, rises, share)])
        raised = int(sum(part.alarms(thresholds, variants) for part in parts).max())  # type: ignore[union-attr]
        if events.poisson_interval(raised, _CHANCE)[0] <= per_hour * hours:
            return thresholds
        rate /= _STEP


class _Tail(NamedTuple):
    """The upper tail of one scale's peaks."""

    level: float  # u, nats
    excess: float  # θ, the mean of what lies beyond it
    known: float  # k, the independent peaks that it rests on

    @classmethod
    def fit(cls, peaks: np.ndarray, member: np.ndarray, count: int, copies: float) -> _Tail:
        """Returns the tail of the `count` highest peaks [P], of which there are `copies`; member [P]: their groups."""
        falling = np.argsort(-peaks, kind="stable")
        level = float(peaks[falling[count]])
        excess = max(float(peaks[falling[:count]].mean()) - level, _SPREAD)
        return cls(level, excess, 2 / (copies / count + 1 / len(np.unique(member[falling[:count]]))))

    def threshold(self, rarer: float) -> float:
        """Returns what is exceeded so many times more rarely than the level."""
        return self.level + self.excess * self.known * (max(rarer, 1.0) ** (1 / self.known) - 1)

    def share(self, peaks: np.ndarray) -> np.ndarray:
        """Returns how much of what exceeds the level exceeds these peaks too, [P]; infinite below it."""
        beyond = np.maximum(peaks - self.level, 0.0) / (self.known * self.excess)
        return np.where(peaks > self.level, (1 + beyond) ** -self.known, np.inf)
