"""Watches a stream of frames with a detector file: score, p-value, martingale and alarm of each, as they come.

Frames of files are never dropped; of a camera only the newest counts. With --jsonl every frame leaves a line; with
--resume a monitor of files that was stopped, or killed, goes on from there with exactly the numbers that it would have
had. SIGTERM and Ctrl-C end it with its summary.
"""
from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from typing import Any, Dict, List, Optional, Sequence

from absl import flags

from leanood.data import stream, streams
from leanood.tflite import bundle
from leanood.tools import command, view
from leanood.workflow import journal, monitor

_SOURCE = flags.DEFINE_string("source", None, "a folder of images or .npy frames, a .npy stack [N, H, W, 3], a video, "
                              "a camera's number, or - for raw frames on standard input", required=True)
_FRAME_SIZE = flags.DEFINE_string("frame_size", None, "HEIGHTxWIDTH of raw frames")
_PIXEL_FORMAT = flags.DEFINE_enum("pixel_format", "rgb", ["rgb", "yuv420"],
                                  "of raw frames: rows of RGB, or planar 4:2:0 (BT.601, FFmpeg's yuv420p)")
_JSONL = flags.DEFINE_string("jsonl", None, "write a line of JSON a frame to this file (- is stdout)")
_RESUME = flags.DEFINE_boolean("resume", False, "go on after the last frame of --jsonl (files only)")
_JSONL_LIMIT_MB = flags.DEFINE_float("jsonl_limit_mb", 256.0, "live sources: a --jsonl that grows beyond it becomes "
                                     "FILE.1 and is begun anew", lower_bound=1e-3)
_ON_ALARM_TIMEOUT_S = flags.DEFINE_float("on_alarm_timeout_s", 60.0, "kill an --on_alarm command that takes longer",
                                         lower_bound=0.1)
_DEADLINE_MS = flags.DEFINE_float("deadline_ms", None, "count verdicts that come later than this after their frame")
_ON_ALARM = flags.DEFINE_string("on_alarm", None, "run this command whenever the alarm is raised; LEANOOD_FRAME, "
                                "LEANOOD_NAME, LEANOOD_SCORE, LEANOOD_P_VALUE and LEANOOD_PARTITION are set")
_STALL_S = flags.DEFINE_float("stall_s", 5.0, "a live source that gives no frame for so long gives an invalid one")
_VIEW = flags.DEFINE_enum("view", "auto", ["auto", "rich", "plain", "none"], "what to show while it runs")
_ACCELERATOR = flags.DEFINE_enum("accelerator", "cpu", ["cpu", "gpu"], "where the network runs")
_RUNTIME = flags.DEFINE_enum("runtime", "auto", ["auto", "litert", "tflite-runtime", "tf.lite"], "what runs it")
_THREADS = flags.DEFINE_integer("num_threads", 1, "CPU threads", lower_bound=1)
_DELEGATE = flags.DEFINE_string("delegate", None, "a delegate library, e.g. libtensorflowlite_gpu_delegate.so")
_ALLOW_CPU = flags.DEFINE_boolean("allow_cpu", False, "let the CPU take what the accelerator cannot")
_JSON = command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError(f"{len(argv) - 1} files were given; leanood monitor takes one detector file")
    if _DEADLINE_MS.value is not None and not _DEADLINE_MS.value > 0:
        raise ValueError(f"--deadline_ms={_DEADLINE_MS.value}: it must be positive")
    if _RESUME.value and _JSONL.value in (None, "-"):
        raise ValueError("--resume needs the journal of the monitor that was stopped: --jsonl=FILE")
    on_alarm = _command()
    size = command.size(_FRAME_SIZE.value) if _FRAME_SIZE.value else None
    source = streams.open(_SOURCE.value, frame_size=size, pixel_format=_PIXEL_FORMAT.value, stall_s=_STALL_S.value)
    try:
        detector = bundle.load(argv[1], _ACCELERATOR.value, _THREADS.value, _RUNTIME.value, delegate=_DELEGATE.value,
                               allow_cpu=_ALLOW_CPU.value)
        problem = _watch(detector, source, on_alarm, f"{os.path.basename(argv[1])} · {detector.runner.placement}")
    finally:
        source.close()
    if source.live and problem:
        raise ValueError(problem)


def _watch(detector: bundle.BundledDetector, source: stream.Stream, on_alarm: Optional[monitor.Command],
           title: str) -> str:
    """Watches the source, prints the summary; returns the problem in which the source ended by itself."""
    past = _begin(detector, source)
    stopping: List[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda which, frame: stopping.append(which))
    limit = int(_JSONL_LIMIT_MB.value * 1e6) if _goes_on(source) else None
    lines = journal.Journal(_JSONL.value, limit) if _JSONL.value else None
    deadline_s = None if _DEADLINE_MS.value is None else 1e-3 * _DEADLINE_MS.value
    alarm = bool(past.tail and past.tail[-1].get("alarm"))
    looking = monitor.Watch(detector, deadline_s, past.frames, alarm)
    shown = view.make(_VIEW.value, title, detector.config["threshold"])

    def take(record: Dict[str, Any]) -> None:
        if lines is not None:
            lines.write(record)
        shown.show(record, looking.counts)
        if on_alarm is not None and record["raised"]:
            failed = on_alarm.run(record, dict(os.environ))
            if failed:
                print(command.printable(failed), file=sys.stderr)

    def stopped() -> bool:
        if on_alarm is not None:
            on_alarm.tend()
        return bool(stopping)

    try:
        problem = monitor.watch(source.items(past.frames), looking, stopped, take)
    finally:
        shown.close()
        if on_alarm is not None:
            on_alarm.close()
        if lines is not None:
            lines.close()
    summary = looking.summary()
    print(json.dumps(summary) if _JSON.value else command.table(list(summary.items()), ["summary", ""]),
          file=sys.stderr if _JSONL.value == "-" else sys.stdout)
    return "" if stopping else problem


def _begin(detector: bundle.BundledDetector, source: stream.Stream) -> journal.Past:
    """What the journal has already; without --resume it is begun anew, of live sources gone on with."""
    nothing = journal.Past(0, [])
    if not _JSONL.value or _JSONL.value == "-":
        return nothing
    if not _RESUME.value and _goes_on(source):
        return nothing
    if not _RESUME.value:
        with open(_JSONL.value, "w", encoding="utf-8"):
            return nothing
    if _goes_on(source):
        raise ValueError("--resume goes on with files; a live source has gone on by itself")
    return journal.resume(detector, source, _JSONL.value)


def _goes_on(source: stream.Stream) -> bool:
    """True if the source goes on by itself, so that its journal can only be added to."""
    return source.live or _SOURCE.value == "-"


def _command() -> Optional[monitor.Command]:
    if _ON_ALARM.value is None:
        return None
    words = shlex.split(_ON_ALARM.value)
    if not words or shutil.which(words[0]) is None:
        raise ValueError(f"--on_alarm: there is no command {words[0] if words else ''!r}")
    return monitor.Command(words, _ON_ALARM_TIMEOUT_S.value)


def run() -> None:
    command.run(main, example="leanood monitor detector.tflite --source=0 --deadline_ms=50 --jsonl=today.jsonl")


if __name__ == "__main__":
    run()
