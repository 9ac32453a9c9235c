"""Files of others: channels first, other scales, features inside the graph, quantized tensors, metadata behind."""
import io
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.tflite import bundle, runtime
from leanood.tflite.rewrite import adopt

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 16, 20, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def foreign():
    """(a flatbuffer as PyTorch's converters write it: [1, 3, h, w], one output; the same network in TensorFlow)."""
    keras.utils.set_random_seed(3)
    conv = keras.layers.Conv2D(6, 3, strides=2, activation="relu")
    dense = keras.layers.Dense(4, kernel_initializer="random_normal")

    def network(x):
        maps = conv(tf.transpose(x, [0, 2, 3, 1]))
        return maps, dense(tf.reduce_mean(maps, [1, 2]))

    function = tf.function(lambda args_0: network(args_0)[1],
                           input_signature=[tf.TensorSpec((1, 3, 16, 20), tf.float32, name="args_0")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()])
    return bytes(converter.convert()), network


def _maps_tensor(model):
    from tensorflow.lite.tools import flatbuffer_utils

    graph = flatbuffer_utils.convert_bytearray_to_object(bytearray(model)).subgraphs[0]
    maps = [tensor.name.decode() for tensor in graph.tensors if list(tensor.shape) == [1, 7, 9, 6]]
    return maps[-1]


