"""ResNet-18: its size, its outputs, its training's repeatability; any saved classifier with the outputs scores need."""
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.models import classifier, classifier_training, resnet, resnet_training


def test_parameters_are_the_papers():
    model = resnet.resnet18()
    # He et al. with a 3×3 stem and 10 classes: 11,173,962 trainable parameters, and 9,600 running moments.
    assert sum(int(tf.size(w)) for w in model.trainable_weights) == 11_173_962
    assert model.count_params() == 11_183_562
    # torchvision's resnet18: 11,689,512 trainable parameters.
    imagenet = resnet.resnet18((224, 224), 1000, stem="imagenet")
    assert sum(int(tf.size(w)) for w in imagenet.trainable_weights) == 11_689_512
    assert imagenet.get_layer("block8").output.shape == (None, 7, 7, 512)


def test_outputs_are_named_and_narrow_with_the_width():
    model = resnet.resnet18(classes=7, width=0.25)
    outputs = model(np.zeros((2, 32, 32, 3), np.float32))
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"features": (2, 128), "logits": (2, 7)}
    assert model.input_names == ["frame"]
    assert model.get_layer("block8").output.shape == (None, 4, 4, 128)


@pytest.mark.parametrize(("change", "text"), [({"stem": "vgg"}, "stem is 'vgg'"), ({"width": 0.0}, "width is 0.0"),
                                              ({"classes": 0}, "classes is 0")])
def test_refused_shapes(change, text):
    with pytest.raises(ValueError, match=text):
        resnet.resnet18(**change)


def data(count=30):
    labels = np.arange(count) % 3
    noise = np.random.RandomState(0).randint(0, 60, (count, 16, 16, 3))
    return (noise + 70 * labels[:, None, None, None]).astype(np.uint8), labels


SETTINGS = resnet_training.Settings(size=(16, 16), width=0.125, epochs=2, batch_size=10, learning_rate=0.02)
PLAIN = dataclasses.replace(SETTINGS, cutout=0, progressive_resizing=0.0)


def test_epochs_are_repeatable_and_differ():
    images, labels = data()

    def epoch(number):
        return [(x.numpy(), y.numpy()) for x, y in classifier_training.augmented(images, labels, SETTINGS, number)]

    first, again, second = epoch(0), epoch(0), epoch(1)
    for (x, y), (x2, y2) in zip(first, again):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
    assert not np.array_equal(first[0][0], second[0][0])
    assert sorted(np.concatenate([y for _, y in first])) == sorted(labels)


def test_images_in_a_file_make_the_same_batches(tmp_path):
    images, labels = data()
    mapped = np.memmap(tmp_path / "images", images.dtype, "w+", shape=images.shape)
    mapped[:] = images
    for held in (classifier_training.batches, lambda *args: classifier_training.augmented(*args[:2], SETTINGS, 1)):
        for (x, y), (x2, y2) in zip(held(images, labels, 10), held(mapped, labels, 10)):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)


def test_shift_moves_the_image_and_fills_with_black():
    image = np.arange(1, 17, dtype=np.uint8).reshape(1, 4, 4, 1)
    moved = classifier_training.shifted(tf.constant(image), tf.constant([[2, 0]]), 1).numpy()[0, :, :, 0]
    np.testing.assert_array_equal(moved, [[0, 5, 6, 7], [0, 9, 10, 11], [0, 13, 14, 15], [0, 0, 0, 0]])
    same = classifier_training.shifted(tf.constant(image), tf.constant([[1, 1]]), 1)
    np.testing.assert_array_equal(same, image)


