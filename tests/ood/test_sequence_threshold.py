"""The threshold's promise, against counting level by level and against longer driving than it saw."""
import numpy as np
import pytest

from leanood.ood import cusum, events, sequence_threshold

FPS = 20


def drive(seed, minutes, drift=-1.0):
    """S of `minutes` of a random walk, in sequences of a minute and a half."""
    count = int(minutes * 60 * FPS)
    starts = np.arange(count) % (90 * FPS) == 0
    return cusum.scores(np.random.default_rng(seed).normal(drift, 2, count), starts, [0.0])[0], starts


def test_counts_where_validation_is_long_enough():
    score, starts = drive(0, 20)
    chosen = sequence_threshold.choose(score, starts, FPS, per_hour=300)
    assert not chosen.extrapolated
    assert chosen.crossings == events.crossings(score > chosen.value, starts).sum() == pytest.approx(100, abs=5)
    assert chosen.low < chosen.expected < chosen.high
    for level in np.unique(score[score >= chosen.value]):
        assert events.crossings(score > level, starts).sum() <= 100
    just_below = np.unique(score[score < chosen.value])[-1]
    assert events.crossings(score > just_below, starts).sum() > 100


def test_extrapolates_short_validation_to_the_rate_of_long_driving():
    long_score, long_starts = drive(99, 300)
    promised, rates = [], []
    for seed in range(10):
        chosen = sequence_threshold.choose(*drive(seed, 5), FPS, per_hour=6)
        assert chosen.extrapolated
        assert chosen.expected <= 6 + 1e-9
        truth = events.false_alarms(long_score > chosen.value, long_starts, FPS).per_hour
        promised.append(chosen.expected_low <= truth <= chosen.expected_high)
        rates.append(truth)
    assert sum(promised) >= 8
    assert 2 < np.median(rates) < 18


def test_never_promises_less_than_validation_showed():
    score = np.zeros(6000)
    score[1000:1020] = 50.0  # one excursion far beyond the others
    score[2000::100] = 1.0
    chosen = sequence_threshold.choose(score, np.arange(6000) == 0, FPS, per_hour=6)
    assert chosen.value >= 50
    assert chosen.crossings == 0
    assert chosen.high > 6  # five minutes without an alarm prove little


def test_says_when_there_is_too_little_to_tell():
    chosen = sequence_threshold.choose(np.zeros(1200), np.arange(1200) == 0, FPS, per_hour=1)
    assert chosen.value == pytest.approx(np.log(60))
    assert "left zero 0 times in 1.0 minutes" in chosen.warning
    assert sequence_threshold.choose(*drive(0, 5), FPS, per_hour=6).warning == ""


def test_peaks_of_excursions():
    score = np.array([0, 1, 3, 0, 2, 2, 5, 4, 0, 1], float)
    starts = np.isin(np.arange(10), [0, 6])
    assert sequence_threshold.peaks_of(score, starts).tolist() == [3, 2, 5, 1]
    assert sequence_threshold.peaks_of(np.zeros(3), np.ones(3, bool)).size == 0


def test_refuses_what_it_cannot_promise():
    score, starts = drive(0, 1)
    with pytest.raises(ValueError, match="positive false-alarm rate, not 0 per hour"):
        sequence_threshold.choose(score, starts, FPS, per_hour=0)
    with pytest.raises(ValueError, match="fps must be positive"):
        sequence_threshold.choose(score, starts, 0.0, per_hour=6)
    with pytest.raises(ValueError, match="finite scores"):
        sequence_threshold.choose(np.array([np.nan]), np.array([True]), FPS, per_hour=6)
