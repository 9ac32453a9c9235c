"""AUROC's spread: by DeLong's definition, by simulation, over sequences; and the non-inferiority rule."""
import numpy as np
import pytest
from scipy import stats

from leanood.ood import metrics, statistics


def pairs(inside, outside):
    return (outside[None, :] > inside[:, None]) + 0.5 * (outside[None, :] == inside[:, None])


def two_detectors(seed, n=80, m=60, better=0.3):
    rng = np.random.default_rng(seed)
    both_id, both_ood = rng.normal(size=n), rng.normal(size=m)
    return (both_id + 0.5 * rng.normal(size=n), both_ood + 0.5 * rng.normal(size=m) + 1,
            both_id + 0.5 * rng.normal(size=n), both_ood + 0.5 * rng.normal(size=m) + 1 + better)


def test_paired_difference_equals_delongs_definition():
    id_a, ood_a, id_b, ood_b = (np.round(scores, 1) for scores in two_detectors(0))
    a, b = pairs(id_a, ood_a), pairs(id_b, ood_b)
    id_cov = np.cov(a.mean(axis=1), b.mean(axis=1))
    ood_cov = np.cov(a.mean(axis=0), b.mean(axis=0))
    covariance = id_cov / len(id_a) + ood_cov / len(ood_a)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    result = statistics.auroc_difference(id_a, ood_a, id_b, ood_b, confidence=0.9)
    assert result.delta == pytest.approx(b.mean() - a.mean())
    assert (result.low, result.high) == pytest.approx(stats.norm.interval(0.9, result.delta, error))
    assert result.p_value == pytest.approx(2 * stats.norm.sf(abs(result.delta) / error))


def test_difference_covers_the_truth_and_turns_round():
    truth = stats.norm.cdf(1.3 / np.sqrt(2.5)) - stats.norm.cdf(1 / np.sqrt(2.5))
    inside = 0
    for seed in range(300):
        four = two_detectors(seed)
        forward = statistics.auroc_difference(*four)
        backward = statistics.auroc_difference(*four[2:], *four[:2])
        assert forward.delta == pytest.approx(-backward.delta)
        inside += forward.low <= truth <= forward.high
    assert 0.91 <= inside / 300 <= 0.98


def test_non_inferior_is_the_one_sided_bound():
    four = two_detectors(3, better=0.0)
    two_sided = statistics.auroc_difference(*four, confidence=0.9)  # its low end is the 95% one-sided bound
    assert statistics.non_inferior(*four, margin=-two_sided.low + 1e-9)
    assert not statistics.non_inferior(*four, margin=max(-two_sided.low - 1e-9, 0))


def test_identical_and_perfect_detectors_are_not_inferior():
    inside, outside = np.arange(20.0), np.arange(15.0, 40.0)
    assert statistics.auroc_difference(inside, outside, inside, outside) == (0, 0, 0, 1)
    assert statistics.non_inferior(inside, outside, np.exp(inside), np.exp(outside), margin=0.01)
    assert statistics.non_inferior(inside, outside + 50, inside, outside + 90, margin=0.01)
    assert statistics.auroc_difference([1, 2], [3, 4], [3, 4], [1, 2]) == (-1, -1, -1, 0)


def test_infinite_scores_count_by_rank():
    four = two_detectors(1)
    assert statistics.auroc_difference(four[0], np.where(four[1] > 3, np.inf, four[1]), *four[2:]).delta == \
        pytest.approx(statistics.auroc_difference(four[0], np.where(four[1] > 3, 99, four[1]), *four[2:]).delta)


def test_interval_covers_the_truth_also_near_one():
    for shift in (1.0, 3.0):
        truth, inside = stats.norm.cdf(shift / np.sqrt(2)), 0
        for seed in range(300):
            rng = np.random.default_rng(seed)
            result = statistics.auroc_interval(rng.normal(size=60), rng.normal(size=60) + shift)
            assert 0 <= result.low <= result.auroc <= result.high <= 1
            inside += result.low <= truth <= result.high
        assert inside / 300 >= 0.92


def test_perfect_separation_is_not_certainty():
    result = statistics.auroc_interval(np.arange(10), np.arange(10, 40))
    assert result == (1.0, pytest.approx(0.025 ** 0.1), 1.0)
    assert statistics.auroc_interval(np.arange(10, 40), np.arange(10)) == (0.0, 0.0, pytest.approx(1 - 0.025 ** 0.1))
    groups = np.repeat([0, 1, 2, 3, 4], 4)
    result = statistics.auroc_interval(np.arange(20), np.arange(20, 40), id_groups=groups, ood_groups=groups + 9)
    assert result.low == pytest.approx(0.025 ** 0.2)


