"""Somebody's network becomes a detector that watches a drive in four commands, as docs/models.md prints them."""
import os
import pathlib
import re
import subprocess
import sys

import cv2
import numpy as np
import pytest

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs" / "models.md"
SIZE = (32, 40)
# Weights of one sign, so that an untrained network's logits grow with the light: a drive into the night is odd.
_KERAS_3 = f"""
import keras
from keras import layers as L
keras.utils.set_random_seed(1)
grows = keras.initializers.RandomUniform(0.0, 0.5)
frame = keras.Input(({SIZE[0]}, {SIZE[1]}, 3))
maps = L.Conv2D(8, 3, strides=2, activation="relu", kernel_initializer=grows)(frame)
maps = L.Conv2D(12, 3, strides=2, activation="relu", kernel_initializer=grows)(maps)
logits = L.Dense(5, kernel_initializer=grows, name="predictions")(L.GlobalAveragePooling2D(name="avg_pool")(maps))
keras.Model(frame, logits).save("mine.keras")
"""
_FOREIGN = f"""
import tensorflow as tf
tf.keras.utils.set_random_seed(1)
kernel, dense = tf.Variable(tf.random.uniform((3, 3, 3, 8), 0.0, 0.5)), tf.Variable(tf.random.uniform((8, 5), 0.0, 1.0))
class Exported(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec((1, 3, {SIZE[0]}, {SIZE[1]}), tf.float32, name="args_0")])
    def serve(self, args_0):
        maps = tf.nn.relu(tf.nn.conv2d(tf.transpose(args_0, [0, 2, 3, 1]), self.kernel, 2, "SAME") + 9.0)
        maps = tf.transpose(maps, [0, 3, 1, 2])
        return {{"output_0": tf.reduce_mean(maps, [2, 3]) @ self.dense, "output_1": maps}}
module = Exported()
module.kernel, module.dense = kernel, dense
tf.saved_model.save(module, "exported", signatures={{"serving_default": module.serve}})
open("foreign.tflite", "wb").write(tf.lite.TFLiteConverter.from_saved_model("exported").convert())
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """(a folder with IMAGES and drive.mp4, whose second half is night; an environment in which `leanood` is ours)."""
    folder = tmp_path_factory.mktemp("user")
    random = np.random.default_rng(0)

    def picture(level):
        return np.clip(random.normal(level, 25, (48, 60, 3)), 0, 255).astype(np.uint8)

    (folder / "IMAGES" / "day").mkdir(parents=True)
    for i in range(100):
        cv2.imwrite(str(folder / "IMAGES" / "day" / f"{i}.png"), picture(random.uniform(110, 170)))
    drive = cv2.VideoWriter(str(folder / "drive.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 20.0, (60, 48))
    for level in [140] * 20 + [25] * 20:
        drive.write(picture(level))
    drive.release()
    program = folder / "bin" / "leanood"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leanood.tools.main "$@"\n')
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    environment["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return folder, environment


def _commands(heading):
    """The first block of commands below a heading of the document, as it stands there."""
    below = DOCUMENT.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    return re.search(r"```\n(.*?)```", below, flags=re.DOTALL).group(1)


@pytest.mark.parametrize(("heading", "make"), [("A .keras file of Keras 3", _KERAS_3),
                                               ("A .tflite from PyTorch", _FOREIGN)])
def test_the_four_commands_as_printed(shell, heading, make):
    folder, environment = shell
    subprocess.run([sys.executable, "-c", make], cwd=folder, env=environment, check=True, capture_output=True,
                   timeout=300)
    commands = _commands(heading)
    assert [line.split()[0] for line in commands.splitlines()] == ["leanood"] * 4
    done = subprocess.run(["sh", "-ec", commands], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    summary = dict(re.findall(r"^(\w+) +([\d.]+)$", done.stdout, flags=re.MULTILINE))
    assert int(summary["frames"]) == 40
    assert 18 <= int(summary["alarm_frames"]) <= 22  # the night's twenty, and a false alarm or two of the day's
