"""The whole detector in the graph says, frame by frame, what NumPy says of the same file's outputs."""
import os
import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras

from leanood.ood import classifier_score, detector, kl_topk, kl_typical, scores, typicality
from leanood.tflite import convert, runtime
from leanood.tflite.rewrite import whole

SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"


def _drive(count, seed):
    """Frames [count, 16, 16, 3] of slowly changing light over fixed scenery."""
    random = np.random.default_rng(seed)
    light = 0.6 + 0.2 * np.sin(np.arange(count) / 9.0 + seed)[:, None, None, None]
    scenery = np.random.default_rng(0).uniform(40, 220, (16, 16, 3))
    return np.clip(scenery * light + random.normal(0, 9, (count, 16, 16, 3)), 0, 255).astype(np.uint8)


TRAIN, CALIBRATION = _drive(220, 0), _drive(200, 1)


@pytest.fixture(scope="module")
def files():
    keras.utils.set_random_seed(1)
    frame = keras.Input((16, 16, 3), name="frame")
    x = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="inner")(frame)
    early = keras.layers.GlobalAveragePooling2D(name="early")(x)
    x = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(x)
    local = keras.layers.AveragePooling2D(1, name="local")(x)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    mu = keras.layers.Dense(4, name="mu")(features * 9.0)
    logvar = keras.layers.Dense(4, name="logvar")(features)
    logits = keras.layers.Dense(5, kernel_initializer="random_normal", name="logits")(features * 20.0)
    model = keras.Model(frame, {"features": features, "logits": logits, "early": early, "mu": mu, "logvar": logvar,
                                "local": local})
    return {quantize: convert.convert(model, quantize=quantize, representative=TRAIN)
            for quantize in ("float32", "int8")}


def _calibrated(file, nonconformity, window=10, scales=True, kind="subset", parts=None):
    runner = runtime.load(file, trusted=True)
    train, calibration = runner.each(TRAIN), runner.each(CALIBRATION)
    starts = np.arange(len(TRAIN)) % 50 == 0
    nonconformity.fit(train, parts, starts if window else None)
    calibration_parts = None if parts is None else np.resize(parts, len(CALIBRATION))
    judge = detector.Detector.calibrate(nonconformity, calibration, partition=calibration_parts,
                                        starts=np.arange(len(CALIBRATION)) % 50 == 0 if window else None,
                                        partition_kind=kind, window=window)
    if window and scales:
        judge.use_scales([5, 10, 20], [2.2, 1.8, np.inf], latest=[1, 3, 5])
    else:
        judge.threshold = float(np.quantile(judge.run(calibration, None)["score"], 0.9))
    return judge


def _frames():
    """In-distribution, then ever darker, then one colour, then a frozen camera, then in-distribution."""
    drive = _drive(90, 5)
    drive[30:50] = (drive[30:50] * np.linspace(0.9, 0.1, 20)[:, None, None, None]).astype(np.uint8)
    drive[50] = 7
    drive[60:70] = drive[60]
    return drive


def _both(file, judge, frames):
    """What NumPy says, and what the graph says: dicts of arrays [N]."""
    plain, folded = runtime.load(file, trusted=True), runtime.load(whole.fold_all(file, judge), trusted=True)
    ours, theirs = [], []
    state = np.zeros(folded.inputs["state"].shape, np.float32) if "state" in folded.inputs else None
    judge.reset()
    for frame in frames:
        outputs = plain(frame)
        if (frame == frame[0, 0]).all():
            outputs = {name: np.full_like(array, np.nan) for name, array in outputs.items()}
        ours.append(judge.step(outputs))
        result = folded(frame if state is None else {"frame": frame, "state": state})
        if not (frame == frame[0, 0]).all():
            for name in outputs:
                np.testing.assert_array_equal(result[name], outputs[name])
        state = result.get("state")
        theirs.append(result)
    return ({name: np.array([getattr(step, name) for step in ours]) for name in whole.OUTPUTS},
            {name: np.array([float(result[name][0]) for result in theirs]) for name in whole.OUTPUTS})


def _check(ours, theirs, count, tolerance=2e-3):
    # Half a step of the table each way, which the random numbers decide, and a neighbour in it by float32's rounding.
    assert np.abs(ours["p_value"] - theirs["p_value"]).max() <= 2.0 / (count + 1)
    finite = np.isfinite(ours["nonconformity"])
    np.testing.assert_allclose(theirs["nonconformity"][finite], ours["nonconformity"][finite], rtol=tolerance,
                               atol=tolerance)
    assert (theirs["nonconformity"][~finite] > 1e29).all()
    np.testing.assert_array_equal(theirs["alarm"] > 0.5, ours["alarm"])


@pytest.mark.parametrize("quantize", ["float32", "int8"])
def test_typicality_at_several_scales(files, quantize):
    judge = _calibrated(files[quantize], typicality.Typicality())
    assert judge.nonconformity.channels == typicality.CHANNELS
    ours, theirs = _both(files[quantize], judge, _frames())
    _check(ours, theirs, len(CALIBRATION))
    # An invalid frame's p-value is all smoothing, u / (n + 1): for as long as it is remembered, scores differ by it.
    np.testing.assert_allclose(theirs["score"][:50], ours["score"][:50], atol=0.02)
    np.testing.assert_allclose(theirs["score"][50:], ours["score"][50:], atol=0.5)
    assert ours["alarm"].any()
    assert not ours["alarm"][:30].any()