def test_a_channels_first_file_becomes_one_that_takes_frames(foreign):
    model, network = foreign
    names = list(runtime.load(model, trusted=True).outputs)
    adopted = runtime.load(adopt.adopt(model, {"logits": names[0], "features": _maps_tensor(model)}, "imagenet"),
                           trusted=True)
    assert {name: tensor.shape for name, tensor in adopted.inputs.items()} == {"frame": (1, 16, 20, 3)}
    results = adopted.each(IMAGES)
    x = (IMAGES / np.float32(255) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    maps, logits = network(tf.constant(x.transpose(0, 3, 1, 2), tf.float32))
    np.testing.assert_allclose(results["logits"], logits, atol=1e-5)
    np.testing.assert_allclose(results["features"], np.mean(maps, (1, 2)), atol=1e-5)


def _constants_behind(model):
    """The file with its constants behind the flatbuffer, as ai-edge-quantizer writes it."""
    def moved(places):
        def edit(base, graph):
            for number, buffer in enumerate(base.buffers):
                if buffer.data is not None:
                    buffer.data, (buffer.offset, buffer.size) = None, places.get(number, (1 << 32, 1))

        return edit

    from tensorflow.lite.tools import flatbuffer_utils

    data = {number: bytes(buffer.data) for number, buffer in enumerate(
        flatbuffer_utils.convert_bytearray_to_object(bytearray(model)).buffers) if buffer.data is not None}
    end, places, behind = len(_edited(model, moved({}))), {}, b""
    for number, content in data.items():
        behind += bytes(-(end + len(behind)) % 16)
        places[number] = (end + len(behind), len(content))
        behind += content
    return _edited(model, moved(places)) + behind


def test_constants_behind_the_flatbuffer_come_along(foreign, tmp_path):
    model, network = foreign
    behind = _constants_behind(model)
    name = next(iter(runtime.load(behind, trusted=True).outputs))
    adopted = adopt.adopt(behind, {"logits": name, "features": _maps_tensor(model)}, "imagenet")
    expected = runtime.load(adopt.adopt(model, {"logits": name, "features": _maps_tensor(model)}, "imagenet"),
                            trusted=True).each(IMAGES)
    for output, values in runtime.load(adopted, trusted=True).each(IMAGES).items():
        np.testing.assert_array_equal(values, expected[output])
    with pytest.raises(ValueError, match=r"the flatbuffer is corrupt \(.*\): copy or convert it anew"):
        adopt.adopt(behind[:-16], {"logits": name})


def test_a_quantized_file_with_channels_first_takes_frames(foreign):
    _, network = foreign
    function = tf.function(lambda args_0: network(args_0)[1],
                           input_signature=[tf.TensorSpec((1, 3, 16, 20), tf.float32, name="args_0")])
    concrete = function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    scaled = ((IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2).astype(np.float32)
    converter.representative_dataset = lambda: ([x[None]] for x in scaled)
    converter.inference_input_type = converter.inference_output_type = tf.int8
    model = bytes(converter.convert())
    original = runtime.load(model, trusted=True)
    name = next(iter(original.outputs))
    adopted = runtime.load(adopt.adopt(model, {"logits": name}, "imagenet"), trusted=True)
    (tensor,) = adopted.inputs.values()
    assert (tensor.shape, tensor.quantized) == ((1, 16, 20, 3), False)
    step = original.outputs[name].scale
    np.testing.assert_allclose(adopted.each(IMAGES)["logits"], original.each(scaled)[name], atol=1.01 * step)


def test_a_transformers_tokens_are_averaged_and_what_is_flat_is_refused():
    conv = keras.layers.Conv2D(6, 4, strides=4)

    def network(x):
        tokens = tf.reshape(conv(tf.transpose(x, [0, 2, 3, 1])), [1, 20, 6])
        return {"tokens": tf.nn.softmax(tf.matmul(tokens, tokens, transpose_b=True)) @ tokens,
                "flat": tf.reshape(tokens, [-1])}

    function = tf.function(network, input_signature=[tf.TensorSpec((1, 3, 16, 20), tf.float32, name="args_0")])
    concrete = function.get_concrete_function()
    converted = tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert()
    names = {tensor.shape: name for name, tensor in runtime.load(converted, trusted=True).outputs.items()}
    adopted = runtime.load(adopt.adopt(converted, {"features": names[1, 20, 6]}), trusted=True)
    expected = [network(tf.constant(x.transpose(2, 0, 1)[None] / 255, tf.float32))["tokens"].numpy().mean((0, 1))
                for x in IMAGES]
    np.testing.assert_allclose(adopted.each(IMAGES)["features"], expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"'features' is \[120\]; a score reads \[1, D\], or \[1, n, C\] and"):
        adopt.adopt(converted, {"features": names[(120,)]})


@pytest.mark.parametrize(("shape", "size", "first", "axes"), [
    ([1, 7, 9, 6], (16, 20), True, [1, 2]), ([1, 6, 7, 9], (16, 20), True, [2, 3]), ([1, 64, 56, 56], (224, 224), True,
                                                                                      [2, 3]),
    ([1, 56, 56, 64], (224, 224), True, [1, 2]), ([1, 7, 7, 7], (224, 224), True, [2, 3]), ([1, 7, 7, 7], (9, 9), False,
                                                                                             [1, 2])])
def test_maps_tell_their_layout_by_the_pictures_ratio(shape, size, first, axes):
    assert adopt._averaged(shape, size, first) == axes


def test_a_file_without_a_signature_and_with_quantized_ends(tiny_models):
    plain = (tiny_models / "without_signature.tflite").read_bytes()
    original = runtime.load(plain, trusted=True)
    name = next(iter(original.outputs))
    adopted = runtime.load(adopt.adopt(plain, {"features": name}, "signed"), trusted=True)
    frames = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(adopted.each(frames)["features"],
                               original.each(frames / np.float32(127.5) - np.float32(1))[name], atol=1e-4)
    quantized = (tiny_models / "int8_ends.tflite").read_bytes()
    original = runtime.load(quantized, trusted=True)
    name = next(iter(original.outputs))
    adopted = runtime.load(adopt.adopt(quantized, {"features": name}), trusted=True)
    np.testing.assert_allclose(adopted.each(frames)["features"], original.each(frames)[name], atol=1e-6)


@pytest.mark.parametrize(("outputs", "scale", "message"), [
    ({"logits": "nothing"}, "unit", "has no output or tensor 'nothing'; its outputs are .*Netron"),
    ({"logits": "mu"}, "celsius", "input_scale is 'celsius', but should be one of unit, signed, bytes, imagenet")])
def test_what_a_file_lacks_is_told(tiny_models, outputs, scale, message):
    with pytest.raises(ValueError, match=message):
        adopt.adopt((tiny_models / "latent_float32.tflite").read_bytes(), outputs, scale)


def _edited(model, edit):
    """The file with its graph edited."""
    from tensorflow.lite.tools import flatbuffer_utils

    base = flatbuffer_utils.convert_bytearray_to_object(bytearray(model))
    edit(base, base.subgraphs[0])
    return bytes(flatbuffer_utils.convert_object_to_bytearray(base))


def test_what_no_frame_fits_is_told(foreign):
    model, _ = foreign

    def opened(base, graph):
        graph.tensors[graph.inputs[0]].shapeSignature = np.array([1, 3, -1, -1], np.int32)

    def four(base, graph):
        graph.tensors[graph.inputs[0]].shape = np.array([4, 3, 16, 20], np.int32)

    def constant(base, graph):
        base.signatureDefs = []
        graph.outputs = np.array([next(i for i, tensor in enumerate(graph.tensors)
                                       if base.buffers[tensor.buffer].data is not None)], np.int32)
        graph.tensors[graph.outputs[0]].name = b"fixed"

    with pytest.raises(ValueError, match=r"its input 'args_0.*' is \[1, 3, -1, -1\], of no fixed size; convert"):
        runtime.load(_edited(model, opened), trusted=True)
    with pytest.raises(ValueError, match=r"the file's input is \[4, 3, 16, 20\], but should be \[1, height"):
        adopt.adopt(_edited(model, four), {"logits": "x"})
    with pytest.raises(ValueError, match="the file's output 'fixed' is a constant, which says nothing of a frame"):
        adopt.adopt(_edited(model, constant), {"logits": "fixed"})

    def two_signatures(base, graph):
        base.subgraphs.append(graph)

    with pytest.raises(ValueError, match=r"2 graphs \(several signatures, or control flow\).*one of its signatures by"):
        adopt.adopt(_edited(model, two_signatures), {"logits": "x"})
    with pytest.raises(ValueError, match=r"the flatbuffer is corrupt \(.*\): copy or convert it anew"):
        adopt.adopt(model[:len(model) // 2], {"logits": "x"})


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_with_tflite_metadata_is_a_plain_model(tiny_models, tmp_path, compression):
    path = tmp_path / "labelled.tflite"
    path.write_bytes((tiny_models / "latent_float32.tflite").read_bytes())
    with zipfile.ZipFile(path, "a", compression) as archive:
        archive.writestr("labels.txt", "cat\ndog\n" * 40)
        archive.writestr("labels_en.txt", "cat\n")
    with pytest.raises(bundle.DetectorFileError, match="a plain TFLite model, not calibrated") as caught:
        bundle.load(path)
    assert bundle.is_plain(caught.value)
    assert bundle.flatbuffer(path) == path.read_bytes()
    assert set(runtime.load(path).outputs) == {"mu", "logvar"}


def test_metadata_without_labels_leaves_a_zip_of_no_members(tiny_models, tiny_detector, tmp_path):
    path = tmp_path / "face_detection_short_range.tflite"  # as MediaPipe 0.10 ships it
    model = (tiny_models / "latent_float32.tflite").read_bytes()
    path.write_bytes(model + b"PK\5\6" + bytes(12) + len(model).to_bytes(4, "little") + bytes(2))
    with zipfile.ZipFile(path) as archive:
        assert not archive.namelist()
    with pytest.raises(bundle.DetectorFileError) as caught:
        bundle.load(path)
    assert bundle.is_plain(caught.value)
    assert set(runtime.load(path).outputs) == {"mu", "logvar"}
    damaged = tiny_detector.read_bytes()[:-22]
    path.write_bytes(damaged + b"PK\5\6" + bytes(12) + len(damaged).to_bytes(4, "little") + bytes(2))
    with pytest.raises(bundle.DetectorFileError, match="its ZIP's directory is damaged"):
        bundle.load(path)


def test_a_detector_behind_metadata_is_a_detector(tiny_detector, tmp_path):
    parts = bundle.read(tiny_detector)
    labels = io.BytesIO()
    labels.write(parts.model)
    with zipfile.ZipFile(labels, "a") as archive:
        archive.writestr("labels.txt", "cat\n")
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(tmp_path / "both.tflite", labels.getvalue(), fields, parts.arrays)
    assert bundle.read(tmp_path / "both.tflite").model == labels.getvalue()
    bundle.load(tmp_path / "both.tflite")
