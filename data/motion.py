"""Changes of motion from a known time on: playback at another speed, a camera that shakes or pans, a moving object.

Single frames of them look like frames of the recording (but for what is pasted in and a mirrored margin), so that only
what passes between frames tells. Names and severities 1 to 5 as in `corruptions`; the levels are LEVELS.
"""
from __future__ import annotations

import functools
import math
from typing import Any, Callable, Dict, List, Mapping, Tuple

import cv2
import numpy as np

LEVELS: Mapping[str, Tuple[float, ...]] = {
    "reversed": (-0.25, -0.5, -1.0, -1.5, -2.0),  # recorded frames a frame shown
    "slower": (0.8, 2 / 3, 0.5, 1 / 3, 0.2),
    "faster": (1.25, 1.5, 2.0, 3.0, 4.0),
    "frozen": (20, 40, 80, 160, math.inf),  # frames that the camera hangs at a time
    "shake": (0.003, 0.006, 0.0125, 0.025, 0.05),  # standard deviation of each frame's shift, in frame widths
    "drift": (0.003, 0.006, 0.0125, 0.025, 0.05),  # frame widths a frame to the right
    "object": (0.01, 0.02, 0.04, 0.08, 0.16)}  # share of the frame's area
NAMES = tuple(LEVELS)
_SPEEDS = ("reversed", "slower", "faster")
_OBJECT_SPEED = 0.02  # frame widths a frame
_SHAKE, _OBJECT = 51, 52  # tell the random streams of one seed apart


def level_of(name: str, severity: int) -> float:
    """The physical level behind a severity; raises ValueError if there is no such change or severity."""
    if name not in LEVELS:
        raise ValueError(f"motion: {name!r} is none of {', '.join(NAMES)}")
    if severity not in (1, 2, 3, 4, 5):
        raise ValueError(f"severity: {severity!r} is none of 1, 2, 3, 4, 5")
    return LEVELS[name][severity - 1]


def span(name: str, onset: int, length: int, *, severity: int) -> Tuple[int, int]:
    """(first, last) recorded frame that `apply` reads, counted from the sequence's first."""
    times = _times(name, onset, length, level_of(name, severity))
    return int(math.floor(min(times))), int(math.ceil(max(times)))


def apply(name: str, read: Callable[[int], np.ndarray], onset: int, length: int, *, severity: int,
          seed: int = 0) -> np.ndarray:
    """A new sequence, uint8 [T, H, W, 3], changed from `onset` on to its end and as recorded before.

    Args:
      name: one of NAMES.
      read: i -> recorded frame i, uint8 [H, W, 3], for the i within `span`.
      onset: the first changed frame, 1 to T.
      length: T.
      severity: 1 to 5.
      seed: of shake and object.
    """
    if not 0 <= onset <= length:
        raise ValueError(f"onset: {onset} is not within the {length} frames")
    level = level_of(name, severity)
    kept = functools.lru_cache(maxsize=8)(read)
    between = functools.lru_cache(maxsize=2)(lambda i: _Between(kept(i), kept(i + 1)))
    out: List[np.ndarray] = []
    for t, time in enumerate(_times(name, onset, length, level)):
        whole = math.floor(time)
        share = time - whole
        frame = kept(whole) if share < 1e-6 else kept(whole + 1) if share > 1 - 1e-6 else between(whole).frame(share)
        out.append(_FRAMES[name](frame, level, t - onset, seed) if t >= onset and name in _FRAMES else frame)
    return np.stack(out)


def _times(name: str, onset: int, length: int, level: float) -> List[float]:
    """For each frame shown the recorded one, a whole number or between two."""
    if name in _SPEEDS:
        # The last frame before the onset is where the other speed sets in.
        return [float(t) if t < onset else max(onset - 1, 0) + level * (t - max(onset - 1, 0)) for t in range(length)]
    if name == "frozen":
        return [float(t) if t < onset else float(onset + (t - onset) // level * level) if level < math.inf
                else float(onset) for t in range(length)]
    return [float(t) for t in range(length)]


class _Between:
    """What lies between two frames: both, warped towards each other along their flow and blended."""

    def __init__(self, before: np.ndarray, after: np.ndarray) -> None:
        self._before, self._after = before, after
        flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (before, after)]
        self._there, self._back = flow.calc(grey[0], grey[1], None), flow.calc(grey[1], grey[0], None)

    def frame(self, share: float) -> np.ndarray:
        """The frame at `share` of the way, uint8 [H, W, 3]."""
        early = _warped(self._before, -share * self._there)
        late = _warped(self._after, (share - 1) * self._back)
        return cv2.addWeighted(early, 1 - share, late, share, 0)


def _warped(frame: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Each pixel taken from where `by` [H, W, 2] points."""
    rows, columns = np.mgrid[:frame.shape[0], :frame.shape[1]].astype(np.float32)
    return cv2.remap(frame, columns + by[..., 0], rows + by[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _shake(frame: np.ndarray, level: float, time: int, seed: int) -> np.ndarray:
    across, down = np.random.default_rng((seed, time, _SHAKE)).standard_normal(2) * level * frame.shape[1]
    return _shifted(frame, float(across), float(down))


def _drift(frame: np.ndarray, level: float, time: int, seed: int) -> np.ndarray:
    return _shifted(frame, level * frame.shape[1] * (time + 1), 0.0)


def _shifted(frame: np.ndarray, across: float, down: float) -> np.ndarray:
    """The frame moved right and down, its margin mirrored, however far."""
    height, width = frame.shape[:2]
    columns, rows = (_mirrored(np.arange(count) - by, count) for count, by in ((width, across), (height, down)))
    across_map, down_map = np.meshgrid(columns, rows)
    return cv2.remap(frame, across_map, down_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _mirrored(places: np.ndarray, count: int) -> np.ndarray:
    """float32: `places` folded into [0, count - 1]."""
    period = 2 * (count - 1)
    folded = np.mod(places, period)
    return np.minimum(folded, period - folded).astype(np.float32)


def _object(frame: np.ndarray, level: float, time: int, seed: int) -> np.ndarray:
    """The frame with a textured box that crosses its lower half from side to side and back."""
    height, width = frame.shape[:2]
    side = max(2, int(round(math.sqrt(level * height * width))))
    side = min(side, height, width)
    rng = np.random.default_rng((seed, _OBJECT))
    coarse = rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)
    texture = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    top = int(rng.uniform(0.35, 0.6) * height)
    top = min(top, height - side)
    path = width - side
    left = int(round(float(_mirrored(np.array([rng.uniform(0, path) + _OBJECT_SPEED * width * time]), path + 1)[0])))
    out = frame.copy()
    out[top:top + side, left:left + side] = texture
    return out


_FRAMES: Dict[str, Callable[[np.ndarray, float, int, int], np.ndarray]] = {
    "shake": _shake, "drift": _drift, "object": _object}
