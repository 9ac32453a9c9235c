"""A detector of JPEG files on the same drive as it comes by other ways: videos, raw frames, a live capture.

    python benchmarks/detection/other_cameras.py --data=$LEANOOD_TEST_DATA/data --runs=runs

The donkeycar detector, calibrated on a folder of JPEGs, watches the drive's test part by `leanood monitor`: the files
themselves, MPEG-4, Motion JPEG, VP8, raw RGB that went through YUV 4:2:0, raw YUV 4:2:0, and the path of cameras, which
a file feeds at 20 frames a second. It writes docs/other_cameras.md and
benchmarks/results/detection-other_cameras.json.
"""
from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Mapping, Optional

import cv2
import numpy as np
import sets
from absl import flags

from leanood.data import chroma, codecs, dataset, live
from leanood.tflite import bundle
from leanood.tflite.timing import results as results_
from leanood.tools import command
from leanood.workflow import calibrate, monitor

_OUT = flags.DEFINE_string("out", "docs/other_cameras.md", "the table, in Markdown")
_SECONDS = flags.DEFINE_integer("seconds", 200, "of the test driving")

NAME, FPS = "donkeycar", 20.0
_MAIN = str(pathlib.Path(__file__).resolve().parents[2] / "tools" / "main.py")
_CALIBRATED = "detector_promised.tflite"


def main(argv: List[str]) -> None:
    sets.load(NAME)
    detector = os.path.join(sets.RUNS.value, NAME, _CALIBRATED)
    if not os.path.exists(detector):
        calibrate.calibrate(sets.file(NAME), sets.load_data(NAME), detector)
    data = sets.load_data(NAME)
    test = data.where((data.split == "test") & ~data.ood)
    test = test.where(np.arange(min(len(test), int(_SECONDS.value * FPS))))
    with tempfile.TemporaryDirectory() as folder:
        results = _judge(detector, test, folder)
    alarms = {name: result["alarms"] for name, result in results.items()}
    results_.write(__file__, [results_.Figure(
        f"false alarms on the same drive in {len(results) - 1} other ways (codecs, raw frames, a live capture)",
        str(sum(alarms.values())), "0", not any(alarms.values()))], results)
    text = "\n".join(_text(results)) + "\n"
    sets.write(_OUT.value, text)
    print(text)


def _judge(detector: str, test: dataset.Dataset, folder: str) -> Dict[str, Dict[str, Any]]:
    """Returns the monitor's summary by the way that the frames came."""
    files = os.path.join(folder, "files")
    os.mkdir(files)
    for i, name in enumerate(test.names):
        os.symlink(os.path.abspath(os.path.join(sets.images(NAME), name)), os.path.join(files, f"{i:06}.jpg"))
    results = {"the files themselves": _monitor(detector, files)}
    for codec, (code, suffix) in codecs.VIDEO.items():
        if codecs.writes(codec):
            path = os.path.join(folder, codec + suffix)
            _write(path, code, test)
            results[f"{codec} ({suffix})"] = _monitor(detector, path)
    height, width = test.read(0).shape[:2]
    size = f"--frame_size={height}x{width}"
    results["raw RGB after YUV 4:2:0"] = _monitor(
        detector, "-", size, "--pixel_format=rgb", feed=_feed(test, lambda frame: chroma.from_yuv420(
            chroma.to_yuv420(frame), (height, width)).tobytes()))
    results["raw YUV 4:2:0"] = _monitor(
        detector, "-", size, "--pixel_format=yuv420", feed=_feed(test, chroma.to_yuv420))
    results["live capture of the mpeg4 video"] = _live(detector, os.path.join(folder, "mpeg4.mp4"))
    return results


def _write(path: str, code: str, test: dataset.Dataset) -> None:
    height, width = test.read(0).shape[:2]
    writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), FPS, (width, height))
    for i in range(len(test)):
        writer.write(cv2.cvtColor(test.read(i), cv2.COLOR_RGB2BGR))
    writer.release()


def _feed(test: dataset.Dataset, encode: Callable[[np.ndarray], bytes]) -> Callable[[Any], None]:
    """Returns what writes the frames to a pipe."""
    def feed(pipe: Any) -> None:
        for i in range(len(test)):
            pipe.write(encode(test.read(i)))
        pipe.close()

    return feed


def _monitor(detector: str, source: str, *options: str, feed: Optional[Callable[[Any], None]] = None) -> Dict[str, Any]:
    """Returns the summary of `leanood monitor` on a source."""
    words = [sys.executable, _MAIN, "monitor", detector, f"--source={source}", "--view=none", "--json", *options]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        if feed is not None:
            feed(child.stdin)
        told = child.stdout.read() if child.stdout else b""
        if child.wait():
            raise OSError(f"leanood monitor ended with status {child.returncode}")
    summary: Dict[str, Any] = json.loads(told)
    return summary


def _live(detector: str, path: str) -> Dict[str, Any]:
    """Returns the summary of a monitor of the newest frames that a thread takes from a video at its own pace."""
    capture = cv2.VideoCapture(path)
    due = time.perf_counter()

    def read() -> Optional[np.ndarray]:
        nonlocal due
        due += 1 / FPS
        time.sleep(max(0.0, due - time.perf_counter()))
        there, frame = capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if there else None

    items = live.Live("file", read, 2.0, capture.release)
    watching = monitor.Watch(bundle.load(detector), None)
    try:
        for item in items.items():
            if item is not None and item.frame is None:
                break  # the file's end: a camera would be said to have vanished
            if item is not None:
                watching.see(item)
    finally:
        items.close()
    return watching.summary()


def _text(results: Mapping[str, Mapping[str, Any]]) -> List[str]:
    lines = ["# The same drive by other ways", "",
             "Written by `benchmarks/detection/other_cameras.py`: a detector calibrated on the JPEG files of a drive",
             "(donkeycar) watches its test part by `leanood monitor`, as files and as it might come otherwise.", "",
             "| frames came as | frames | alarms raised | frames in alarm | dropped |",
             "| --- | --- | --- | --- | --- |"]
    return lines + [f"| {name} | {row['frames']} | {row['alarms']} | {row['alarm_frames'] / row['frames']:.2%} | "
                    f"{row['dropped']} |" for name, row in results.items()]


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/other_cameras.py --data=$LEANOOD_TEST_DATA/data")
