"""How silent a detector is on benign changes of in-distribution test frames: rows to stand beside the OOD ones.

Frames are changed at the network's own size, as a camera of that size would hand them on: at a larger size most of a
small change is lost on the way down. Sequences are stretches of half a minute, each changed as a whole.
"""
from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from leanood.data import benign, dataset, frames, sequences
from leanood.ood import detector as detector_
from leanood.ood import events
from leanood.workflow import network

FACTOR, SLACK = 2.0, 0.02  # of the frames that alarm unchanged: so much more is no failure
_STRETCH_S = 30.0
_STRETCHES = 12


def rows(detector: detector_.Detector, loaded: network.Network, test: dataset.Dataset, names: Sequence[str],
         promised: Optional[float] = None) -> List[Dict[str, Any]]:
    """Returns one mapping a benign change: `change`, `alarmed` and `usual` (shares of frames), `silent`, ….

    A detector is silent on a change if the share of frames that alarm is at most FACTOR times that of the unchanged
    frames, or SLACK above it; on sequences besides if the alarms raised are not surely more than promised.

    Args:
      detector: its arithmetic.
      loaded: its network.
      test: in-distribution test frames; of sequences all must be readable.
      names: of `benign.NAMES`.
      promised: false alarms an hour, of a detector of sequences.
    """
    if not names:
        return []
    chosen = [np.arange(len(test))]
    if detector.window:
        length = min(int(_STRETCH_S * test.fps), int(np.bincount(np.cumsum(test.starts)).max()))
        chosen = sequences.stretches(test, length, _STRETCHES)
    found = []
    usual = _alarms(detector, loaded, test, chosen, None)
    for name in names:
        alarm, starts = _alarms(detector, loaded, test, chosen, name)
        share, before = float(alarm.mean()), float(usual[0].mean())
        row: Dict[str, Any] = {"change": name, "alarmed": share, "usual": before,
                               "silent": share <= max(FACTOR * before, before + SLACK) + 1e-9}
        if detector.window:
            raised = events.false_alarms(alarm, starts, test.fps)
            row.update(raised=raised.count, per_hour=raised.per_hour, per_hour_low=raised.low,
                       per_hour_high=raised.high)
            row["silent"] = row["silent"] and (promised is None or raised.low <= promised)
        found.append(row)
    return found


def failed(found: Sequence[Mapping[str, Any]]) -> List[str]:
    """Returns "change (share of the frames alarms)" for each row that isn't silent, the loudest first."""
    loud = sorted((row for row in found if not row["silent"]), key=lambda row: -row["alarmed"])
    return [f"{row['change']} ({row['alarmed']:.3f})" for row in loud]


def _alarms(detector: detector_.Detector, loaded: network.Network, test: dataset.Dataset, chosen: List[np.ndarray],
            name: Optional[str]) -> Tuple[np.ndarray, np.ndarray]:
    """Returns which of the chosen frames alarm after a change (None: as they are), and where sequences begin, [N]."""
    what = f"scoring {name or 'test frames'}"
    if not detector.window:
        def change(frame: np.ndarray, i: int) -> np.ndarray:
            return frame if name is None else benign.change(name, frames.resize(frame, loaded.size), i, i)

        alarm = detector.run(loaded.run(test, what, change=change).outputs, None)["alarm"]
        return alarm, np.ones(len(alarm), bool)

    def prepare(job: int) -> np.ndarray:
        images = np.stack([frames.resize(test.read(int(i)), loaded.size) for i in chosen[job]])
        return images if name is None else benign.change_sequence(name, images, job)

    def judge(runner: Any, images: np.ndarray) -> np.ndarray:
        inputs = loaded.inputs(images)
        return detector.run(runner.each(inputs), np.arange(len(inputs)) == 0)["alarm"]

    alarms = list(loaded.map(prepare, judge, list(range(len(chosen))), what))
    return np.concatenate(alarms), np.concatenate([np.arange(len(alarm)) == 0 for alarm in alarms])
