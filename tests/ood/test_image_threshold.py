"""The threshold keeps its promise on average, for one calibration set if asked, and refuses what cannot be kept."""
import numpy as np
import pytest
from scipy import stats

from leanood.ood import image_threshold


def test_rank_is_the_conformal_one():
    scores = np.random.RandomState(0).permutation(99) + 1.0  # 1 … 99
    threshold = image_threshold.conformal(scores, 0.05)
    assert (threshold.value, threshold.rank, threshold.count) == (95.0, 95, 99)
    assert threshold.alarms([94.0, 95.0, 96.0]).tolist() == [False, False, True]


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_false_positive_rate_over_200_random_splits(rate):
    scores = np.random.RandomState(1).gamma(2.0, size=4000)
    rates, rank = [], 0
    for split in range(200):
        order = np.random.RandomState(split).permutation(len(scores))
        threshold = image_threshold.conformal(scores[order[:1000]], rate)
        rates.append(threshold.alarms(scores[order[1000:]]).mean())
        rank = threshold.rank
    # One split's rate is a beta-binomial share; the mean of 200 is within three standard errors of its expectation.
    expected = (1001 - rank) / 1001
    assert expected <= rate
    error = np.sqrt(rate * (1 - rate) * (1 / 1000 + 1 / 3000) / 200)
    assert abs(np.mean(rates) - expected) < 3 * error
    assert np.mean(rates) <= rate + 3 * error


def test_confidence_holds_for_the_share_of_calibration_sets():
    rng = np.random.RandomState(2)
    missed = 0
    for _ in range(400):
        calibration = rng.rand(500)
        # Uniform scores: the false-positive rate of a threshold is exactly 1 - its value.
        missed += 1 - image_threshold.conformal(calibration, 0.05, confidence=0.9).value > 0.05
    assert missed / 400 <= 0.1 + 3 * np.sqrt(0.09 / 400)


@pytest.mark.parametrize(("n", "rate", "confidence"), [(100, 0.05, 0.9), (1000, 0.01, 0.5), (3000, 0.1, 0.99)])
def test_confident_rank_is_the_beta_quantiles(n, rate, confidence):
    rank = image_threshold.conformal(np.arange(float(n)), rate, confidence).rank
    assert stats.beta.cdf(rate, n + 1 - rank, rank) >= confidence
    marginal = image_threshold.conformal(np.arange(float(n)), rate).rank
    assert rank == marginal or stats.beta.cdf(rate, n + 2 - rank, rank - 1) < confidence


def test_ties_only_lower_the_rate():
    scores = np.repeat([0.0, 1.0, 2.0], [50, 48, 1])
    assert image_threshold.conformal(scores, 0.05).value == 1.0
    assert image_threshold.conformal(scores, 0.05).alarms(scores).mean() < 0.05
    assert not image_threshold.conformal(np.zeros(50), 0.1).alarms(np.zeros(9)).any()


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 1 / 3])
def test_smallest_calibration_set(rate):
    least = int(np.ceil(1 / rate - 1e-9)) - 1
    assert image_threshold.conformal(np.arange(float(least)), rate).value == least - 1
    with pytest.raises(ValueError, match=f"too few for a false-positive rate of .*at least {least}$"):
        image_threshold.conformal(np.arange(least - 1.0), rate)


def test_smallest_calibration_set_with_confidence():
    least = int(np.ceil(np.log(0.05) / np.log(0.95)))
    image_threshold.conformal(np.arange(float(least)), 0.05, 0.95)
    with pytest.raises(ValueError, match=f"with confidence 0.95: it takes at least {least}"):
        image_threshold.conformal(np.arange(least - 1.0), 0.05, 0.95)


@pytest.mark.parametrize(("scores", "rate", "confidence", "text"), [
    (np.zeros(0), 0.1, None, r"shape \[0\]"),
    (np.zeros((2, 2)), 0.1, None, r"shape \[2, 2\]"),
    (np.array([1.0, np.nan]), 0.5, None, "NaN or infinity"),
    (np.zeros(9), 0.0, None, "rate is 0.0"),
    (np.zeros(9), 1.5, None, "rate is 1.5"),
    (np.zeros(9), 0.5, 1.0, "confidence is 1.0"),
])
def test_refusals(scores, rate, confidence, text):
    with pytest.raises(ValueError, match=text):
        image_threshold.conformal(scores, rate, confidence)


def _by_hand(scores, groups, allowed):
    """The lowest score whose exceedance shares, summed over the groups, are within `allowed`: by trying each."""
    names = sorted(set(groups))
    return min(value for value in scores
               if sum((scores[groups == name] > value).mean() for name in names) <= allowed + 1e-9)


def _flagged(scores, groups, allowed):
    """The mean share of a group above the threshold of the others."""
    return np.mean([(scores[groups == name] > _by_hand(scores[groups != name], groups[groups != name], allowed)).mean()
                    for name in sorted(set(groups))])


