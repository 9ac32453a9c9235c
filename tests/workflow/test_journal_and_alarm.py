"""The monitor's journal of a live source, and the commands that alarms start."""
import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest

from leanood.workflow import journal, monitor

RECORD = {"frame": 3, "name": "a", "score": 1.0, "p_value": 0.5, "partition": "all"}


def _monitor(detector, frames, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "leanood.tools.main", "monitor", str(detector), "--source=-", "--frame_size=32x32",
         "--view=none", *arguments], input=frames.tobytes(), capture_output=True, timeout=120)


def test_a_restarted_live_monitor_adds_to_its_journal(tiny_detector, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    for _ in range(2):
        child = _monitor(tiny_detector, frames, f"--jsonl={tmp_path / 'live.jsonl'}")
        assert child.returncode == 0, child.stderr
    assert [json.loads(line)["frame"] for line in (tmp_path / "live.jsonl").read_text().splitlines()] == [*range(5)] * 2


def test_a_journal_is_rotated_by_its_size(tmp_path):
    path = tmp_path / "live.jsonl"
    lines = journal.Journal(str(path), 400)
    for i in range(20):
        lines.write({**RECORD, "frame": i})
    lines.close()
    sizes = [os.path.getsize(path), os.path.getsize(f"{path}.1")]
    assert max(sizes) <= 400
    kept = [json.loads(line)["frame"] for name in (f"{path}.1", path)
            for line in pathlib.Path(name).read_text().splitlines()]
    assert kept == list(range(20 - len(kept), 20))
    again = journal.Journal(str(path), 400)  # knows what is there already
    for i in range(20, 30):
        again.write({**RECORD, "frame": i})
    again.close()
    assert os.path.getsize(path) <= 400


def test_a_journal_that_cannot_be_written_says_so_once(capsys):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    lines = journal.Journal("/dev/full")
    for _ in range(3):
        lines.write(RECORD)
    lines.close()
    assert capsys.readouterr().err.count("No space left on device") == 1


def test_alarms_start_so_many_commands_at_a_time_and_no_more():
    command = monitor.Command(["sleep", "60"], most=2)
    assert [command.run(RECORD, dict(os.environ)) for _ in range(3)] == [
        "", "", "--on_alarm: 2 runs of sleep are not done yet, this alarm starts none"]
    begin = time.monotonic()
    command.close(0.2)
    assert time.monotonic() - begin < 5


def test_a_command_that_hangs_is_killed_with_what_it_started(tmp_path):
    command = monitor.Command(["sh", "-c", f"sleep 60 & echo $! > {tmp_path}/inner; wait"], timeout_s=0.5)
    assert command.run(RECORD, dict(os.environ)) == ""
    end = time.monotonic() + 20
    while time.monotonic() < end and command._running:
        command.tend()
        time.sleep(0.05)
    assert not command._running
    inner = int((tmp_path / "inner").read_text())
    while time.monotonic() < end:  # until its new parent has buried it
        try:
            os.kill(inner, 0)
        except ProcessLookupError:
            break
        if pathlib.Path(f"/proc/{inner}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the command's own child goes on")
