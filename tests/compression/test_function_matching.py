"""Function matching: the published settings, a tiny BiT teacher's student, an exact resume, what it refuses."""
import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from leanood.compression import function_matching, views
from leanood.models import bit, cnn

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
SETTINGS = function_matching.Settings(steps=8, learning_rate=0.01, batch_size=6, warm_up_steps=2, every=3)


def teacher():
    keras.utils.set_random_seed(1)
    model = bit.bit((16, 16), 4, depth=(1,))
    head = model.get_layer("logits")
    head.set_weights([np.random.default_rng(2).normal(size=head.kernel.shape) * 0.3, np.zeros(4)])
    return model


def student():
    keras.utils.set_random_seed(3)
    return cnn.cnn((16, 16), 4, widths=(4, 8))


def test_the_published_settings():
    steps = [settings.steps for settings in (function_matching.flowers_fast(), function_matching.flowers_medium(),
                                             function_matching.flowers_long())]
    assert steps == [19_922, 199_219, 1_992_188]  # 1,020 images, 512 a batch, 10⁴, 10⁵, 10⁶ epochs
    assert function_matching.flowers_fast().temperature == 10
    assert function_matching.flowers_long().augment == views.Augment(crop=0.05, flip=True, mixup=True)


def test_the_student_nears_a_frozen_teacher_and_a_killed_run_ends_alike(tmp_path, monkeypatch):
    grown, fitted = teacher(), student()
    before = [w.copy() for w in grown.get_weights()]
    outcome = function_matching.match(fitted, grown, IMAGES, SETTINGS, str(tmp_path / "a"), scale=(2 / 255, -1.0))
    losses = [row["loss"] for row in outcome.history]
    assert len(losses) == 3  # 3 + 3 + 2 steps
    assert losses[-1] < losses[0]
    for old, new in zip(before, grown.get_weights()):
        np.testing.assert_array_equal(old, new)

    class Killed(Exception):
        pass

    real = function_matching._chunk

    def killed(images, settings, scale, chunk):
        if chunk == 2:
            raise Killed
        return real(images, settings, scale, chunk)

    monkeypatch.setattr(function_matching, "_chunk", killed)
    with pytest.raises(Killed):
        function_matching.match(student(), teacher(), IMAGES, SETTINGS, str(tmp_path / "b"), scale=(2 / 255, -1.0))
    monkeypatch.setattr(function_matching, "_chunk", real)
    resumed = student()
    function_matching.match(resumed, teacher(), IMAGES, SETTINGS, str(tmp_path / "b"), scale=(2 / 255, -1.0))
    for ours, theirs in zip(resumed.get_weights(), fitted.get_weights()):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_views_are_the_steps_own():
    def chunk(number):
        return [x.numpy() for x, _ in function_matching._chunk(IMAGES, SETTINGS, views.UNIT, number)]

    np.testing.assert_array_equal(chunk(1)[0], chunk(1)[0])
    assert not np.array_equal(chunk(0)[0], chunk(1)[0])
    assert [len(chunk(number)) for number in range(3)] == [3, 3, 2]
    assert chunk(0)[0].shape == (6, 16, 16, 3)
    many = dataclasses.replace(SETTINGS, batch_size=50)  # more views than images
    assert next(iter(function_matching._chunk(IMAGES, many, views.UNIT, 0)))[0].shape == (50, 16, 16, 3)


def test_the_learning_rate_warms_up_and_falls_to_zero():
    rate = function_matching._optimizer(SETTINGS)._learning_rate
    values = [float(rate(tf.constant(step))) for step in (0, 1, 2, 8)]
    np.testing.assert_allclose(values, [0, 0.005, 0.01, 0], atol=1e-8)


@pytest.mark.parametrize(("change", "text"), [({"steps": 0}, "steps is 0"),
                                              ({"learning_rate": 2.0}, "learning_rate is 2"),
                                              ({"warm_up_steps": 8}, "warm_up_steps is 8.*the 8 steps")])
def test_refused_settings(change, text):
    with pytest.raises(ValueError, match=text):
        dataclasses.replace(SETTINGS, **change)
