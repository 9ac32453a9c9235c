"""A backbone from the journey's first step to its last: a cut chosen by rule, features in the default detector."""
import json

import cv2
import numpy as np
import pytest
import tf_keras as keras

import leanood
from leanood.data import stream
from leanood.tflite import bundle, runtime
from leanood.workflow import backbone, monitor, view


def test_the_earliest_cut_that_is_as_good_as_any():
    cuts = [backbone.Cut("a", 4, 0.6, 0.6, 0.600), backbone.Cut("b", 4, 0.7, 0.7, 0.746),
            backbone.Cut("c", 4, 0.7, 0.8, 0.750), backbone.Cut("d", 4, 0.7, 0.7, 0.700)]
    assert backbone.best(cuts).layer == "b"


@pytest.fixture(scope="module")
def network_file(tmp_path_factory):
    """A backbone of one's own, as a file: random filters."""
    keras.utils.set_random_seed(0)
    frame = x = keras.Input((48, 48, 3))
    for i, width in enumerate((8, 8, 16)):
        x = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu", name=f"conv{i}")(x)
    path = tmp_path_factory.mktemp("backbone") / "own.h5"
    keras.Model(frame, keras.layers.Conv2D(16, 3, strides=2, padding="same", name="late")(x)).save(path)
    return path


def test_from_training_to_a_verdict(network_file, tmp_path, monkeypatch):
    monkeypatch.setattr(backbone, "_FIT", 40)
    monkeypatch.setattr(backbone, "_JUDGE", 6)
    lanes = {"data": "lanes:frames=400,scene=20,size=48x48"}
    run = leanood.train(**lanes, out=tmp_path / "run", model="backbone", backbone=str(network_file), size=(48, 48))
    assert run.summary["cut"] in ("conv2", "late")
    assert run.summary["features"] == 16
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"] == "backbone"
    assert config["backbone"] == str(network_file)
    file = leanood.convert(run, quantize="int8", representative=20)
    calibrated = leanood.calibrate(file, benign_variants=1)
    detector = bundle.load(calibrated.path)
    assert set(detector.config["outputs"]) == {"early", "features"}
    small = leanood.compress(run, "prune(0.5, epochs=0)+int8", out=tmp_path / "small", images=20, detector="none")
    assert set(runtime.load(small.summary["files"]["tflite"]).outputs) == {"early", "features"}
    fixed = leanood.train(**lanes, out=tmp_path / "fixed", model="backbone", backbone=str(network_file), size=(48, 48),
                          cut="conv1", local=True)
    assert fixed.summary["features"] == 8
    assert fixed.summary["local"] == [6, 6, 8]
    judged = leanood.calibrate(leanood.convert(fixed, quantize="int8", representative=20), benign_variants=1)
    detector = bundle.load(judged.path)
    assert detector.config["map"] == {"cells": [6, 6]}
    frame = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    verdict = detector(frame)
    assert verdict.map.shape == (6, 6)
    assert verdict.map.max() > 5  # noise is no lane
    assert detector(np.zeros_like(frame)).map is None  # invalid
    record = monitor.Watch(detector, None).see(stream.Item("noise", frame, "", 0.0))
    assert np.shape(record["map"]) == (6, 6)
    assert len(view.heat(record["map"])) == 6
    with pytest.raises(ValueError, match="has no map 'nowhere'; it can be cut at conv2"):
        leanood.train(**lanes, out=tmp_path / "none", model="backbone", backbone=str(network_file), size=(48, 48),
                      cut="nowhere")


def test_unreadable_images_are_named_and_left_out(network_file, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(40):
        cv2.imwrite(str(folder / f"{i:02}.png"), random.integers(0, 256, (48, 48, 3), dtype=np.uint8))
    damaged = [folder / f"{i:02}.png" for i in range(0, 40, 4)]
    for path in damaged:
        path.write_bytes(path.read_bytes()[:200])
    given = {"model": "backbone", "backbone": str(network_file), "size": (48, 48)}
    assert leanood.train(folder, tmp_path / "run", **given).summary["cut"] in ("conv2", "late")
    assert "unreadable, left out: " in capsys.readouterr().err
    own = leanood.train(folder, tmp_path / "own", cut="block3")
    assert json.loads((tmp_path / "own" / "config.json").read_text())["size"] == [48, 48]  # images are not blown up
    assert own.summary["cut"] == "block3"
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"^0 readable images to train on and 0 for validation are too few to choose "
                       r"the cut by \(2 and one are the least\); give more, or name a layer: --cut$"):
        leanood.train(folder, tmp_path / "none", **given)


def test_the_default_is_a_small_backbone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(backbone, "_FIT", 10)
    monkeypatch.setattr(backbone, "_JUDGE", 3)
    run = leanood.train("lanes:frames=100,scene=20", tmp_path / "run", epochs=2)
    assert "note: --epochs changes nothing, a backbone is frozen" in capsys.readouterr().err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["model"], config["backbone"]) == ("backbone", "efficientnet_lite0")
    assert (config["size"], config["downscale"]) == ([120, 160], 3)
    assert run.summary["cut"] in ("block3", "block4", "block5", "block6", "block7", "block8", "block9", "block10")
    small = leanood.train("lanes:frames=100,scene=20", tmp_path / "small", size=(70, 70), cut="block3")
    assert json.loads((tmp_path / "small" / "config.json").read_text())["downscale"] == 2
    assert small.summary["cut"] == "block3"
