"""OOD metrics, against brute force over every threshold, scikit-learn, and the worked example of two normals."""
import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from leanood.ood import metrics

SCORES = st.lists(st.sampled_from([-np.inf, -2.0, -1.0, 0.0, 0.5, 1.0, 3.0, np.inf]), min_size=1, max_size=40)


def brute_force(id_scores, ood_scores, balanced):
    inside, outside = np.asarray(id_scores), np.asarray(ood_scores)
    levels = sorted(set(inside) | set(outside))
    pairs = [(o > i) + 0.5 * (o == i) for i in inside for o in outside]
    keeping = next(t for t in levels if 20 * sum(inside <= t) >= 19 * len(inside))
    catching = next(t for t in reversed(levels) if 20 * sum(outside >= t) >= 19 * len(outside))

    def average_precision(positive, negative):  # scores higher = more positive
        area, before = 0.0, 0.0
        for t in sorted(set(positive) | set(negative), reverse=True):
            recall, false = np.mean(positive >= t), np.mean(negative >= t)
            weights = (1, 1) if balanced else (len(positive), len(negative))
            precision = recall * weights[0] / (recall * weights[0] + false * weights[1])
            area, before = area + (recall - before) * precision, recall
        return area

    return metrics.OodMetrics(
        auroc=np.mean(pairs), aupr_in=average_precision(-inside, -outside),
        aupr_out=average_precision(outside, inside), fpr95=np.mean(outside <= keeping),
        fpr95_ood_positive=np.mean(inside >= catching),
        detection_error=min([0.5] + [(np.mean(inside > t) + np.mean(outside <= t)) / 2 for t in levels]))


@given(SCORES, SCORES, st.booleans())
def test_equals_brute_force_with_ties_and_infinities(id_scores, ood_scores, balanced):
    result, expected = metrics.evaluate(id_scores, ood_scores, balanced), brute_force(id_scores, ood_scores, balanced)
    assert dataclasses.astuple(result) == pytest.approx(dataclasses.astuple(expected))


@given(SCORES, SCORES)
def test_any_rising_map_of_the_scores_changes_nothing(id_scores, ood_scores):
    def rise(scores):
        return np.exp(np.clip(scores, -9, 9) / 3)

    assert metrics.evaluate(rise(id_scores), rise(ood_scores)) == metrics.evaluate(id_scores, ood_scores)


@given(SCORES, SCORES)
def test_auroc_turns_round_with_the_classes(id_scores, ood_scores):
    straight = metrics.evaluate(id_scores, ood_scores)
    turned = metrics.evaluate(-np.array(ood_scores), -np.array(id_scores))
    assert straight.auroc == turned.auroc
    assert straight.aupr_in == pytest.approx(turned.aupr_out)


def test_equals_scikit_learn():
    rng = np.random.default_rng(0)
    inside, outside = np.round(rng.normal(0, 1, 700), 1), np.round(rng.normal(1, 1.5, 300), 1)
    label, score = np.repeat([0, 1], [700, 300]), np.concatenate([inside, outside])
    result, even = metrics.evaluate(inside, outside), metrics.evaluate(inside, outside, balanced=True)
    weight = np.repeat([1 / 700, 1 / 300], [700, 300])
    assert result.auroc == pytest.approx(sklearn_metrics.roc_auc_score(label, score))
    assert result.aupr_out == pytest.approx(sklearn_metrics.average_precision_score(label, score))
    assert result.aupr_in == pytest.approx(sklearn_metrics.average_precision_score(1 - label, -score))
    assert even.aupr_out == pytest.approx(sklearn_metrics.average_precision_score(label, score, sample_weight=weight))
    assert (even.auroc, even.fpr95) == (result.auroc, result.fpr95)
    curve = metrics.roc(inside, outside)
    assert result.auroc == pytest.approx(sklearn_metrics.auc(curve.false_positive_rate, curve.true_positive_rate))


def test_two_normals_show_how_far_the_readings_part():
    rng = np.random.default_rng(0)
    result = metrics.evaluate(rng.normal(0, 1, 10_000), rng.normal(1.5, 2, 5_640))
    assert result.fpr95 == pytest.approx(0.529, abs=0.02)
    assert result.fpr95_ood_positive == pytest.approx(0.963, abs=0.01)
    assert result.detection_error == pytest.approx(0.278, abs=0.01)


def test_perfect_and_hopeless():
    assert metrics.evaluate([0, 1], [2, 3]) == metrics.OodMetrics(1, 1, 1, 0, 0, 0)
    assert metrics.evaluate([1] * 3, [1] * 2) == metrics.OodMetrics(0.5, 0.6, 0.4, 1, 1, 0.5)
    assert metrics.evaluate([2, 3], [0, 1]).detection_error == 0.5


def test_exactly_95_percent_are_kept():
    assert metrics.evaluate(np.arange(60), np.full(10, 56.5)).fpr95 == 0.0  # 57 of 60 are ≤ 56
    assert metrics.evaluate(np.arange(60), np.full(10, 56.0)).fpr95 == 1.0


def test_rates_at_a_threshold():
    assert metrics.rates([0, 1, 2, 3], [2, np.inf], 2) == (0.25, 0.5)


def test_refuses_nan_and_nothing():
    with pytest.raises(ValueError, match="ood_scores holds 1 NaN of 2"):
        metrics.evaluate([0.0], [1.0, np.nan])
    with pytest.raises(ValueError, match="id_scores is empty"):
        metrics.evaluate([], [1.0])
