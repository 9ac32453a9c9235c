"""Smoothed conformal p-values: by counting, by their distribution, at the edges."""
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leanood.ood import conformal

SCORES = st.lists(st.integers(-5, 5), min_size=1, max_size=30)  # integers: many ties
UNIT = st.floats(2 ** -53, 1)  # what Uniform draws


@given(SCORES, st.integers(-7, 7), UNIT)
def test_equals_counting(calibration, score, u):
    table = conformal.table(calibration)
    expected = (sum(a > score for a in calibration) + u * (sum(a == score for a in calibration) + 1)) \
        / (len(calibration) + 1)
    assert conformal.p_value(table.tolist(), score, u) == pytest.approx(expected)
    assert conformal.p_values(table, np.array([score]), np.array([u]))[0] == \
        conformal.p_value(table.tolist(), score, u)
    assert 0 < expected <= 1


@given(SCORES, st.integers(-7, 7), st.integers(0, 3), UNIT)
def test_a_more_nonconforming_frame_has_no_larger_p_value(calibration, score, more, u):
    table = conformal.table(calibration).tolist()
    assert conformal.p_value(table, score + more, u) <= conformal.p_value(table, score, u)


def test_is_exactly_uniform_on_exchangeable_frames_with_ties():
    rng = np.random.default_rng(0)
    p = []
    for seed in range(2000):
        scores = rng.integers(0, 6, 20)
        u = conformal.Uniform(seed).many(1)
        p.append(conformal.p_values(conformal.table(scores[:-1]), scores[-1:], u)[0])
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_infinitely_nonconforming_frame_gets_the_smallest_p_value():
    table = conformal.table(np.arange(9.0))
    assert conformal.p_value(table.tolist(), math.inf, 0.5) == 0.05
    assert conformal.p_values(table, np.array([np.inf]), np.array([0.5]))[0] == 0.05


@settings(max_examples=20)
@given(st.integers(0, 2 ** 40), st.integers(1, 50))
def test_one_stream_whether_drawn_singly_or_together(seed, count):
    single = conformal.Uniform(seed)
    drawn = conformal.Uniform(seed).many(count)
    assert drawn.tolist() == [single.next() for _ in range(count)]
    assert np.all((drawn > 0) & (drawn <= 1))


def test_the_stream_is_the_same_on_every_machine():
    assert conformal.Uniform(0).next() == 1 - 0.8444218515250481


def test_refuses_what_is_no_calibration():
    with pytest.raises(ValueError, match="2 of 3 calibration nonconformities are NaN or infinite"):
        conformal.table(np.array([1.0, np.nan, np.inf]))
    with pytest.raises(ValueError, match="at least one calibration frame"):
        conformal.table(np.array([]))