def test_cutout_takes_one_square_of_each_image():
    images = tf.ones((3, 16, 12, 3), tf.uint8)
    out = classifier_training.cut_out(images, tf.constant([[0.5, 0.5], [0.0, 0.0], [0.99, 0.25]]), 4).numpy()
    expected = np.ones((3, 16, 12, 3))
    expected[0, 6:10, 4:8] = expected[1, :2, :2] = expected[2, 13:, 1:5] = 0
    np.testing.assert_array_equal(out, expected)
    whole = next(iter(classifier_training.augmented(*data(), PLAIN, 1)))[0].numpy()
    holed = next(iter(classifier_training.augmented(*data(), dataclasses.replace(PLAIN, cutout=8), 1)))[0].numpy()
    lost = (holed != whole).any(axis=-1)
    assert (holed[lost] == 0).all()
    assert lost.sum(axis=(1, 2)).min() > 0
    assert lost.sum(axis=(1, 2)).max() <= 16  # 4 × 4 of 16 × 16


def test_smaller_images_come_first():
    settings = dataclasses.replace(SETTINGS, epochs=10, progressive_resizing=0.4)
    assert [settings.size_in(epoch) for epoch in range(10)] == [(12, 12)] * 4 + [(16, 16)] * 6
    for epoch, side in ((3, 12), (4, 16)):
        x, _ = next(iter(classifier_training.augmented(*data(), settings, epoch)))
        assert x.shape == (10, side, side, 3)
        assert x.numpy().min() >= 0
        assert x.numpy().max() <= 1
    x, _ = next(iter(classifier_training.augmented(*data(), PLAIN, 0)))
    half = dataclasses.replace(PLAIN, progressive_resizing=1.0)
    small, _ = next(iter(classifier_training.augmented(*data(), half, 0)))
    np.testing.assert_allclose(small.numpy().mean(axis=(1, 2)), x.numpy().mean(axis=(1, 2)), atol=1e-3)


def test_smoothed_labels_cost_the_cross_entropy_of_the_mixture():
    model = resnet_training.build(dataclasses.replace(SETTINGS, label_smoothing=0.3), 3, 1)
    logits, labels = np.random.RandomState(0).randn(5, 3), np.array([0, 1, 2, 1, 0])
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wanted = 0.7 * np.eye(3)[labels] + 0.1
    np.testing.assert_allclose(model.loss(tf.constant(labels), tf.constant(logits)), -(wanted * log_p).sum(axis=1),
                               rtol=1e-6)


@pytest.mark.parametrize(("change", "text"), [({"cutout": -1}, "cutout is -1"),
                                              ({"label_smoothing": 1.0}, "label_smoothing is 1.0, but should lie"),
                                              ({"progressive_resizing": 1.5}, "progressive_resizing is 1.5")])
def test_refused_recipes(change, text):
    with pytest.raises(ValueError, match=text):
        resnet_training.Settings(**change)


def test_training_learns_resumes_and_ends_alike(tmp_path):
    images, labels = data()
    nothing = images[:0], labels[:0]
    whole, outcome = resnet_training.train(images, labels, nothing, "abc", SETTINGS, str(tmp_path / "a"))
    assert outcome.history[-1]["loss"] < outcome.history[0]["loss"]
    with open(whole.file("history.csv")) as file:
        assert file.readline().strip() == "epoch,loss,accuracy"

    # Killed in its second epoch, the run goes on to the same weights.
    class Killed(Exception):
        pass

    def killed(*arguments):
        if arguments[-1] == 1:
            raise Killed
        return real(*arguments)

    real, classifier_training.augmented = classifier_training.augmented, killed
    try:
        with pytest.raises(Killed):
            resnet_training.train(images, labels, nothing, "abc", SETTINGS, str(tmp_path / "b"))
    finally:
        classifier_training.augmented = real
    resumed, _ = resnet_training.train(images, labels, nothing, "abc", SETTINGS, str(tmp_path / "b"))
    frames = images[:5].astype(np.float32) / 255
    ours, theirs = (run.model("classifier")(frames)["logits"] for run in (resumed, whole))
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="was trained with batch_size=10"):
        resnet_training.train(images, labels, (images, labels), "abc", resnet_training.Settings(), str(tmp_path / "b"))


