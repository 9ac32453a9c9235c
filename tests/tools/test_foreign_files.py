"""A file of another converter, and a whole detector in the graph, from the command line: four commands to alarms."""
import json
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest

from leanood.models import run
from leanood.tflite import bundle
from leanood.workflow import calibrate


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name, level in (("bright", 170), ("medium", 110)):
        (folder / name).mkdir()
        for i in range(60):
            picture = np.clip(random.normal(level, 25, (40, 40, 3)), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / name / f"{i:03d}.png"), picture)
    return folder


def _leanood(*arguments):
    return subprocess.run([sys.executable, "-m", "leanood.tools.main", *map(str, arguments)], capture_output=True,
                          text=True, timeout=300)


@pytest.mark.parametrize("detector", [None, "knn", "residual"])
def test_a_foreign_file_with_features_alone(tiny_models, images, tmp_path, detector):
    out = tmp_path / "detector.tflite"
    done = _leanood("calibrate", tiny_models / "without_signature.tflite", f"--data={images}", f"--out={out}", "--json",
                    "--outputs=features=StatefulPartitionedCall:0", "--input_scale=signed",
                    *([f"--detector={detector}"] if detector else []))
    if done.returncode and "has no output" in done.stderr:  # the converter named it otherwise
        name = done.stderr.split("its outputs are ")[1].split(",")[0].split(";")[0]
        done = _leanood("calibrate", tiny_models / "without_signature.tflite", f"--data={images}", f"--out={out}",
                        "--json", f"--outputs=features={name}", "--input_scale=signed",
                        *([f"--detector={detector}"] if detector else []))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["alarm_threshold"] > 0
    loaded = bundle.load(out)
    assert loaded.config["outputs"] == ["features"]
    blue = np.random.default_rng(1).integers(0, 9, (40, 40, 3), dtype=np.uint8) + np.array([0, 0, 240], np.uint8)
    ordinary = cv2.imread(str(images / "bright" / "000.png"))[..., ::-1]
    assert loaded(blue).score > loaded(np.ascontiguousarray(ordinary)).score


@pytest.mark.parametrize(("model", "message"), [
    ("two_inputs", r"has 2 inputs \(\(1, 4\), \(1, 4\)\), but a detector takes one: the frame"),
    ("strided_pointwise", r"names that say nothing to leanood; tell which they are: --outputs=logits=NAME")])
def test_a_foreign_file_is_told_to_name_its_outputs(tiny_models, images, tmp_path, model, message):
    with pytest.raises(ValueError, match=message):
        calibrate.calibrate(tiny_models / f"{model}.tflite", str(images), str(tmp_path / "d.tflite"))


@pytest.mark.parametrize("detector", ["kl-topk", "kl-typical", "flow-kl"])
def test_a_detector_that_the_outputs_cannot_serve_is_refused_at_once(tiny_models, images, tmp_path, detector):
    with pytest.raises(ValueError, match=f"'{detector}' reads the outputs mu.*, which the network lacks; it has .*lo"):
        calibrate.calibrate(tiny_models / "classifier_float32.tflite", str(images), str(tmp_path / "d.tflite"),
                            detector=detector)


def test_probabilities_in_place_of_logits_are_told():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(9, 4))
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert calibrate._are_probabilities(softmax.astype(np.float32))
    for other in (logits, np.abs(logits), np.zeros((9, 4)), np.ones((9, 1)), softmax * 2):
        assert not calibrate._are_probabilities(other.astype(np.float32))


def test_an_output_too_wide_for_a_covariance_is_told_before_the_work():
    output = types.SimpleNamespace(shape=(1, 64, 64, 3))
    loaded = types.SimpleNamespace(runner=types.SimpleNamespace(outputs={"features": output, "local": output}))
    calibrate._check_widths(loaded, ["local", "mu"])
    with pytest.raises(ValueError, match=r"'features' has 12288 numbers a frame, a detector takes 4096 at most: "):
        calibrate._check_widths(loaded, ["features"])


def test_outputs_that_never_change_or_are_no_numbers_are_told():
    same, varied = np.ones((5, 3), np.float32), np.arange(15.0).reshape(5, 3)
    assert calibrate._silent({"features": same, "logits": varied}, ["features", "logits", "mu"]) == ["features"]
    assert calibrate._silent({"features": same[:1]}, ["features"]) == []
    with pytest.raises(ValueError, match=r"the network says the same of every frame \(features\): .*--input_scale"):
        calibrate._silent({"features": same, "logits": varied}, ["features"])
    varied[2] = np.nan
    with pytest.raises(ValueError, match=r"outputs \(logits\) are NaN or infinite on 1 of 5 frames: .*--input_scale"):
        calibrate._silent({"logits": varied}, ["logits"])


def test_an_output_that_is_named_twice_is_refused(tiny_models):
    done = _leanood("calibrate", tiny_models / "classifier_float32.tflite", "--outputs=features=a,features=b")
    assert done.returncode == 2
    assert "names something twice" in done.stderr


@pytest.mark.parametrize(("name", "message"), [
    ("a.pt", "no Keras model: convert it by litert-torch"), ("a.onnx", "no Keras model: export the model"),
    ("a.tflite", "is converted already; `leanood calibrate` takes it"),
    ("w.weights.h5", "holds weights alone; save the whole model")])
def test_what_is_no_keras_model_is_told_where_to_go(tmp_path, name, message):
    import h5py

    with h5py.File(tmp_path / name, "w") as file:
        file["layer"] = [1.0]
    with pytest.raises(ValueError, match=message):
        run.load(str(tmp_path / name))


def test_a_whole_detector_is_still_a_detector_file(tiny_models, images, tmp_path):
    out = tmp_path / "whole.tflite"
    done = _leanood("calibrate", tiny_models / "classifier_float32.tflite", f"--data={images}", f"--out={out}",
                    "--fold=full")
    assert done.returncode == 0, done.stderr
    assert str(images).encode() not in out.read_bytes()
    loaded = bundle.load(out)
    assert {"score", "p_value", "nonconformity", "alarm"} <= set(loaded.runner.outputs)
    for name in ("bright", "medium"):
        picture = np.ascontiguousarray(cv2.imread(str(images / name / "001.png"))[..., ::-1])
        verdict = loaded(picture)
        from leanood.data import frames

        inside = loaded.runner(frames.resize(picture, loaded.size))
        assert float(inside["score"][0]) == pytest.approx(verdict.score, rel=1e-3)
        assert bool(inside["alarm"][0] > 0.5) == verdict.alarm
    done = _leanood("info", out, "--notry_here")
    assert done.returncode == 0, done.stderr
