import contextlib
import dataclasses
import gc
import json
import os
import signal
import socket
import subprocess
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.models import bvae, bvae_training, precision, run, strategy, training

SETTINGS = bvae_training.Settings(size=(8, 8), widths=(4,), latents=2, epochs=4, patience=0, batch_size=16,
                                  warm_up=0.0, learning_rate=0.01)


@pytest.fixture(scope="module")
def images():
    level = np.random.default_rng(0).integers(40, 200, (48, 1, 1, 3), dtype=np.uint8)
    return np.tile(level, (1, 8, 8, 1))


def _weights(folder):
    return [*folder.encoder().get_weights(), *folder.decoder().get_weights()]


def _train(images, settings, out, **options):
    """32 images in an order of each epoch's own, the rest for validation."""
    kept = images / np.float32(255)

    def batches(epoch):
        return tf.data.Dataset.from_tensor_slices(kept[np.random.default_rng(epoch).permutation(32)]).batch(16)

    judge = tf.data.Dataset.from_tensor_slices(kept[32:]).batch(16)
    return bvae_training.train(batches, settings, str(out), steps=2, validation=judge, **options)


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    """A run of four epochs that nothing disturbed."""
    return _train(images, SETTINGS, tmp_path_factory.mktemp("whole") / "run")


class _Killed(Exception):
    pass


def test_a_resumed_run_ends_like_a_whole_one(whole, images, tmp_path, monkeypatch):
    """Stopped twice: at once after a checkpoint, and in the middle of the next epoch."""
    out = str(tmp_path / "run")
    for dies_at in (2, 3):
        real, calls = training._epoch, []

        def dies(*arguments, real=real, calls=calls, at=dies_at):
            calls.append(arguments[3])
            if arguments[3] == at:
                raise _Killed
            return real(*arguments)

        monkeypatch.setattr(training, "_epoch", dies)
        with pytest.raises(_Killed):
            _train(images, SETTINGS, out)
        assert calls[-1] == dies_at
        assert len(calls) == (3 if dies_at == 2 else 2)  # the second process did not start over
        monkeypatch.setattr(training, "_epoch", real)
    folder, outcome = _train(images, SETTINGS, out)
    assert [row["epoch"] for row in outcome.history] == [1, 2, 3, 4]
    for mine, theirs in zip(outcome.history, whole[1].history):
        assert mine == pytest.approx(theirs, rel=1e-5)
    for mine, theirs in zip(_weights(folder), _weights(whole[0])):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_the_folder_holds_what_a_reader_needs(whole):
    folder, outcome = whole
    assert {"config.json", "encoder.h5", "decoder.h5", "history.csv", "reconstructions.png", "checkpoints",
            "tensorboard"} <= set(os.listdir(folder.path))
    assert not [name for name in os.listdir(folder.path) if "partial" in name]
    with open(folder.file("history.csv")) as stream:
        lines = stream.read().splitlines()
    assert lines[0].startswith("epoch,loss,reconstruction,kl,val_loss")
    assert len(lines) == 5
    assert float(lines[4].split(",")[1]) == outcome.history[3]["loss"]
    again = run.Run(folder.path)
    assert again.config["widths"] == [4]
    z = again.encoder()(np.zeros((1, 8, 8, 3), np.float32))["mu"]
    assert again.decoder()(z).shape == (1, 8, 8, 3)


def test_the_best_epochs_weights_come_back(images, tmp_path):
    """A validation loss that is made up: the second epoch is the best, the third and fourth wait in vain."""
    folder = run.Run.create(str(tmp_path / "run"), {})
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    weights = []
    losses = iter([3.0, 1.0, 2.0, 1.5, 0.0])
    model.evaluate = lambda *_, **__: {"loss": next(losses)}
    data = tf.data.Dataset.from_tensors((np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)))
    outcome = training.fit(model, lambda epoch: data, folder=folder, epochs=5, validation=data, patience=2,
                           on_epoch=lambda epoch: weights.append(model.get_weights()))
    assert outcome.best_epoch == 2
    assert outcome.stopped_early
    assert len(outcome.history) == 4
    for mine, theirs in zip(model.get_weights(), weights[1]):
        np.testing.assert_array_equal(mine, theirs)


