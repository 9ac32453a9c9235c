"""Made-up out-of-distribution frames, of in-distribution ones: stand-ins for what nobody has pictures of yet."""
from __future__ import annotations

from typing import Callable

import numpy as np

from leanood.data import content_changes, corruptions, dataset, frames, leaves

Change = Callable[[np.ndarray, int], np.ndarray]  # (a frame, its place in the data set) -> the changed frame


def change(kind: str, data: dataset.Dataset, seed: int = 0) -> Change:
    """Returns what makes a frame uint8 [h, w, 3] one of a kind, by its place in the data set.

    Args:
      kind: of `content_changes.NAMES`, or a corruption with its severity, e.g. "rain 3".
      data: where the frame is from; another of its frames is blended in.
      seed: of the changes; each frame has one of its own.
    """
    if kind not in content_changes.NAMES:
        name, severity = kind.rsplit(" ", 1)
        return lambda frame, i: corruptions.corrupt(name, frame, int(severity), seed=seed + i)
    if kind == "pasted object":
        return lambda frame, i: content_changes.change(kind, frame, seed + i, leaves.image((64, 64), seed + i))
    if kind != "blended":
        return lambda frame, i: content_changes.change(kind, frame, seed + i)
    shift = max(1, len(data) // 3)

    def blend(frame: np.ndarray, i: int) -> np.ndarray:
        other = frames.resize(data.read((i + shift) % len(data)), (frame.shape[0], frame.shape[1]))
        return content_changes.change(kind, frame, seed + i, other)

    return blend
