"""Watches a stream of frames: verdicts from a detector, records for journal and view, alarms, a summary."""
from __future__ import annotations

import collections
import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Callable, Deque, Dict, Iterable, Iterator, List, Optional, Tuple, Union

import numpy as np

from leanood.data import stream, streams
from leanood.tflite import bundle
from leanood.workflow import journal, tabular
from leanood.workflow import view as views

_Path = Union[str, "os.PathLike[str]"]
_KEPT = 10_000  # latencies kept for the summary: memory doesn't grow with time


def monitor(detector: Union[_Path, List[_Path], Tuple[_Path, ...]], source: str, *,
            frame_size: Optional[Tuple[int, int]] = None, pixel_format: str = "rgb",
            jsonl: Optional[str] = None, resume: bool = False, jsonl_limit_mb: float = 256.0,
            deadline_ms: Optional[float] = None, on_alarm: Union[str, Callable[[Dict[str, Any]], Any], None] = None,
            on_alarm_timeout_s: float = 60.0, stall_s: float = 5.0, view: str = "none", accelerator: str = "cpu",
            runtime: str = "auto", num_threads: int = 1, delegate: Optional[str] = None,
            allow_cpu: bool = False) -> Summary:
    """Watches a source until it ends, or until Ctrl-C or SIGTERM; returns the summary.

    Frames of files are never dropped; of a camera only the newest counts.

    Args:
      detector: a detector file; or several, such as one of appearance and one of motion, which judge each frame
        together.
      source: a folder of images or .npy frames, or of videos; a .npy stack [N, H, W, 3], a video, a camera's number, or
        "-" for raw frames on standard input.
      frame_size: (height, width) of raw frames.
      pixel_format: of raw frames: "rgb", rows of RGB, or "yuv420", planar 4:2:0 (BT.601, FFmpeg's yuv420p).
      jsonl: write a line of JSON a frame to this file ("-" is stdout).
      resume: go on after the last frame of `jsonl` (files only), with exactly the numbers that it would have had.
      jsonl_limit_mb: live sources: a journal that grows beyond it becomes FILE.1 and is begun anew.
      deadline_ms: count verdicts that come later than this after their frame.
      on_alarm: called with the record whenever the alarm is raised; or a command, run with LEANOOD_FRAME,
        LEANOOD_NAME, LEANOOD_SCORE, LEANOOD_P_VALUE and LEANOOD_PARTITION set.
      on_alarm_timeout_s: kill an `on_alarm` command that takes longer.
      stall_s: a live source that gives no frame for so long gives an invalid one.
      view: what to show while it runs: "rich", "plain", "none", or "auto".
      accelerator, runtime, num_threads, delegate, allow_cpu: what runs the network, see `leanood.load`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    if deadline_ms is not None and not deadline_ms > 0:
        raise ValueError(f"--deadline_ms={deadline_ms}: it must be positive")
    if resume and jsonl in (None, "-"):
        raise ValueError("--resume needs the journal of the monitor that was stopped: --jsonl=FILE")
    command = Command(_words(on_alarm), on_alarm_timeout_s) if isinstance(on_alarm, str) else None
    items = streams.open(source, frame_size=frame_size, pixel_format=pixel_format, stall_s=stall_s)
    try:
        loaded = bundle.load(detector, accelerator, num_threads, runtime, delegate=delegate, allow_cpu=allow_cpu)
        past = _begin(loaded, items, source, jsonl, resume)
        looking = Watch(loaded, None if deadline_ms is None else 1e-3 * deadline_ms, past.frames,
                        bool(past.tail and past.tail[-1].get("alarm")))
        with contextlib.ExitStack() as stack:
            stopping = stack.enter_context(_stopping())
            limit = int(jsonl_limit_mb * 1e6) if _goes_on(items, source) else None
            lines = journal.Journal(jsonl, limit) if jsonl else None
            if lines is not None:
                stack.callback(lines.close)
            if command is not None:
                stack.callback(command.close)
            shown = views.make(view, f"{_name(detector)} · {loaded.runner.placement}",
                               loaded.config["threshold"])
            stack.callback(shown.close)

            def take(record: Dict[str, Any]) -> None:
                if lines is not None:
                    lines.write(record)
                shown.show(record, looking.counts)
                if record["raised"] and command is not None:
                    failed = command.run(record, dict(os.environ))
                    if failed:
                        print(tabular.printable(failed), file=sys.stderr)
                elif record["raised"] and callable(on_alarm):
                    on_alarm(record)

            def stopped() -> bool:
                if command is not None:
                    command.tend()
                return bool(stopping)

            problem = watch(items.items(past.frames), looking, stopped, take)
    finally:
        items.close()
    return Summary(looking.summary(), problem if items.live and not stopping else "")


class Summary(Dict[str, Any]):
    """Counts, frames a second and latencies of a monitor's run; it shows itself as a table.

    Attributes:
      problem: in which a live source ended by itself, or empty.
    """

    def __init__(self, counts: Dict[str, Any], problem: str = "") -> None:
        super().__init__(counts)
        self.problem = problem

    def __str__(self) -> str:
        return tabular.text(list(self.items()), ["summary", ""])

    def _repr_html_(self) -> str:
        return tabular.html(list(self.items()), ["summary", ""])


class Watch:
    """Judges items one by one and counts.

    Args:
      detector: a loaded detector file, at the sequence's beginning or taken up again.
      deadline_s: a verdict later than this after its frame's capture is a miss; None: no deadline.
      frame: number of the first item.
      alarm: whether the alarm was on before it.
    """

    def __init__(self, detector: journal.Detector, deadline_s: Optional[float], frame: int = 0,
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
            "invalid": verdict.invalid, "problem": problem, "detector": self._detector.identity,
            "latency_ms": 1e3 * latency, "read_ms": 1e3 * (begin - item.captured),
            **{f"{stage}_ms": 1e3 * seconds for stage, seconds in stages.items()},
            "deadline_missed": self._deadline_s is not None and latency > self._deadline_s, "dropped": item.dropped}
        if verdict.map is not None:
            record["map"] = np.round(verdict.map, 2).tolist()
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


def _begin(detector: journal.Detector, items: stream.Stream, source: str, jsonl: Optional[str],
           resume: bool) -> journal.Past:
    """What the journal has already; without `resume` it is begun anew, of live sources gone on with."""
    nothing = journal.Past(0, [])
    if not jsonl or jsonl == "-":
        return nothing
    if not resume and _goes_on(items, source):
        return nothing
    if not resume:
        with open(jsonl, "w", encoding="utf-8"):
            return nothing
    if _goes_on(items, source):
        raise ValueError("--resume goes on with files; a live source has gone on by itself")
    return journal.resume(detector, items, jsonl)


def _goes_on(items: stream.Stream, source: str) -> bool:
    """True if the source goes on by itself, so that its journal can only be added to."""
    return items.live or source == "-"


def _name(detector: Any) -> str:
    files = [detector] if isinstance(detector, (str, os.PathLike)) else detector
    return " + ".join(os.path.basename(os.fspath(path)) for path in files)


def _words(command: str) -> List[str]:
    words = shlex.split(command)
    if not words or shutil.which(words[0]) is None:
        raise ValueError(f"--on_alarm: there is no command {words[0] if words else ''!r}")
    return words


@contextlib.contextmanager
def _stopping() -> Iterator[List[int]]:
    """A list that SIGTERM and Ctrl-C fill while it lasts, so that a frame's record is finished before the end."""
    told: List[int] = []
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield told
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda which, frame: told.append(which)) for number in numbers]
    try:
        yield told
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
