"""Runners: the same numbers through every runtime, exact quantization, clear refusals, corrupt files survived."""
import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from leanood.tflite import probe, runtime, tensors


@pytest.fixture
def frame():
    return np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def _bare(path, **inputs):
    """The outputs by the interpreter's own signature runner: another road to them."""
    interpreter = Interpreter(model_path=str(path))
    return interpreter.get_signature_runner("serving_default")(**inputs)


def test_uint8_frames_and_floats_give_what_the_interpreter_gives(tiny_models, frame):
    path = tiny_models / "latent_float32.tflite"
    runner = runtime.load(path)
    floats = (frame / np.float32(255)).astype(np.float32)[None]
    expected = _bare(path, frame=floats)
    for inputs in (frame, frame[None], floats, floats[0], floats.astype(np.float64), {"frame": frame}):
        outputs = runner(inputs)
        assert list(outputs) == ["logvar", "mu"]
        for name in outputs:
            np.testing.assert_array_equal(outputs[name], expected[name])


def test_auto_prefers_litert_and_says_so(tiny_models):
    runner = runtime.load(tiny_models / "latent_float32.tflite", num_threads=2)
    assert runner.runtime.startswith("LiteRT 2.")
    assert runner.accelerator == "cpu"
    assert runner.placement == "cpu: the whole graph, 2 threads"


def test_bytes_and_tensorflows_interpreter_agree_with_litert(tiny_models, frame):
    path = tiny_models / "latent_int8.tflite"
    expected = runtime.load(path)(frame)["mu"]
    np.testing.assert_array_equal(runtime.load(path.read_bytes())(frame)["mu"], expected)
    lite = runtime.load(path, runtime="tf.lite")
    assert lite.runtime.startswith("tf.lite 2.")
    np.testing.assert_allclose(lite(frame)["mu"], expected, atol=0.01)  # a quantization step


def test_raw_frames_enter_an_int8_model_unconverted(tiny_models, frame):
    path = tiny_models / "latent_int8.tflite"
    runner = runtime.load(path)
    assert runner.inputs["frame"].dtype is np.uint8
    assert tensors.Input(runner.inputs["frame"])._table is None  # bytes are copied, no table is looked up
    np.testing.assert_array_equal(runner(frame)["mu"], _bare(path, frame=frame[None])["mu"])
    np.testing.assert_array_equal(runner(frame / np.float32(255))["mu"], runner(frame)["mu"])


def test_int8_ends_are_quantized_and_dequantized_exactly(tiny_models, frame):
    path = tiny_models / "int8_ends.tflite"
    runner = runtime.load(path)
    scale, zero = runner.inputs["frame"].scale, runner.inputs["frame"].zero_point
    by_hand = np.clip([round(float(p) / 255 / scale) + zero for p in frame.flat], -128, 127).reshape(1, 32, 32, 3)
    raw = _bare(path, frame=by_hand.astype(np.int8))
    outputs = runner(frame)
    for name, tensor in runner.outputs.items():
        assert outputs[name].dtype == np.float32
        real = (raw[name].astype(float) - tensor.zero_point) * tensor.scale
        np.testing.assert_allclose(outputs[name], real, rtol=1e-6)
        np.testing.assert_array_equal(np.rint(outputs[name] / tensor.scale) + tensor.zero_point, raw[name])
    np.testing.assert_array_equal(runner(by_hand.astype(np.int8))["mu"], outputs["mu"])


def test_quantize_rounds_ties_to_even_and_clips():
    tensor = tensors.Tensor("x", 0, (5,), np.int8, 0.5, 3)
    real = np.array([0.25, 0.75, -0.25, 1e6, -1e6])
    np.testing.assert_array_equal(tensors.quantize(real, tensor), [3, 5, 3, 127, -128])
    with pytest.raises(ValueError, match="input 'x' has NaN, which a quantized input cannot hold"):
        tensors.quantize(np.array([np.nan]), tensor)


def test_outputs_without_a_signature_go_by_their_tensors_names(tiny_models, frame):
    runner = runtime.load(tiny_models / "without_signature.tflite")
    assert list(runner.outputs) == ["StatefulPartitionedCall:0", "StatefulPartitionedCall:1"]
    np.testing.assert_array_equal(runner(frame)["StatefulPartitionedCall:1"],
                                  runtime.load(tiny_models / "latent_float32.tflite")(frame)["mu"])


def test_two_inputs_go_in_by_name(tiny_models):
    runner = runtime.load(tiny_models / "two_inputs.tflite")
    a, b = np.float32([1, 2, 3, 4]), np.float32([4, 3, 2, 1])
    outputs = runner({"b": b, "a": a})
    assert sorted(y[0].tolist() for y in outputs.values()) == [[-3, -1, 1, 3], [5, 5, 5, 5]]
    with pytest.raises(ValueError, match=r"the model has 2 inputs \(a, b\): pass a mapping"):
        runner(a)
    with pytest.raises(ValueError, match="inputs are a, c, the model's are a, b"):
        runner({"a": a, "c": b})


def test_each_runs_many_frames_and_outputs_are_fresh(tiny_models):
    frames = np.random.default_rng(2).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    runner = runtime.load(tiny_models / "classifier_float32.tflite")
    done = []
    outputs = runner.each(frames, progress=done.append)
    assert outputs["logits"].shape == (5, 5)
    assert done == [1, 2, 3, 4, 5]
    singles = [runner(frame) for frame in frames]  # were they views, all would show the last frame
    for i, single in enumerate(singles):
        np.testing.assert_array_equal(outputs["features"][i], single["features"][0])


