"""What a calibrated detector will alarm on and what it won't: of each built-in kind the mildest severity that alarms.

Seen on validation frames: of driving, stretches that are corrupted throughout, all of which must alarm; of images, the
frames, of which half must be flagged.
"""
from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from leanood.data import corruptions, dataset, sequences, spread
from leanood.ood import detector as detector_
from leanood.workflow import network

RATES = {"low": (0.3, 0.01), "normal": (3.0, 0.05), "high": (30.0, 0.15)}  # false alarms an hour, images flagged
SEVERITIES = (1, 3, 5)
_STRETCH_S = 10.0
_STRETCHES = 2
_IMAGES = 40


class Mildest(NamedTuple):
    """The mildest severity of one kind of corruption that alarms."""

    kind: str
    severity: Optional[int]  # the mildest that alarms; None: none of SEVERITIES does
    delay_s: Optional[float]  # of driving: median time to the alarm at that severity


def rates(word: str) -> Tuple[float, float]:
    """Returns (false alarms an hour, share of images flagged) of "low", "normal" or "high" sensitivity."""
    if word not in RATES:
        raise ValueError(f"sensitivity is {word!r}; it can be {', '.join(RATES)}")
    return RATES[word]


def find(detector: detector_.Detector, loaded: network.Network, validation: dataset.Dataset,
         kinds: Sequence[str] = corruptions.NAMES) -> List[Mildest]:
    """Returns for each kind the mildest severity that alarms.

    Args:
      detector: calibrated, with its threshold.
      loaded: its network.
      validation: frames that are in distribution.
      kinds: of sequences.NAMES; "frozen" is left out of single images.
    """
    mildest: Dict[str, Mildest] = {}
    left = [kind for kind in kinds if detector.window or kind != "frozen"]
    for severity in SEVERITIES:
        outside = [kind for kind in left if sequences.outside_id(kind, severity, validation.partition_kind)]
        delays = _delays(detector, loaded, validation, outside, severity)
        for kind, delay in zip(outside, delays):
            if delay is not None:
                mildest[kind] = Mildest(kind, severity, delay / validation.fps if detector.window else None)
        left = [kind for kind in left if kind not in mildest]
    return [mildest.get(kind, Mildest(kind, None, None)) for kind in kinds if detector.window or kind != "frozen"]


def table(alarms: Sequence[Mildest]) -> Tuple[List[List[Any]], List[str]]:
    """Returns rows and headers of the list for a person, what is found at the mildest severity first."""
    order = sorted(alarms, key=lambda alarm: (alarm.severity or 9, alarm.delay_s or 0.0))
    rows: List[List[Any]] = []
    for alarm in order:
        if alarm.severity is None:
            rows.append([alarm.kind, "won't alarm", ""])
        else:
            rows.append([alarm.kind, f"will alarm from severity {alarm.severity}",
                         "" if alarm.delay_s is None else f"{alarm.delay_s:.1f} s"])
    return rows, ["seen on validation", "", "after"]


def _delays(detector: detector_.Detector, loaded: network.Network, validation: dataset.Dataset, kinds: Sequence[str],
            severity: int) -> List[Optional[float]]:
    """Returns each kind's median delay in frames (0 of images), or None where not every stretch alarms."""
    if detector.window:
        longest = int(np.bincount(np.cumsum(validation.starts)).max())
        length = min(int(_STRETCH_S * validation.fps), longest)
        places = sequences.stretches(validation, length, _STRETCHES)
    else:
        chosen = spread.evenly(len(validation), _IMAGES)
        places = [np.array([i]) for i in chosen]

    def judge(runner: Any, prepared: Tuple[np.ndarray, np.ndarray]) -> Optional[int]:
        images, ood = prepared
        alarm = detector.run(runner.each(images), np.arange(len(images)) == 0)["alarm"][np.argmax(ood):]
        return int(np.argmax(alarm)) if alarm.any() else None

    jobs = [(where, kind, severity, "all", seed) for kind in kinds for seed, where in enumerate(places)]
    judged = list(loaded.map(lambda job: sequences.corrupted(validation, *job, loaded.takes), judge, jobs,
                             f"what will alarm: severity {severity}"))
    delays: List[Optional[float]] = []
    for i in range(len(kinds)):
        of_kind = judged[i * len(places):(i + 1) * len(places)]
        hits = [delay for delay in of_kind if delay is not None]
        enough = len(hits) == len(of_kind) if detector.window else 2 * len(hits) >= len(of_kind)
        delays.append(float(np.median(hits)) if hits and enough else None)
    return delays
