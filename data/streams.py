"""Streams by a word: a folder, a file, a camera's number, or raw frames on standard input; on the device."""
from __future__ import annotations

import os
from typing import Optional, Tuple

from leanood.data import frames, live, playback, stream


def open(spec: str, *, frame_size: Optional[Tuple[int, int]] = None,  # noqa: A001
         pixel_format: str = "rgb", stall_s: float = 5.0) -> stream.Stream:
    """The source that `spec` names.

    Args:
      spec: a folder of images or `.npy` frames, or of videos; a `.npy` file [N, H, W, 3], a video file, a camera's
        number, or "-": raw frames on standard input.
      frame_size: (height, width) of raw frames.
      pixel_format: of raw frames, one of live.PIXEL_FORMATS.
      stall_s: a live source that gives nothing for so long gives an item without a frame.

    Raises:
      ValueError, OSError: if there is no such source.
    """
    if not stall_s > 0:
        raise ValueError(f"stall_s is {stall_s}, it must be positive")
    if spec == "-" or spec.isdigit():
        if spec != "-":
            return live.camera(int(spec), stall_s)
        if frame_size is None:
            raise ValueError("raw frames on standard input need their size: --frame_size=HEIGHTxWIDTH")
        return live.Raw(0, frame_size, stall_s, pixel_format)
    if os.path.isdir(spec):
        return playback.folder(spec)
    if not os.path.exists(spec):
        raise FileNotFoundError(f"source {spec} does not exist (it can be a folder, a .npy file, a video, a camera's "
                                "number, or - for raw frames)")
    if spec.lower().endswith(".npy"):
        return playback.Stack(spec)
    if spec.lower().endswith(frames.IMAGE_SUFFIXES):
        return playback.Files([spec])
    return playback.Video(spec)