def test_an_epochs_images_do_not_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "_COLLECT_S", 0.0)
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(4,))])
    model.compile("sgd", "mse")
    held = []

    class Images:
        rows = tf.zeros((6, 4))

    def batches(epoch):
        images = Images()
        held.append(weakref.ref(images))
        return tf.data.Dataset.range(6).batch(3).map(lambda i: (tf.gather(images.rows, i), tf.zeros((3, 1))))

    gc.disable()
    try:
        training.fit(model, batches, folder=run.Run.create(str(tmp_path / "run"), {}), epochs=4)
        assert [epoch for epoch in range(3) if held[epoch]() is not None] == []
    finally:
        gc.enable()


def test_more_epochs_go_on_and_other_settings_are_refused(whole, images, tmp_path):
    out = str(tmp_path / "run")
    short = dataclasses.replace(SETTINGS, epochs=2)
    _train(images, short, out)
    folder, outcome = _train(images, SETTINGS, out)
    assert outcome.history[3] == pytest.approx(whole[1].history[3], rel=1e-5)
    os.remove(folder.file("history.csv"))  # as if killed right after the last checkpoint
    _train(images, SETTINGS, out)
    assert len(np.genfromtxt(folder.file("history.csv"), delimiter=",", skip_header=1)) == 4
    with pytest.raises(ValueError, match="trained with beta=20.0, not with beta=2.0; give another --out"):
        _train(images, dataclasses.replace(SETTINGS, beta=2.0), out)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    folder = run.Run.create(str(tmp_path / "run"), {})
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1e30), "mse")
    data = tf.data.Dataset.from_tensors((np.ones((1, 1), np.float32), np.full((1, 1), 1e9, np.float32))).repeat(5)
    with pytest.raises(ValueError, match=r"loss became (nan|inf) in epoch 1; train with a lower --learning_rate"):
        training.fit(model, lambda epoch: data, folder=folder, epochs=3)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    folder = run.Run.create(str(tmp_path / "run"), {})
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "/x/epoch-1; No space left on device")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", full)
    data = tf.data.Dataset.from_tensors((np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)))
    with pytest.raises(OSError, match="checkpoint to .*: the disk is full; make room and run the same"):
        training.fit(model, lambda epoch: data, folder=folder, epochs=1)


def test_two_processes_do_not_share_a_folder(tmp_path):
    folder = run.Run.create(str(tmp_path / "run"), {})
    with folder.lock(), pytest.raises(ValueError, match="being trained by another process"), folder.lock():
        pass
    with folder.lock():
        pass  # free again


@pytest.mark.parametrize(("content", "message"), [
    (None, "holds no training run"), ("{", "config.json is damaged"),
])
def test_run_refuses_what_is_no_run(tmp_path, content, message):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        run.Run(str(tmp_path))


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match="not empty and holds no training run"):
        run.Run.create(str(tmp_path), {"model": "bvae"})


def test_an_unfinished_run_has_no_encoder_yet(tmp_path):
    with pytest.raises(ValueError, match="encoder.h5 is not there: the training has not finished"):
        run.Run.create(str(tmp_path / "run"), {}).encoder()


def test_bf16_trains_and_is_saved_as_float32(images, tmp_path):
    folder, outcome = _train(
        images, dataclasses.replace(SETTINGS, precision="bf16", epochs=2), str(tmp_path / "run"))
    assert keras.mixed_precision.global_policy().name == "float32"
    encoder = folder.encoder()
    assert {layer.compute_dtype for layer in encoder.layers} == {"float32"}
    assert encoder(images[:2] / np.float32(255))["mu"].dtype == tf.float32
    assert np.isfinite(outcome.history[-1]["val_loss"])


