"""A user's own classifier and folder go through the commands: convert (a score folded in), calibrate, evaluate."""
import json
import subprocess

import numpy as np
import pytest
import tf_keras as keras

from leanood.ood import scores
from leanood.tflite import bundle, runtime


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes of 60 images, and a classifier with a softmax of its own."""
    cv2 = pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("classifier")
    rng = np.random.RandomState(0)
    for index, name in enumerate(("cat", "dog", "ship")):
        (root / "images" / name).mkdir(parents=True)
        for i in range(60):
            image = (rng.rand(16, 16, 3) * 80 + 80 * (np.arange(3) == index)).astype(np.uint8)
            cv2.imwrite(str(root / "images" / name / f"{i:03d}.png"), image)
    keras.utils.set_random_seed(0)
    x = frame = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu", name="inner")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    keras.Model(frame, keras.layers.Dense(3, activation="softmax", name="classes")(x)).save(str(root / "mine.h5"))
    return root


def leanood(python, folder, *arguments):
    done = subprocess.run([python, "-m", "leanood.tools.main", *arguments, "--json"], cwd=folder, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_users_classifier_goes_through(folder, python):
    converted = leanood(python, folder, "convert", "--model=mine.h5",
                        "--outputs=features=pool,logits=classes,early=inner", "--size=16x16", "--quantize=int8",
                        "--data=images", "--fold_score=relative_mahalanobis", "--out=mine.tflite")
    assert converted["outputs"].split(",") == ["early", "features", "logits", "ood_score"]
    calibrated = leanood(python, folder, "calibrate", "mine.tflite", "--detector=vim+early", "--out=detector.tflite",
                         "--false_positive_rate=0.1")
    assert calibrated["frames"]["calibration"] > 0
    detector = bundle.load(folder / "detector.tflite")
    assert detector.config["kind"] == "classifier"
    assert isinstance(detector.detector.nonconformity.wrapped, scores.Fusion)
    frame = (np.random.RandomState(1).rand(16, 16, 3) * 80).astype(np.uint8)
    assert detector(np.rot90(frame) // 8).score > 0
    assert leanood(python, folder, "evaluate", "detector.tflite")["rows"]


def test_a_users_classifier_goes_through_a_study(folder, python):
    pytest.importorskip("optuna")
    done = leanood(python, folder, "study", "--model=mine.h5", "--outputs=features=pool,logits=classes", "--size=16x16",
                   "--data=images", "--detector=energy+early", "--trials=1", "--rungs=1", "--refine_epochs=0",
                   "--corruptions=darker,noise", "--benign=", "--margin=0.4", "--out=study")
    assert [(row["recipe"], row["failure"]) for row in done["candidates"]] == [("int8", "")]
    kept = bundle.load(folder / "study" / "detector.tflite")
    assert isinstance(kept.detector.nonconformity.wrapped, scores.Fusion)
    frame = np.full((1, 16, 16, 3), 200, np.uint8)
    logits = next(iter(runtime.load(folder / "study" / "detector.tflite").each(frame)["logits"]))
    assert logits.sum() != pytest.approx(1, abs=0.05)  # no softmax


def test_slips_are_one_line(folder, python):
    done = subprocess.run([python, "-m", "leanood.tools.main", "convert", "--model=mine.h5", "--out=x.tflite",
                           "--outputs=logits=classes", "--size=16x16", "--fold_score=enery"], cwd=folder,
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith("leanood convert: there is no score 'enery'")
