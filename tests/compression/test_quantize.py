"""Quantization-aware training: ranges, kept zeros and clusters, refusals; the converted file computes the same."""
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from leanood.compression import cluster, distill, prune, quantize, rebuild, report, views
from leanood.tflite import convert

L = tf_keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
X = views.scaled(IMAGES)


def encoder():
    tf_keras.utils.set_random_seed(0)
    x = frame = L.Input((16, 16, 3), name="frame")
    for i, width in enumerate((8, 12)):
        x = L.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = L.BatchNormalization(momentum=0.5, name=f"bn{i}")(x)
        x = L.LeakyReLU(0.1, name=f"act{i}")(x)
    x = L.Dense(10, activation="relu", name="dense")(L.Flatten(name="flat")(x))
    model = tf_keras.Model(frame, {"mu": L.Dense(5, name="mu")(x), "logvar": L.Dense(5, name="logvar")(x)})
    for _ in range(20):  # batch normalisation's statistics
        model(X, training=True)
    return model


def int8_kernel(flatbuffer, shape):
    interpreter = tf.lite.Interpreter(model_content=flatbuffer, experimental_op_resolver_type=tf.lite.experimental.
                                      OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES)
    interpreter.allocate_tensors()
    kernels = [t for t in interpreter.get_tensor_details() if t["dtype"] == np.int8 and tuple(t["shape"]) == shape]
    assert len(kernels) == 1
    return interpreter.get_tensor(kernels[0]["index"])


def run(flatbuffer, images):
    runner = tf.lite.Interpreter(model_content=flatbuffer).get_signature_runner()
    results = [runner(frame=image[np.newaxis]) for image in images]
    return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


def test_ranges_come_from_the_images_and_the_file_computes_as_the_model():
    model = encoder()
    aware = quantize.qat(model, images=X)
    assert set(aware.output) == {"mu", "logvar"}
    expected = tf_keras.Model(model.input, model.get_layer("bn1").output)(X).numpy()
    ranges = {w.name.split("/")[-1]: float(w) for w in aware.get_layer("quant_bn1").weights if w.shape == ()}
    assert ranges["output_min:0"] == pytest.approx(expected.min(), rel=0.1)
    assert ranges["output_max:0"] == pytest.approx(expected.max(), rel=0.1)
    for name, values in run(convert.convert(aware, quantize="int8"), IMAGES[:8]).items():
        assert np.corrcoef(values.ravel(), aware(X[:8])[name].numpy().ravel())[0, 1] > 0.999
        assert np.corrcoef(values.ravel(), model(X[:8])[name].numpy().ravel())[0, 1] > 0.99


@pytest.mark.parametrize("preserve", ["sparsity", "both"])
def test_zeros_outlive_training_in_the_file_too(preserve):
    small = prune.prune(encoder(), 0.6)
    if preserve == "both":
        small = cluster.cluster(small, 8)
    aware = quantize.qat(small, preserve=preserve, images=X, finetune=distill.Finetune(IMAGES, epochs=1, batch_size=8))
    kernel = int8_kernel(convert.convert(aware, quantize="int8"), (12, 3, 3, 8))
    assert np.mean(kernel == 0) == pytest.approx(0.6, abs=0.02)


@pytest.mark.parametrize("preserve", ["sparsity", "clusters"])
def test_an_inputs_scaling_stays_in_float(preserve):
    frame = L.Input((16, 16, 3), name="frame")
    x = L.Rescaling(2.0, -1.0, name="scaling")(frame)
    x = L.Conv2D(8, 3, strides=2, activation="relu", name="conv")(x)
    model = tf_keras.Model(frame, {"features": L.GlobalAveragePooling2D(name="features")(x)})
    aware = quantize.qat(model, preserve=preserve, exclude=("scaling",), images=X)
    assert {"scaling", "quant_conv"} <= {layer.name for layer in aware.layers}
    np.testing.assert_allclose(aware(X)["features"], model(X)["features"], atol=0.05)


def test_shared_weights_outlive_training():
    shared = cluster.cluster(encoder(), 4)
    aware = quantize.qat(shared, preserve="clusters", images=X,
                         finetune=distill.Finetune(IMAGES, epochs=1, batch_size=8))
    kernel = int8_kernel(convert.convert(aware, quantize="int8"), (12, 3, 3, 8))
    assert all(len(np.unique(row)) <= 4 for row in kernel)  # per filter: the file scales each by itself


