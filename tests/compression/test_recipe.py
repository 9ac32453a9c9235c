"""Recipes: read, refused before anything runs, run, resumed."""
import numpy as np
import pytest
import tf_keras

from leanood.compression import detection_distances, distances, distill, rebuild, recipe, steps, views
from leanood.models import cnn

L = tf_keras.layers
IMAGES = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)


def encoder():
    tf_keras.utils.set_random_seed(0)
    x = frame = L.Input((16, 16, 3), name="frame")
    for i, width in enumerate((8, 16)):
        x = L.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{i}")(x)
        x = L.MaxPooling2D(name=f"pool{i}")(L.LeakyReLU(0.1, name=f"act{i}")(L.BatchNormalization(name=f"bn{i}")(x)))
    x = L.Flatten(name="flat")(x)
    return tf_keras.Model(frame, {"mu": L.Dense(4, name="mu")(x), "logvar": L.Dense(4, name="logvar")(x)})


def test_a_recipe_is_a_tuple_of_frozen_dataclasses():
    assert recipe.parse("shrink(0.5)+distill(epochs=20)+qat") == (
        steps.Shrink(ratio=0.5), steps.Distill(epochs=20), steps.Qat())
    assert recipe.parse("prune(0.25, structure='2:4', epochs=0)") == (
        steps.Prune(sparsity=0.25, structure="2:4", epochs=0),)
    assert recipe.parse("student(separable)+int8") == (steps.Student(kind="separable"), steps.Int8())


@pytest.mark.parametrize("text", [
    "shrink(0.5)", "shrink(0.25, importance='l1')+distill(3)+qat('mu,logvar')", "prune(0.7)+cluster(8)+pcqat+huffman",
    "factorize(0.9, speedup=2.0)+float16", "downscale(3)+cut('block3')+int8", "shrink(0.5)+shrink(0.25)+dynamic"])
def test_what_is_written_reads_back(text):
    assert recipe.write(recipe.parse(text)) == text
    assert recipe.parse(recipe.write(recipe.parse(text))) == recipe.parse(text)


@pytest.mark.parametrize(("text", "message"), [
    ("shrnk(0.5)", "there is no step 'shrnk'; the steps are downscale, cut, shrink, factorize, student, distill,"),
    ("shrink(1.5)", "shrink: ratio is 1.5, but must be between 0 and 1"),
    ("shrink(ratio='big')", "shrink: ratio is 'big', but must be of type float"),
    ("shrink(rate=0.5)", "shrink: there is no setting 'rate'; its settings are ratio, importance"),
    ("shrink(importance=l7)", "shrink: importance is 'l7', but must be one of 'l1', 'l2'"),
    ("float16(1, 2)", "float16: 2 values are too many"),
    ("shrink(0.5", "can't be read at character"),
    ("shrink*2", r"'shrink \* 2' is no step"),
    ("distill(alpha=1.5)", "distill: alpha is 1.5, but must be from 0 to 1"),
    ("distill(detection=-1)", "distill: detection is -1.0, but must be 0 or more"),
    ("distill(views=2)", "distill: views is 2, but must be 0, or a number of epochs beside matching=True"),
    ("distill(matching=True, alpha=0.5)", "distill: alpha is 0.5, but must be 1 with matching"),
    ("distill(epochs=0)", "distill: epochs is 0, but must be at least 1"),
    ("downscale(1)", "downscale: factor is 1, but must be from 2 to 16"),
    ("cut", "cut: layer is '', but must be the name of a layer"),
    ("cut(block3, epochs=2)", "cut: epochs is 2, but must be 0: there is nothing to train towards"),
    ("cluster(1)", "cluster: clusters is 1, but must be from 2 to 256"),
    ("shrink(0.1+x)", r"shrink: ratio is 0.1 \+ x, but must be a number or a word"),
    ("student(shallow)", "student: drop is '', but must be layers' names with kind='shallow'"),
    ("student(deep)", "student: kind is 'deep', but must be one of 'strided', 'separable', 'narrow', 'shallow'"),
    ("student(plain, stem=9)", "student: stem is 9, but must be a stride from 1 to 8"),
    ("student(plain, widths='16;32')", "student: widths is '16;32', but must be numbers with commas between them"),
    ("int8(epochs=3)", "int8: there is no setting 'epochs'; its settings are none"),
    ("prune+distill", "distill can't follow prune, whose work it would undo; the order is"),
    ("qat+shrink", "shrink can't follow qat"),
    ("prune+prune", "prune comes 2 times"),
    ("qat+int8", "qat and int8 are two quantizations; choose one"),
    ("prune+qat", "qat doesn't keep just what the steps before it made; use pqat"),
    ("prune+cluster+cqat", "cqat doesn't keep just what the steps before it made; use pcqat"),
    ("pqat", "pqat doesn't keep just what the steps before it made; use qat"),
])
def test_wrong_recipes_are_refused_in_a_line_that_names_step_and_value(text, message):
    with pytest.raises(ValueError, match=message) as error:
        recipe.parse(text)
    assert "\n" not in str(error.value)


