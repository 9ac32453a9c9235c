import importlib.util
import json
import subprocess

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from ai_edge_litert import interpreter

from leanood.models import bvae, filter_bank
from leanood.tflite import convert


def _frames(count, size, seed=0):
    """Blocks of colour: uint8 [count, h, w, 3], unlike noise not averaged away by convolutions."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


FRAMES = _frames(40, (32, 32))


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    model = bvae.encoder((32, 32), (8, 12), 6, (20,), batch_norm=True)
    for _ in range(30):  # so that the normalisation is no identity
        model(FRAMES / np.float32(255), training=True)
    return model


@pytest.fixture(scope="module")
def files(encoder):
    return {quantize: convert.convert(encoder, quantize=quantize, representative=FRAMES)
            for quantize in convert.QUANTIZATIONS}


def _signature(flatbuffer):
    return interpreter.Interpreter(model_content=flatbuffer).get_signature_runner("serving_default")


def _run(flatbuffer, frames):
    runner = _signature(flatbuffer)
    details = runner.get_input_details()["frame"]
    batch = frames if details["dtype"] == np.uint8 else frames / np.float32(255)
    each = [runner(frame=frame[None]) for frame in batch]
    return {name: np.concatenate([outputs[name] for outputs in each]) for name in each[0]}


# Root-mean-square difference to Keras, in standard deviations of the output.
TOLERANCE = {"float32": 1e-5, "float16": 3e-3, "dynamic": 0.05, "int8": 0.06, "int16": 0.03}


@pytest.mark.parametrize("quantize", convert.QUANTIZATIONS)
def test_a_file_agrees_with_keras(encoder, files, quantize):
    expected = encoder(FRAMES / np.float32(255))
    outputs = _run(files[quantize], FRAMES)
    assert set(outputs) == {"mu", "logvar"}
    for name, values in outputs.items():
        assert values.dtype == np.float32
        error = np.sqrt(np.mean((values - expected[name]) ** 2)) / np.std(expected[name])
        assert error < TOLERANCE[quantize], name


def test_quantized_files_are_smaller(files):
    # Float heads and the file's own frame weigh more in so small a model.
    assert len(files["float16"]) < 0.6 * len(files["float32"])
    assert len(files["int8"]) < 0.4 * len(files["float32"])
    assert len(files["dynamic"]) < 0.4 * len(files["float32"])


@pytest.mark.parametrize("quantize", convert.QUANTIZATIONS)
def test_the_input_takes_one_frame_as_it_is(files, quantize):
    details = _signature(files[quantize]).get_input_details()["frame"]
    assert details["shape"].tolist() == [1, 32, 32, 3]
    if quantize == "int8":
        assert details["dtype"] == np.uint8
        assert details["quantization"] == (pytest.approx(1 / 255, rel=1e-6), 0)
    else:
        assert details["dtype"] == np.float32


def test_float_outputs_have_more_than_256_levels(encoder, files):
    coarse = convert.convert(encoder, quantize="int8", representative=FRAMES, float_outputs=False)
    frames = _frames(400, (32, 32), seed=1)
    fine, steps = (len(np.unique(_run(file, frames)["mu"])) for file in (files["int8"], coarse))
    assert steps <= 256
    assert fine > 1000


def test_early_statistics_stay_exact_in_int8(encoder):
    model = filter_bank.with_statistics(encoder)
    flatbuffer = convert.convert(model, quantize="int8", representative=FRAMES)
    expected = model(FRAMES / np.float32(255))["early"]
    # Bands are differences, and may be near zero beside magnitudes of 0.5 and more.
    np.testing.assert_allclose(_run(flatbuffer, FRAMES)["early"], expected, rtol=2e-4, atol=5e-5)


@pytest.mark.parametrize(("scale", "wanted"), [("signed", lambda x: x / 127.5 - 1), ("bytes", lambda x: x)])
@pytest.mark.parametrize("quantize", ["float32", "int8"])
def test_the_models_own_scale_is_folded_in(scale, wanted, quantize):
    keras.utils.set_random_seed(0)
    frame = keras.Input((16, 16, 3))
    features = keras.layers.GlobalAveragePooling2D(name="features")(keras.layers.Conv2D(4, 3, padding="same")(frame))
    model = keras.Model(frame, [features, keras.layers.Dense(3, name="logits")(features)])
    frames = _frames(20, (16, 16))
    expected = dict(zip(model.output_names, model(wanted(frames.astype(np.float32)))))
    outputs = _run(convert.convert(model, quantize=quantize, representative=frames, input_scale=scale), frames)
    assert set(outputs) == {"features", "logits"}
    for name, values in outputs.items():
        error = np.sqrt(np.mean((values - expected[name]) ** 2)) / np.std(expected[name])
        assert error < (1e-5 if quantize == "float32" else 0.1), name


def test_a_rescaled_model_gives_the_same(encoder):
    model = convert.with_unit_input(encoder, "signed")
    expected = encoder(FRAMES / np.float32(127.5) - 1)["mu"]
    np.testing.assert_allclose(model(FRAMES / np.float32(255))["mu"], expected, atol=1e-5)


def test_an_open_size_is_fixed():
    frame = keras.Input((None, None, 3), name="frame")
    model = keras.Model(frame, {"mean": keras.layers.GlobalAveragePooling2D()(frame)})
    outputs = _run(convert.convert(model, size=(16, 24)), _frames(3, (16, 24)))
    np.testing.assert_allclose(outputs["mean"], (_frames(3, (16, 24)) / 255).mean(axis=(1, 2)), atol=1e-5)


@pytest.mark.parametrize("given", [None, FRAMES])
def test_quantization_aware_outputs_get_their_names_back(encoder, given):
    tfmot = pytest.importorskip("tensorflow_model_optimization")
    aware = tfmot.quantization.keras.quantize_model(encoder)
    for _ in range(20):
        aware(FRAMES / np.float32(255), training=True)
    flatbuffer = convert.convert(aware, quantize="int8", representative=given)
    expected, outputs = aware(FRAMES / np.float32(255)), _run(flatbuffer, FRAMES)
    assert set(outputs) == {"mu", "logvar"}
    assert np.corrcoef(outputs["mu"].ravel(), expected["mu"].numpy().ravel())[0, 1] > 0.99
    assert _signature(flatbuffer).get_input_details()["frame"]["quantization"] == (pytest.approx(1 / 255), 0)


def test_tflite_runtime_reads_every_file(files, tmp_path, python):
    """In a child process: it can't share one with TensorFlow."""
    if importlib.util.find_spec("tflite_runtime") is None:
        pytest.skip("tflite-runtime is not installed")
    for quantize, flatbuffer in files.items():
        (tmp_path / f"{quantize}.tflite").write_bytes(flatbuffer)
    np.save(tmp_path / "frames.npy", FRAMES[:4])
    script = """
import json, sys, numpy as np
from tflite_runtime.interpreter import Interpreter
folder, names = sys.argv[1], sys.argv[2:]
frames, found = np.load(folder + "/frames.npy"), {}
for name in names:
    run = Interpreter(folder + "/" + name + ".tflite").get_signature_runner()
    batch = frames if run.get_input_details()["frame"]["dtype"] == np.uint8 else frames / np.float32(255)
    found[name] = [run(frame=frame[None])["mu"][0].tolist() for frame in batch]
print(json.dumps(found))
"""
    done = subprocess.run([python, "-c", script, str(tmp_path), *files], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for quantize, mu in json.loads(done.stdout).items():
        # Integer kernels may round the other way.
        np.testing.assert_allclose(mu, _run(files[quantize], FRAMES[:4])["mu"], atol=0.05 if quantize != "float32"
                                   else 1e-4)


def test_a_file_that_its_target_cannot_load_is_refused():
    frame = keras.Input((8, 8, 3), name="frame")
    model = keras.Model(frame, {"sorted": keras.layers.Lambda(tf.sort)(keras.layers.Flatten()(frame))})
    with pytest.raises(ValueError, match="the file would not load on gpu: "):
        convert.convert(model, target="gpu")


def test_a_failed_conversion_is_one_line():
    frame = keras.Input((8, 8, 3), name="frame")
    layer = keras.layers.Lambda(lambda x: tf.strings.length(tf.strings.as_string(x)))
    with pytest.raises(ValueError, match="converter refused the model .float32.: [^\n]+$"):
        convert.convert(keras.Model(frame, {"odd": layer(frame)}))


def test_the_converters_reason_is_told_without_its_places():
    said = '<unknown>:0: error: loc(callsite(fused["AvgPool"] at "x")): \'tfl.average_pool_2d\' op scales differ'
    assert convert._reason(RuntimeError(f"{said}\n<unknown>:0: note: called from")) == (
        "'tfl.average_pool_2d' op scales differ")
    assert convert._reason(RuntimeError("bad_alloc")) == "bad_alloc"


def test_nothing_is_printed(encoder, capfd):
    convert.convert(encoder, quantize="int8", representative=FRAMES)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("change", "message"), [
    ({"quantize": "int4"}, "quantize is 'int4', but should be one of float32, float16, dynamic, int8, int16"),
    ({"target": "nano"}, "target is 'nano', but should be one of generic, jetson-nano, gpu"),
    ({"input_scale": "imagenet"}, "input_scale is 'imagenet', but should be one of unit, signed, bytes"),
    ({"quantize": "int8"}, "int8 needs representative training images"),
    ({"quantize": "int8", "representative": FRAMES / 255}, "representative is float64 .40, 32, 32, 3., but should be"),
    ({"quantize": "int8", "representative": FRAMES[:0]}, "uint8 .N, h, w, channels. with N ≥ 1"),
    ({"quantize": "int8", "representative": FRAMES[:, :16]}, "shape .16, 32, 3., but the model takes .32, 32, 3."),
    ({"size": (64, 64)}, "size is .64, 64., but the model is fixed to .32, 32."),
])
def test_arguments_that_do_not_fit_are_refused(encoder, change, message):
    with pytest.raises(ValueError, match=message):
        convert.convert(encoder, **change)


