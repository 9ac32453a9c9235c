"""Watches a stream of frames with a detector file: score, p-value, martingale and alarm of each, as they come.

Frames of files are never dropped; of a camera only the newest counts. With --jsonl every frame leaves a line; with
--resume a monitor of files that was stopped, or killed, goes on from there with exactly the numbers that it would have
had. Several files, such as one of appearance and one of motion, judge each frame together: the alarm sounds while any
one's does. SIGTERM and Ctrl-C end it with its summary.
"""
from __future__ import annotations

import json
import sys
from typing import Sequence

from absl import flags

from leanood.tools import command
from leanood.workflow import monitor

flags.DEFINE_string("source", None, "a folder of images or .npy frames, or of videos; a .npy stack [N, H, W, 3], a "
                    "video, a camera's number, or - for raw frames on standard input", required=True)
command.define_size("frame_size", "HEIGHTxWIDTH of raw frames")
flags.DEFINE_enum("pixel_format", "rgb", ["rgb", "yuv420"],
                  "of raw frames: rows of RGB, or planar 4:2:0 (BT.601, FFmpeg's yuv420p)")
_JSONL = flags.DEFINE_string("jsonl", None, "write a line of JSON a frame to this file (- is stdout)")
flags.DEFINE_boolean("resume", False, "go on after the last frame of --jsonl (files only)")
flags.DEFINE_float("jsonl_limit_mb", 256.0, "live sources: a --jsonl that grows beyond it becomes FILE.1 and is begun "
                   "anew", lower_bound=1e-3)
flags.DEFINE_float("deadline_ms", None, "count verdicts that come later than this after their frame")
flags.DEFINE_string("on_alarm", None, "run this command whenever the alarm is raised; LEANOOD_FRAME, "
                    "LEANOOD_NAME, LEANOOD_SCORE, LEANOOD_P_VALUE and LEANOOD_PARTITION are set")
flags.DEFINE_float("on_alarm_timeout_s", 60.0, "kill an --on_alarm command that takes longer", lower_bound=0.1)
flags.DEFINE_float("stall_s", 5.0, "a live source that gives no frame for so long gives an invalid one")
flags.DEFINE_enum("view", "auto", ["auto", "rich", "plain", "none"], "what to show while it runs")
flags.DEFINE_enum("accelerator", "cpu", ["cpu", "gpu"], "where the network runs")
flags.DEFINE_enum("runtime", "auto", ["auto", "litert", "tflite-runtime", "tf.lite"], "what runs it")
flags.DEFINE_integer("num_threads", 1, "CPU threads", lower_bound=1)
flags.DEFINE_string("delegate", None, "a delegate library, e.g. libtensorflowlite_gpu_delegate.so")
flags.DEFINE_boolean("allow_cpu", False, "let the CPU take what the accelerator cannot")
_JSON = command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise ValueError("leanood monitor takes a detector file, or several that judge each frame together")
    summary = monitor.monitor(argv[1] if len(argv) == 2 else tuple(argv[1:]), **command.arguments())
    print(json.dumps(summary) if _JSON.value else summary, file=sys.stderr if _JSONL.value == "-" else sys.stdout)
    if summary.problem:
        raise ValueError(summary.problem)


def run() -> None:
    command.run(main, example="leanood monitor detector.tflite --source=0 --deadline_ms=50 --jsonl=today.jsonl")


if __name__ == "__main__":
    run()