def test_training_refuses_what_cannot_be_learnt(tmp_path):
    images, labels = data(4)
    with pytest.raises(ValueError, match="there is 1 class"):
        resnet_training.train(images, labels * 0, (images, labels), ["a"], SETTINGS, str(tmp_path / "x"))
    with pytest.raises(ValueError, match="no images"):
        resnet_training.train(images[:0], labels[:0], (images, labels), "ab", SETTINGS, str(tmp_path / "x"))
    with pytest.raises(ValueError, match="learning_rate is 0"):
        resnet_training.Settings(learning_rate=0)


@pytest.fixture
def stranger():
    """Somebody's classifier: open size, softmax inside the last layer."""
    x = frame = keras.Input((None, None, 3), name="picture")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="inner")(x)
    x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    x = keras.layers.Dense(6, activation="relu", name="embedding")(x)
    return keras.Model(frame, keras.layers.Dense(3, activation="softmax", name="classes")(x))


def test_any_classifier_gets_the_outputs_that_scores_need(stranger, tmp_path):
    path = str(tmp_path / "stranger.h5")
    stranger.save(path)
    model = classifier.load(path, pooled={"early": "inner"}, size=(8, 8))
    frames = np.random.RandomState(0).rand(5, 8, 8, 3).astype(np.float32)
    outputs = model(frames)
    np.testing.assert_allclose(tf.nn.softmax(outputs["logits"]), stranger(frames), rtol=1e-5)
    inner = stranger.get_layer("inner")(frames).numpy()
    np.testing.assert_allclose(outputs["early"], inner.mean(axis=(1, 2)), rtol=1e-5)
    assert outputs["features"].shape == (5, 6)
    assert model.input_shape == (None, 8, 8, 3)
    assert stranger.get_layer("classes").activation is keras.activations.softmax  # the caller's model is as it was
    named = classifier.with_outputs(stranger, features="pool", logits="embedding")(frames)
    np.testing.assert_allclose(named["features"], inner.max(axis=(1, 2)), rtol=1e-5)
    assert named["logits"].shape == (5, 6)


def test_layers_that_do_not_fit_are_refused(stranger, tmp_path):
    for change, text in (({"features": "poool"}, "no layer 'poool'; its last are .*pool, embedding, classes"),
                         ({"features": "inner"}, r"'?inner'? have shape .*after pooling"),
                         ({"pooled": {"early": "pool"}}, "pooled ones are"),
                         ({"pooled": {"logits": "inner"}}, "'logits' is already there")):
        with pytest.raises(ValueError, match=text):
            classifier.with_outputs(stranger, **change)
    with pytest.raises(ValueError, match="size is"):
        classifier.with_outputs(classifier.with_outputs(stranger, size=(8, 8)), logits="classes", size=(9, 9))
    softmax = keras.Model(stranger.input, keras.layers.Softmax(name="p")(stranger.get_layer("embedding").output))
    with pytest.raises(ValueError, match="'p' is an activation; name the linear layer before"):
        classifier.with_outputs(softmax, logits="p")
    with pytest.raises(ValueError, match="there is no model"):
        classifier.load(str(tmp_path / "none.h5"))
    (tmp_path / "bad.h5").write_bytes(b"no model")
    with pytest.raises(ValueError, match="bad.h5 is no saved Keras model, neither a .keras archive nor HDF5"):
        classifier.load(str(tmp_path / "bad.h5"))


def test_the_given_reference_keeps_its_logits(real_data):
    path = str(real_data / "models" / "resnet18_cifar10.h5")
    model = classifier.load(path, size=(32, 32), pooled={"early": "re_lu_21"})
    frames = np.random.RandomState(0).rand(2, 32, 32, 3).astype(np.float32) * 2 - 1
    reference = keras.models.load_model(path, compile=False)
    np.testing.assert_allclose(model(frames)["logits"], reference(frames), rtol=1e-4, atol=1e-4)
    assert model(frames)["early"].shape == (2, 64)
