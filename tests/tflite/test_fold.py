"""A folded score is the NumPy score of the same file's outputs, whatever its quantization and accelerator."""
import os
import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras

from leanood.ood import classifier_score, scores
from leanood.tflite import convert, runtime
from leanood.tflite.rewrite import fold

RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (120, 16, 16, 3)).astype(np.uint8)
IMAGES = (IMAGES * np.linspace(0.2, 1, 120)[:, None, None, None]).astype(np.uint8)
SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"


@pytest.fixture(scope="module")
def files():
    keras.utils.set_random_seed(1)
    frame = keras.Input((16, 16, 3), name="frame")
    x = keras.layers.Conv2D(12, 3, strides=2, activation="relu", name="inner")(frame)
    early = keras.layers.GlobalAveragePooling2D(name="early")(x)
    x = keras.layers.Conv2D(24, 3, strides=2, activation="relu")(x)
    features = keras.layers.GlobalAveragePooling2D(name="features")(x)
    logits = keras.layers.Dense(5, kernel_initializer="random_normal", name="logits")(features * 20.0)
    model = keras.Model(frame, {"features": features, "logits": logits, "early": early})
    return {quantize: convert.convert(model, quantize=quantize, representative=IMAGES)
            for quantize in ("float32", "float16", "dynamic", "int8")}


@pytest.fixture(scope="module")
def outputs(files):
    return {quantize: runtime.load(file, trusted=True).each(IMAGES) for quantize, file in files.items()}


@pytest.mark.parametrize("name", fold.FOLDABLE)
@pytest.mark.parametrize("quantize", ["float32", "int8"])
def test_folded_score_equals_numpys(files, outputs, name, quantize):
    plain = outputs[quantize]
    score = scores.by_name(name)().fit(plain)
    folded = runtime.load(fold.fold(files[quantize], score), trusted=True)
    results = folded.each(IMAGES[:30])
    np.testing.assert_allclose(results["ood_score"], score.score(plain)[:30], rtol=1e-4, atol=1e-4)
    for output in ("features", "logits", "early"):  # the network is what it was
        np.testing.assert_array_equal(results[output], plain[output][:30])


@pytest.mark.parametrize("quantize", ["float16", "dynamic"])
def test_other_quantizations_fold_too(files, outputs, quantize):
    score = scores.ViM().fit(outputs[quantize])
    results = runtime.load(fold.fold(files[quantize], score), trusted=True).each(IMAGES[:10])
    np.testing.assert_allclose(results["ood_score"], score.score(outputs[quantize])[:10], rtol=1e-4, atol=1e-4)


def test_statistics_are_fitted_on_the_file_itself(files, outputs):
    score = fold.fitted(files["int8"], scores.RelativeMahalanobis(), IMAGES)
    expected = scores.RelativeMahalanobis().fit(outputs["int8"])
    np.testing.assert_allclose(score.directions, expected.directions, rtol=1e-5)
    assert fold.fitted(b"is not even opened", scores.Energy(), IMAGES).temperature == 1.0


@pytest.mark.parametrize("runtime_name", ["tflite-runtime"])
def test_folded_files_load_on_older_runtimes(files, outputs, tmp_path, runtime_name):
    pytest.importorskip("tflite_runtime")  # from Python 3.12 on there is none
    for name in fold.FOLDABLE:
        path = tmp_path / f"{name}.tflite"
        path.write_bytes(fold.fold(files["int8"], scores.by_name(name)().fit(outputs["int8"])))
    code = ("import sys, numpy as np; from leanood.tflite import runtime\n"
            "for path in sys.argv[1:]:\n"
            f"    runner = runtime.load(path, runtime={runtime_name!r}, trusted=True)\n"
            "    assert np.isfinite(runner(np.full((16, 16, 3), 100, np.uint8))['ood_score']).all()")
    subprocess.run([sys.executable, "-c", code, *map(str, tmp_path.iterdir())], check=True)


@pytest.mark.skipif(not os.path.exists(SWIFTSHADER), reason="no software Vulkan driver (Debian's chromium has one)")
def test_folded_scores_run_fully_on_the_gpu_accelerator(files, outputs, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES[:4])
    names = (*fold.FOLDABLE, "energy+relative_mahalanobis")
    for name in names:
        score = classifier_score.named(name).wrapped.fit(outputs["float32"])
        (tmp_path / f"{name}.tflite").write_bytes(fold.fold(files["float32"], score))
        np.save(tmp_path / f"{name}.npy", score.score(outputs["float32"])[:4])
    code = ("import sys, numpy as np; from leanood.tflite import runtime\n"
            "images = np.load('images.npy')\n"
            "for name in sys.argv[1:]:\n"
            "    runner = runtime.load(name + '.tflite', accelerator='gpu', trusted=True)\n"
            "    found = np.concatenate([runner(image)['ood_score'] for image in images])\n"
            "    np.testing.assert_allclose(found, np.load(name + '.npy'), rtol=2e-4, atol=2e-4, err_msg=name)")
    environment = dict(os.environ, VK_ICD_FILENAMES=SWIFTSHADER, XDG_RUNTIME_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code, *names], cwd=tmp_path, env=environment,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_refusals(files, outputs):
    with pytest.raises(ValueError, match="the score knn has no form in TFLite's operators; these have: msp, "):
        fold.fold(files["float32"], scores.KNN().fit(outputs["float32"]))
    with pytest.raises(ValueError, match="has no statistics yet"):
        fold.fold(files["float32"], scores.ViM())
    folded = fold.fold(files["float32"], scores.Energy())
    with pytest.raises(ValueError, match="already has an output 'ood_score'"):
        fold.fold(folded, scores.Energy())
    assert set(runtime.load(fold.fold(folded, scores.MSP(), name="msp"), trusted=True).outputs) == {
        "early", "features", "logits", "msp", "ood_score"}
    with pytest.raises(ValueError, match="reads the output 'late'; the file has early, features, logits"):
        fold.fold(files["float32"], scores.Mahalanobis(output="late").fit({"late": RNG.randn(20, 3)}))
    with pytest.raises(ValueError, match="reads the output 'late'"):
        fold.fitted(files["float32"], scores.Mahalanobis(output="late"), IMAGES[:3])
