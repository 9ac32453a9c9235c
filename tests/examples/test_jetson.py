"""The Jetson page's unit is one that systemd reads, and its commands use flags and elements that are there."""
import pathlib
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from leanood.tools import monitor as _flags  # noqa: F401 - defines the verb's flags

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNIT = ROOT / "examples" / "jetson" / "leanood.service"
PAGE = (ROOT / "docs" / "jetson.md").read_text(encoding="utf-8")


def test_systemd_reads_the_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze here")
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text())
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True,
                          timeout=60)
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []


@pytest.mark.parametrize("text", [PAGE, UNIT.read_text()], ids=["page", "unit"])
def test_the_monitor_has_the_flags(text):
    from absl import flags

    command, = re.findall(r"leanood monitor (.*?)(?:```|\n[A-Z])", text, re.DOTALL)
    for name in re.findall(r"--(\w+)", command):
        assert name in flags.FLAGS, name


def test_the_camera_pipeline_with_a_test_picture(tiny_detector, tmp_path):
    """What the page says, with videotestsrc for the camera and its hardware."""
    if not shutil.which("gst-launch-1.0"):
        pytest.skip("no gst-launch-1.0 here")
    pipeline = re.search(r"! (video/x-raw,format=I420.*?) fdsink fd=1", PAGE, re.DOTALL).group(1).replace("\\\n", " ")
    source = f"gst-launch-1.0 -q videotestsrc num-buffers=9 ! {pipeline.replace('leaky=downstream', '')} fdsink fd=1"
    raw = subprocess.run(["sh", "-c", source], capture_output=True, timeout=60, check=True).stdout
    assert len(raw) % (640 * 480 * 3 // 2) == 0
    done = subprocess.run(
        [sys.executable, "-m", "leanood.tools.main", "monitor", str(tiny_detector), "--source=-",
         "--frame_size=480x640", "--pixel_format=yuv420", "--jsonl=-", "--view=none"], input=raw, capture_output=True,
        timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert len(lines) == len(raw) // (640 * 480 * 3 // 2) > 3
    assert all('"invalid": false' in line for line in lines)
    bars = np.frombuffer(raw[:480 * 640], np.uint8).reshape(480, 640)
    assert len(np.unique(bars[100, 40::91])) == 7  # videotestsrc's seven bars: rows lie as they should
