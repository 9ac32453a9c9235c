"""Thresholds of the evidence at several scales, for a stated rate of false alarms in the *next* recording. Host only.

Frames of one drive are alike, and drives differ by more than their frames do: thresholds that count frames promise too
much. Here the unit is a group that was left out whole: a recording, or a block of the only one. Its evidence is judged
by statistics and tables of the other groups; what counts of it is the highest that each scale reached. In units of the
groups' own spread, S_s = m_s + y·d_s (m_s, d_s: mean and standard deviation over groups of the highest), the scales
are comparable, and one number per group is left, the highest y of any scale. Its upper tail is taken for exponential
(Pickands, Ann. Statist. 3 (1975) 119-131). The k highest groups estimate it, with a mean excess θ over the level u
below them; the *predictive* law of the next excess is then P(> x) = (1 + x / (kθ))^(−k), heavier than the exponential
itself the fewer groups there are. So

  rate(y) = groups an hour · c · k/K · (1 + (y − u) / (kθ))^(−k),

where c is the number of times that an alarm at u is raised in a group that has any (alarms come in clusters). Solved
for the rate asked for it gives one y, and with it one threshold a scale, for the family of scales together. It is never
so low that the groups themselves raise more alarms than asked for.

Leave-one-group-out as hierarchical conformal prediction has it: Dunn, Wasserman & Ramdas, arXiv 1809.07441; Barber et
al., arXiv 2202.13415. What the promise is worth is *measured*: each group in turn is judged by thresholds that it had
no part in.
"""
from __future__ import annotations

import dataclasses
from typing import Optional, Sequence, Tuple

import numpy as np

from leanood.ood import events

_FEWEST = 5  # groups that the tail rests on, or all but one of them
_SHARE = 4  # of many groups the highest quarter
_SPREAD = 0.05  # nats: groups that agree to a hair are not taken to be exact


@dataclasses.dataclass(frozen=True)
class ScaleThresholds:
    """A threshold for each scale, and what they rest on."""
    values: Tuple[float, ...]  # τ_s, nats
    per_hour: float  # the false alarms that were asked for
    groups: int
    hours: float  # of in-distribution driving
    left_out: events.FalseAlarms  # alarms in groups that the thresholds, the statistics and the tables hadn't seen
    worst_variant: float  # the same, an hour, of the benign variant with the most; as recorded where there is none


def choose(scaled: np.ndarray, starts: np.ndarray, groups: np.ndarray, fps: float, per_hour: float,
           variant: Optional[np.ndarray] = None) -> ScaleThresholds:
    """Returns the thresholds for `per_hour` false alarms an hour.

    Args:
      scaled: evidence at each scale, S_s, [S, N], of `evidence.scaled`; each frame judged without its group.
      starts: bool [N], true on the first frame of each sequence.
      groups: each frame's group, [N]; at least two.
      fps: frames per second, > 0.
      per_hour: false alarms per hour to allow, > 0.
      variant: int [N], 0 where the frame is as recorded; others are benign changes of the same frames: the promise
        is to hold in each, and their time doesn't count. None: all are as recorded.
    """
    scaled, groups = np.asarray(scaled, np.float64), np.asarray(groups)
    starts = np.array(starts, bool)
    variant = np.zeros(len(starts), int) if variant is None else np.asarray(variant)
    if scaled.ndim != 2 or not scaled.shape[1] == len(starts) == len(groups) == len(variant):
        raise ValueError(f"evidence {list(scaled.shape)} must be [S, N], with {len(starts)} starts, {len(groups)} "
                         f"groups and {len(variant)} variants")
    if not per_hour > 0:
        raise ValueError(f"thresholds are chosen for a positive false-alarm rate, not {per_hour} per hour")
    if not fps > 0:
        raise ValueError(f"fps must be positive to tell time, not {fps}")
    names, member = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError("thresholds for the next recording take two groups of in-distribution driving; there is one")
    starts |= np.append(True, (member[1:] != member[:-1]) | (variant[1:] != variant[:-1]))
    parts = [_Group(scaled[:, member == one], starts[member == one], variant[member == one])
             for one in range(len(names))]
    seconds = np.bincount(member[variant == 0], minlength=len(names)) / fps
    per_group = per_hour * float(seconds.mean()) / 3600
    raised = np.zeros(int(variant.max(initial=0)) + 1, int)
    for i, part in enumerate(parts):
        raised += part.alarms(_thresholds(parts[:i] + parts[i + 1:], per_group), len(raised))
    hours = float(seconds.sum()) / 3600
    low, high = events.poisson_interval(int(raised[0]))
    return ScaleThresholds(
        values=tuple(_thresholds(parts, per_group).tolist()), per_hour=per_hour, groups=len(names), hours=hours,
        left_out=events.FalseAlarms(int(raised[0]), hours, raised[0] / hours, low / hours, high / hours),
        worst_variant=float(raised.max()) / hours)


class _Group:
    """The evidence of one group's frames; `highest`, of each scale, [S]."""

    def __init__(self, scaled: np.ndarray, starts: np.ndarray, variant: np.ndarray):
        self._scaled, self._starts, self._variant = scaled, starts, variant
        self.highest = scaled.max(axis=1)

    def alarms(self, thresholds: np.ndarray, variants: int) -> np.ndarray:
        """Returns how often the alarm is raised in each variant, int64 [variants]."""
        if not (self.highest > thresholds).any():
            return np.zeros(variants, int)
        raised = events.crossings((self._scaled > thresholds[:, np.newaxis]).any(axis=0), self._starts)
        return np.bincount(self._variant[raised], minlength=variants)


def _thresholds(parts: Sequence[_Group], per_group: float) -> np.ndarray:
    """Returns τ [S] for so many false alarms a group."""
    highest = np.stack([part.highest for part in parts])
    if len(parts) < 2:
        return highest[0]
    centre, spread = highest.mean(axis=0), np.maximum(highest.std(axis=0, ddof=1), _SPREAD)
    units = ((highest - centre) / spread).max(axis=1)
    falling = np.sort(units)[::-1]
    count = min(max(_FEWEST, len(units) // _SHARE), len(units) - 1)
    level = falling[count]
    excess = float((falling[:count] - level).mean())

    def alarms(y: float) -> int:
        return sum(int(part.alarms(centre + spread * y, 1).max()) for part in parts)

    cluster = max(alarms(level) / count, 1.0)
    rarer = max(cluster * count / len(units) / per_group, 1.0)
    y = level + excess * count * (rarer ** (1 / count) - 1)
    for higher in falling[falling > y][::-1]:
        if alarms(y) <= per_group * len(parts):
            break
        y = higher
    return centre + spread * y
