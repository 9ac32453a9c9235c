"""Distillation: distances by hand, the teacher untouched, the student closer."""
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from leanood.compression import distances, distill, taught, views

L = tf_keras.layers


def encoder(units=6, seed=0, latents=3):
    tf_keras.utils.set_random_seed(seed)
    frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(units, 3, strides=2, name="conv")(frame)
    x = L.Flatten(name="flat")(L.ReLU(name="act")(L.BatchNormalization(momentum=0.8, name="bn")(x)))
    return tf_keras.Model(frame, {"mu": L.Dense(latents, name="mu")(x), "logvar": L.Dense(latents, name="logvar")(x)})


def images(count=24):
    return np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)


def outputs(**values):
    return {name: tf.constant(value, tf.float32) for name, value in values.items()}


def test_gaussian_latents_against_numerical_integration():
    mu_t, log_t, mu_s, log_s = 0.7, np.log(0.5), -0.2, np.log(2.0)
    x = np.linspace(-12, 12, 200_001)

    def density(mu, logvar):
        return np.exp(-((x - mu) ** 2) / (2 * np.exp(logvar))) / np.sqrt(2 * np.pi * np.exp(logvar))

    p, q = density(mu_t, log_t), density(mu_s, log_s)
    expected = np.sum(p * (np.log(p + 1e-300) - np.log(q + 1e-300))) * (x[1] - x[0])
    batch = distances.Batch(None, outputs(mu=[[mu_t]], logvar=[[log_t]]), outputs(mu=[[mu_s]], logvar=[[log_s]]))
    assert float(distances.GaussianLatents()(batch)) == pytest.approx(expected, abs=1e-4)


def test_soft_targets_by_hand_and_zero_for_equals():
    t, s = np.array([[1.0, 2, 4]]), np.array([[0.0, 3, 1]])
    p, q = (np.exp(z / 2) / np.exp(z / 2).sum() for z in (t, s))
    kl = 4 * np.sum(p * np.log(p / q))
    batch = distances.Batch(None, outputs(logits=t), outputs(logits=s), tf.constant([2]))
    assert float(distances.SoftTargets(temperature=2.0)(batch)) == pytest.approx(kl, rel=1e-5)
    hard = -np.log(np.exp(1) / np.exp(s).sum())
    assert float(distances.SoftTargets(2.0, alpha=0.9)(batch)) == pytest.approx(0.9 * kl + 0.1 * hard, rel=1e-5)
    assert float(distances.SoftTargets()(batch._replace(student=batch.teacher))) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match=r"alpha 0.9 gives the labels a weight, but there are none"):
        distances.SoftTargets(alpha=0.9)(batch._replace(labels=None))


def test_regression_and_weighted_sums_by_hand():
    batch = distances.Batch(None, outputs(logits=[[1.0, 3]]), outputs(logits=[[2.0, 5]]))
    assert float(distances.Regression()(batch)) == pytest.approx(1.25)
    assert float(distances.Regression(relative=True)(batch)) == pytest.approx(0.25)
    both = distances.Weighted(((2.0, distances.Regression()), (1.0, distances.Regression(relative=True))))
    assert float(both(batch)) == pytest.approx(2.75)


def test_the_paper_s_reconstruction_loss_by_hand():
    batch = distances.Batch(tf.constant([[0.25]]), outputs(mu=[[0.8]]), outputs(mu=[[0.5]], logvar=[[0.0]]))

    def cross_entropy(y, p):
        return -y * np.log(p) - (1 - y) * np.log(1 - p)

    expected = 0.3 * (cross_entropy(0.25, 0.5) + 1.4 * 0.5 * 0.25) + 0.7 * cross_entropy(0.8, 0.5)
    assert float(distances.Reconstruction(lambda z: z)(batch)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("names", "expected"), [
    (("mu", "logvar"), distances.GaussianLatents()),
    (("image",), distances.Regression("image", relative=True)),
    (("logits",), distances.Weighted(((1.0, distances.SoftTargets()),
                                      (1.0, distances.Regression("logits", relative=True))))),
    (("mu", "logvar", "early"), distances.Weighted(((1.0, distances.GaussianLatents()),
                                                    (1.0, distances.Regression("early", relative=True))))),
])
def test_the_default_distance_follows_the_outputs_names(names, expected):
    values = {name: np.zeros((1, 2)) for name in names}
    assert distances.default(values, values) == expected


def test_outputs_of_other_shapes_are_left_out_and_none_left_is_an_error():
    teacher = {"mu": np.zeros((1, 2)), "logvar": np.zeros((1, 2)), "early": np.zeros((1, 8))}
    assert distances.default(teacher, {**teacher, "early": np.zeros((1, 4))}) == distances.GaussianLatents()
    with pytest.raises(ValueError, match="share no output of the same shape"):
        distances.default({"mu": np.zeros((1, 2))}, {"mu": np.zeros((1, 3))})