def test_a_model_that_a_later_step_can_not_handle_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(distill.Finetune, "__call__", lambda *arguments, **more: pytest.fail("training began"))
    frame = L.Input((8, 8, 3), name="frame")
    x = L.PReLU(name="odd")(L.Conv2D(8, 3, name="conv")(frame))
    model = tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(L.Flatten()(x))})
    with pytest.raises(rebuild.UnsupportedModel, match=r"qat: layer 'odd' \(PReLU\)"):
        recipe.run(recipe.parse("shrink(0.5)+distill(epochs=5)+qat"), model, IMAGES)
    open_size = L.Input((None, None, 3), name="frame")
    with pytest.raises(rebuild.UnsupportedModel, match="layer 'c' has an open size"):
        recipe.run(recipe.parse("shrink"), tf_keras.Model(open_size, L.Conv2D(4, 3, name="c")(open_size)), IMAGES)


def test_steps_run_in_order_and_are_reported():
    lines = []
    result = recipe.run(recipe.parse("shrink(0.5)+prune(0.5)+cluster(8)+dynamic+huffman"), encoder(), IMAGES, epochs=1,
                        batch_size=16, progress=lines.append)
    assert (result.quantize, result.pack) == ("dynamic", True)
    assert [what for what, _ in result.sizes] == ["original", "shrink(0.5)", "prune(0.5)", "cluster(8)"]
    sizes = [size for _, size in result.sizes]
    assert sizes[1].multiply_adds < 0.5 * sizes[0].multiply_adds
    # The heads stay dense, so the whole model's share of zeros is below the asked half.
    assert sizes[1].sparsity < 0.01 < 0.1 < sizes[2].sparsity == sizes[3].sparsity
    assert sizes[3].gzipped_bytes < sizes[2].gzipped_bytes < sizes[1].gzipped_bytes
    assert lines[0] == "step 1/5: shrink(0.5)"
    assert set(result.model.output) == {"mu", "logvar"}


