"""The oracle's thresholds: the lowest that raise no more alarms on the test driving than are allowed."""
import numpy as np
import pytest

from leanood.ood import events, oracle


def crossings(scaled, starts, tau):
    return int(events.crossings((scaled > tau[:, None]).any(axis=0), starts).sum())


@pytest.mark.parametrize("allowed", [0, 1, 5])
@pytest.mark.parametrize("scales", [1, 3])
def test_it_is_the_lowest_that_keeps_the_number(allowed, scales):
    rng = np.random.default_rng(allowed)
    scaled, starts = rng.normal(size=(scales, 500)) * 3 + 10, np.arange(500) % 100 == 0
    tau = oracle.thresholds(scaled, starts, allowed)
    assert crossings(scaled, starts, tau) <= allowed
    lower = tau - 0.02 * (scaled.max(axis=1) - scaled.min(axis=1))
    assert crossings(scaled, starts, lower) > allowed or scales == 1 and allowed == 0 and (
        np.sort(scaled[0])[-1] - np.sort(scaled[0])[-2] > 0.02 * np.ptp(scaled[0]))


def test_without_false_alarms_it_lies_at_the_highest():
    scaled = np.array([[1.0, 5.0, 2.0], [3.0, 1.0, 8.0]])
    np.testing.assert_allclose(oracle.thresholds(scaled, np.array([True, False, False]), 0), [5.0, 8.0])


def test_what_is_no_evidence_is_refused():
    with pytest.raises(ValueError, match="finite evidence"):
        oracle.thresholds(np.full((1, 3), np.nan), np.ones(3, bool), 0)
