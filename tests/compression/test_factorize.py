"""Low-rank layers and students drawn from their teacher."""
import numpy as np
import pytest
import tf_keras

from leanood.compression import factorize, report, students

L = tf_keras.layers
X = np.random.default_rng(0).random((4, 16, 16, 3), np.float32)


def low_rank_model():
    tf_keras.utils.set_random_seed(0)
    frame = L.Input((16, 16, 3), name="frame")
    x = L.Conv2D(24, 3, padding="same", activation="relu", name="stem")(frame)
    x = L.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv")(x)
    x = L.Conv2D(32, 1, activation="relu", name="point")(x)
    x = L.Dense(64, activation="relu", name="dense")(L.Flatten(name="flat")(x))
    model = tf_keras.Model(frame, {"mu": L.Dense(5, name="mu")(x)})
    rng = np.random.default_rng(0)
    core = rng.normal(size=(3, 3, 4, 5))
    kernel = np.einsum("hwab,ia,ob->hwio", core, rng.normal(size=(24, 4)), rng.normal(size=(32, 5))) / 40
    model.get_layer("conv").set_weights([kernel, rng.normal(size=32)])
    model.get_layer("point").set_weights([(rng.normal(size=(32, 3)) @ rng.normal(size=(3, 32)))[None, None] / 20,
                                          rng.normal(size=32)])
    model.get_layer("dense").set_weights([rng.normal(size=(2048, 6)) @ rng.normal(size=(6, 64)) / 100,
                                          rng.normal(size=64)])
    return model


def test_layers_of_low_rank_are_found_and_rewritten_exactly():
    model = low_rank_model()
    assert factorize.choose(model, 1.0) == {"conv": (4, 5), "point": (3, 3), "dense": (6, 6)}
    small = factorize.factorize(model, 1.0)
    np.testing.assert_allclose(small(X)["mu"], model(X)["mu"], rtol=1e-3, atol=1e-4)
    before, after = (report.multiply_adds(m) for m in (model, small))
    assert after["conv_in"] + after["conv_core"] + after["conv"] == 256 * 24 * 4 + 64 * (9 * 4 * 5 + 5 * 32)
    assert after["dense_in"] + after["dense"] == 6 * (2048 + 64)
    assert sum(after.values()) < 0.7 * sum(before.values())
    assert small.get_layer("conv").output_shape == model.get_layer("conv").output_shape


def test_what_does_not_pay_is_left_alone():
    x = frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(4, 3, name="conv")(x)
    model = tf_keras.Model(frame, {"mu": L.Dense(4, name="mu")(L.Flatten()(x))})
    assert factorize.choose(model, 0.99) == {}
    assert [layer.name for layer in factorize.factorize(model).layers] == [layer.name for layer in model.layers]


@pytest.mark.parametrize("speedup", [2.0, 4.0])
def test_ranks_for_a_speed_up_reach_it(speedup):
    model = low_rank_model()
    before = report.multiply_adds(model)
    after = report.multiply_adds(factorize.factorize(model, speedup=speedup))
    assert before["dense"] / (after["dense_in"] + after["dense"]) >= speedup
    assert before["conv"] / (after["conv_in"] + after["conv_core"] + after["conv"]) >= speedup


@pytest.mark.parametrize(("arguments", "message"), [
    ({"energy": 0}, r"energy 0 is not in \(0, 1\]"), ({"speedup": 0.5}, "speed-up 0.5 is not above 1")])
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        factorize.factorize(low_rank_model(), **arguments)


def pooled():
    x = frame = L.Input((16, 16, 3), name="frame")
    for i, width in enumerate((8, 12)):
        x = L.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = L.MaxPooling2D(name=f"pool{i}")(L.LeakyReLU(0.1, name=f"act{i}")(L.BatchNormalization(name=f"bn{i}")(x)))
    x = L.Flatten(name="flat")(x)
    return tf_keras.Model(frame, {"mu": L.Dense(5, name="mu")(x), "logvar": L.Dense(5, name="logvar")(x)})