def test_the_student_comes_closer_and_the_teacher_s_weights_do_not_move():
    teacher, student = encoder(), encoder(seed=1)
    before = [w.copy() for w in teacher.get_weights()]
    x = views.scaled(images())

    def distance(model):
        return float(distances.GaussianLatents()(distances.Batch(x, teacher(x), model(x))))

    trained = distill.distill(student, teacher, finetune=distill.Finetune(images(), epochs=8, batch_size=8,
                                                                          learning_rate=0.02))
    assert distance(trained) < 0.5 * distance(student)
    for old, new in zip(before, teacher.get_weights()):
        np.testing.assert_array_equal(old, new)
    assert set(trained.output) == {"mu", "logvar"}


def test_only_the_student_is_trained_and_saved():
    student = encoder()
    teacher = encoder(seed=1)
    distiller = distill.Distiller(student=student, teacher=teacher)
    assert {id(w) for w in distiller.trainable_variables} == {id(w) for w in student.trainable_variables}
    assert not {id(w) for w in distiller.weights} & {id(w) for w in teacher.weights}


def test_an_ensemble_s_outputs_are_averaged():
    teachers = [encoder(seed=1), encoder(seed=2)]
    targets = []
    x = views.scaled(images(4))

    def distance(batch):
        targets.append(batch.teacher["mu"])
        return tf.reduce_mean(batch.student["mu"])

    distiller = distill.Distiller(student=encoder(), teacher=teachers, distance=distance)
    distiller.compile(optimizer="sgd", run_eagerly=True)
    distiller.train_on_batch(x)
    np.testing.assert_allclose(targets[0], (teachers[0](x)["mu"] + teachers[1](x)["mu"]) / 2, atol=1e-6)


def test_features_of_another_width_are_mapped():
    student, teacher = encoder(units=4), encoder(units=6, seed=1)
    distiller = distill.Distiller(student=student, teacher=teacher, distance=distances.Features(),
                                  features={"act": "act"})
    assert len(distiller.trainable_variables) == len(student.trainable_variables) + 2
    distiller.compile(optimizer=tf_keras.optimizers.Adam(0.02))
    x = views.scaled(images())
    first, *_, last = (float(distiller.train_on_batch(x)) for _ in range(20))
    assert last < 0.7 * first
    with pytest.raises(ValueError, match="has no layer 'act9'; it has frame, conv"):
        distill.Distiller(student=student, teacher=teacher, features={"act": "act9"})


def test_a_killed_fine_tuning_goes_on_to_the_same_weights(tmp_path):
    teacher = encoder(seed=1)
    options = {"epochs": 3, "batch_size": 8, "augment": views.FUNCTION_MATCHING}

    class Killed(tf_keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    whole = encoder()
    distill.Finetune(images(), folder=str(tmp_path / "whole"), **options)(whole, teacher)
    halved = distill.Finetune(images(), folder=str(tmp_path / "halved"), **options)
    with pytest.raises(KeyboardInterrupt):
        halved(encoder(), teacher, callbacks=[Killed()])
    resumed = encoder()
    halved(resumed, teacher)
    for a, b in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_views_repeat_with_their_seed_and_mix_within_the_batch():
    x = views.scaled(images(6))
    first, again, other = (views.view(x, views.FUNCTION_MATCHING, tf.constant([1, step])) for step in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    mixed = views.view(x, views.Augment(mixup=True), tf.constant([0, 0])).numpy()
    share = (mixed[0] - x[5]) / (x[0] - x[5])
    assert np.nanstd(share) < 1e-3
    assert 0 <= np.nanmedian(share) <= 1
    flipped = views.view(x, views.Augment(flip=True), tf.constant([0, 0])).numpy()
    as_is = [np.abs(f - o).max() < 1e-4 for f, o in zip(flipped, x)]
    mirrored = [np.abs(f - o[:, ::-1]).max() < 1e-4 for f, o in zip(flipped, x)]
    assert all(a != m for a, m in zip(as_is, mirrored))
    assert 0 < sum(mirrored) < 6


def test_batches_cover_every_image_once_in_an_order_of_the_epoch():
    data = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    labels = np.arange(10)
    orders = [np.concatenate([y for _, y in views.batches(data, 4, labels=labels, epoch=e)]) for e in (0, 0, 1)]
    assert sorted(orders[0]) == list(range(10))
    np.testing.assert_array_equal(orders[0], orders[1])
    assert list(orders[0]) != list(orders[2])
    x, y = next(iter(views.batches(data, 4, labels=labels, scale=(2 / 255, -1.0))))
    np.testing.assert_allclose(x[:, 0, 0, 0], y.numpy() / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: distill.Finetune(images(), epochs=0), r"epochs \(0\) and batch_size"),
    (lambda: distill.Finetune(images(), learning_rate=2.0), r"learning rate 2.0 is not in \(0, 1\)"),
    (lambda: distances.SoftTargets(temperature=0), "temperature 0 is not positive"),
    (lambda: views.Augment(crop=0), r"crop 0 is not in \(0, 1\]"),
    (lambda: distill.Distiller(student=encoder(), teacher=[]), "needs a teacher"),
])
def test_wrong_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_frozen_normalisations_keep_what_they_know_of_other_images():
    """A network fine-tuned towards itself stays itself, though these images' statistics are not those it has."""
    teacher, trained, frozen = encoder(), encoder(), encoder()
    for model in (teacher, trained, frozen):
        for layer in model.layers:
            if isinstance(layer, tf_keras.layers.BatchNormalization):
                layer.moving_mean.assign(layer.moving_mean + 0.5)
    for model, freeze in ((trained, False), (frozen, True)):
        distill.Finetune(images(), epochs=1, batch_size=8, freeze_batch_norm=freeze)(model, teacher)
        assert all(layer.trainable for layer in model.layers)
    x = views.scaled(images())
    near, far = (np.abs(model(x)["mu"] - teacher(x)["mu"]).max() for model in (frozen, trained))
    assert 10 * near < far


