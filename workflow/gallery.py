"""The frames to look at after an evaluation: false alarms, misses, and the oddest of what is in distribution."""
from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from leanood.data import dataset, frames
from leanood.ood import detector as detector_
from leanood.ood import events, validity
from leanood.workflow import plots

FALSE_ALARM, MISS = "alarmed and should not have", "should have alarmed and did not"
ODDEST = "in distribution, the oddest that did not alarm"
KINDS = (FALSE_ALARM, MISS, ODDEST)
MOST = 6  # pictures a kind
SIZE = (2.1 * MOST, 2.1 * len(KINDS))  # inches
_WIDTH = 160  # pixels of a picture
_ORDINARY, _GLARING = 2.0, 8.0  # −ln p of a cell: below the first it is not drawn, above the second as red as can be


class Picture(NamedTuple):
    """A frame and why it is shown."""

    kind: str  # of KINDS
    title: str  # the set, and the channel and scale that spoke
    frame: np.ndarray  # uint8 [h, w, 3]
    map: Optional[np.ndarray] = None  # where it is odd, −ln p of each cell [rows, columns]


def speaking(detector: detector_.Detector, outputs: Mapping[str, np.ndarray], starts: Any) -> np.ndarray:
    """Returns the channel whose evidence is the largest on each frame, str [N]; empty where there are no channels."""
    measure: Any = detector.nonconformity
    count = len(outputs[measure.inputs[0]])
    if not hasattr(measure, "evidence") or not validity.frames(outputs, measure.inputs).all():
        return np.full(count, "")
    evidence: Dict[str, np.ndarray] = measure.evidence(outputs, starts)
    return np.array(list(evidence))[np.argmax(list(evidence.values()), axis=0)]


def in_distribution(data: dataset.Dataset, scores: Mapping[str, np.ndarray], starts: Any,
                    apart: int) -> List[Picture]:
    """Returns pictures of false alarms and of the oddest frames that raised none.

    Args:
      data: N frames, none of them OOD.
      scores: "detector", "alarm", "nonconformity", "channel" and "scale" of each, [N].
      starts: bool [N]; None for images.
      apart: frames between two pictures at least, since neighbours look alike.
    """
    alarm = scores["alarm"]
    begins = np.ones(len(alarm), bool) if starts is None else np.asarray(starts)
    raised = np.flatnonzero(events.crossings(alarm, begins))
    false = _spread(raised[np.argsort(-scores["detector"][raised], kind="stable")], apart)
    quiet = np.flatnonzero(~alarm & np.isfinite(scores["nonconformity"]))
    oddest = _spread(quiet[np.argsort(-scores["nonconformity"][quiet], kind="stable")], apart)
    return [Picture(kind, f"{data.names[i]}: {why(scores, i)}", _small(data.read(int(i))), _map(scores, i))
            for kind, chosen in ((FALSE_ALARM, false), (ODDEST, oddest)) for i in chosen]


def missed(name: str, scores: Mapping[str, np.ndarray], ood: np.ndarray,
           read: Callable[[int], np.ndarray]) -> List[Picture]:
    """Returns one picture of a sequence that was missed: its OOD frame with the largest score; none where it was found.

    Args:
      name: of the set.
      scores: as of `in_distribution`, of the sequence's frames.
      ood: bool [T], which of them are OOD.
      read: t -> frame t, as the detector saw it.
    """
    if not ood.any() or scores["alarm"][ood].any():
        return []
    at = int(np.flatnonzero(ood)[np.argmax(scores["detector"][ood])])
    return [Picture(MISS, f"{name}: {why(scores, at)}", _small(read(at)), _map(scores, at))]


def why(scores: Mapping[str, np.ndarray], at: int) -> str:
    """Returns the channel and the scale that spoke on a frame, and the score, as text."""
    words = [str(scores["channel"][at])] if scores["channel"][at] else []
    words += [f"{scores['scale'][at]} frames"] if scores["scale"][at] > 1 else []
    return ", ".join([*words, f"score {scores['detector'][at]:.2f}"])


def figure(pictures: Sequence[Picture], title: str, into: Any = None) -> Any:
    """The pictures as a Matplotlib figure, a row a kind; or in a (sub)figure that is there."""
    rows = [(kind, [picture for picture in pictures if picture.kind == kind][:MOST]) for kind in KINDS]
    panel = plots.empty(SIZE) if into is None else into
    panel.suptitle(title, fontsize=10)
    for row, (kind, chosen) in enumerate(rows):
        for column in range(MOST):
            axes = panel.add_subplot(len(rows), MOST, row * MOST + column + 1)
            axes.set_axis_off()
            if column == 0:
                axes.set_title(kind if chosen else f"{kind}: none", fontsize=8, loc="left", y=1.12)
            if column < len(chosen):
                axes.imshow(chosen[column].frame)
                _heat(axes, chosen[column])
                words = chosen[column].title.split(": ", 1)
                axes.text(0.0, -0.04, "\n".join(words), fontsize=6, va="top", transform=axes.transAxes)
    return panel


def _spread(order: np.ndarray, apart: int) -> List[int]:
    """Returns the first MOST indices of an order that lie so far apart."""
    chosen: List[int] = []
    for i in order.tolist():
        if all(abs(i - other) >= apart for other in chosen):
            chosen.append(i)
        if len(chosen) == MOST:
            break
    return chosen


def _map(scores: Mapping[str, np.ndarray], at: int) -> Optional[np.ndarray]:
    return scores["map"][at] if "map" in scores else None


def _heat(axes: Any, picture: Picture) -> None:
    """Draws where a picture's frame is odd: the odder, the less of the frame is seen through red."""
    if picture.map is not None:
        height, width = picture.frame.shape[:2]
        shade = np.clip((picture.map - _ORDINARY) / (_GLARING - _ORDINARY), 0, 1)
        red = np.zeros((*shade.shape, 4), np.float32)
        red[..., 0], red[..., 3] = 1.0, 0.6 * shade
        axes.imshow(red, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="bilinear")


def _small(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return frame if width <= _WIDTH else frames.resize(frame, (max(1, round(height * _WIDTH / width)), _WIDTH))