def test_models_that_do_not_fit_are_refused():
    frame = keras.Input((None, None, 3), name="frame")
    with pytest.raises(ValueError, match="leaves the spatial size open; give size="):
        convert.convert(keras.Model(frame, keras.layers.GlobalAveragePooling2D()(frame)))
    with pytest.raises(ValueError, match="is no Functional or Sequential Keras model"):
        convert.convert(bvae.BetaVae(bvae.encoder((8, 8), (4,)), bvae.decoder((8, 8), (4,))))
    vector = keras.Input((3,))
    with pytest.raises(ValueError, match=r"input is \(None, 3\), but should be"):
        convert.convert(keras.Model(vector, keras.layers.Dense(2)(vector)))


def test_outputs_by_layer(encoder):
    model = convert.with_outputs(encoder, {"hidden": "dense1_act", "mu": "mu"})
    assert {name: y.shape[-1] for name, y in model.output.items()} == {"hidden": 20, "mu": 6}
    with pytest.raises(ValueError, match="no layer 'fc'; its last are .*mu"):
        convert.with_outputs(encoder, {"logits": "fc"})


def test_provenance_knows_the_file(files):
    described = convert.describe(files["int8"], quantize="int8", target="generic")
    assert described["bytes"] == len(files["int8"])
    assert len(described["sha256"]) == 64
    assert json.loads(json.dumps(described)) == described


def test_the_reference_resnet_keeps_its_decisions(real_data):
    cv2 = pytest.importorskip("cv2")
    model = keras.models.load_model(real_data / "models" / "resnet18_cifar10.h5", compile=False)
    model = convert.with_outputs(model, {"features": "features", "logits": "logits"})
    frames = np.stack([cv2.resize(frame, (32, 32)) for frame in _frames(40, (64, 64), seed=2)])
    expected = model((frames / 127.5 - 1).astype(np.float32))["logits"].numpy()
    logits = _run(convert.convert(model, input_scale="signed", size=(32, 32)), frames)["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-3)
