"""What a file needs and who can run it: the hand reader against the schema's, the tables against the runtimes."""
import json
import subprocess
import sys

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.schema_py_generated import BuiltinOperator, TensorType
from ai_edge_litert.tools import flatbuffer_utils

from leanood.tflite import compat, flatbuffer, operators, runtime

NAMES = ["latent_float32", "latent_float16", "latent_int8", "classifier_float32", "two_inputs", "int8_ends", "dense_12"]


@pytest.mark.parametrize("name", NAMES)
def test_the_reader_agrees_with_the_schemas_own(tiny_models, name):
    data = (tiny_models / f"{name}.tflite").read_bytes()
    graph, model = flatbuffer.read(data), flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    main = model.subgraphs[0]
    assert [t.name for t in graph.tensors] == [t.name.decode() for t in main.tensors]
    assert [t.shape for t in graph.tensors] == [tuple(t.shape) if t.shape is not None else () for t in main.tensors]
    types = {value: key.lower() for key, value in vars(TensorType).items() if isinstance(value, int)}
    assert [t.type for t in graph.tensors] == [types[t.type] for t in main.tensors]
    assert [t.constant for t in graph.tensors] == [model.buffers[t.buffer].data is not None for t in main.tensors]
    for ours, theirs in zip(graph.tensors, main.tensors):
        quantization = theirs.quantization
        np.testing.assert_array_equal(ours.scales, [] if quantization is None or quantization.scale is None
                                      else quantization.scale)
    assert graph.inputs == tuple(main.inputs)
    assert graph.outputs == tuple(main.outputs)
    codes = [(c.builtinCode, c.version) for c in model.operatorCodes]
    expected = [codes[op.opcodeIndex] for op in main.operators]
    assert [(operators.NAMES.index(op.name), op.version) for op in graph.operators] == expected
    assert [op.inputs for op in graph.operators] == [tuple(op.inputs) for op in main.operators]
    assert graph.metadata["min_runtime_version"].rstrip(b"\0").split(b".")[0] in (b"1", b"2")


def test_names_are_the_schemas():
    names = {value: key for key, value in vars(BuiltinOperator).items() if isinstance(value, int)}
    assert [names[code] for code in range(len(operators.NAMES))] == operators.NAMES
    assert set(operators.NAMES) >= operators.GPU


_LOOK_UP = """
import importlib, json, sys
interpreter = importlib.import_module(sys.argv[1]).Interpreter
found = {}
with open(sys.argv[2], "rb") as file:
    data = file.read()
for entry in json.loads(sys.stdin.read()):
    name, version, start, end = entry
    try:
        interpreter(model_content=data[start:end])
        found[name + str(version)] = True
    except (ValueError, RuntimeError) as error:
        found[name + str(version)] = "Didn't find op" not in str(error) and "out of range" not in str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def single_operators(tiny_models, tmp_path_factory):
    """A file of many models, and [name, version, start, end] of each: one operator, in versions 1 to one too many."""
    path = tmp_path_factory.mktemp("operators") / "models"
    model = flatbuffer_utils.read_model(str(tiny_models / "two_inputs.tflite"))
    model.signatureDefs, model.operatorCodes = [], model.operatorCodes[:1]
    graph, code = model.subgraphs[0], model.operatorCodes[0]
    graph.operators = graph.operators[:1]
    graph.operators[0].opcodeIndex = graph.operators[0].builtinOptionsType = 0
    graph.operators[0].builtinOptions = None
    graph.outputs = [graph.operators[0].outputs[0]]
    entries, place = [], 0
    with open(path, "wb") as file:
        for number, name in enumerate(operators.NAMES):
            if name in ("CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES", "DELEGATE"):
                continue
            newest = {operators.VERSIONS[runtime][name] for runtime in ("tflite-runtime-2.14", "litert-2.3")}
            for version in sorted({v + more for v in newest for more in (0, 1) if v + more > 0}):
                code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), version
                data = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
                file.write(data)
                entries.append([name, version, place, place + len(data)])
                place += len(data)
    return path, entries


@pytest.mark.parametrize(("module", "runtime"), [("ai_edge_litert.interpreter", "litert-2.3"),
                                                 ("tflite_runtime.interpreter", "tflite-runtime-2.14")])
def test_the_tables_are_what_the_runtimes_know(single_operators, module, runtime):
    pytest.importorskip(module.split(".")[0])
    path, entries = single_operators
    child = subprocess.run([sys.executable, "-c", _LOOK_UP, module, str(path)], input=json.dumps(entries).encode(),
                           capture_output=True, check=True)
    known = json.loads(child.stdout)
    for name, version, _, _ in entries:
        assert known[name + str(version)] == (version <= operators.VERSIONS[runtime][name]), (name, version)


@pytest.mark.parametrize("target", list(compat.TARGETS))
@pytest.mark.parametrize("name", ["latent_float32", "latent_float16", "latent_int8", "classifier_float32"])
def test_our_own_files_run_everywhere(tiny_models, name, target):
    assert compat.check((tiny_models / f"{name}.tflite").read_bytes(), target) == []


def test_a_calibration_behind_the_model_does_not_matter(tiny_detector):
    assert compat.check(tiny_detector.read_bytes(), "jetson-nano") == []


def test_a_newer_operator_is_named_with_what_to_change(tiny_models):
    model = (tiny_models / "dense_12.tflite").read_bytes()
    assert compat.uses(model) == [compat.Use("FULLY_CONNECTED", 12, 2)]
    for target, version in (("generic", "2.14"), ("jetson-nano", "2.13")):
        (problem,) = compat.check(model, target)
        assert problem.startswith(f"FULLY_CONNECTED version 12 (×2): tflite-runtime {version} knows versions up to 10; "
                                  "quantize dense layers per tensor")
    assert compat.check(model, "gpu") == []
    assert compat.summary(model)["LiteRT 2.3"] == []


def test_what_the_gpu_lacks_is_named(tiny_models):
    assert compat.check((tiny_models / "not_for_gpu.tflite").read_bytes(), "gpu") == [
        "the GPU delegate does not compute TOPK_V2: leave sorting to NumPy after the network"]


def test_what_the_gpu_computes_wrongly_is_named(tiny_models):
    model = (tiny_models / "strided_pointwise.tflite").read_bytes()
    (convolution,) = [op for op in flatbuffer.read(model).operators if op.name == "CONV_2D"]
    assert convolution.strides == (2, 2)
    (problem,) = compat.check(model, "gpu")
    assert problem.startswith("LiteRT 2.3's GPU accelerator computes CONV_2D 1×1 with a stride and int8 weights wro")
    assert compat.check(model, "generic") == []
    with_kernels = flatbuffer.read((tiny_models / "int8_ends.tflite").read_bytes())
    assert [op.strides for op in with_kernels.operators if op.name == "CONV_2D"] == [(2, 2), (2, 2)]


def _changed(tiny_models, change):
    model = flatbuffer_utils.read_model(str(tiny_models / "latent_float32.tflite"))
    change(model)
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_custom_operators_run_nowhere(tiny_models):
    def change(model):
        model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = BuiltinOperator.CUSTOM
        model.operatorCodes[0].customCode = "FlexErf"

    model = _changed(tiny_models, change)
    (problem,) = compat.check(model, "generic")
    assert problem == ("tflite-runtime 2.14 lacks FlexErf (×2), which the model's maker has added to TensorFlow "
                       "Lite: replace the layers by built-in ones, or name the library that computes them (--delegate)")


_PREPARE = """
import importlib, sys
try:
    importlib.import_module(sys.argv[1]).Interpreter(model_content=sys.stdin.buffer.read()).allocate_tensors()
