"""Detector files: what goes in comes out, everything else is one clear line, and a frame always gets an answer."""
import errno
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from leanood.data import frames
from leanood.ood import classifier_score, scores
from leanood.ood import detector as ood_detector
from leanood.tflite import bundle, runtime
from leanood.tflite.archive import appendix, arrays

FIELDS = {"kind": "latent", "input": {"size": [32, 32]}, "outputs": ["mu"], "partitions": ["all"],
          "partition_kind": "subset", "window": 5, "decay": 1.0, "threshold": None, "metrics": [{"auroc": 0.5}]}


@pytest.fixture
def copy(tiny_detector, tmp_path):
    return shutil.copy(tiny_detector, tmp_path / "detector.tflite")


def _error(path):
    with pytest.raises(bundle.DetectorFileError) as error:
        bundle.load(path)
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def _rewritten(path, model=None, description=None, calibration=None, edit=None):
    """The file with parts exchanged; `edit` changes detector.json's fields, and its own hash is made right again."""
    with open(path, "rb") as file:
        start, (text, arrays_) = appendix.read(file, os.path.getsize(path), bundle._MEMBERS, bundle._LIMITS)
        file.seek(0)
        graph = file.read(start)
    if edit is not None:
        fields = json.loads(text)
        edit(fields)
        fields.setdefault("sha256", {})
        fields["sha256"]["detector"] = "0" * 64
        text = json.dumps(fields).encode()
        text = text.replace(b"0" * 64, hashlib.sha256(text).hexdigest().encode())
    graph = graph if model is None else model
    members = [appendix.Member("detector.json", description or text),
               appendix.Member("calibration.npz", calibration or arrays_)]
    with open(path, "wb") as file:
        file.write(graph + appendix.build(members, len(graph)))
    return path


def test_what_is_written_is_read(tmp_path, tiny_models):
    model = (tiny_models / "latent_float32.tflite").read_bytes()
    numbers = {"table": np.arange(6.0).reshape(2, 3), "names": np.array(["bright", "größer"]),
               "flags": np.array([True]), "empty": np.zeros((0, 3), np.int64), "scalar": np.float32(2),
               "big": np.arange(3, dtype=">i4"), "fortran": np.asfortranarray(np.arange(6).reshape(2, 3))}
    path = tmp_path / "detector.tflite"
    bundle.write(path, model, FIELDS, numbers)
    parts = bundle.read(path)
    assert parts.model == model == bundle.flatbuffer(path)
    assert {**parts.detector, "schema": None, "sha256": None} == {**FIELDS, "schema": None, "sha256": None}
    assert parts.detector["sha256"]["model"] == hashlib.sha256(model).hexdigest()
    assert set(parts.arrays) == set(numbers)
    for name, array in numbers.items():
        np.testing.assert_array_equal(parts.arrays[name], array)
    assert [p.name for p in tmp_path.iterdir()] == ["detector.tflite"]


def test_the_same_content_makes_the_same_bytes(tiny_detector, tmp_path):
    parts = bundle.read(tiny_detector)
    fields = {key: value for key, value in parts.detector.items() if key not in ("schema", "sha256")}
    bundle.write(tmp_path / "again.tflite", parts.model, fields, parts.arrays)
    assert (tmp_path / "again.tflite").read_bytes() == tiny_detector.read_bytes()


def test_other_tools_open_the_same_file(tiny_detector):
    with zipfile.ZipFile(tiny_detector) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["detector.json", "calibration.npz"]
        with np.load(io.BytesIO(archive.read("calibration.npz")), allow_pickle=False) as loaded:
            np.testing.assert_array_equal(loaded["calibration.0"], bundle.read(tiny_detector).arrays["calibration.0"])
    interpreter = Interpreter(model_path=str(tiny_detector))
    assert interpreter.get_signature_list()["serving_default"]["outputs"] == ["logvar", "mu"]


def test_calibrating_again_replaces_the_calibration(copy, tmp_path):
    again = tmp_path / "again.tflite"
    with open(copy, "rb") as file:
        bundle.write(again, file.read(), FIELDS, {"a": np.zeros(3)})
    assert bundle.read(again).model == bundle.read(copy).model
    assert list(bundle.read(again).arrays) == ["a"]


def test_a_plain_model_is_told_to_be_calibrated(tiny_models):
    path = tiny_models / "latent_float32.tflite"
    assert "a plain TFLite model, not calibrated (or cut off): run leanood calibrate" in _error(path)
    assert bundle.flatbuffer(path) == path.read_bytes()


