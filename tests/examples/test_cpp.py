"""The C++ example, built here: it prints of each frame what `leanood monitor` prints."""
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if not shutil.which("cmake") or not shutil.which("c++"):
        pytest.skip("no cmake or no C++ compiler here")
    build = tmp_path_factory.mktemp("cpp")
    for command in (["cmake", "-S", ROOT / "examples" / "cpp", "-B", build, f"-DPython3_EXECUTABLE={sys.executable}"],
                    ["cmake", "--build", build]):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    return build / "monitor"


def _lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("quantize", ["float32", "int8"])
def test_cpp_says_what_python_says(program, whole_detector, watched, quantize):
    path = str(whole_detector[quantize])
    done = subprocess.run([str(program), path], input=watched.tobytes(), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    theirs = _lines(done.stdout)
    python = subprocess.run([sys.executable, "-m", "leanood.tools.main", "monitor", path, "--source=-", "--jsonl=-",
                             "--frame_size=32x32", "--view=none"], input=watched.tobytes(), capture_output=True,
                            timeout=120)
    assert python.returncode == 0, python.stderr.decode()
    ours = _lines(python.stdout)
    assert len(theirs) == len(ours) == len(watched)
    for name in ("frame", "name", "alarm", "raised", "invalid"):
        assert [line[name] for line in theirs] == [line[name] for line in ours], name
    assert any(line["raised"] for line in ours)
    np.testing.assert_allclose([line["score"] for line in theirs], [line["score"] for line in ours], atol=0.05)
    np.testing.assert_allclose([line["p_value"] for line in theirs], [line["p_value"] for line in ours], atol=0.02)


def test_cpp_refuses_a_file_without_a_whole_detector(program, tiny_detector):
    done = subprocess.run([str(program), str(tiny_detector)], input=b"", capture_output=True, timeout=120)
    assert done.returncode == 2
    assert b"holds no whole detector; make it with leanood calibrate --fold=full" in done.stderr
