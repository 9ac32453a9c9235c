"""Detector files of older schemas load as they are and say what they said then.

Schema 1 was written before scores had scales, schema 2 when an eighth of a window had to agree.
"""
import pathlib

import numpy as np

from leanood.tflite import bundle
from leanood.tflite.archive import description

HERE = pathlib.Path(__file__).parent


def test_an_older_file_keeps_its_window_its_threshold_and_its_numbers():
    then = np.load(HERE / "schema_1.npz")
    detector = bundle.load(HERE / "schema_1.tflite")
    assert detector.config["schema"] == 1
    assert detector.detector.scales is None
    assert (detector.detector.window, detector.detector.threshold) == (10, 6.0)
    said = [detector(frame) for frame in then["frames"]]
    np.testing.assert_allclose([verdict.score for verdict in said], then["score"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose([verdict.p_value for verdict in said], then["p_value"], rtol=1e-3)
    np.testing.assert_array_equal([verdict.alarm for verdict in said], then["alarm"])
    assert 0 < then["alarm"].sum() < len(said)


def test_written_again_it_is_of_the_present_schema_and_judges_alike(tmp_path):
    parts = bundle.read(HERE / "schema_1.tflite")
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(tmp_path / "again.tflite", parts.model, fields, parts.arrays)
    again = bundle.load(tmp_path / "again.tflite")
    assert again.config["schema"] == description.SCHEMA == 3
    then = np.load(HERE / "schema_1.npz")
    np.testing.assert_array_equal([again(frame).alarm for frame in then["frames"]], then["alarm"])


def test_a_file_of_schema_2_keeps_its_eighths():
    frames, then = np.load(HERE / "schema_1.npz")["frames"], np.load(HERE / "schema_2.npz")
    detector = bundle.load(HERE / "schema_2.tflite")
    assert detector.config["schema"] == 2
    assert detector.detector.scales.latest == [1, 2, 3]
    said = [detector(frame) for frame in frames]
    np.testing.assert_allclose([verdict.score for verdict in said], then["score"], rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal([verdict.alarm for verdict in said], then["alarm"])
    assert 0 < then["alarm"].sum() < len(said)
    detector.reset()
    detector.detector.use_scales(detector.detector.scales.windows, detector.detector.scales.thresholds)
    assert max(abs(detector(frame).score - score) for frame, score in zip(frames, then["score"])) > 1