def test_a_detector_file_that_was_cut_off_is_no_plain_model(copy, monkeypatch):
    data = copy.read_bytes()
    monkeypatch.setattr(appendix, "_MAX_DIRECTORY", 64)  # the cut is far from any header but the first
    monkeypatch.setattr(appendix, "_AT_ONCE", 100)
    copy.write_bytes(data[:data.index(b"detector.json") + 200])
    assert "its ZIP has no end: the file is truncated" in _error(copy)


def test_every_bit_flip_and_every_truncation_is_found(tiny_detector, tmp_path):
    data = tiny_detector.read_bytes()
    path = tmp_path / "detector.tflite"
    bits = 8 * len(data)
    for place in [*np.random.default_rng(0).integers(0, bits, 150).tolist(), *range(bits - 180, bits)]:
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(bundle.DetectorFileError):
            bundle.read(path)
    for length in [0, 3, 8, 1000, *np.random.default_rng(1).integers(0, len(data), 50).tolist(), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(bundle.DetectorFileError):
            bundle.load(path)


@pytest.mark.parametrize(("tail", "message"), [
    (b"\0", "bytes follow its ZIP: the file was padded or joined with another"),
    (b"x" * 500, "bytes follow its ZIP"),
])
def test_padding_is_found(copy, tail, message):
    with open(copy, "ab") as file:
        file.write(tail)
    assert message in _error(copy)


def test_bytes_put_between_model_and_zip_are_found(copy):
    with open(copy, "rb") as file:
        data = file.read()
    start = len(bundle.read(copy).model)
    with open(copy, "wb") as file:
        file.write(data[:start] + b"\0\0\0\0" + data[start:])
    assert "its ZIP's directory is damaged, or bytes were inserted or cut out" in _error(copy)


def test_another_models_calibration_is_found(copy, tiny_models):
    _rewritten(copy, model=(tiny_models / "latent_float16.tflite").read_bytes())
    assert "the calibration is not of this model: the model was damaged or exchanged" in _error(copy)


def test_exchanged_arrays_are_found(copy):
    _rewritten(copy, calibration=arrays.to_npz({"calibration.0": np.zeros(3)}))
    assert "calibration.npz is not the one that was written with detector.json" in _error(copy)


def test_an_edited_description_is_found(copy):
    with open(copy, "rb") as file:
        _, (text, _) = appendix.read(file, os.path.getsize(copy), bundle._MEMBERS, bundle._LIMITS)
    _rewritten(copy, description=text.replace(b'"threshold": 3.0', b'"threshold": 9e9'))
    assert "detector.json was changed after it was written (its SHA-256 differs)" in _error(copy)


def test_a_newer_schema_asks_for_an_upgrade(copy):
    _rewritten(copy, edit=lambda fields: fields.update(schema=4))
    assert "written by a newer leanood (schema 4; this one reads up to 3): upgrade leanood" in _error(copy)


@pytest.mark.parametrize(("change", "message"), [
    ({"input": {"size": [32, -1]}}, r"input.size, [height, width]"),
    ({"window": 1e9}, "window, a number of frames"),
    ({"decay": "fast"}, "decay, a number"),
    ({"partitions": []}, "partitions, a list of names"),
    ({"partition_kind": "both", "kind": 3}, "kind, text; partition_kind, subset or factor"),
    ({"partitions": ["dark", "light"]}, "its calibration is not usable: partitions ['bright', 'medium'] were"),
    ({"detector": "magic"}, "its calibration is not usable: unknown detector 'magic'"),
    ({"detector": ["a"]}, "its calibration is not usable: "),
    ({"outputs": ["logits"]}, "its graph lacks the outputs logits (it has logvar, mu)"),
    ({"input": {"size": [64, 64]}}, "its graph takes [1, 32, 32, 3], its calibration is of [1, 64, 64, 3]"),
])
def test_a_description_that_does_not_fit_is_found(copy, change, message):
    _rewritten(copy, edit=lambda fields: fields.update(change))
    assert message in _error(copy)


@pytest.mark.parametrize(("text", "message"), [
    (b"{", "detector.json is damaged"),
    (b"\xff", "detector.json is damaged"),
    (b"[" * 100000, "detector.json is damaged"),
    (b'{"schema": 1, "decay": NaN}', "detector.json is damaged: NaN is not a number"),
    (b'{"schema": 1, "schema": 1}', "a key is there twice"),
    (b'{"schema": ' + b"9" * 1000000 + b"}", "the integer 99999999999999999999… is out of range"),
    (b"[1]", "detector.json has no schema version"),
    (b'{"schema": 1}', "detector.json has no hashes"),
])
def test_hostile_json_is_refused(copy, text, message):
    _rewritten(copy, description=text)
    assert message in _error(copy)


def _npz(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def _npy(header, data=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


_NAN = _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", np.float64(np.nan).tobytes())
_PICKLE = _npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04N.")
_HUGE = _npy("{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 99999999999), }", b"12345678")
_CODE = _npy("{'descr': __import__('os').abort(), 'fortran_order': False, 'shape': (1,), }")


@pytest.mark.parametrize(("data", "message"), [
    (_npz(**{"a.npy": _NAN}), "array 'a.npy' has NaN"),
    (_npz(**{"a.npy": _PICKLE}), "is of a type or form that is not allowed"),
    (_npz(**{"a.npy": _CODE}), "is of a type or form that is not allowed"),
    (_npz(**{"a.npy": _HUGE}), "is truncated or padded"),
    (_npz(**{"a.npy": b"hello"}), "is no array"),
    (_npz(**{"../../etc/a.npy": _NAN}), "a member of the name '../../etc/a.npy'"),
    (_npz(**{"a.txt": b""}), "a member of the name 'a.txt'"),
    (b"not a zip", "the calibration's arrays cannot be read"),
])
def test_hostile_arrays_are_refused(copy, data, message):
    def rehash(fields):
        fields["sha256"]["arrays"] = hashlib.sha256(data).hexdigest()

    _rewritten(copy, calibration=data, edit=rehash)
    assert message in _error(copy)


def test_a_bomb_is_refused_before_it_is_inflated():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * (1 << 26))
    with pytest.raises(ValueError, match="'a.npy' is compressed or too large"):
        arrays.from_npz(file.getvalue())


def test_foreign_zips_are_refused(copy):
    model = bundle.read(copy).model
    for members, message in [
        ({"detector.json": "{}", "calibration.npz": "", "extra": "x"}, "'detector.json', 'calibration.npz', 'ext"),
        ({"../../etc/passwd": "x"}, "a plain TFLite model, not calibrated"),
    ]:
        with open(copy, "wb") as file:
            file.write(model)
        with zipfile.ZipFile(copy, "a") as archive:
            for name, text in members.items():
                archive.writestr(name, text)
        assert message in _error(copy)
    with open(copy, "wb") as file:
        file.write(model)
    with zipfile.ZipFile(copy, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("detector.json", "0" * 10_000_000)
    assert "its ZIP has a compressed member, which leanood never writes (a bomb?)" in _error(copy)


@pytest.mark.parametrize(("fields", "numbers", "message"), [
    ({"metrics": [float("nan")]}, {}, "has a value that JSON cannot keep"),
    ({"window": None}, {}, "detector.json lacks or misstates: window"),
    ({}, {"table": np.array([1.0, np.nan])}, "array 'table' has NaN"),
    ({}, {"../up": np.zeros(1)}, "array '../up' needs a name of letters"),
    ({}, {"objects": np.array([None])}, "array 'objects' is of type object"),
])
def test_what_cannot_be_kept_is_refused_before_writing(tmp_path, tiny_models, fields, numbers, message):
    model = (tiny_models / "latent_float32.tflite").read_bytes()
    with pytest.raises(ValueError, match=message):
        bundle.write(tmp_path / "d.tflite", model, {**FIELDS, **fields}, numbers)
    with pytest.raises(ValueError, match="model is not a TFLite flatbuffer"):
        bundle.write(tmp_path / "d.tflite", b"PK" * 20, FIELDS, {})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file_and_nothing_else(copy, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    with open(copy, "rb") as file:
        before = file.read()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="detector.tflite: not written, the disk is full") as error:
        bundle.write(copy, before, FIELDS, {})
    assert error.value.errno == errno.ENOSPC
    with open(copy, "rb") as file:
        assert file.read() == before
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match="not written, No such file or directory"):
        bundle.write(tmp_path / "nowhere" / "d.tflite", before, FIELDS, {})


_WRITER = """
import itertools, sys
import numpy as np
from leanood.tflite import bundle
parts = bundle.read(sys.argv[1])
for i in itertools.count():
    fields = {**{k: v for k, v in parts.detector.items() if k not in ("schema", "sha256")}, "turn": i}
    bundle.write(sys.argv[1], parts.model, fields, parts.arrays)
    if i == 0:
        print("writing", flush=True)
"""


def test_kill_9_while_writing_leaves_a_sound_file(copy):
    for delay in (0.0, 0.013, 0.031):
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(copy)], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        assert "turn" in bundle.read(copy).detector


# What a loaded detector says.


def test_verdicts_are_the_detectors_on_the_networks_outputs(tiny_detector):
    camera = np.random.default_rng(7).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    parts = bundle.read(tiny_detector)
    expected = ood_detector.Detector.from_arrays(parts.detector, parts.arrays).run(
        runtime.load(parts.model).each(camera), np.arange(12) == 0)
    detector = bundle.load(tiny_detector)
    for i, frame in enumerate(camera):
        verdict = detector(frame)
        assert verdict.score == expected["score"][i]
        assert verdict.p_value == expected["p_value"][i]
        assert verdict.log_martingale == verdict.martingale == expected["log_martingale"][i]
        assert verdict.nonconformity == expected["nonconformity"][i]
        assert verdict.alarm == expected["alarm"][i]
        assert verdict.partition == detector.detector.partitions[expected["partition"][i]]
        assert not verdict.invalid
        assert 0 < sum(detector.stages_s.values()) <= verdict.latency_s * 1.001


def test_frames_of_any_size_are_resized_as_in_training(tiny_detector):
    large = np.random.default_rng(8).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    resized = frames.resize(large, (32, 32))
    assert bundle.load(tiny_detector)(large)[:2] == bundle.load(tiny_detector)(resized)[:2]
    assert bundle.load(tiny_detector)(resized / np.float32(255))[:2] == bundle.load(tiny_detector)(resized)[:2]


@pytest.mark.parametrize("frame", [
    np.full((32, 32, 3), np.nan, np.float32),
    np.where(np.arange(3072).reshape(32, 32, 3) == 7, np.inf, 0.5),
    np.zeros((32, 32, 3), np.uint8),
    np.full((50, 70, 3), (1, 2, 3), np.uint8),
])
def test_frames_that_no_camera_takes_are_flagged_and_raise_the_alarm(tiny_detector, frame):
    detector = bundle.load(tiny_detector)
    verdict = detector(frame)
    assert verdict.invalid
    assert verdict.alarm
    assert verdict.p_value < 0.05
    scores = [detector(frame).score for _ in range(20)]
    assert scores == sorted(scores)
    assert scores[-1] > 3.0  # over the threshold: it is not the flag alone that alarms
    detector.reset()
    ordinary = np.random.default_rng(7).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    assert not detector(ordinary).invalid


@pytest.mark.parametrize(("frame", "message"), [
    (np.zeros((32, 32), np.uint8), r"its shape is \[32, 32\], a frame's is"),
    (np.zeros((3, 32, 32), np.uint8), r"its shape is \[3, 32, 32\], a frame's is"),
    (np.zeros((32, 32, 4), np.uint8), r"a frame's is \[height, width, 3\]"),
    (np.zeros((0, 32, 3), np.uint8), "it has no pixels"),
    (np.zeros((32, 32, 3), np.int32), "its type is int32, a frame's is uint8"),
    (np.full((32, 32, 3), 200.0), r"its floats lie in \[200, 200\]"),
    ("frame", "a frame's is"),
    (None, "a frame's is"),
])
def test_a_callers_mistake_is_an_error_and_changes_nothing(tiny_detector, frame, message):
    camera = np.random.default_rng(7).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    detector, untouched = bundle.load(tiny_detector), bundle.load(tiny_detector)
    detector(camera[0])
    with pytest.raises(frames.FrameError, match=message):
        detector(frame)
    untouched(camera[0])
    assert detector(camera[1]).score == untouched(camera[1]).score


def test_a_classifiers_score_serves_alike(tiny_models, tmp_path):
    camera = np.random.default_rng(10).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    model = (tiny_models / "classifier_float32.tflite").read_bytes()
    outputs = runtime.load(model, trusted=True).each(camera)
    energy = classifier_score.ClassifierScore(scores.Energy()).fit(outputs)
    calibrated = ood_detector.Detector.calibrate(energy, outputs, window=0)
    fields = {**calibrated.config(), "kind": "classifier", "outputs": ["logits"], "input": {"size": [32, 32]}}
    bundle.write(tmp_path / "d.tflite", model, fields, calibrated.to_arrays())
    detector = bundle.load(tmp_path / "d.tflite")
    expected = -np.log(np.exp(outputs["logits"].astype(np.float64)).sum(axis=1))  # higher = more OOD
    np.testing.assert_allclose([detector(frame).score for frame in camera], expected, rtol=1e-6)
    assert detector(np.zeros((32, 32, 3), np.uint8)).invalid


def test_int8_and_float_detectors_agree(tiny_detector, tiny_int8_detector):
    camera = np.random.default_rng(9).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    exact, quantized = bundle.load(tiny_detector), bundle.load(tiny_int8_detector)
    alphas = np.array([[exact(frame).nonconformity, quantized(frame).nonconformity] for frame in camera])
    np.testing.assert_allclose(alphas[:, 1], alphas[:, 0], atol=0.1 * alphas[:, 0].max())
