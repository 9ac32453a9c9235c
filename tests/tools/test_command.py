"""The boundary to the user: what a terminal must not obey, pipes that close, packages that are missing."""
import os
import subprocess
import sys

import pytest

from leanood.tools import command


def _child(code, *arguments):
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, timeout=120)


_MAIN = "import sys; sys.argv = ['leanood', *sys.argv[1:]]; from leanood.tools import main; main.run()"


def test_tables_obey_no_escapes():
    text = command.table([["a\x1b[31m\nb", 1]], ["name", "value"])
    assert "\x1b" not in text
    assert len(text.splitlines()) == 3


def test_an_error_shows_a_files_name_without_its_escapes(tmp_path):
    name = tmp_path / "evil\x1b]0;owned\x07.tflite"
    name.write_bytes(b"nothing")
    child = _child(_MAIN, "info", name)
    assert child.returncode == 2
    assert b"evil?]0;owned?.tflite" in child.stderr
    assert b"\x1b" not in child.stderr + child.stdout


def test_a_missing_file_is_told_in_words(tmp_path):
    child = _child(_MAIN, "info", tmp_path / "none.tflite")
    assert child.returncode == 2
    assert child.stderr.startswith(b"leanood info: No such file or directory: ")


@pytest.mark.parametrize("verb", ["info", "monitor", "benchmark"])
def test_help_that_nobody_reads_to_its_end_is_quiet(verb):
    read, write = os.pipe()
    os.close(read)
    child = subprocess.run([sys.executable, "-c", _MAIN, verb, "--help"], stdout=write, stderr=subprocess.PIPE,
                           timeout=120)
    os.close(write)
    assert (child.returncode, child.stderr) == (0, b"")


@pytest.mark.parametrize("verb", ["calibrate", "evaluate"])
def test_a_host_verb_without_opencv_says_so_in_one_line(verb):
    child = _child("import sys; sys.modules['cv2'] = None; " + _MAIN, verb, "x.tflite")
    assert child.returncode == 2
    assert b"Traceback" not in child.stderr
    assert b"cv2" in child.stderr.splitlines()[-1]
    assert b"pip install" in child.stderr.splitlines()[-1]