except (ValueError, RuntimeError) as error:
    sys.exit("LACKS" if "unresolved custom op" in str(error) else "knows")
"""


@pytest.mark.parametrize(("module", "runtime"), [("ai_edge_litert.interpreter", "litert-2.3"),
                                                 ("tflite_runtime.interpreter", "tflite-runtime-2.14")])
@pytest.mark.parametrize("custom", ["TFLite_Detection_PostProcess", "Landmarks2TransformMatrix"])
def test_custom_operators_that_runtimes_bring(tiny_models, module, runtime, custom):
    pytest.importorskip(module.split(".")[0])

    def change(model):
        for code in model.operatorCodes:
            code.builtinCode = code.deprecatedBuiltinCode = BuiltinOperator.CUSTOM
            code.customCode = custom

    model = _changed(tiny_models, change)
    child = subprocess.run([sys.executable, "-c", _PREPARE, module], input=model, capture_output=True)
    known = custom in operators.CUSTOM_KNOWN[runtime]
    assert (b"LACKS" not in child.stderr) == known  # one that is there may well crash on what it is given
    assert (compat.problems_of(model, runtime) == []) == known


def test_a_file_of_mediapipes_runs_where_litert_has_its_operators(tiny_models):
    def named(custom):
        def change(model):
            model.operatorCodes[0].builtinCode = model.operatorCodes[0].deprecatedBuiltinCode = BuiltinOperator.CUSTOM
            model.operatorCodes[0].customCode = custom

        return _changed(tiny_models, change)

    summary = compat.summary(named("Convolution2DTransposeBias"))
    assert summary["LiteRT 2.3"] == []
    assert summary["tflite-runtime 2.14"][0].startswith("tflite-runtime 2.14 lacks Convolution2DTransposeBias")
    with pytest.raises(ValueError, match=r"cannot load the model: it lacks TransformLandmarks, .* \(--delegate\)$"):
        runtime.load(named("TransformLandmarks"), trusted=True)
    with pytest.raises(ValueError, match="holds operators of TensorFlow itself: convert it again with TensorFlow Lite"):
        runtime.load(named("FlexErf"), trusted=True)


def test_the_gpu_wants_fixed_shapes_and_batch_1(tiny_models):
    def change(model):
        model.subgraphs[0].tensors[0].shape = [4, 32, 32, 3]
        model.subgraphs[0].tensors[0].type = TensorType.INT64

    assert compat.check(_changed(tiny_models, change), "gpu") == [
        "input serving_default_frame:0 has batch 4, the GPU delegate takes 1: convert for 1",
        "input serving_default_frame:0 is int64, which the GPU delegate does not take: use float32"]


def test_unknown_targets_and_corrupt_models_are_refused(tiny_models):
    model = (tiny_models / "latent_float32.tflite").read_bytes()
    with pytest.raises(ValueError, match="target is 'tpu', it can be generic, jetson-nano, gpu"):
        compat.check(model, "tpu")
    with pytest.raises(flatbuffer.FlatbufferError, match="not a TFLite file"):
        compat.check(b"x" * 100, "gpu")


def test_a_damaged_flatbuffer_never_gets_the_reader_past_its_end(tiny_models):
    model = (tiny_models / "classifier_float32.tflite").read_bytes()
    Interpreter(model_content=model)  # sound to begin with
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(model[:random.integers(8, len(model) + 1)])
        for place in random.integers(8, len(damaged), 3) if len(damaged) > 8 else ():
            damaged[place] = random.integers(256)
        try:
            flatbuffer.read(bytes(damaged))
        except flatbuffer.FlatbufferError as error:
            assert "\n" not in str(error)  # noqa: PT017 - a change in the weights is no error
