"""What the detection-aware distances are zero for, what they see that soft targets don't, their values in NumPy."""
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from leanood.compression import detection_distances, distances

RANDOM = np.random.default_rng(3)
FEATURES, LOGITS = RANDOM.normal(size=(12, 7)).astype(np.float32), RANDOM.normal(size=(12, 5)).astype(np.float32)
ALL = [detection_distances.FeatureRelation(), detection_distances.FeatureNorm(), detection_distances.LogitScale()]


def batch(features=FEATURES, logits=LOGITS):
    return distances.Batch(tf.zeros((12, 2, 2, 3)), {"features": tf.constant(FEATURES), "logits": tf.constant(LOGITS)},
                           {"features": tf.constant(features), "logits": tf.constant(logits)})


@pytest.mark.parametrize("distance", ALL, ids=lambda distance: type(distance).__name__)
def test_the_teacher_itself_is_at_no_distance_and_gradients_are_finite(distance):
    assert float(distance(batch())) == pytest.approx(0, abs=1e-10)
    features, logits = tf.Variable(FEATURES * 0), tf.Variable(LOGITS * 0)
    with tf.GradientTape() as tape:
        loss = distance(batch()._replace(student={"features": features, "logits": logits}))
    assert float(loss) > 0
    for gradient in tape.gradient(loss, [features, logits]):
        assert gradient is None or np.isfinite(gradient.numpy()).all()


def test_relation_ignores_rotation_and_scale_and_shift_and_width():
    rotation, _ = np.linalg.qr(RANDOM.normal(size=(7, 7)))
    turned = np.concatenate([3 * FEATURES @ rotation + 1, np.zeros((12, 4))], axis=1).astype(np.float32)
    assert float(detection_distances.FeatureRelation()(batch(turned))) == pytest.approx(0, abs=1e-6)
    student = RANDOM.normal(size=(12, 3)).astype(np.float32)
    centred = [x - x.mean(0) for x in (FEATURES, student)]
    cosines = [np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in x] for a in x]) for x in centred]
    expected = ((cosines[0] - cosines[1]) ** 2).sum() / 12
    assert float(detection_distances.FeatureRelation()(batch(student))) == pytest.approx(expected, rel=1e-4)


def test_norm_ignores_the_unit_and_sees_who_has_less():
    assert float(detection_distances.FeatureNorm()(batch(5 * FEATURES))) == pytest.approx(0, abs=1e-6)
    factors = np.exp(RANDOM.normal(size=(12, 1))).astype(np.float32)
    logs = np.log(factors) - np.log(factors).mean()
    distance = float(detection_distances.FeatureNorm()(batch(FEATURES * factors)))
    assert distance == pytest.approx((logs ** 2).mean(), rel=1e-3)


def test_scale_sees_the_constant_that_soft_targets_are_blind_to():
    shifted = LOGITS + 2
    assert float(distances.SoftTargets()(batch(logits=shifted))) == pytest.approx(0, abs=1e-5)
    energies = special.logsumexp(LOGITS.astype(np.float64), axis=1)
    assert float(detection_distances.LogitScale()(batch(logits=shifted))) == pytest.approx(4 / energies.var(), rel=1e-3)


def test_detection_aware_is_the_sum_of_its_terms():
    student = batch(RANDOM.normal(size=(12, 3)).astype(np.float32), LOGITS * 2)
    terms = [distances.SoftTargets(2.0), *ALL]
    expected = sum(w * float(term(student)) for w, term in zip((1, 0.5, 0.25, 0.125), terms))
    distance = detection_distances.detection_aware(2.0, 0.5, 0.25, 0.125)
    assert float(distance(student)) == pytest.approx(expected, rel=1e-5)
    labelled = student._replace(labels=tf.range(12) % 5)
    with_labels = detection_distances.detection_aware(2.0, 0.5, 0.25, 0.125, alpha=0.75)
    more = float(distances.SoftTargets(2.0, 0.75)(labelled)) - float(distances.SoftTargets(2.0)(labelled))
    assert float(with_labels(labelled)) == pytest.approx(expected + more, rel=1e-5)
