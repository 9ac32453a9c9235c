"""The frame's int8 copy made from its float copy: the same numbers, one slow conversion fewer."""
import numpy as np
import pytest
import tf_keras as keras
from ai_edge_litert import interpreter
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from leanood.compression import quantize
from leanood.models import bvae, filter_bank
from leanood.tflite import convert
from leanood.tflite.rewrite import requantize

FRAMES = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 3), dtype=np.uint8).repeat(8, axis=1).repeat(8, axis=2)


@pytest.fixture(scope="module", params=["after training", "aware"])
def files(request):
    """An int8 file as the converter writes it, and as it is shipped."""
    model = bvae.encoder((32, 32), (8, 12), 6)
    if request.param == "aware":
        model = quantize.qat(model, images=FRAMES[:8] / np.float32(255), finetune=None)
    model = filter_bank.with_statistics(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requantize, "from_float", lambda model: model)
        plain = convert.convert(model, quantize="int8", representative=FRAMES)
    return plain, convert.convert(model, quantize="int8", representative=FRAMES)


def readers_of_the_frame(flatbuffer):
    base = flatbuffer_utils.convert_bytearray_to_object(bytearray(flatbuffer))
    graph = base.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    return [names[base.operatorCodes[operator.opcodeIndex].builtinCode] for operator in graph.operators
            if operator.inputs[0] == graph.inputs[0]]


def run(flatbuffer):
    runner = interpreter.Interpreter(model_content=flatbuffer).get_signature_runner("serving_default")
    return [runner(frame=frame[None]) for frame in FRAMES]


def test_the_frame_is_read_once(files):
    assert "QUANTIZE" in readers_of_the_frame(files[0])
    assert readers_of_the_frame(files[1]) == ["DEQUANTIZE"]


def test_the_numbers_are_the_same(files):
    for before, after in zip(run(files[0]), run(files[1])):
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_what_has_no_float_copy_is_given_one():
    model = bvae.encoder((32, 32), (8, 12), 6, (20,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requantize, "from_float", lambda model: model)
        plain = convert.convert(model, quantize="int8", representative=FRAMES)
    assert readers_of_the_frame(plain) == ["QUANTIZE"]
    flatbuffer = convert.convert(model, quantize="int8", representative=FRAMES)
    assert readers_of_the_frame(flatbuffer) == ["DEQUANTIZE"]
    for before, after in zip(run(plain), run(flatbuffer)):
        for name in before:
            np.testing.assert_array_equal(before[name], after[name])


def test_what_makes_no_int8_copy_stays_as_it_is():
    flatbuffer = convert.convert(bvae.encoder((32, 32), (8, 12), 6, (20,)))
    assert requantize.from_float(flatbuffer) == flatbuffer


@pytest.mark.parametrize("statistics", [False, True])
def test_means_of_pixels_are_taken_in_float(statistics):
    frame = keras.Input((32, 32, 3), name="frame")
    seen = keras.layers.AveragePooling2D(2)(frame)
    deep = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="deep")(seen)
    model = keras.Model(frame, {"features": keras.layers.GlobalAveragePooling2D(name="features")(deep),
                                "map": keras.layers.Conv2D(4, 1, name="map")(deep)})
    model = filter_bank.with_statistics(model) if statistics else model
    flatbuffer = convert.convert(model, quantize="int8", representative=FRAMES)
    base = flatbuffer_utils.convert_bytearray_to_object(bytearray(flatbuffer))
    graph = base.subgraphs[0]
    pools = [operator for operator in graph.operators
             if base.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.AVERAGE_POOL_2D]
    assert {graph.tensors[pool.inputs[0]].type for pool in pools} == {schema.TensorType.FLOAT32}
    assert readers_of_the_frame(flatbuffer) == ["DEQUANTIZE"]
    for given, said in zip(FRAMES, run(flatbuffer)):
        expected = {name: value.numpy() for name, value in model(given[np.newaxis] / np.float32(255)).items()}
        for name in ("features", "map"):
            assert np.abs(said[name] - expected[name]).max() < 0.03 * max(1.0, np.abs(expected[name]).max())