def test_a_killed_recipe_goes_on_from_the_last_finished_step(tmp_path, monkeypatch):
    text, arguments = "shrink(epochs=1)+distill(epochs=1)+qat(epochs=1)", {"batch_size": 16, "folder": str(tmp_path)}
    first = steps.Qat.apply
    monkeypatch.setattr(steps.Qat, "apply", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        recipe.run(recipe.parse(text), encoder(), IMAGES, **arguments)
    monkeypatch.setattr(steps.Qat, "apply", first)
    monkeypatch.setattr(steps.Shrink, "apply", lambda *_: pytest.fail("shrink ran again"))
    result = recipe.run(recipe.parse(text), encoder(), IMAGES, **arguments)
    assert result.quantize == "int8"
    again = recipe.run(recipe.parse(text), encoder(), IMAGES, **arguments)
    x = IMAGES[:4] / np.float32(255)
    np.testing.assert_allclose(again.model(x)["mu"], result.model(x)["mu"], atol=1e-6)
    with pytest.raises(ValueError, match="was trained with recipe="):
        recipe.run(recipe.parse("shrink"), encoder(), IMAGES, **arguments)


def test_distillation_by_reconstruction_wants_the_decoder_lowers_its_loss_and_leaves_it_alone():
    text = recipe.parse("student(plain, widths='8,8', epochs=0)+distill(6, reconstruct=True, learning_rate=0.01)")
    with pytest.raises(ValueError, match="distill: reconstruct is True, but there is no decoder"):
        recipe.run(text, encoder(), IMAGES)
    z = L.Input((4,), name="z")
    decoder = tf_keras.Model(z, L.Reshape((16, 16, 3))(L.Dense(768, activation="sigmoid", name="pixels")(z)))
    decoder.get_layer("pixels").set_weights([np.random.default_rng(0).normal(0, 2, (4, 768)), np.zeros(768)])
    before = [w.copy() for w in decoder.get_weights()]
    teacher, x = encoder(), IMAGES / np.float32(255)
    kernel, bias = teacher.get_layer("mu").get_weights()
    teacher.get_layer("mu").set_weights([20 * kernel, bias + 1])
    novice, student = (recipe.run(some, teacher, IMAGES, batch_size=8, decoder=decoder).model
                       for some in (text[:1], text))
    loss = distances.Reconstruction(decoder, weight=0.0)
    far, near = (float(loss(distances.Batch(x, teacher(x), model(x)))) for model in (novice, student))
    assert near < far
    for old, new in zip(before, decoder.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_a_cnn_student_has_its_own_widths_and_is_of_classifiers_alone():
    teacher = cnn.cnn((16, 16), 3, widths=(16, 32))
    student = recipe.run(recipe.parse("student(cnn, widths='4,8', epochs=0)"), teacher, IMAGES).model
    assert [student.get_layer(f"conv{i}").filters for i in (1, 2)] == [4, 8]
    assert {name: y.shape[-1] for name, y in student.output.items()} == {"features": 8, "logits": 3}
    with pytest.raises(rebuild.UnsupportedModel, match="a cnn student classifies colour images"):
        recipe.run(recipe.parse("student(cnn, epochs=0)"), encoder(), IMAGES)


def test_a_classifier_s_distillation_takes_labels_and_what_detection_reads(tmp_path, monkeypatch):
    teacher, labels = cnn.cnn((16, 16), 3, widths=(4, 8)), np.arange(32) % 3
    asked = []
    real = distill.Finetune.__call__
    monkeypatch.setattr(distill.Finetune, "__call__", lambda self, *a, **k: (asked.append(self), real(self, *a, **k)))
    for settings in ("alpha=0.25", "temperature=2.0, alpha=0.5, detection=3.0", "matching=True, views=2"):
        recipe.run(recipe.parse(f"student(cnn, widths='4,4', epochs=0)+distill(1, {settings})"), teacher, IMAGES,
                   labels=labels, validation=IMAGES[:8], validation_labels=labels[:8], keep=str(tmp_path))
    assert [finetune.distance for finetune in asked] == [
        distances.SoftTargets(4.0, 0.25), detection_distances.detection_aware(2.0, 3.0, 3.0, 0.1 * 3.0, 0.5),
        distances.SoftTargets(4.0)]
    np.testing.assert_array_equal(asked[0].labels, labels)
    assert asked[2].labels is None
    assert (asked[2].augment, asked[2].repeat) == (views.FUNCTION_MATCHING, 2)
    assert len(list(tmp_path.iterdir())) == 2  # of the images as they are, and of an epoch's views
    with pytest.raises(ValueError, match="distill: alpha is below 1, but there are no labels"):
        recipe.run(recipe.parse("distill(1, alpha=0.5)"), teacher, IMAGES)
    for settings, field in (("alpha=0.5", "alpha"), ("detection=1.0", "detection")):
        with pytest.raises(ValueError, match=f"distill: {field} is .*, which has no output 'logits' among mu, logvar"):
            recipe.run(recipe.parse(f"distill(1, {settings})"), encoder(), IMAGES, labels=labels)