def sequences(seed, shift=1.0, count=20, length=30):
    """Frames that agree within their sequence but for a little noise."""
    rng = np.random.default_rng(seed)
    inside, outside = (np.repeat(rng.normal(size=count), length) + 0.1 * rng.normal(size=count * length)
                       for _ in range(2))
    return inside, outside + shift, np.repeat(np.arange(count), length)


def test_correlated_frames_need_groups():
    truth, covered, naive, width = stats.norm.cdf(1 / np.sqrt(2.02)), 0, 0, 0.0
    for seed in range(20):
        inside, outside, groups = sequences(seed)
        result = statistics.auroc_interval(inside, outside, id_groups=groups, ood_groups=groups + 100)
        frames = statistics.auroc_interval(inside, outside)
        covered += result.low <= truth <= result.high
        naive += frames.low <= truth <= frames.high
        width += (result.high - result.low) / (frames.high - frames.low)
    assert covered >= 15
    assert naive < 10
    assert width / 20 > 3


def test_grouped_difference_agrees_with_its_sampling_spread():
    deltas, errors = [], []
    for seed in range(200):
        inside, outside, groups = sequences(seed)
        rng = np.random.default_rng(1000 + seed)
        noise = [np.repeat(rng.normal(0, 0.5, 20), 30) for _ in range(2)]
        result = statistics.auroc_difference(inside, outside, inside + noise[0], outside + noise[1],
                                             id_groups=groups, ood_groups=groups + 100)
        deltas.append(result.delta)
        errors.append((result.high - result.low) / 2 / 1.96)
    assert np.mean(errors) == pytest.approx(np.std(deltas), rel=0.2)


def test_groups_of_one_frame_equal_delong():
    four = two_detectors(0)
    groups = np.arange(80), np.arange(100, 160)
    assert statistics.auroc_difference(*four, id_groups=groups[0], ood_groups=groups[1]) == \
        pytest.approx(statistics.auroc_difference(*four))


def test_a_sequence_with_both_classes_is_drawn_as_one():
    inside, outside, groups = sequences(0, shift=0.0)
    level = np.repeat(np.random.default_rng(5).normal(0, 9, 20), 30)
    together = statistics.auroc_interval(inside + level, outside + level, id_groups=groups, ood_groups=groups)
    apart = statistics.auroc_interval(inside + level, outside + level, id_groups=groups, ood_groups=groups + 100)
    assert together.high - together.low < 0.7 * (apart.high - apart.low)


def test_interval_is_the_metrics_auroc_and_depends_on_the_seed_alone():
    inside, outside, groups = sequences(3)
    result = statistics.auroc_interval(inside, outside, id_groups=groups, ood_groups=groups, seed=4)
    assert result.auroc == pytest.approx(metrics.evaluate(inside, outside).auroc)
    assert result == statistics.auroc_interval(inside, outside, id_groups=groups, ood_groups=groups, seed=4)


def test_blocks_cut_sequences_into_pieces():
    starts = np.isin(np.arange(12), [5, 7])
    assert statistics.blocks(starts, 3).tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4]
    with pytest.raises(ValueError, match="at least one frame, not 0"):
        statistics.blocks(starts, 0)


def test_refuses_what_has_no_spread():
    with pytest.raises(ValueError, match="needs two frames of each class, not 1 ID and 2 OOD"):
        statistics.auroc_interval([1], [2, 3])
    with pytest.raises(ValueError, match="scores hold NaN"):
        statistics.auroc_interval([1, np.nan], [2, 3])
    with pytest.raises(ValueError, match="must have scored the same frames: 2 and 3 ID, 2 and 2 OOD"):
        statistics.auroc_difference([1, 2], [3, 4], [1, 2, 3], [3, 4])
    with pytest.raises(ValueError, match="id_groups names one sequence"):
        statistics.auroc_interval([1, 2], [3, 4], id_groups=[0, 0])
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1, not 95"):
        statistics.auroc_interval([1, 2], [3, 4], confidence=95)
    with pytest.raises(ValueError, match="margin is the loss of AUROC tolerated"):
        statistics.non_inferior([1, 2], [3, 4], [1, 2], [3, 4], margin=-0.1)
