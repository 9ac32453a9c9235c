"""500 damaged detector files, descriptions, calibrations and graphs: every one refused in a line of ours, or run."""
import json
import os
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "robustness" / "fuzz_detector_file.py"


def test_no_damage_crashes_hangs_or_is_accepted(tiny_detector, tmp_path):
    child = subprocess.run([sys.executable, str(SCRIPT), str(tiny_detector), "--mutations=500", "--seed=7"],
                           capture_output=True, text=True, env={**os.environ, "LEANOOD_RESULTS": str(tmp_path)})
    assert child.returncode == 0, child.stdout + child.stderr
    (written,) = tmp_path.glob("*.json")
    assert json.loads(written.read_text())["figures"][0]["met"]