def test_excluded_layers_stay_in_float():
    assert not {"quant_mu", "quant_logvar"} & {layer.name for layer in quantize.qat(encoder(), images=X).layers}
    aware = quantize.qat(encoder(), images=X, exclude=("dense",))
    rounded = [layer.name for layer in aware.layers if any("kernel_min" in w.name for w in layer.weights)]
    assert rounded == ["quant_conv0", "quant_conv1", "quant_logvar", "quant_mu"]


def test_a_pooled_map_beside_a_wider_one_converts():  # a DenseNet's
    tf_keras.utils.set_random_seed(0)
    frame = L.Input((16, 16, 3), name="frame")
    pooled = L.AveragePooling2D(2, name="pool")(L.Conv2D(4, 3, name="narrow")(frame))
    wide = L.Conv2D(4, 1, kernel_initializer=tf_keras.initializers.RandomUniform(-3, 3), name="wide")(pooled)
    both = L.Conv2D(4, 1, name="both")(L.Concatenate(name="joined")([pooled, wide]))
    model = tf_keras.Model(frame, {"features": L.GlobalAveragePooling2D(name="features")(both)})
    aware = quantize.qat(model, images=X, exclude=())
    values = run(convert.convert(aware, quantize="int8"), IMAGES[:4])["features"]
    assert np.corrcoef(values.ravel(), model(X[:4])["features"].numpy().ravel())[0, 1] > 0.99


class Scale(L.Layer):
    """A layer of its own, as ConvNeXt's is."""

    def build(self, shape):
        self.gamma = self.add_weight("gamma", (shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gamma


def test_a_layer_of_its_own_class_can_be_excluded():
    frame = L.Input((16, 16, 3), name="frame")
    x = Scale(name="scale")(L.Conv2D(4, 3, name="conv")(frame))
    model = tf_keras.Model(frame, {"features": L.GlobalAveragePooling2D(name="features")(x)})
    aware = quantize.qat(model, exclude=("scale",), images=X)
    assert {"scale", "quant_conv"} <= {layer.name for layer in aware.layers}


def test_the_report_counts_a_quantization_aware_model_s_own_weights():
    model = encoder()
    before, after = (report.measure(m) for m in (model, quantize.qat(model, images=X)))
    assert after == before


def unsupported(kind):
    x = frame = L.Input((8, 8, 3), name="frame")
    if kind == "prelu":
        x = L.PReLU(name="odd")(L.Conv2D(4, 3, name="conv")(x))
    elif kind == "shared":
        convolution, normalization = L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="odd")
        x = L.Add(name="add")([normalization(convolution(y)) for y in (x, L.ReLU(name="half")(x))])
    elif kind == "elu":
        x = L.Conv2D(4, 3, activation="elu", name="odd")(x)
    else:
        x = L.BatchNormalization(name="odd")(L.ReLU(name="relu")(L.Conv2D(4, 3, name="conv")(x)))
    return tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(L.Flatten()(x))})


@pytest.mark.parametrize(("kind", "message"), [
    ("prelu", r"layer 'odd' \(PReLU\) can't be quantized by tfmot: exclude it"),
    ("shared", r"layer 'odd' \(BatchNormalization\) is called 2 times; tfmot folds one of one call: exclude it"),
    ("elu", r"layer 'odd' \(Conv2D\) has the activation 'elu', which tfmot can't quantize .*: exclude it"),
    ("bn", r"layer 'odd' \(BatchNormalization\) follows 'relu' \(ReLU\); only one right after Conv2D"),
])
def test_what_can_not_be_quantized_is_refused_by_name_before_training(kind, message):
    def finetune(*arguments):
        pytest.fail("training began")

    with pytest.raises(rebuild.UnsupportedModel, match=message):
        quantize.qat(unsupported(kind), finetune=finetune)
    quantize.check(unsupported(kind), exclude=("odd",))


@pytest.mark.parametrize(("arguments", "message"), [
    ({"preserve": "all"}, "preserve 'all' is unknown; it may be '', 'sparsity', 'clusters', 'both'"),
    ({}, "ranges are learnt from images"),
    ({"exclude": ("conv9",)}, "no layer named 'conv9' to exclude"),
])
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        quantize.qat(encoder(), **arguments)


def test_a_model_without_a_layer_to_quantize_is_told():
    frame = L.Input((8, 8, 3), name="frame")
    with pytest.raises(rebuild.UnsupportedModel, match="qat: no layer of model 'bare' is left to quantize"):
        quantize.check(tf_keras.Model(frame, L.Flatten(name="flat")(frame), name="bare"), exclude=("flat",))


def test_a_model_is_not_quantized_twice():
    aware = quantize.qat(encoder(), images=X)
    with pytest.raises(rebuild.UnsupportedModel, match="quantization-aware already"):
        quantize.qat(aware, images=X)
