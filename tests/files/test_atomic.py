"""Files are there whole or not at all, and no link leads a writer astray."""
import json
import os

import pytest

from leanood.files import atomic


def test_content_replaces_what_was_there_and_leaves_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    target.write_text("old")
    atomic.write_json(target, {"ü": [1, 2.5]})
    assert json.loads(target.read_text(encoding="utf-8")) == {"ü": [1, 2.5]}
    atomic.write_text(target, "ß")
    assert target.read_bytes() == "ß".encode()
    assert os.listdir(tmp_path) == ["a.json"]


def test_an_error_halfway_keeps_the_old_content(tmp_path):
    target = tmp_path / "a.bin"
    atomic.write_bytes(target, b"old")
    with pytest.raises(TypeError), atomic.replacing(target) as file:
        file.writelines([b"half", None])
    with pytest.raises(TypeError), atomic.replacing_path(target) as path, open(path, "wb") as file:
        file.writelines([b"half", None])
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_link_at_the_target_is_replaced_not_written_through(tmp_path):
    victim, target = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    target.symlink_to(victim)
    atomic.write_text(target, "new")
    assert victim.read_text() == "precious"
    assert target.read_text() == "new"
    assert not target.is_symlink()


def test_a_link_planted_under_the_partial_name_is_refused(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    planted = tmp_path / ".out.planted.partial"
    planted.symlink_to(victim)
    monkeypatch.setattr(atomic, "_partial", lambda name: str(planted))
    with pytest.raises(OSError, match=r"out: not written, File exists"):
        atomic.write_text(tmp_path / "out", "new")
    assert victim.read_text() == "precious"


def test_a_writer_that_takes_a_path_gets_the_same_ending(tmp_path):
    target = tmp_path / "model.h5"
    with atomic.replacing_path(target) as path:
        assert os.path.basename(path) == "model.h5"
        assert os.stat(os.path.dirname(path)).st_mode & 0o077 == 0
        with open(path, "w", encoding="utf-8") as file:
            file.write("weights")
    assert target.read_text() == "weights"
    assert os.listdir(tmp_path) == ["model.h5"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    atomic.write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_device_is_written_to_as_it_stands():
    atomic.write_text("/dev/null", "gone")
    assert not os.path.isfile("/dev/null")


def test_what_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(OSError, match=r"missing.a.txt: not written, No such file or directory"):
        atomic.write_text(tmp_path / "missing" / "a.txt", "")
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", float("nan"))
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_is_told_as_such():
    with pytest.raises(OSError, match="/dev/full: not written, the disk is full"):
        atomic.write_text("/dev/full", "x" * 100_000)
