"""500 damaged detector files, descriptions, calibrations and graphs: every one refused in a line of ours, or run."""
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "robustness" / "fuzz_detector_file.py"


def test_no_damage_crashes_hangs_or_is_accepted(tiny_detector):
    child = subprocess.run([sys.executable, str(SCRIPT), str(tiny_detector), "--mutations=500", "--seed=7"],
                           capture_output=True, text=True)
    assert child.returncode == 0, child.stdout + child.stderr
