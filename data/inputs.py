"""What a network takes of a stream of frames: each frame by itself at one size, or stacks of optical flows.

A reader is pushed one frame after the other and gives the network's input, or None while it has none yet. Runs on the
device.
"""
from __future__ import annotations

from typing import Any, Mapping, Optional, Tuple, Union

import numpy as np

from leanood.data import flow, resizer


class Still:
    """Each frame by itself, resized.

    Attributes:
      size: (h, w) of the frames that the network takes.
      shape: of what `push` gives.
      memory: frames before a frame that its input depends on.
    """

    memory = 0

    def __init__(self, size: Tuple[int, int]) -> None:
        self.size, self.shape = size, (*size, 3)
        self._resize = resizer.Resizer(size)

    def push(self, frame: np.ndarray, gap: bool = False) -> Optional[np.ndarray]:
        """The frame, uint8 [h, w, 3]; whether a frame is missing before it plays no part."""
        return frame if frame.shape[:2] == self.size else self._resize(frame)

    def reset(self) -> None:
        """Does nothing: there is no memory."""


Reader = Union[Still, flow.Stacker]


def reader(described: Mapping[str, Any]) -> Reader:
    """The reader for a detector file's `input`: its `flow` says how stacks are computed; without it frames are taken.

    Raises:
      ValueError: if the description is not usable, or flow is asked for where OpenCV is not installed.
    """
    if "flow" in described:
        return flow.Stacker(flow.Settings.from_json(described["flow"]))
    return Still((int(described["size"][0]), int(described["size"][1])))
