"""The monitor's loop: items from a source, verdicts from a detector, records for journal and view, a summary."""
from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Deque, Dict, Iterable, List, Optional, Tuple

import numpy as np

from leanood.data import stream
from leanood.tflite import bundle
from leanood.workflow import journal

_KEPT = 10_000  # latencies kept for the summary: memory doesn't grow with time


class Watch:
    """Judges items one by one and counts.

    Args:
      detector: a loaded detector file, at the sequence's beginning or taken up again.
      deadline_s: a verdict later than this after its frame's capture is a miss; None: no deadline.
      frame: number of the first item.
      alarm: whether the alarm was on before it.
    """

    def __init__(self, detector: bundle.BundledDetector, deadline_s: Optional[float], frame: int = 0,
                 alarm: bool = False) -> None:
        self._detector = detector
        self._deadline_s = deadline_s
        self._frame = frame
        self._alarm = alarm
        self._latencies: Deque[float] = collections.deque(maxlen=_KEPT)
        self._begun = time.perf_counter()
        self.counts = {"frames": 0, "invalid": 0, "alarms": 0, "alarm_frames": 0, "deadline_misses": 0, "dropped": 0}

    def see(self, item: stream.Item) -> Dict[str, Any]:
        """The record of one item."""
        begin = time.perf_counter()
        verdict, problem = journal.judge(self._detector, item)
        now = time.perf_counter()
        latency = now - item.captured
        stages = self._detector.stages_s
        record = {
            "frame": self._frame, "name": item.name, "time": time.time(), "score": verdict.score,
            "p_value": verdict.p_value, "log_martingale": verdict.log_martingale,
            "nonconformity": verdict.nonconformity, "alarm": verdict.alarm,
            "raised": verdict.alarm and not self._alarm, "partition": verdict.partition,
            "invalid": verdict.invalid, "problem": problem,
            "latency_ms": 1e3 * latency, "read_ms": 1e3 * (begin - item.captured),
            **{f"{stage}_ms": 1e3 * seconds for stage, seconds in stages.items()},
            "deadline_missed": self._deadline_s is not None and latency > self._deadline_s, "dropped": item.dropped}
        self._count(record, latency)
        return record

    def _count(self, record: Dict[str, Any], latency: float) -> None:
        self._frame += 1
        self._alarm = record["alarm"]
        self._latencies.append(latency)
        counts = self.counts
        counts["frames"] += 1
        counts["invalid"] += record["invalid"]
        counts["alarms"] += record["raised"]
        counts["alarm_frames"] += record["alarm"]
        counts["deadline_misses"] += record["deadline_missed"]
        counts["dropped"] += record["dropped"]

    def summary(self) -> Dict[str, Any]:
        """The counts, frames a second, and latency in milliseconds (of the last 10,000 frames)."""
        seconds = time.perf_counter() - self._begun
        result: Dict[str, Any] = {**self.counts, "fps": self.counts["frames"] / seconds if seconds > 0 else 0.0}
        if self._latencies:
            p50, p95, p99 = np.percentile(np.array(self._latencies), [50, 95, 99]).tolist()
            result.update(latency_p50_ms=1e3 * p50, latency_p95_ms=1e3 * p95, latency_p99_ms=1e3 * p99)
        return result


class Command:
    """Runs a command whenever the alarm is raised, beside the monitor: it never waits for it.

    Args:
      words: the command.
      timeout_s: a run that takes longer is killed, with what it has started.
      most: so many may run at a time; what comes on top is told and left out.
    """

    def __init__(self, words: List[str], timeout_s: float = 60.0, most: int = 4) -> None:
        self._words, self._timeout_s, self._most = words, timeout_s, most
        self._running: List[Tuple[subprocess.Popen, float]] = []  # and when to kill it

    def run(self, record: Dict[str, Any], environment: Dict[str, str]) -> str:
        """Starts it; the record's numbers are in LEANOOD_FRAME, LEANOOD_NAME, LEANOOD_SCORE. Returns what failed."""
        self.tend()
        if len(self._running) >= self._most:
            return f"--on_alarm: {self._most} runs of {self._words[0]} are not done yet, this alarm starts none"
        told = ("frame", "name", "score", "p_value", "partition")
        said = {f"LEANOOD_{key.upper()}": str(record[key]) for key in told}
        try:
            # Its output must not get among our results.
            child = subprocess.Popen(self._words, env={**environment, **said}, stdin=subprocess.DEVNULL,
                                     stdout=sys.stderr, start_new_session=True)
            self._running.append((child, time.monotonic() + self._timeout_s))
        except (OSError, ValueError) as error:
            return f"--on_alarm: {self._words[0]} does not start ({getattr(error, 'strerror', None) or error})"
        return ""

    def tend(self) -> None:
        """Forgets runs that are done, and kills those that take too long."""
        if not self._running:
            return
        self._running = [(child, end) for child, end in self._running if child.poll() is None]
        for child, end in self._running:
            if time.monotonic() > end:
                _kill(child)

    def close(self, patience_s: float = 5.0) -> None:
        """Waits a little for the last runs, then kills them."""
        end = time.monotonic() + patience_s
        for child, _ in self._running:
            try:
                child.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill(child)
                child.wait()


def _kill(child: subprocess.Popen) -> None:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def watch(items: Iterable[Optional[stream.Item]], watching: Watch, stopped: Callable[[], bool],
          take: Callable[[Dict[str, Any]], None]) -> str:
    """Sees items until they end or `stopped()`; hands each record to `take`. Returns the last record's problem."""
    problem = ""
    for item in items:
        if item is not None:
            record = watching.see(item)
            take(record)
            problem = record["problem"]
        if stopped():
            break
    return problem