def test_typicality_by_partition(files):
    parts = np.where(_drive(len(TRAIN), 0).mean((1, 2, 3)) > TRAIN.mean(), "bright", "medium")
    runner = runtime.load(files["float32"], trusted=True)
    measure = typicality.Typicality(by_partition=True).fit(runner.each(TRAIN), parts)
    assert measure.to_arrays()["gaussian.early.offset"].shape[0] == 2
    judge = detector.Detector.calibrate(measure, runner.each(CALIBRATION), window=0)
    judge.threshold = 4.0
    _check(*_both(files["float32"], judge, _frames()), len(CALIBRATION))


@pytest.mark.parametrize("kind", ["subset", "factor"])
def test_latents_by_partition(files, kind):
    parts = np.where(np.arange(len(TRAIN)) % 4 < 2, "bright", "medium")
    judge = _calibrated(files["float32"], kl_topk.KlTopK(k=2), kind=kind, parts=parts)
    ours, theirs = _both(files["float32"], judge, _frames())
    assert np.abs(ours["p_value"] - theirs["p_value"]).max() <= 2.0 / 100
    finite = np.isfinite(ours["nonconformity"])
    np.testing.assert_allclose(theirs["nonconformity"][finite], ours["nonconformity"][finite], rtol=1e-4, atol=1e-5)


def test_typical_latents(files):
    judge = _calibrated(files["float32"], kl_typical.KlTypical())
    ours, theirs = _both(files["float32"], judge, _frames())
    _check(ours, theirs, len(CALIBRATION))


@pytest.mark.parametrize("name", ["energy", "mahalanobis", "vim", "energy+mahalanobis"])
def test_a_classifiers_score_on_single_images(files, name):
    judge = _calibrated(files["int8"], classifier_score.named(name), window=0)
    ours, theirs = _both(files["int8"], judge, _frames())
    if "+" not in name:  # the few values of a small fusion's tables make ties, which random numbers part
        _check(ours, theirs, len(CALIBRATION))
    np.testing.assert_array_equal(theirs["alarm"], ours["alarm"])
    finite = np.isfinite(ours["score"])
    np.testing.assert_allclose(theirs["score"][finite], ours["score"][finite], rtol=1e-3, atol=1e-3)


def test_a_state_of_zeros_begins_a_sequence(files):
    judge = _calibrated(files["float32"], typicality.Typicality())
    folded = runtime.load(whole.fold_all(files["float32"], judge), trusted=True)
    zeros = np.zeros(folded.inputs["state"].shape, np.float32)
    first = folded({"frame": TRAIN[0], "state": zeros})
    later = folded({"frame": TRAIN[1], "state": first["state"]})
    again = folded({"frame": TRAIN[0], "state": zeros})
    np.testing.assert_array_equal(first["score"], again["score"])
    assert (later["state"] != first["state"]).any()


def test_what_has_no_form_in_the_graph_is_refused(files):
    judge = _calibrated(files["float32"], kl_topk.KlTopK(k=2), scales=False)
    with pytest.raises(ValueError, match="a martingale over one window cannot be put into a graph"):
        whole.fold_all(files["float32"], judge)
    knn = _calibrated(files["float32"], classifier_score.ClassifierScore(scores.KNN()), window=0)
    with pytest.raises(ValueError, match="knn has no form in TFLite's operators; these have: msp"):
        whole.fold_all(files["float32"], knn)
    fused = _calibrated(files["float32"], classifier_score.named("energy+knn"), window=0)
    with pytest.raises(ValueError, match="the score knn has no form in TFLite's operators; these have: msp"):
        whole.fold_all(files["float32"], fused)
    folded = whole.fold_all(files["float32"], _calibrated(files["float32"], typicality.Typicality()))
    with pytest.raises(ValueError, match="has the inputs frame, state, but should have one"):
        whole.fold_all(folded, _calibrated(files["float32"], typicality.Typicality()))


_RUN = """
import sys
import numpy as np
from leanood.tflite import runtime
path, kind, accelerator, out = sys.argv[1:]
runner = runtime.load(path, accelerator, runtime=kind, trusted=True)
frames, found = np.load(out + ".frames.npy"), []
state = np.zeros(runner.inputs["state"].shape, np.float32)
for frame in frames:
    said = runner({"frame": frame, "state": state})
    state = said["state"]
    found.append([float(said[name][0]) for name in ("score", "p_value", "alarm")])
np.save(out, np.array(found))
"""


@pytest.mark.parametrize(("kind", "accelerator"), [("tflite-runtime", "cpu"), ("litert", "gpu")])
def test_other_runtimes_say_the_same(files, tmp_path, kind, accelerator):
    environment = dict(os.environ)
    if kind == "tflite-runtime":
        pytest.importorskip("tflite_runtime")
    else:
        if not os.path.exists(SWIFTSHADER):
            pytest.skip("no software Vulkan driver here")
        environment.update(VK_ICD_FILENAMES=SWIFTSHADER, XDG_RUNTIME_DIR=str(tmp_path))
    judge = _calibrated(files["float32"], typicality.Typicality())
    (tmp_path / "whole.tflite").write_bytes(whole.fold_all(files["float32"], judge))
    frames = _frames()
    np.save(tmp_path / "out.npy.frames.npy", frames)
    done = subprocess.run([sys.executable, "-c", _RUN, str(tmp_path / "whole.tflite"), kind, accelerator,
                           str(tmp_path / "out.npy")], env=environment, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr.decode()[-1500:]
    rows = np.load(tmp_path / "out.npy")
    _, theirs = _both(files["float32"], judge, frames)
    np.testing.assert_array_equal(rows[:, 2], theirs["alarm"])
    np.testing.assert_allclose(rows[:, 0], theirs["score"], atol=5e-3)
