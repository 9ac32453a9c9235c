"""Detector files that are sound and useless: statistics of infinity, a threshold that no score reaches."""
import math
import warnings

import pytest

from leanood.tflite import bundle


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


@pytest.mark.parametrize(("threshold", "warned"), [(None, True), (3.0, False)])
def test_a_threshold_that_no_score_reaches_is_shouted(tiny_detector, tmp_path, threshold, warned):
    path = _rewritten(tiny_detector, tmp_path / "d.tflite", threshold=threshold)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        bundle.load(path)
    assert [str(warning.message) for warning in caught if "NEVER ALARMS" in str(warning.message)] == [
        f"{path}: THIS DETECTOR NEVER ALARMS but on invalid frames: its threshold is inf, its score stays below inf; "
        "calibrate it again"] * warned


@pytest.fixture
def whole_detector_of_typicals(tiny_models, tmp_path):
    """A detector file with Gaussians."""
    import numpy as np

    from leanood.ood import detector, kl_typical
    from leanood.tflite import runtime

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
