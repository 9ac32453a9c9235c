"""Several detector files as one: each judges every frame, p-values are fused, the alarm is any one's."""
import json
import pathlib

import numpy as np
import pytest

from leanood.tflite import bundle, together
from leanood.workflow import monitor

SCHEMA_1 = pathlib.Path(__file__).with_name("schema_1.tflite")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two files that differ in their threshold, one of single images, and frames that turn dark."""
    folder = tmp_path_factory.mktemp("together")
    parts = bundle.read(SCHEMA_1)
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    for name, changes in (("low", {"threshold": 2.0}), ("high", {"threshold": 40.0}), ("images", {"window": 0})):
        bundle.write(folder / f"{name}.tflite", parts.model, {**fields, **changes}, parts.arrays)
    frames = np.random.default_rng(0).integers(90, 160, (60, 16, 16, 3))
    frames[30:] //= 4
    np.save(folder / "frames.npy", frames.astype(np.uint8))
    return folder


def test_the_alarm_is_any_ones_and_the_p_value_bonferronis(files):
    both = bundle.load([files / "low.tflite", files / "high.tflite"])
    alone = [bundle.load(files / name) for name in ("low.tflite", "high.tflite")]
    assert both.config["threshold"] == 1
    for frame in np.load(files / "frames.npy"):
        fused, verdicts = both(frame), [single(frame) for single in alone]
        assert [verdict.score for verdict in both.verdicts] == [verdict.score for verdict in verdicts]
        assert fused.score == max(verdicts[0].score / 2, verdicts[1].score / 40)
        assert fused.alarm == (verdicts[0].alarm or verdicts[1].alarm) == (fused.score > 1)
        assert fused.p_value == min(1, 2 * min(verdicts[0].p_value, verdicts[1].p_value))
    assert fused.alarm
    assert fused.partition.split(":")[0].endswith(" 1")  # two of one name are told apart by number
    both.reset()
    [single.reset() for single in alone]
    assert both(frame).score == alone[0](frame).score / 2


def test_what_one_can_not_judge_is_invalid(files):
    both = bundle.load([files / "low.tflite", files / "high.tflite"])
    assert both.invalid().invalid
    assert both(np.full((16, 16, 3), 7, np.uint8)).alarm


def test_the_monitor_takes_several_files(files, tmp_path):
    paths = [files / "low.tflite", files / "high.tflite"]
    summary = monitor.monitor(paths, str(files / "frames.npy"), jsonl=str(tmp_path / "j"))
    assert summary["frames"] == 60
    both = bundle.load(paths)
    wanted = [both(frame).score for frame in np.load(files / "frames.npy")]
    assert [json.loads(line)["score"] for line in (tmp_path / "j").read_text().splitlines()] == wanted
    with pytest.raises(ValueError, match="--resume goes on with one detector file"):
        monitor.monitor(paths, str(files / "frames.npy"), jsonl=str(tmp_path / "j"), resume=True)


def test_detectors_that_have_nothing_to_watch_together_are_refused(files):
    with pytest.raises(ValueError, match="1 detector files were given; together are two or more"):
        bundle.load([files / "low.tflite"])
    with pytest.raises(ValueError, match="a detector of single images has no sequence"):
        together.Together([bundle.load(files / "low.tflite"), bundle.load(files / "images.tflite")])