@pytest.mark.parametrize(("inputs", "message"), [
    (np.zeros((16, 32, 3), np.uint8), r"input 'frame' takes \[1, 32, 32, 3\], not \[16, 32, 3\]"),
    (np.zeros((2, 32, 32, 3), np.uint8), r"not \[2, 32, 32, 3\] \(one frame at a time: see Runner.each\)"),
    (np.zeros((32, 32, 3), np.int64), "input 'frame' takes float32 or uint8 frames, not int64"),
])
def test_arrays_that_do_not_fit_are_refused(tiny_models, inputs, message):
    with pytest.raises(ValueError, match=message):
        runtime.load(tiny_models / "latent_float32.tflite")(inputs)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"runtime": "onnx"}, "runtime is 'onnx', it can be auto, litert, tflite-runtime, tf.lite"),
    ({"accelerator": "tpu"}, "accelerator is 'tpu', it can be cpu or gpu"),
    ({"num_threads": 0}, "num_threads is 0, it must be an integer of at least 1"),
])
def test_wrong_arguments_are_named(tiny_models, arguments, message):
    with pytest.raises(ValueError, match=message):
        runtime.load(tiny_models / "latent_float32.tflite", **arguments)


def test_tflite_runtime_is_refused_beside_tensorflow(tiny_models):
    __import__("tensorflow")
    with pytest.raises(ValueError, match="tflite-runtime cannot run in a process that has TensorFlow loaded"):
        runtime.load(tiny_models / "latent_float32.tflite", runtime="tflite-runtime")


_TFLITE_RUNTIME = """
import json, sys
import numpy as np
from leanood.tflite import runtime
runner = runtime.load(sys.argv[1], runtime="tflite-runtime")
frame = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
print(json.dumps({"runtime": runner.runtime, "mu": runner(frame)["mu"].tolist()}))
"""


@pytest.mark.parametrize(("name", "tolerance"), [("latent_float32", 1e-5), ("latent_int8", 0.01)])
def test_tflite_runtime_agrees_in_a_process_of_its_own(tiny_models, frame, name, tolerance):
    pytest.importorskip("tflite_runtime")
    path = tiny_models / f"{name}.tflite"
    command = [sys.executable, "-c", _TFLITE_RUNTIME, str(path)]
    told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert told["runtime"].startswith("tflite-runtime 2.")
    np.testing.assert_allclose(told["mu"], runtime.load(path)(frame)["mu"], atol=tolerance)


def test_what_is_no_tflite_file_is_refused(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ValueError, match="is not a TFLite file"):
        runtime.load(path)
    with pytest.raises(FileNotFoundError):
        runtime.load(tmp_path / "missing.tflite")


def test_a_crash_of_the_interpreter_hits_the_child_not_us(tiny_models, tmp_path, monkeypatch):
    crashing = tmp_path / "python"
    crashing.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crashing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(crashing))
    path = tmp_path / "model.tflite"
    path.write_bytes((tiny_models / "latent_float32.tflite").read_bytes())
    for model, name in ((path, str(path)), (path.read_bytes(), "the model")):
        with pytest.raises(ValueError, match=f"^{name} is corrupt: loading it ended in SIGSEGV$"):
            runtime.load(model)


@pytest.mark.parametrize(("place", "message"), [
    (0, "LiteRT .* cannot load the model: .*not a valid"),  # the root table
    (8, "LiteRT .* cannot load the model: "),
])
def test_a_damaged_flatbuffer_is_one_clear_line(tiny_models, place, message):
    data = bytearray((tiny_models / "latent_float32.tflite").read_bytes())
    data[place:place + 4] = b"\xff\xff\xff\x7f"
    if place == 8:
        data = data[:200]
    with pytest.raises(ValueError, match=message) as error:
        runtime.load(bytes(data))
    assert "\n" not in str(error.value)


def test_a_model_that_asks_for_too_much_memory_is_refused(tiny_models):
    with pytest.raises(ValueError, match="huge_input.tflite"):
        runtime.load(tiny_models / "huge_input.tflite")


def test_an_unknown_operation_is_one_line(tiny_models):
    pytest.importorskip("tflite_runtime")
    path = str(tiny_models / "dense_12.tflite")
    with pytest.raises(ValueError, match=f"tflite-runtime 2.* cannot load {path}: Didn't find op") as error:
        probe.check(path, "tflite-runtime")
    assert "\n" not in str(error.value)


def test_a_model_that_never_loads_is_killed(tiny_models):
    with pytest.raises(ValueError, match="is corrupt or far too large: not loaded and run within 0.001 s"):
        probe.check((tiny_models / "latent_float32.tflite").read_bytes(), "litert", timeout_s=0.001)


def test_threads_take_turns(tiny_models):
    runner = runtime.load(tiny_models / "latent_float32.tflite")
    frames = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    expected, wrong = runner.each(frames)["mu"], []

    def work(i):
        for _ in range(50):
            if not np.array_equal(runner(frames[i])["mu"][0], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_closed_runner_says_so(tiny_models, frame):
    runner = runtime.load(tiny_models / "latent_float32.tflite")
    runner.close()
    with pytest.raises(ValueError, match="the runner was closed"):
        runner(frame)