def test_what_the_teacher_says_of_images_as_they_are_is_worked_out_once():
    teacher, calls = encoder(), []

    class Counting(L.Layer):
        def call(self, x):
            tf.py_function(lambda y: calls.append(len(y)), [x], [])
            return x

    counted = tf_keras.Model(teacher.input, {name: Counting(name=f"count_{name}")(y) if name == "mu" else y
                                             for name, y in teacher.output.items()})
    student = encoder(seed=1)
    distill.Finetune(images(), epochs=3, batch_size=8)(student, counted)
    assert sum(calls) == 24
    taught = distill.Distiller(student=student, teacher=teacher).taught(images(), 8, views.UNIT)
    x, _ = next(iter(views.batches(images(), 24, epoch=None)))
    for name, y in teacher(x).items():
        np.testing.assert_allclose(taught[name], y, atol=1e-5)
    with_taught = next(iter(views.batches(images(), 5, seed=3, taught=taught)))
    np.testing.assert_allclose(with_taught[2]["mu"], teacher(with_taught[0])["mu"], atol=1e-5)


def test_what_the_teacher_says_of_repeated_views_is_kept_for_its_other_students(tmp_path, monkeypatch):
    looked = []
    real = distill.Distiller.taught

    def counted(self, *arguments, **more):
        looked.append(more.get("epoch"))
        return real(self, *arguments, **more)

    monkeypatch.setattr(distill.Distiller, "taught", counted)
    teacher, weights = encoder(16), []
    for seed in (0, 1):
        student = encoder(8, seed=seed + 3)
        distill.Finetune(images(), epochs=3, batch_size=8, augment=views.FUNCTION_MATCHING, repeat=2, seed=seed,
                         keep=str(tmp_path))(student, teacher)
        weights.append(student.get_weights())
    assert looked == [0, 1]  # of three epochs and two students
    assert not np.allclose(weights[0][0], weights[1][0])
    distiller = distill.Distiller(student=encoder(8), teacher=teacher)
    kept = taught.Kept(str(tmp_path), teacher, images(), views.UNIT, views.FUNCTION_MATCHING, 8)
    said = kept.get(1, lambda: None)
    for x, _, of_batch in views.batches(images(), 8, augment=views.FUNCTION_MATCHING, epoch=1, taught=said):
        for name, y in distiller._teach(x).items():
            np.testing.assert_allclose(of_batch[name], y, atol=1e-5)
    for path in tmp_path.iterdir():
        path.write_bytes(b"torn")
    assert kept.get(1, lambda: None) is None


def test_kept_outputs_are_those_of_this_teacher_and_these_images(tmp_path):
    first, other = encoder(8, seed=1), encoder(8, seed=2)
    rows = {"mu": np.ones((2, 1), np.float32)}
    assert taught.Kept(str(tmp_path), first, images()).get(None, lambda: rows) is rows
    np.testing.assert_array_equal(taught.Kept(str(tmp_path), first, images()).get(None, lambda: None)["mu"], rows["mu"])
    for stranger in ((other, images()), (first, images()[1:]), (first, images(), "signed")):
        assert taught.Kept(str(tmp_path), *stranger).get(None, lambda: None) is None
