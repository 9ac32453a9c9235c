import hashlib
import json
import os
import signal
import subprocess

import numpy as np
import pytest


@pytest.fixture(scope="module")
def leanood(python):
    def call(*arguments):
        return subprocess.run([python, "-m", "leanood.tools.main", *map(str, arguments)], capture_output=True,
                              text=True, timeout=120)
    return call


@pytest.mark.parametrize("verb", ["train", "convert"])
def test_help_is_no_failure(leanood, verb):
    done = leanood(verb, "--help")
    assert done.returncode == 0
    assert "Example:" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "message"), [
    (["train", "--out=x"], "--data"),
    (["train", "--data=lanes"], "--out"),
    (["train", "--data=lanes", "--out=x", "--epochs=0"], "--epochs=0"),
    (["train", "--data=lanes", "--out=x", "--pool=mean"], "--pool=mean: value should be one of <stride|max>"),
    (["train", "--data=lanes", "--out=x", "--size=64"], "size is '64', but should be height x width"),
    (["train", "--data=lanes", "--out=x", "oops"], "unexpected argument 'oops'"),
    (["train", "--data=/no/such/folder", "--out=x"], "/no/such/folder: no such folder"),
    (["train", "--data=lanes", "--out=x", "--widths=8,a"], "should be whole numbers with commas between"),
    (["train", "--data=lanes", "--out=x", "--latents=4"],
     "--latents is of networks that are trained, and a backbone is frozen; add --model=bvae"),
    (["train", "--data=lanes", "--out=x", "--model=bvae", "--local"], "--local is a backbone's map"),
    (["train", "--data=lanes", "--out=x", "--model=bvae", "--warm_up_epochs=1"], "--warm_up_epochs is resnet18's"),
    (["train", "--data=lanes", "--out=x", "--model=cnn", "--cutout=4"], "--cutout is resnet18's; leave it out, or"),
    (["train", "--data=lanes", "--out=x", "--label_smoothing=0.1"], "--label_smoothing is resnet18's"),
    (["train", "--data=lanes", "--out=x", "--model=cnn", "--warm_up_epochs=1"], "--warm_up_epochs is resnet18's"),
    (["train", "--data=lanes:frames=100", "--out=x", "--model=bvae", "--augment=light,fire"],
     "should be words of light, colour, rain"),
    (["convert", "--model=/no/such/run"], "/no/such/run is not there"),
    (["convert", "--model=x", "--quantize=int4"], "--quantize=int4"),
])
def test_a_slip_is_one_line_and_status_2(leanood, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = leanood(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"leanood {arguments[0]}: ")
    assert "Traceback" not in done.stderr
    assert not os.listdir(tmp_path)


def test_the_run_knows_its_data(tiny_run):
    config = json.loads((tiny_run / "config.json").read_text())
    assert config["model"] == "bvae"
    assert config["size"] == [32, 32]
    assert config["data"]["spec"] == "lanes:frames=600"
    assert config["data"]["description"].startswith("lanes")


def test_the_run_knows_what_its_latents_carry(tiny_run):
    latents = json.loads((tiny_run / "latents.json").read_text())
    assert len(latents["nats"]) == len(latents["active"]) == 6
    assert set(latents["correlations"]) == {"brightness", "sharpness", "rain"}
    assert max(map(abs, latents["correlations"]["brightness"])) > 0.5  # lanes vary in it


def test_a_finished_run_is_told_again_and_not_trained(leanood, tiny_run):
    before = (tiny_run / "history.csv").read_bytes()
    same = ["train", "--model=bvae", "--data=lanes:frames=600", "--size=32x32", "--widths=8,16", "--latents=6",
            "--epochs=3", "--beta=1.4", f"--out={tiny_run}"]
    done = leanood(*same, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    history = np.genfromtxt(tiny_run / "history.csv", delimiter=",", names=True)
    assert result["epochs"] == 3
    assert result["val_loss"] == min(history["val_loss"])
    assert "epoch " not in done.stderr
    assert (tiny_run / "history.csv").read_bytes() == before
    other = leanood(*same, "--beta=2")
    assert other.returncode == 2
    assert "was trained with beta=1.4, not with beta=2.0; give another --out" in other.stderr


def test_ctrl_c_keeps_the_checkpoint(python, tmp_path):
    process = subprocess.Popen(
        [python, "-m", "leanood.tools.main", "train", "--model=bvae", "--data=lanes:frames=300", "--size=16x16",
         "--widths=4", "--epochs=500", "--patience=0", f"--out={tmp_path / 'run'}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        # A shell starts background jobs deaf to Ctrl-C, and the tests may run in one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 2/500"):
            process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 2
    assert "interrupted" in lines[-1]
    assert not [line for line in lines if "Traceback" in line]
    assert [name for name in os.listdir(tmp_path / "run" / "checkpoints") if name.startswith("epoch-")]


def test_convert_says_what_the_file_was_made_from(tiny_run, tiny_tflite):
    for quantize, path in tiny_tflite.items():
        told = json.loads(path.with_suffix(".json").read_text())
        assert told["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert told["quantize"] == quantize
        assert told["outputs"] == "early,logvar,mu"
        assert told["data"]["spec"] == "lanes:frames=600"
        assert told["representative"] == (200 if quantize == "int8" else 0)


def test_convert_takes_any_keras_model(leanood, tiny_run, tmp_path):
    out = tmp_path / "model.tflite"
    done = leanood("convert", f"--model={tiny_run / 'encoder.h5'}", "--outputs=hidden=flatten,code=mu", "--early",
                   f"--out={out}", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"] == "code,early,hidden"
    assert done.stderr == ""
    refused = leanood("convert", f"--model={tiny_run / 'encoder.h5'}", "--quantize=int8", f"--out={out}")
    assert refused.returncode == 2
    assert "int8 needs training images to set its ranges; give --data" in refused.stderr
