"""CUSUM with decay, against its reflection formula and its own scalar form."""
import numpy as np
import pytest

from leanood.ood import cusum


def test_many_decays_equal_one_by_one_and_the_reflection_formula():
    rng = np.random.default_rng(0)
    log_martingale = rng.normal(size=500)
    starts = np.zeros(500, bool)
    starts[[0, 200]] = True
    decays = [0.0, 0.3, 2.0]
    result = cusum.scores(log_martingale, starts, decays)
    assert result.shape == (3, 500)
    for row, decay in zip(result, decays):
        for part in (slice(0, 200), slice(200, 500)):
            walk = np.cumsum(log_martingale[part] - decay)
            np.testing.assert_allclose(row[part], walk - np.minimum(0, np.minimum.accumulate(walk)), atol=1e-11)
        state = 0.0
        for t, value in enumerate(log_martingale.tolist()):
            state = cusum.update(0.0 if starts[t] else state, value, decay)
            assert row[t] == state


def test_refuses_starts_of_another_length():
    with pytest.raises(ValueError, match=r"ln M \[3\] and starts \[2\]"):
        cusum.scores(np.zeros(3), np.zeros(2, bool), [0.0])
