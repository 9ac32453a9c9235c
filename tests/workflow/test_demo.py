"""The demo in a smaller size: every step of the journey, what it leaves, and nothing done twice."""
import json
import os

import pytest

from leanood.tflite import bundle
from leanood.workflow import demo

pytest.importorskip("optuna")


def test_the_journey_from_training_to_a_drive_into_the_rain(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "_KINDS", ("darker",))
    monkeypatch.setattr(demo, "_BENIGN", ("yuv420",))
    monkeypatch.setattr(demo, "_STRETCH_S", 1.0)
    done = demo.demo(tmp_path, frames=1000, trials=1)
    told = capsys.readouterr().err
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
    assert again["seconds"] < done["seconds"]
    assert "epoch" not in capsys.readouterr().err
