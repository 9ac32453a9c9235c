"""The journal: a monitor that was stopped anywhere goes on with the numbers that it would have had, scales included."""
import json
import pathlib

import numpy as np
import pytest

from leanood.data import streams
from leanood.tflite import bundle
from leanood.workflow import journal

SCHEMA_1 = pathlib.Path(__file__).parent.parent / "tflite" / "schema_1.tflite"


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Frames of a drive, and a detector whose nonconformity compares each frame with the one before."""
    folder = tmp_path_factory.mktemp("drive")
    random = np.random.default_rng(3)
    light = 100 + 40 * np.sin(np.arange(430) / 15)
    frames = light[:, None, None, None] * np.linspace(0.7, 1.3, 16)[:, None] + random.normal(0, 6, (430, 16, 16, 3))
    frames[200:260] = frames[200:260] * 0.6
    frames[300:320] = 7.0  # of one colour: invalid
    np.save(folder / "frames.npy", np.clip(frames, 0, 255).astype(np.uint8))
    parts = bundle.read(SCHEMA_1)
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(folder / "one.tflite", parts.model, fields, parts.arrays)
    scales = {"windows": [5, 40, 160], "thresholds": [4.0, 2.5, None]}
    bundle.write(folder / "several.tflite", parts.model,
                 {**fields, "decay": None, "threshold": 1.0, "scales": scales}, parts.arrays)
    return folder


@pytest.mark.parametrize("name", ["one", "several"])
def test_resumed_anywhere_the_numbers_are_the_same(drive, tmp_path, name):
    source = str(drive / "frames.npy")
    detector = bundle.load(drive / f"{name}.tflite")
    records = []
    for number, item in enumerate(streams.open(source).items(0)):
        verdict, problem = journal.judge(detector, item)
        records.append({"frame": number, "name": item.name, "score": verdict.score, "p_value": verdict.p_value,
                        "alarm": verdict.alarm, "invalid": verdict.invalid, "problem": problem})
    assert any(record["alarm"] for record in records[200:260])
    for cut in (1, 7, 11, 160, 161, 170, 171, 255, 310, 321, 400):
        path = tmp_path / f"{cut}.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records[:cut]))
        again = bundle.load(drive / f"{name}.tflite")
        assert journal.resume(again, streams.open(source), str(path)).frames == cut
        for item, record in zip(streams.open(source).items(cut), records[cut:]):
            verdict, _ = journal.judge(again, item)
            assert (verdict.score, verdict.p_value, verdict.alarm) == (
                record["score"], record["p_value"], record["alarm"]), (cut, record["frame"])
