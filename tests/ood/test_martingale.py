"""The mixture martingale, against SciPy's incomplete gamma, quadrature and 60-digit arithmetic."""
import decimal
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from leanood.ood import martingale

COUNTS = [0, 1, 2, 19, 20, 21, 100, 1000]
XS = [0.0, 1e-12, 1e-3, 0.5, 1.0, 1.9, 2.0, 3.0, 19.9, 20.0, 20.99, 21.0, 21.01, 22.0, 60.0, 101.0, 102.0, 500.0, 799.0,
      801.0, 1001.0, 1e4, 1e5]


def exact(n, x):
    """ln M by the series in 60 digits."""
    with decimal.localcontext() as context:
        context.prec = 60
        x, term, total, k = decimal.Decimal(x), decimal.Decimal(1), decimal.Decimal(1), n + 1
        while term > total * decimal.Decimal(10) ** -50:
            k += 1
            term *= x / k
            total += term
        return float((total / (n + 1)).ln())


@pytest.mark.parametrize("n", COUNTS)
def test_equals_the_series_in_sixty_digits(n):
    xs = [x for x in XS if x <= 1e4]
    expected = [exact(n, x) for x in xs]
    np.testing.assert_allclose([martingale.log_mixture(n, x) for x in xs], expected, rtol=1e-13, atol=1e-11)


@pytest.mark.parametrize("n", COUNTS)
def test_equals_the_incomplete_gamma(n):
    xs = np.array([x for x in XS if x > n / 2 and x >= 1.0])  # below, SciPy's γ underflows
    expected = xs - (n + 1) * np.log(xs) + np.log(special.gammainc(n + 1, xs)) + special.gammaln(n + 1)
    np.testing.assert_allclose([martingale.log_mixture(n, x) for x in xs.tolist()], expected, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("p", [[0.5], [1.0, 1.0, 1.0], [0.01, 0.9, 0.3, 0.2], [1e-4] * 20])
def test_equals_the_integral(p):
    def integrand(epsilon):
        return math.prod(epsilon * value ** (epsilon - 1) for value in p)

    expected = integrate.quad(integrand, 0, 1, epsabs=0, epsrel=1e-10, limit=200)[0]
    assert martingale.log_mixture(len(p), -sum(map(math.log, p))) == pytest.approx(math.log(expected), abs=1e-8)


@settings(max_examples=200)
@given(st.integers(0, 200), st.floats(0, 1e5), st.floats(0, 1e3))
def test_rises_with_x(n, x, more):
    low, high = martingale.log_mixture(n, x), martingale.log_mixture(n, x + more)
    assert high >= low - 1e-9


@pytest.mark.parametrize("n", [1, 3, 20])
def test_its_mean_is_one_where_p_values_are_uniform(n):
    def density(s):  # x is then gamma-distributed with shape n; in s = ln x, since M's tail is heavy
        return math.exp(martingale.log_mixture(n, math.exp(s)) + n * s - math.exp(s) - math.lgamma(n))

    assert integrate.quad(density, -15, 25, limit=400, points=[math.log(n)])[0] == pytest.approx(1, abs=1e-4)


def test_window_equals_direct_sums_and_does_not_drift():
    rng = np.random.default_rng(1)
    p = rng.random(20_000) ** np.repeat([1, 8], 10_000)
    p[5_000] = 5e-324  # the smallest number there is, passing through
    starts = np.zeros(len(p), bool)
    starts[[0, 7, 15_000]] = True
    result = martingale.windowed(p, starts, 20)
    begin = 0
    for t in [0, 3, 6, 7, 26, 27, 28, 4_999, 5_000, 5_019, 5_020, 5_039, 9_999, 14_999, 15_000, 15_010, 19_999]:
        begin = max(s for s in np.flatnonzero(starts) if s <= t)
        window = p[max(begin, t - 19):t + 1]
        assert result[t] == pytest.approx(martingale.log_mixture(len(window), -np.log(window).sum()), abs=1e-9), t


def test_refuses_what_is_no_window():
    with pytest.raises(ValueError, match="at least one p-value"):
        martingale.Window(0)


@given(st.floats(-20, 100), st.floats(0, 20))
def test_tempering_takes_away_in_proportion_and_never_adds(log, evidence):
    result = martingale.tempered(log, evidence)
    assert result == pytest.approx(log * min(1.0, evidence / 5.0) ** 2 if log > 0 else log)
    assert result <= log
