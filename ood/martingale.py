"""The simple mixture martingale of conformal p-values: how surely the last frames are not in-distribution.

M = ∫₀¹ Π_i ε·p_i^(ε−1) dε over the last n p-values; Vovk, Nouretdinov & Gammerman, "Testing exchangeability on-line"
(ICML 2003), §3. With x = −Σ ln p_i it depends on n and x alone, and has the series of positive terms

  M = ∫₀¹ εⁿ e^((1−ε)x) dε = Σ_{k≥0} x^k / ((n+1)(n+2)…(n+1+k)),

which is summed where it converges fast (x ≤ n + 1); elsewhere, in logarithms since M overflows near x = 800,

  ln M = x − (n+1) ln x + ln n! + ln(1 − Q),   Q = e^(−x) Σ_{j≤n} x^j / j!   (Q < ½ there: nothing cancels).
"""
from __future__ import annotations

import math

import numpy as np

_NEGLIGIBLE = 1e-17
_PLAIN = 5.0  # nats: what a frame must say for itself if all that the window says is to count


def log_mixture(n: int, x: float) -> float:
    """Returns ln M of one window.

    Args:
      n: number of p-values, ≥ 0.
      x: −Σ ln p over them, in nats, finite and ≥ 0.
    """
    if x <= n + 1:
        k = n + 2.0
        term = total = 1.0
        while term > _NEGLIGIBLE:  # total is at least 1
            term *= x / k
            total += term
            k += 1.0
        return math.log(total / (n + 1))
    log_x = math.log(x)
    log_factorial = math.lgamma(n + 1)
    j = float(n)
    term = tail = math.exp(n * log_x - x - log_factorial)  # Q's largest term; the earlier ones only fall
    while j and term > _NEGLIGIBLE:
        term *= j / x
        tail += term
        j -= 1.0
    return x - (n + 1) * log_x + log_factorial + math.log1p(-tail)


def tempered(log_martingale: float, evidence: float) -> float:
    """Returns ln M, of which less counts where the present frame has little to say: ln M · min(1, evidence / 5 nats)².

    A window full of odd frames stays odd for as long as it is; the frame in view, though, may be back to normal. What
    is negative (nothing odd) stays as it is.

    Args:
      log_martingale: ln M over a window.
      evidence: −ln p of the window's last frame, in nats, ≥ 0.
    """
    return log_martingale * (evidence / _PLAIN) ** 2 if evidence < _PLAIN and log_martingale > 0.0 else log_martingale


class Window:
    """The last n p-values of a sequence, in memory that doesn't grow: each push costs the same."""

    def __init__(self, size: int):
        if size < 1:
            raise ValueError(f"a martingale's window holds at least one p-value, not {size}")
        self._logs = [0.0] * size
        self.reset()

    def reset(self) -> None:
        """Forgets every p-value."""
        self._logs[:] = [0.0] * len(self._logs)
        self._count = self._next = 0
        self._x = 0.0

    def push(self, p: float) -> float:
        """Takes the next p-value in (0, 1]; returns ln M over those in the window, however few they still are."""
        log = -math.log(p)
        place = self._next
        self._x += log - self._logs[place]
        self._logs[place] = log
        place += 1
        if self._count < place:
            self._count = place
        if place == len(self._logs):
            place = 0
            self._x = math.fsum(self._logs)  # a running sum drifts; this puts it right once a window
        self._next = place
        return log_mixture(self._count, self._x if self._x > 0.0 else 0.0)


def windowed(p: np.ndarray, starts: np.ndarray, size: int) -> np.ndarray:
    """Returns what a `Window` of `size` says of each frame, ln M, float64 [N].

    Args:
      p: p-values in (0, 1], [N].
      starts: bool [N], true on the first frame of each sequence.
      size: number of p-values in the window, ≥ 1.
    """
    window = Window(size)
    result = []
    for value, start in zip(p.tolist(), starts.tolist()):
        if start:
            window.reset()
        result.append(window.push(value))
    return np.array(result, dtype=np.float64)
