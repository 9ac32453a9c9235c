"""Detector files that are sound and useless: statistics of infinity, a threshold that no score reaches."""
import math
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from leanood.ood import classifier_score, detector, kl_typical, scores
from leanood.tflite import bundle, runtime
from leanood.workflow import info


def _rewritten(source, path, change=None, **fields):
    parts = bundle.read(source)
    told = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    arrays = {name: array.copy() for name, array in parts.arrays.items()}
    if change:
        change(arrays)
    bundle.write(path, parts.model, {**told, **fields}, arrays)
    return path


def test_infinite_statistics_are_refused(whole_detector_of_typicals, tmp_path):
    def change(arrays):
        name = next(name for name in arrays if name.endswith("whitening"))
        arrays[name][0, 0] = math.inf

    path = _rewritten(whole_detector_of_typicals, tmp_path / "d.tflite", change)
    with pytest.raises(bundle.DetectorFileError, match=r"the statistics '.*whitening' hold infinity"):
        bundle.load(path)


def _shouts(path):
    """What is shouted when the file is loaded, and what `info` says of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bundle.load(path)
    said = info.info(path, try_here=False)
    shouted = [str(entry.message) for entry in caught if "NEVER ALARMS" in str(entry.message)]
    assert [f"{path}: {said['problem']}"] * bool(said["problem"]) == shouted
    assert ("NEVER ALARMS" in str(said)) == bool(shouted)
    return shouted


@pytest.mark.parametrize(("fields", "warned"), [
    ({"threshold": None}, True), ({"threshold": 3.0}, False),
    ({"threshold": 1e9}, True),  # finite; yet no million frames add up to it
    ({"threshold": 1.0, "decay": 1e4}, True),  # what is carried over decays faster than evidence comes
    ({"threshold": 1e3, "decay": None}, True),  # nothing is carried over, and one window is never so odd
    ({"threshold": 10.0, "decay": None}, False),
    ({"threshold": 1.0, "decay": None, "scales": {"windows": [5, 10], "thresholds": [1e3, 1e3]}}, True),
    ({"threshold": 1.0, "decay": None, "scales": {"windows": [5, 10], "thresholds": [1e3, 3.0]}}, False),
    ({"threshold": 1e30, "window": 0, "decay": None}, True), ({"threshold": 50.0, "window": 0, "decay": None}, False)])
def test_a_threshold_that_no_score_reaches_is_shouted(tiny_detector, tmp_path, fields, warned):
    path = _rewritten(tiny_detector, tmp_path / "d.tflite", **fields)
    shouted = _shouts(path)
    assert len(shouted) == warned
    if warned:
        assert re.fullmatch(rf"{re.escape(str(path))}: THIS DETECTOR NEVER ALARMS but on invalid frames: its threshold "
                            r"is [\de+.inf]+, its score stays below [\de+.]+; calibrate it again", shouted[0])


@pytest.mark.parametrize(("name", "threshold", "warned"), [("msp", 1.0, True), ("msp", 0.9, False), ("odin", 2.0, True),
                                                           ("energy", 2.0, False)])
def test_a_bounded_score_has_its_bound(tiny_models, tmp_path, name, threshold, warned):
    model = (tiny_models / "classifier_float32.tflite").read_bytes()
    loaded = runtime.load(model, trusted=True)
    size = next(iter(loaded.inputs.values())).shape[1:3]
    outputs = loaded.each(np.random.default_rng(0).integers(0, 256, (60, *size, 3), dtype=np.uint8))
    measure = classifier_score.ClassifierScore(scores.by_name(name)()).fit(outputs)
    judge = detector.Detector.calibrate(measure, outputs, window=0)
    judge.threshold = threshold
    path = tmp_path / "d.tflite"
    bundle.write(path, model, {**judge.config(), "kind": "score", "outputs": ["logits"], "input": {"size": list(size)}},
                 judge.to_arrays())
    assert len(_shouts(path)) == warned


def test_the_verbs_shout_in_one_line(tiny_detector, tmp_path):
    path = _rewritten(tiny_detector, tmp_path / "d.tflite", threshold=1e9)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    done = subprocess.run([sys.executable, "-m", "leanood.tools.main", "monitor", str(path), "--view=none",
                           f"--source={tmp_path / 'x.npy'}"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if "ALARMS" in line or "warn" in line.lower()]
    assert len(told) == 1
    assert told[0].startswith(f"leanood monitor: {path}: THIS DETECTOR NEVER ALARMS")


@pytest.fixture
def whole_detector_of_typicals(tiny_models, tmp_path):
    """A detector file with Gaussians."""
    model = (tiny_models / "latent_float32.tflite").read_bytes()
    frames = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    outputs = runtime.load(model, trusted=True).each(frames)
    starts = np.arange(60) == 0
    judge = detector.Detector.calibrate(kl_typical.KlTypical().fit(outputs, None, starts), outputs, starts=starts,
                                        window=10)
    judge.use_scales([5, 10], [2.5, 2.0])
    path = tmp_path / "typical.tflite"
    bundle.write(path, model, {**judge.config(), "kind": "latent", "outputs": ["logvar", "mu"], "fps": 20.0,
                               "input": {"name": "frame", "size": [32, 32]}}, judge.to_arrays())
    return path
