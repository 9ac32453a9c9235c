"""How silent a detector is on benign changes of in-distribution test frames: rows to stand beside the OOD ones.

Frames are changed at the network's own size, as a camera of that size would hand them on: at a larger size most of a
small change is lost on the way down. Sequences are stretches of half a minute, each changed as a whole.
"""
from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.data import benign, dataset, frames, sequences
from leanood.ood import detector as detector_
from leanood.ood import events
from leanood.workflow import network

FACTOR, SLACK = 2.0, 0.02  # of the frames that alarm unchanged: so much more is no failure
_STRETCH_S = 30.0
_STRETCHES = 6
_Change = Callable[[np.ndarray, int], np.ndarray]


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
    unchanged = detector.run(*changed(loaded, test, None, bool(detector.window)))["alarm"]
    return [row(detector, name, *changed(loaded, test, name, bool(detector.window)), unchanged, test.fps, promised)
            for name in names]


def changed(loaded: network.Network, test: dataset.Dataset, name: Union[None, str, _Change],
            ordered: bool) -> Tuple[network.Outputs, Optional[np.ndarray]]:
    """Returns the network's outputs on test frames after a benign change, and where sequences begin (None: images).

    Args:
      loaded: the network.
      test: in-distribution frames.
      name: of `benign.NAMES`, or a function that gives a changed frame, uint8 [H, W, 3], of a frame and its number;
        None: the same frames as they are.
      ordered: whether stretches of driving are changed as a whole, or frames one by one.
    """
    what = f"scoring {getattr(name, '__name__', name) or 'test frames'}"
    if not ordered:
        def change(frame: np.ndarray, i: int) -> np.ndarray:
            if name is None:
                return frame
            resized = frames.resize(frame, loaded.size)
            return benign.change(name, resized, i, i) if isinstance(name, str) else name(resized, i)

        return loaded.run(test, what, change=change).outputs, None
    length = min(int(_STRETCH_S * test.fps), int(np.bincount(np.cumsum(test.starts)).max()))
    chosen = sequences.stretches(test, length, _STRETCHES)

    def prepare(job: int) -> np.ndarray:
        images = np.stack([frames.resize(test.read(int(i)), loaded.size) for i in chosen[job]])
        if name is None:
            return images
        if isinstance(name, str):
            return benign.change_sequence(name, images, job)
        return np.stack([name(frame, i) for i, frame in enumerate(images)])

    parts = list(loaded.map(prepare, lambda runner, images: runner.each(loaded.inputs(images)),
                            list(range(len(chosen))), what))
    outputs = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    count = len(next(iter(outputs.values())))  # stacks of motion are fewer than frames
    return outputs, np.arange(count) % (count // len(chosen)) == 0


def row(detector: detector_.Detector, name: str, outputs: network.Outputs, starts: Optional[np.ndarray],
        unchanged: np.ndarray, fps: float, promised: Optional[float] = None) -> Dict[str, Any]:
    """Returns the row of one change, see `rows`.

    Args:
      detector: its arithmetic.
      name: of the change.
      outputs, starts: of `changed`.
      unchanged: bool [N], which of the unchanged frames alarm.
      fps: frames a second, of driving.
      promised: false alarms an hour.
    """
    alarm = detector.run(outputs, starts)["alarm"]
    share, before = float(alarm.mean()), float(unchanged.mean())
    result: Dict[str, Any] = {"change": name, "alarmed": share, "usual": before,
                              "silent": not stands_out(share, before)}
    if starts is not None:
        raised = events.false_alarms(alarm, starts, fps)
        result.update(raised=raised.count, hours=raised.hours, per_hour=raised.per_hour, per_hour_low=raised.low,
                      per_hour_high=raised.high)
        result["silent"] = result["silent"] and (promised is None or raised.low <= promised)
    return result


def stands_out(share: float, usual: float) -> bool:
    """Whether so large a share of frames alarms that it isn't the usual one any more."""
    return share > max(FACTOR * usual, usual + SLACK) + 1e-9


def failed(results: Sequence[Mapping[str, Any]]) -> List[str]:
    """Returns "change (share of the frames alarms)" for each row that isn't silent, the loudest first."""
    loud = sorted((row for row in results if not row["silent"]), key=lambda row: -row["alarmed"])
    return [f"{row['change']} ({row['alarmed']:.3f})" for row in loud]