@pytest.mark.parametrize("seed", range(3))
def test_groups_count_alike_however_many_frames_they_have(seed):
    rng = np.random.default_rng(seed)
    groups = np.array([f"g{g}" for g in range(12) for _ in range(rng.integers(1, 9))])
    scores = np.round(rng.normal(size=len(groups)) + rng.normal(size=12)[[int(g[1:]) for g in groups]], 1)
    threshold = image_threshold.grouped(scores, groups, 0.2)
    assert (threshold.groups, threshold.partition, threshold.variants) == (12, "all", None)
    # What the others' thresholds flag is within the rate; with one score lower for a threshold it would not be.
    def above(value):
        return sum((scores[groups == name] > value).mean() for name in sorted(set(groups)))

    assert _flagged(scores, groups, above(threshold.value)) <= 0.2
    lower = scores[scores < threshold.value].max()
    assert _flagged(scores, groups, above(lower)) > 0.2
    assert threshold.low <= threshold.left_out_rate <= min(threshold.high, 0.2)


def test_frames_that_are_their_own_groups_are_conformal():
    scores = np.random.default_rng(0).normal(size=157)
    names = np.arange(157).astype(str)
    for rate in (0.05, 0.1, 0.3):
        assert image_threshold.grouped(scores, names, rate).value == image_threshold.conformal(scores, rate).value


def test_too_few_groups_are_told():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(4), 20)
    scores = rng.normal(size=80) + 9.0 * groups
    threshold = image_threshold.grouped(scores, groups, 0.05)
    assert threshold.value == scores.max()
    assert threshold.left_out_rate == 0.25  # the oddest group, by the others


def test_no_partition_is_flagged_more_than_half_as_often_again():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(80), 5)
    partition = np.where(groups < 40, "bright", "medium")
    scores = rng.normal(size=400) + 2 * (partition == "medium")
    threshold = image_threshold.grouped(scores, groups, 0.1, partition)
    blind = image_threshold.grouped(scores, groups, 0.1)
    assert (threshold.partition, blind.partition) == ("medium", "all")
    assert threshold.value == image_threshold.grouped(scores[200:], groups[200:], 0.15).value > blind.value
    alike = image_threshold.grouped(scores, groups, 0.1, np.where(groups % 2, "odd", "even"))
    assert (alike.value, alike.partition) == (blind.value, "all")


@pytest.mark.parametrize("name", ["all", "road"])
def test_a_folder_without_partitions_is_promised_what_was_asked(name):
    rng = np.random.default_rng(8)
    scores, groups = rng.normal(size=800), np.repeat(np.arange(80), 10)
    threshold = image_threshold.grouped(scores, groups, 0.05, np.full(800, name))
    assert threshold == image_threshold.grouped(scores, groups, 0.05)
    assert threshold.left_out_rate <= 0.05 + 1e-9


def test_variants_are_judged_and_set_no_threshold():
    rng = np.random.default_rng(4)
    groups, variant = np.tile(np.repeat(np.arange(40), 5), 2), np.repeat([0, 1], 200)
    scores = rng.normal(size=400) + variant
    threshold = image_threshold.grouped(scores, groups, 0.1, variant=variant)
    plain = image_threshold.grouped(scores[:200], groups[:200], 0.1)
    assert threshold[:-1] == plain[:-1]
    assert threshold.variants == pytest.approx((scores[200:] > plain.value).mean(), abs=0.03)


@pytest.mark.parametrize("alike", [0.0, 1.5])
def test_a_new_group_is_flagged_as_promised(alike):
    rng = np.random.default_rng(2)
    rate, whole, told = 0.1, [], []
    for _ in range(25):
        level = rng.normal(size=(60, 1)) * alike
        scores = level + rng.normal(size=(60, 10))  # frames of one group are alike
        groups = np.repeat(np.arange(30), 10)
        threshold = image_threshold.grouped(scores[:30].ravel(), groups, rate)
        whole.append((scores[30:] > threshold.value).mean())
        told.append(threshold.left_out_rate)
    error = np.std(whole) / np.sqrt(25)
    assert abs(np.mean(whole) - rate) <= 3 * error + rate / 30  # of thirty groups, one more or less
    assert abs(np.mean(told) - np.mean(whole)) <= 3 * error + rate / 30


@pytest.mark.parametrize(("scores", "groups", "partition", "message"), [
    ([1.0, 2.0], ["a"], None, "one of each a frame"),
    ([1.0, np.nan], ["a", "b"], None, "NaN or infinity"),
    ([1.0, 2.0], ["a", "a"], ["x", "y"], "all frames are of one group"),
])
def test_what_groups_cannot_promise_is_refused(scores, groups, partition, message):
    with pytest.raises(ValueError, match=message):
        image_threshold.grouped(np.array(scores), np.array(groups), 0.1,
                                None if partition is None else np.array(partition))