def test_a_strided_student_has_no_pools_a_quarter_of_the_work_and_all_the_weights():
    teacher = pooled()
    student = students.strided(teacher)
    assert not any(isinstance(layer, (L.MaxPooling2D, L.LeakyReLU)) for layer in student.layers)
    before, after = (report.multiply_adds(m) for m in (teacher, student))
    assert (before["conv0"], before["conv1"]) == (4 * after["conv0"], 4 * after["conv1"])
    for old, new in zip(teacher.get_weights(), student.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert {name: y.shape for name, y in student(X).items()} == {"mu": (4, 5), "logvar": (4, 5)}


def test_a_pool_stays_where_the_full_resolution_is_read_by_another_layer():
    frame = L.Input((16, 16, 3), name="frame")
    full = L.Conv2D(4, 3, padding="same", name="conv")(frame)
    x = L.Concatenate()([L.GlobalAveragePooling2D()(L.MaxPooling2D(name="pool")(full)), L.GlobalMaxPooling2D()(full)])
    student = students.strided(tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(x)}))
    assert "pool" in [layer.name for layer in student.layers]


def test_a_separable_student_splits_all_but_the_first_convolution():
    student = students.separable(pooled())
    assert [layer.name for layer in student.layers if "conv" in layer.name] == ["conv0", "conv1_depthwise", "conv1"]
    assert report.multiply_adds(student)["conv1"] == 64 * 8 * 12
    assert set(student.output) == {"mu", "logvar"}


def test_a_shallower_student_keeps_what_fits():
    teacher = pooled()
    student = students.shallower(teacher, ("conv1", "bn1", "act1"))
    old, new = (m.get_layer("conv0").get_weights()[0] for m in (teacher, student))
    np.testing.assert_array_equal(new, old)
    assert student.get_layer("mu").input_shape == (None, 4 * 4 * 8)
    for name, message in (("conv9", "no layer named 'conv9'"), ("mu", "layer 'mu' makes an output")):
        with pytest.raises(ValueError, match=message):
            students.shallower(teacher, (name,))


def test_a_narrower_student_inherits_or_starts_anew():
    teacher = pooled()
    heir = students.narrower(teacher, {"conv0": 0.5}, multiple=1)
    novice = students.narrower(teacher, {"conv0": 0.5}, multiple=1, inherit=False)
    kernel = teacher.get_layer("conv0").get_weights()[0]
    inherited = heir.get_layer("conv0").get_weights()[0]
    assert inherited.shape == novice.get_layer("conv0").get_weights()[0].shape == (3, 3, 3, 4)
    assert all(any(np.array_equal(inherited[..., i], kernel[..., j]) for j in range(8)) for i in range(4))
    assert not np.array_equal(inherited, novice.get_layer("conv0").get_weights()[0])


def test_an_informed_student_is_narrow_where_the_outputs_allow_it():
    teacher = pooled()
    kernel = teacher.get_layer("conv1").get_weights()[0]
    kernel[..., 3:] *= 1e-6  # after batch normalisation at its start these nine channels are all but zero
    teacher.get_layer("conv1").set_weights([kernel])
    student = students.informed(teacher, X, 1e-4, multiple=1)
    assert student.get_layer("conv1").filters == 3
    assert student.get_layer("conv0").filters == 8


def test_a_plain_student_has_the_teacher_s_ends_and_few_multiply_adds():
    teacher = pooled()
    student = students.plain(teacher, (4, 8))
    assert student.input_shape == teacher.input_shape
    assert {name: y.shape for name, y in student(X).items()} == {"mu": (4, 5), "logvar": (4, 5)}
    assert report.multiply_adds(student) == {"conv1": 64 * 27 * 4, "conv2": 16 * 36 * 8, "mu": 640, "logvar": 640}
    decoder = tf_keras.Model(teacher.input, L.Conv2D(3, 3, name="image")(teacher.input))
    fast = students.plain(teacher, (4, 8), stem=4)
    assert fast.get_layer("conv1").strides == (4, 4)
    assert fast.get_layer("conv2").strides == (2, 2)
    with pytest.raises(ValueError, match="a plain student maps images to vectors"):
        students.plain(decoder)
