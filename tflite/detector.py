"""Frame in, verdict out: a detector file at work. What surrounds the network costs microseconds."""
from __future__ import annotations

import time
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from leanood.data import flow, frames, inputs
from leanood.ood import detector as ood_detector
from leanood.tflite import runtime
from leanood.tflite.archive import description

_UINT8 = np.dtype(np.uint8)


class Verdict(NamedTuple):
    """What the detector says of one frame."""

    score: float  # higher = more OOD: S_t of a sequence, the nonconformity of single images (window 0)
    p_value: float  # of this frame alone, in (0, 1]
    alarm: bool
    partition: str  # the one that decided
    latency_s: float  # from the frame to the verdict
    nonconformity: float
    log_martingale: float  # ln M over the window
    invalid: bool  # the frame cannot be judged: it counts as not in-distribution and raises the alarm
    waiting: bool = False  # too few frames follow each other yet to see motion: the score is the last one's
    map: Optional[np.ndarray] = None  # where it is odd: −ln p of each cell [h, w], of networks with the output `local`

    @property
    def martingale(self) -> float:
        """`log_martingale`, by the name that it had first."""
        return self.log_martingale


class BundledDetector:
    """A loaded detector file. Frames of one sequence go in one after the other; `reset()` begins a new sequence.

    Attributes:
      config: detector.json.
      identity: 16 hexadecimal digits that tell it from other detectors; the monitor's journal names it by them.
      runner: the network.
      detector: the arithmetic behind it.
      size: (height, width) that frames of other sizes are resized to.
      memory: frames before a frame that its verdict needs (of motion detectors), beside what the alarm's arithmetic
        remembers.
      stages_s: seconds that the last frame took: `preprocess` (check and resize; optical flow), `invoke` (into and
        through the network), `detect` (score, p-value, martingale, CUSUM).
    """

    def __init__(self, runner: runtime.Runner, detector: ood_detector.Detector, config: Mapping[str, Any]) -> None:
        if len(set(runner.inputs) - {runtime.STATE}) != 1:
            raise ValueError(f"its graph has the inputs {', '.join(runner.inputs)}, a detector's has one: the frame")
        tensor = next(iter(runner.inputs.values()))
        self._reader = inputs.reader(config["input"])
        self.size: Tuple[int, int] = self._reader.size
        self.memory: int = self._reader.memory
        if tensor.shape != (1, *self._reader.shape):
            raise ValueError(f"its graph takes {list(tensor.shape)}, its calibration is of "
                             f"{[1, *self._reader.shape]}")
        missing = [name for name in config["outputs"] if name not in runner.outputs]
        if missing:
            raise ValueError(f"its graph lacks the outputs {', '.join(missing)} (it has {', '.join(runner.outputs)})")
        self.config: Dict[str, Any] = dict(config)
        self.identity = description.identity(config)
        self.runner = runner
        self.detector = detector
        self.stages_s: Dict[str, float] = {"preprocess": 0.0, "invoke": 0.0, "detect": 0.0}
        self._names = list(detector.partitions)
        self._fps = float(config.get("fps") or 0.0)
        self._taken: Optional[float] = None  # when the last frame was, in seconds
        self._score = 0.0  # the last one
        self._nothing = {name: np.full(output.shape, np.nan, np.float32) for name, output in runner.outputs.items()}

    def __call__(self, frame: np.ndarray, seconds: Optional[float] = None, gap: bool = False) -> Verdict:
        """The verdict on the sequence's next frame.

        A frame that no camera takes (NaN or infinite pixels, or every pixel of one colour) is flagged as invalid. What
        the caller got wrong is an error, and leaves the sequence as it was.

        Args:
          frame: uint8 RGB [H, W, 3] of any size, or floating within [0, 1].
          seconds: when it was taken, by any clock; None: one frame interval after the one before.
          gap: a frame is missing before it. Over a gap, told or seen by the seconds, no motion is measured.

        Raises:
          FrameError: if its shape, type or range is not a frame's.
        """
        start = time.perf_counter()
        if type(frame) is not np.ndarray or frame.dtype is not _UINT8 or frame.shape[2:] != (3,) or not frame.size:
            frame = np.asarray(frame)
            if frame.dtype.kind == "f" and not np.isfinite(frame).all():
                return self._invalid(start)
            frame = frames.check(frame)
        if _is_uniform(frame):
            return self._invalid(start)
        taken = self._reader.push(frame, gap or self._is_late(seconds))
        prepared = time.perf_counter()
        if taken is None:
            return self._wait(start, prepared)
        outputs = self.runner(taken)
        return self._judge(outputs, start, prepared, time.perf_counter() - prepared)

    def invalid(self) -> Verdict:
        """The verdict on a frame that could not be had: a damaged image, a sensor that failed."""
        return self._invalid(time.perf_counter())

    def try_out(self) -> None:
        """Judges constant outputs of the graph's shapes, which raises an error if the calibration doesn't fit them."""
        for value in (0.0, 1.0):
            self.detector.step({name: np.full(output.shape, value, np.float32)
                                for name, output in self.runner.outputs.items()})

    def reset(self) -> None:
        """Begins a new sequence."""
        self.detector.reset()
        self._reader.reset()
        self._taken, self._score = None, 0.0

    def _is_late(self, seconds: Optional[float]) -> bool:
        """True if a frame must be missing between the last one and the one taken at `seconds`."""
        before, self._taken = self._taken, seconds
        return (before is not None and seconds is not None and self._fps > 0
                and not 0 < (seconds - before) * self._fps <= flow.LATE)

    def _invalid(self, start: float) -> Verdict:
        self._reader.reset()
        return self._judge(self._nothing, start, time.perf_counter(), 0.0)

    def _wait(self, start: float, prepared: float) -> Verdict:
        end = time.perf_counter()
        self.stages_s = {"preprocess": prepared - start, "invoke": 0.0, "detect": end - prepared}
        return Verdict(self._score, 1.0, self._score > self.detector.threshold, self._names[0], end - start, 0.0, 0.0,
                       False, True)

    def _judge(self, outputs: Mapping[str, np.ndarray], start: float, prepared: float, invoked_s: float) -> Verdict:
        step = self.detector.step(outputs)
        self._score = step.score if self.detector.window else 0.0
        end = time.perf_counter()
        self.stages_s = {"preprocess": prepared - start, "invoke": invoked_s, "detect": end - prepared - invoked_s}
        return Verdict(step.score, step.p_value, step.alarm, self._names[step.partition], end - start,
                       step.nonconformity, step.log_martingale, step.invalid,
                       map=None if step.invalid else self.detector.nonconformity.map())


def _is_uniform(frame: np.ndarray) -> bool:
    """True if all pixels are equal; most pictures are told by two of them."""
    pixel = frame[0, 0]
    return frame[-1, -1].tobytes() == pixel.tobytes() and bool((frame == pixel).all())
