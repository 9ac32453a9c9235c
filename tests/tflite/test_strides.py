"""Pointwise convolutions without a stride: the same numbers on the CPU, and the right ones on the GPU accelerator."""
import os
import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras

from leanood.tflite import convert, flatbuffer, runtime
from leanood.tflite.rewrite import strides

SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
IMAGES = np.random.RandomState(0).randint(0, 256, (20, 15, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    frame = keras.Input((15, 16, 3), name="frame")
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(frame)
    x = keras.layers.Conv2D(64, 1, 2, padding="same")(x)
    return keras.Model(frame, {"y": keras.layers.GlobalAveragePooling2D(name="y")(x)})


@pytest.mark.parametrize("quantize", ["int8", "dynamic"])
def test_results_stay_and_the_gpu_agrees(model, quantize, tmp_path):
    converted = convert.convert(model, quantize=quantize, representative=IMAGES)
    changed = strides.without_strides(converted)
    assert "MAX_POOL_2D" in [operator.name for operator in flatbuffer.read(changed).operators]
    ours = runtime.load(changed, trusted=True).each(IMAGES)["y"]
    # The CPU's kernels may round int8 another way after a pooling than after a convolution.
    np.testing.assert_allclose(ours, runtime.load(converted, trusted=True).each(IMAGES)["y"], atol=2e-3)
    assert convert.convert(model, quantize=quantize, representative=IMAGES, target="gpu") == changed
    assert strides.without_strides(changed) == changed
    if not os.path.exists(SWIFTSHADER):
        pytest.skip("no software Vulkan driver (Debian's chromium has one)")
    (tmp_path / "changed.tflite").write_bytes(changed)
    np.savez(tmp_path / "known.npz", images=IMAGES[:3], y=ours[:3])
    code = ("import numpy as np; from leanood.tflite import runtime\n"
            "known = np.load('known.npz')\n"
            "runner = runtime.load('changed.tflite', accelerator='gpu', trusted=True)\n"
            "np.testing.assert_allclose(runner.each(known['images'])['y'], known['y'], atol=1e-3)")
    environment = dict(os.environ, VK_ICD_FILENAMES=SWIFTSHADER, XDG_RUNTIME_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_float_convolutions_are_left_alone(model):
    converted = convert.convert(model)
    assert strides.without_strides(converted) == converted
