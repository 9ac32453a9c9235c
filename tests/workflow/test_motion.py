"""A detector of motion through the steps after training: convert, calibrate, evaluate, and a device that agrees."""
import dataclasses
import json

import numpy as np
import pytest
import tf_keras as keras

from leanood.data import catalog, flow, sequences, stacks
from leanood.models import flow_vae, run
from leanood.tflite import bundle
from leanood.workflow import calibrate, convert, datasets, evaluate, monitor, network

SETTINGS = flow.Settings((48, 64), (45, 60), 3, 8.0, "farneback")


@pytest.fixture(scope="module")
def drives():
    return catalog.open("lanes:frames=700,scene=70,size=48x64")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder with untrained encoders: what is tested is around them."""
    config = {"model": "flow_vae", "input_scale": "unit", "flow": SETTINGS.to_json(), "data": {}}
    folder = run.Run.create(str(tmp_path_factory.mktemp("run")), config)
    keras.utils.set_random_seed(0)
    folder.save("encoder", flow_vae.encoder((45, 60), 3, (4, 8), 3))
    return folder.path


@pytest.fixture(scope="module")
def file(folder, drives):
    plain = convert.convert(folder, quantize="int8", data=drives, representative=20)
    return calibrate.calibrate(plain, drives, false_alarms_per_hour=60, benign_variants=1)


def test_the_file_says_how_its_flow_is_computed(file):
    loaded = bundle.load(file.path)
    assert loaded.config["kind"] == loaded.config["detector"] == "flow"
    assert flow.Settings.from_json(loaded.config["input"]["flow"]) == SETTINGS
    assert loaded.size == (48, 64)
    assert loaded.memory == 3
    assert set(loaded.config["outputs"]) == {*flow_vae.OUTPUTS, "motion"}


def test_a_device_says_what_calibration_and_evaluation_said(file, drives):
    loaded, test = bundle.load(file.path), drives.splits("test")
    test = test.where(np.arange(40))
    ran = network.load(file.path, motion=SETTINGS).run(test, "running")
    assert ran.frames.names == test.names[3:]
    judged = loaded.detector.run(ran.outputs, ran.frames.starts)
    verdicts = [loaded(test.read(i)) for i in range(40)]
    assert [verdict.waiting for verdict in verdicts] == [True] * 3 + [False] * 37
    np.testing.assert_allclose([verdict.nonconformity for verdict in verdicts[3:]], judged["nonconformity"], rtol=1e-5)
    np.testing.assert_allclose([verdict.score for verdict in verdicts[3:]], judged["score"], rtol=1e-5)


def test_a_frozen_camera_and_a_shaking_one_are_told(file, drives):
    settings = evaluate.Settings(severities=(5,), corruptions=("frozen", "shake", "rain"),
                                 stretch_s=2, stretches=3, benign=())
    loaded = bundle.load(file.path)
    report = evaluate.score(loaded, network.load(file.path, motion=SETTINGS), drives, settings)
    rows = {row["set"]: row for row in report.rows}
    assert list(rows) == ["frozen 5", "shake 5", "rain 5"]
    assert rows["frozen 5"]["auroc"] > 0.8
    assert rows["shake 5"]["auroc"] > 0.8
    assert set(rows["rain 5"]["baselines"]) == {"mean and spread of flow"}
    # Three frames of each stretch begin its first stack.
    assert rows["frozen 5"]["n_id"] + rows["frozen 5"]["n_ood"] == 3 * (40 - 3)


def test_no_flow_is_computed_twice(file, drives, monkeypatch):
    calls = []
    between = flow.Flow.between
    monkeypatch.setattr(flow.Flow, "between", lambda self, a, b: calls.append(1) or between(self, a, b))
    loaded, test = bundle.load(file.path), drives.splits("test")
    for i in range(30):
        loaded(test.read(i))
    assert len(calls) == 29
    calls.clear()
    sequences.corrupted(test, np.arange(30), "shake", 3, "second_half", 0, SETTINGS)
    assert len(calls) == 29
    calls.clear()
    stacks.load(test.where(np.arange(30)), SETTINGS)
    assert len(calls) == 29


def test_unordered_images_are_refused(folder, drives):
    loaded = network.load(bundle.flatbuffer(folder + "/encoder_int8.tflite"), motion=SETTINGS)
    unordered = dataclasses.replace(drives, sequence=np.full(len(drives), -1))
    with pytest.raises(ValueError, match="motion needs frames that follow each other"):
        loaded.run(unordered.splits("test"), "running")


def test_frames_left_out_are_never_bridged(folder, drives):
    loaded = network.load(bundle.flatbuffer(folder + "/encoder_int8.tflite"), motion=SETTINGS)
    test = drives.splits("test").where(np.arange(30))
    gone = dataclasses.replace(test, seconds=np.arange(30) / 20 + 0.1 * (np.arange(30) > 14))
    ran = loaded.run(gone, "running")
    places = [test.names.index(name) for name in ran.frames.names]
    assert places == [*range(3, 15), *range(18, 30)]
    assert np.flatnonzero(ran.frames.starts).tolist() == [0, 12]


def test_a_network_that_was_converted_with_other_settings_is_refused(folder, drives):
    with pytest.raises(ValueError, match="its stacks of flows are"):
        network.load(bundle.flatbuffer(folder + "/encoder_int8.tflite"),
                     motion=dataclasses.replace(SETTINGS, length=4))
    assert datasets.motion({}) is None


def test_a_monitor_goes_on_with_the_numbers_it_would_have_had(file, drives, tmp_path):
    test = drives.splits("test")
    pictures = np.stack([test.read(i) for i in range(40)])
    pictures[12] = 7  # of one colour: invalid, and a stack begins anew
    np.save(tmp_path / "frames.npy", pictures)
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    monitor.monitor(file, str(tmp_path / "frames.npy"), jsonl=str(whole))
    lines = whole.read_text().splitlines(keepends=True)
    for count in (3, 11, 14, 30):
        cut.write_text("".join(lines[:count]))
        monitor.monitor(file, str(tmp_path / "frames.npy"), jsonl=str(cut), resume=True)
        again = [json.loads(line) for line in cut.read_text().splitlines()]
        for record, other in zip(again, map(json.loads, lines)):
            assert {key: record[key] for key in ("score", "p_value", "alarm", "invalid")} == {
                key: other[key] for key in ("score", "p_value", "alarm", "invalid")}
