"""Ten useful combinations of steps convert, keep their names and load on LiteRT and on tflite-runtime."""
import importlib.util
import subprocess

import numpy as np
import pytest
import tf_keras

from leanood.compression import rebuild, recipe, views
from leanood.data import input_scales
from leanood.models import bvae
from leanood.tflite import convert, runtime

RECIPES = (
    "shrink(0.5)+distill(1)+qat(epochs=1)",
    "shrink(0.5)+int8",
    "prune(0.8)+dynamic",
    "prune(0.5, structure='2:4')+pqat",
    "cluster(16)+cqat",
    "prune(0.6)+cluster(16)+pcqat(epochs=1)",
    "factorize(0.8)+float16",
    "student(strided)+int8",
    "student(separable)+distill(1)+qat",
    "shrink(0.3)+factorize(speedup=1.5)+prune(0.5, method=model)+pqat",
)
CHILD = """
import sys
import numpy as np
from leanood.tflite import runtime
frames = np.load(sys.argv[1])
for path in sys.argv[2:]:
    runner = runtime.load(path, runtime=%r, trusted=True)
    made = [runner(frame) for frame in frames]
    np.savez(path + ".npz", **{name: np.concatenate([one[name] for one in made]) for name in made[0]})
""" % ("tflite-runtime" if importlib.util.find_spec("tflite_runtime") else "litert")  # none for 3.12


def run_and_convert(model, text, images, scale):
    result = recipe.run(recipe.parse(text), model, images, scale=input_scales.of_bytes(scale), epochs=0, batch_size=8)
    return result, convert.convert(result.model, quantize=result.quantize, input_scale=scale,
                                   representative=images if result.quantize == "int8" else None)


def check_on_both_runtimes(results, images, scale, python, folder):
    """Both runtimes must give the names, and near the values, that the compressed Keras model gives."""
    np.save(folder / "frames.npy", images[:4])
    paths = {text: folder / f"{i}.tflite" for i, text in enumerate(results)}
    for text, (_, flatbuffer) in results.items():
        paths[text].write_bytes(flatbuffer)
    command = [python, "-c", CHILD, str(folder / "frames.npy"), *map(str, paths.values())]
    subprocess.run(command, check=True, timeout=300)
    x = views.scaled(images[:4], input_scales.of_bytes(scale))
    for text, (result, flatbuffer) in results.items():
        expected = {name: np.asarray(y) for name, y in convert.named(result.model, result.model(x)).items()}
        runner = runtime.load(flatbuffer, trusted=True)
        here = [runner(image) for image in images[:4]]
        elsewhere = np.load(str(paths[text]) + ".npz")
        assert set(here[0]) == set(elsewhere.files) == set(expected), text
        for name, values in expected.items():
            # Rounded activations may differ by a step between runtimes.
            scatter = 0.1 * np.abs(values).max() + 1e-3
            np.testing.assert_allclose(np.concatenate([outputs[name] for outputs in here]), values, atol=scatter,
                                       err_msg=text)
            np.testing.assert_allclose(elsewhere[name], values, atol=scatter, err_msg=text)


def test_on_a_beta_vae_s_encoder(python, tmp_path):
    tf_keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    model = bvae.encoder((32, 32), (8, 16), 6, (32,), activation="leaky_relu", pool="max")
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.BatchNormalization):
            layer.momentum = 0.5
    for _ in range(20):  # batch normalisation's statistics, which a trained encoder has
        model(views.scaled(images), training=True)
    results = {text: run_and_convert(model, text, images, "unit") for text in RECIPES}
    check_on_both_runtimes(results, images, "unit", python, tmp_path)
    for result, _ in results.values():
        assert set(result.model.output) == {"mu", "logvar"}


@pytest.mark.parametrize("text", ["shrink(0.75)+distill(1)+qat"])  # all ten: benchmarks/case_study/combinations.py
def test_on_resnet18(text, real_data, python, tmp_path):
    model = tf_keras.models.load_model(real_data / "models" / "resnet18_cifar10.h5", compile=False)
    model = rebuild.clone(convert.with_outputs(model, {"features": "features", "logits": "logits"}), (32, 32, 3))
    images = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    check_on_both_runtimes({text: run_and_convert(model, text, images, "signed")}, images, "signed", python, tmp_path)
