"""The demo in a smaller size: every step of the journey, what it leaves, and nothing done twice, interrupted or not."""
import json
import os

import pytest

from leanood.tflite import bundle
from leanood.workflow import demo, study

pytest.importorskip("optuna")


def interrupted(*arguments):
    raise KeyboardInterrupt


def test_the_journey_from_training_to_a_drive_into_the_rain(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_KINDS", ("darker",))
    monkeypatch.setattr(demo, "_BENIGN", ("yuv420",))
    monkeypatch.setattr(demo, "_STRETCH_S", 1.0)
    with monkeypatch.context() as once:
        once.setattr(study, "_verdict", interrupted)
        with pytest.raises(KeyboardInterrupt):
            demo.demo(tmp_path, frames=1000, trials=1)
    told = capsys.readouterr().err
    assert "$ leanood report " not in told
    done = demo.demo(tmp_path, frames=1000, trials=1)
    rest = capsys.readouterr().err
    assert "the search goes on after" in rest
    assert "$ leanood train " not in rest
    told += rest
    for verb in ("train", "study", "report", "monitor"):
        assert f"$ leanood {verb} " in told
    assert bundle.read(done["detector"]).detector["certificate"]["recipe"] == done["recommended"]
    assert os.path.getsize(done["report"]) > 10_000
    with open(tmp_path / "drive.jsonl", encoding="utf-8") as text:
        alarms = [json.loads(line)["alarm"] for line in text][:320]
    before = sum(alarms[:160])
    assert done["frames alarmed before the rain"] == before
    first = alarms.index(True, 160) - 159 if any(alarms[160:]) else None
    assert done["alarm in the rain after"] == ("never" if first is None else f"{first} frames, {first / 20:.2f} s")
    assert (tmp_path / "drive.png").read_bytes().startswith(b"\x89PNG")
    assert "darker 4" in str(done)
    again = demo.demo(tmp_path, frames=1000, trials=1)
    assert {name: again[name] for name in again.summary if name != "seconds"} == {
        name: done[name] for name in done.summary if name != "seconds"}
    told = capsys.readouterr().err
    assert "epoch" not in told
    assert "step " not in told
    with pytest.raises(ValueError, match="run was trained on lanes:frames=1000,scene=100, not on lanes:frames=1001,sc"):
        demo.demo(tmp_path, frames=1001, trials=1)
