"""`leanood compress`: a run or a saved model in; weights, a TFLite file, a detector and a report out."""
import json
import subprocess

import pytest
import tf_keras

from leanood.compression import huffman

L = tf_keras.layers


def leanood(python, *arguments):
    return subprocess.run([python, "-m", "leanood.tools.main", "compress", *arguments], capture_output=True, text=True,
                          timeout=300)


def test_a_run_becomes_a_smaller_run_with_a_detector(python, tiny_run, tmp_path):
    arguments = (f"--run={tiny_run}", "--recipe=shrink(0.5)+cluster(16)+int8+huffman", f"--out={tmp_path / 'small'}",
                 "--epochs=1", "--images=64", "--data=lanes:frames=600,scene=10", "--detector=kl-topk",
                 "--layer_errors", "--json")
    done = leanood(python, *arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    sizes = {row["model"]: row for row in report["sizes"]}
    assert list(sizes) == ["original", "shrink(0.5)", "cluster(16)", "the original's float32 file", "int8 file",
                           "huffman-packed file"]
    assert sizes["shrink(0.5)"]["multiply_adds"] < 0.6 * sizes["original"]["multiply_adds"]
    assert sizes["huffman-packed file"]["bytes"] < sizes["int8 file"]["bytes"]
    assert json.loads((tmp_path / "small" / "report.json").read_text()) == report
    assert {"conv1", "mu", "logvar"} <= {error["layer"] for error in report["layer_errors"]}
    with open(report["files"]["tflite"], "rb") as file, open(report["files"]["packed"], "rb") as packed:
        flatbuffer = file.read()
        assert huffman.unpack(packed.read()) == flatbuffer
    with open(report["files"]["detector"], "rb") as file:
        assert file.read().startswith(flatbuffer)
    assert "step 1/4: shrink" in done.stderr
    config = json.loads((tmp_path / "small" / "config.json").read_text())
    assert (tmp_path / "small" / config["compressed"]["from"]).resolve() == tiny_run.resolve()
    again = leanood(python, *arguments)  # all steps are there: nothing is trained
    assert json.loads(again.stdout)["sizes"] == report["sizes"]
    assert "epoch" not in again.stderr
    other = leanood(python, *arguments[:1], "--recipe=shrink", *arguments[2:])
    assert (other.returncode, other.stderr.count("\n")) == (2, 1)
    assert "recipe" in other.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (("--recipe=shrnk",), "there is no step 'shrnk'; the steps are downscale, cut, shrink, "),
    (("--recipe=shrink+qat",), "qat: layer 'odd' (PReLU) can't be quantized by tfmot"),
])
def test_mistakes_are_one_line_and_no_training(python, tmp_path, arguments, message):
    frame = L.Input((8, 8, 3), name="frame")
    x = L.PReLU(name="odd")(L.Conv2D(8, 3, name="conv")(frame))
    tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(L.Flatten()(x))}).save(tmp_path / "model.h5")
    done = leanood(python, f"--model={tmp_path / 'model.h5'}", f"--out={tmp_path / 'out'}", *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_run_or_a_model_but_not_both(python, tmp_path):
    for arguments in ((), ("--run=a", "--model=b")):
        done = leanood(python, "--recipe=shrink", "--out=x", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "give one of --run=FOLDER and --model=FILE" in done.stderr