def test_mirrored_replicas_take_the_step_of_one(images, tmp_path, whole):
    _, outcome = _train(images, dataclasses.replace(SETTINGS, epochs=1),
                                     str(tmp_path / "run"), distribution=strategy.choose("mirrored"))
    assert outcome.history[0] == pytest.approx(whole[1].history[0], rel=1e-4)


def test_choices_are_named(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ValueError, match="needs the environment variable TF_CONFIG"):
        strategy.choose("multi_worker_mirrored")
    with pytest.raises(ValueError, match="should be one of off, mirrored"):
        strategy.choose("tpu")
    with pytest.raises(ValueError, match="precision is 'fp8', but should be one of float32, bf16, auto"):
        precision.resolve("fp8")
    assert precision.resolve("auto") in ("float32", "bf16")


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": 0}, "epochs is 0"), ({"patience": -1}, "patience is -1"),
    ({"learning_rate": 0.0}, "learning_rate is 0"),
    ({"warm_up": 1.5}, "warm_up is 1.5, but should be a share of the epochs, 0 to 1"),
    ({"decoder_widths": (4, 4)}, r"decoder_widths is \(4, 4\), but should be as many as widths \(4,\)"),
])
def test_settings_refuse(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **change)


def test_kill_9_loses_at_most_an_epoch(tiny_run, tmp_path, python):
    """The command that made `tiny_run`, killed while it trains and started again, ends as that one did."""
    arguments = [python, "-m", "leanood.tools.main", "train", "--model=bvae", "--data=lanes:frames=600",
                 "--size=32x32", "--widths=8,16", "--latents=6", "--epochs=3", "--beta=1.4",
                 f"--out={tmp_path / 'run'}"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch 1/3"):
            time.sleep(0.05)  # into the second
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    resumed = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on after epoch " in resumed.stderr
    mine, theirs = (np.genfromtxt(folder / "history.csv", delimiter=",", skip_header=1)
                    for folder in (tmp_path / "run", tiny_run))
    np.testing.assert_allclose(mine, theirs, rtol=1e-4)


def test_beta_is_scaled_and_warms_up_over_a_share_of_the_epochs():
    model = bvae_training.build(dataclasses.replace(SETTINGS, size=(32, 64), warm_up=0.5, decoder_widths=(2,)), 10)
    assert model._beta == SETTINGS.beta / 2
    assert model._warm_up == 20
    assert model.decoder.output_shape == (None, 32, 64, 3)


def test_a_run_of_older_settings_stays_loadable(tmp_path):
    folder = run.Run.create(str(tmp_path / "old"), {"model": "bvae", "size": [8, 8], "widths": [4], "beta": 1.4,
                                                    "batch_norm": True, "warm_up_epochs": 5})
    encoder = bvae.encoder((8, 8), (4,), 2, batch_norm=True)
    folder.save("encoder", encoder)
    images = np.random.default_rng(0).random((2, 8, 8, 3), dtype=np.float32)
    np.testing.assert_allclose(run.Run(folder.path).encoder()(images)["mu"], encoder(images)["mu"])


def test_two_workers_train_the_network_of_one(tiny_run, tmp_path, python):
    """Two processes over loopback share each batch: the loss curve is that of one, but for the latents' noise."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
        workers = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    arguments = [python, "-m", "leanood.tools.main", "train", "--model=bvae", "--data=lanes:frames=600",
                 "--size=32x32", "--widths=8,16", "--latents=6", "--epochs=3", "--beta=1.4",
                 "--distribution_strategy=multi_worker_mirrored", f"--out={tmp_path / 'run'}"]
    started = [subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "TF_CONFIG": json.dumps({
                                    "cluster": {"worker": workers}, "task": {"type": "worker", "index": i}})})
               for i in range(2)]
    for process in started:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-2000:]
    together, alone = (np.genfromtxt(folder / "history.csv", delimiter=",", names=True)
                       for folder in (tmp_path / "run", tiny_run))
    np.testing.assert_allclose(together["loss"], alone["loss"], rtol=5e-3)
    np.testing.assert_allclose(together["val_loss"], alone["val_loss"], rtol=5e-3)
    assert (tmp_path / "run" / "encoder.h5").is_file()
