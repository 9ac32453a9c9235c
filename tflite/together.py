"""Several detector files as one, such as one of appearance and one of motion: each frame goes to each of them.

The alarm sounds while any one's does, and says whose; the score is the largest of score / threshold, so that the alarm
is on above 1. The fused p-value is Bonferroni's, k times the smallest of k, which is valid however the detectors depend
on each other. False alarms add up: for r an hour together calibrate each of k files for r / k. Runs on the device.
"""
from __future__ import annotations

import math
import time
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from leanood.tflite.detector import BundledDetector, Verdict


class Together:
    """Detectors that see the same sequence. `reset()` begins a new one.

    Args:
      detectors: two or more, of sequences, each with a threshold.

    Attributes:
      detectors: as given.
      verdicts: what each said of the last frame.
      config: `threshold`, 1, and `detector`, their names joined by "+".
      identity: theirs, joined likewise.
      stages_s: of the last frame, their sums.
    """

    def __init__(self, detectors: Sequence[BundledDetector]) -> None:
        if len(detectors) < 2:
            raise ValueError(f"{len(detectors)} detector files were given; together are two or more")
        names = [str(bundled.config["detector"]) for bundled in detectors]
        if not all(bundled.detector.window for bundled in detectors):
            raise ValueError("a detector of single images has no sequence to watch with others; calibrate it on "
                             "recordings")
        self.detectors = list(detectors)
        self.identity = "+".join(bundled.identity for bundled in detectors)
        self.config: Dict[str, Any] = {"detector": "+".join(names), "threshold": 1.0}
        self.runner = detectors[0].runner
        self.stages_s: Dict[str, float] = dict(detectors[0].stages_s)
        self.verdicts: List[Verdict] = []
        self._names = [name if names.count(name) == 1 else f"{name} {number}"
                       for number, name in enumerate(names, start=1)]

    def __call__(self, frame: np.ndarray, seconds: Optional[float] = None, gap: bool = False) -> Verdict:
        """The fused verdict on the sequence's next frame; arguments and errors as of `BundledDetector`."""
        start = time.perf_counter()
        return self._fuse([bundled(frame, seconds, gap) for bundled in self.detectors], start)

    def invalid(self) -> Verdict:
        """The verdict on a frame that could not be had."""
        start = time.perf_counter()
        return self._fuse([bundled.invalid() for bundled in self.detectors], start)

    def reset(self) -> None:
        """Begins a new sequence."""
        for bundled in self.detectors:
            bundled.reset()

    def _fuse(self, verdicts: List[Verdict], start: float) -> Verdict:
        self.verdicts = verdicts
        self.stages_s = {stage: sum(bundled.stages_s[stage] for bundled in self.detectors) for stage in self.stages_s}
        scores = [verdict.score / bundled.detector.threshold if bundled.detector.threshold > 0 else math.inf
                  for verdict, bundled in zip(verdicts, self.detectors)]
        first = max(range(len(scores)), key=lambda i: (verdicts[i].alarm, scores[i]))
        leading = verdicts[first]
        return Verdict(
            score=max(scores), p_value=min(1.0, len(verdicts) * min(verdict.p_value for verdict in verdicts)),
            alarm=any(verdict.alarm for verdict in verdicts), partition=f"{self._names[first]}: {leading.partition}",
            latency_s=time.perf_counter() - start, nonconformity=leading.nonconformity,
            log_martingale=leading.log_martingale, invalid=any(verdict.invalid for verdict in verdicts),
            waiting=all(verdict.waiting for verdict in verdicts),
            map=next((verdict.map for verdict in verdicts if verdict.map is not None), None))
