"""A classifier's score inside the detector: the same numbers by step and by run, stored and restored."""
import numpy as np
import pytest

from leanood.ood import classifier_score, detector, image_threshold, scores

RNG = np.random.RandomState(0)
CLASSES = np.array(["cat", "dog", "ship"])[np.arange(300) % 3]
FEATURES = (RNG.randn(300, 16) + 3 * RNG.randn(3, 16)[np.arange(300) % 3]).astype(np.float32)
OUTPUTS = {"features": FEATURES, "logits": (FEATURES @ RNG.randn(16, 3)).astype(np.float32)}


def calibrated(score):
    train = {name: value[:200] for name, value in OUTPUTS.items()}
    wrapped = classifier_score.ClassifierScore(score).fit(train, CLASSES[:200])
    calibration = {name: value[200:] for name, value in OUTPUTS.items()}
    judge = detector.Detector.calibrate(wrapped, calibration, window=0)
    judge.threshold = image_threshold.conformal(judge.run(calibration, None)["score"], 0.1).value
    return judge


@pytest.mark.parametrize("score", [
    scores.Energy(), scores.RelativeMahalanobis(), scores.KNN(3), scores.Mahalanobis(),
    scores.Fusion([scores.MSP(), scores.ViM()])], ids=scores.name)
def test_detector_scores_alike_by_step_by_run_and_once_stored(score):
    judge = calibrated(score)
    again = detector.Detector.from_arrays(judge.config(), judge.to_arrays())
    ran = judge.run(OUTPUTS, None)
    steps = [again.step({name: value[i:i + 1] for name, value in OUTPUTS.items()}) for i in range(300)]
    np.testing.assert_array_equal([step.score for step in steps], ran["score"])
    np.testing.assert_array_equal([step.alarm for step in steps], ran["alarm"])
    together = score.score(OUTPUTS)
    if scores.name(score) == "fusion":  # a last digit can move a frame by one rank of its tables
        assert np.isclose(ran["score"], together, rtol=1e-4)[200:].mean() > 0.95
    else:
        np.testing.assert_allclose(ran["score"], together, rtol=1e-4, atol=1e-5)
    assert 0 < ran["alarm"][200:].mean() <= 0.1


def test_class_names_are_labels_where_there_are_as_many_as_logits():
    def fitted(partition):
        return classifier_score.ClassifierScore(scores.Mahalanobis()).fit(OUTPUTS, partition).wrapped

    np.testing.assert_array_equal(fitted(CLASSES).means,
                                  scores.Mahalanobis().fit(OUTPUTS, np.arange(300) % 3).means)
    np.testing.assert_array_equal(fitted(np.full(300, "all")).means, scores.Mahalanobis().fit(OUTPUTS).means)


def test_a_frame_that_cannot_be_judged_raises_the_alarm():
    broken = {name: np.full_like(value[:1], np.nan) for name, value in OUTPUTS.items()}
    step = calibrated(scores.Energy()).step(broken)
    assert step.alarm
    assert step.invalid
