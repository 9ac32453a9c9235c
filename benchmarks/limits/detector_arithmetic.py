"""The detector's arithmetic after the encoder against the published script's, and its memory over a long drive.

Two partitions, window 20, 4,000 calibration frames each, 30 latents. The script's algorithm (Ramakrishna et al., arXiv
2108.11800, as the public code runs it, re-implemented): a p-value by counting over the calibration set, a martingale
by summing 100 points of its integrand, a CUSUM. It is handed the nonconformities, ours computes them too. The default
detector, typicality, with its five channels, is timed beside them. All take turns; processor time is measured.

    python benchmarks/limits/detector_arithmetic.py [--frames=1000000]

Exits with 1 if either of ours takes more than 25 µs a frame, gains less than 40×, or its memory grows.
"""
from __future__ import annotations

import itertools
import sys
import tracemalloc
from typing import Dict, List, Sequence

import numpy as np
from absl import app, flags

from leanood.ood import detector, kl_topk, typicality
from leanood.tflite.timing import memory, results, turns
from leanood.tools import command

_FRAMES = flags.DEFINE_integer("frames", 1_000_000, "frames of the long drive; 0 leaves it out", lower_bound=0)

_LATENTS, _STATISTICS, _CALIBRATION, _WINDOW, _CHOSEN = 30, 22, 4_000, 20, 5
_ROUNDS, _OURS, _THEIRS = 40, 500, 20  # frames a turn
_MOST_MICROSECONDS, _LEAST_RATIO, _MOST_GROWTH_KIB = 25.0, 40.0, 256.0


class Script:
    """The published algorithm, per partition: counted p-value, 100-point martingale, CUSUM with decay; NumPy calls."""

    def __init__(self, calibration: Sequence[np.ndarray], decay: float):
        self._calibration = calibration
        self._decay = decay
        self._grid = np.linspace(0, 1, 100)
        self._windows = [np.ones(_WINDOW) for _ in calibration]
        self._scores = [0.0] * len(calibration)
        self._frame = 0

    def step(self, alphas: Sequence[float]) -> List[float]:
        """Returns S of each partition for the next frame's nonconformities."""
        place = self._frame % _WINDOW
        self._frame += 1
        for column, (alpha, calibration, window) in enumerate(zip(alphas, self._calibration, self._windows)):
            window[place] = max(np.count_nonzero(calibration > alpha), 2) / calibration.size
            martingale = sum(np.prod(epsilon * np.power(window, epsilon - 1)) for epsilon in self._grid)
            self._scores[column] = np.maximum(0, self._scores[column] + np.log(martingale) - self._decay)
        return self._scores


def _outputs(rng: np.random.Generator, count: int) -> Dict[str, np.ndarray]:
    return {"early": np.exp(rng.normal(-3, 0.3, (count, _STATISTICS))).astype(np.float32),
            "mu": rng.normal(0, 1, (count, _LATENTS)).astype(np.float32),
            "logvar": rng.normal(-1, 0.5, (count, _LATENTS)).astype(np.float32)}


def main(argv: Sequence[str]) -> int:
    rng = np.random.default_rng(0)
    partition = np.repeat(["bright", "medium"], _CALIBRATION)
    calibration = _outputs(rng, 2 * _CALIBRATION)
    fitted = kl_topk.KlTopK(_CHOSEN).fit(_outputs(rng, 2 * _CALIBRATION), partition,
                                         np.arange(2 * _CALIBRATION) % 100 == 0)
    ours = detector.Detector.calibrate(fitted, calibration, partition=partition, window=_WINDOW)
    ours.decay = 1.0
    scores = fitted.score(calibration)
    script = Script([scores[partition == name, column] for column, name in enumerate(ours.partitions)], 1.0)

    starts = np.arange(2 * _CALIBRATION) % 100 == 0
    default = detector.Detector.calibrate(typicality.Typicality().fit(_outputs(rng, 2 * _CALIBRATION), starts=starts),
                                          calibration, starts=starts)
    default.decay = np.inf

    test = _outputs(rng, _OURS)
    frames = [{name: array[t:t + 1] for name, array in test.items()} for t in range(_OURS)]
    alphas = itertools.cycle(fitted.score(test).tolist())
    frame, other = itertools.cycle(frames), itertools.cycle(frames)
    ours_s = turns.seconds({"ours": lambda: ours.step(next(frame)), "default": lambda: default.step(next(other))},
                           _ROUNDS, calls=_OURS)
    taken = {**ours_s, **turns.seconds({"script": lambda: script.step(next(alphas))}, _ROUNDS, calls=_THEIRS)}
    least = {name: 1e6 * float(seconds.min()) for name, seconds in taken.items()}  # what else runs only adds
    ratio = float(np.median(taken["script"] / taken["ours"]))
    titles = {"ours": "leanood, kl-topk with KL", "default": "leanood, typicality (default)",
              "script": "published script"}
    rows = [[title, 1e6 * float(np.median(taken[name])), least[name]] for name, title in titles.items()]
    print(command.table(rows, ["after the encoder", "median µs/frame", "least"]))
    figures = [
        results.Figure("arithmetic after the encoder, `kl-topk` (2 partitions, window 20, 4,000 calibration frames)",
                       f"{least['ours']:.1f} µs a frame, {ratio:.0f}× faster than the published script's algorithm",
                       f"≤ {_MOST_MICROSECONDS:g} µs, ≥ {_LEAST_RATIO:g}×",
                       least["ours"] <= _MOST_MICROSECONDS and ratio >= _LEAST_RATIO),
        results.Figure("the same, `typicality`", f"{least['default']:.1f} µs a frame", f"≤ {_MOST_MICROSECONDS:g} µs",
                       least["default"] <= _MOST_MICROSECONDS)]
    if _FRAMES.value:
        growth = max(_growth_kib(ours, frames), _growth_kib(default, frames))
        figures.append(results.Figure(f"its memory (either, over {_FRAMES.value:,} frames)", f"{growth:+.0f} KiB",
                                      f"≤ {_MOST_GROWTH_KIB:g} KiB", growth <= _MOST_GROWTH_KIB))
    return results.write(__file__, figures, rows)


def _growth_kib(ours: detector.Detector, frames: Sequence[Dict[str, np.ndarray]]) -> float:
    """Drives on; returns by how much resident memory, or that of Python's objects, grew."""
    before = memory.taken_bytes() or 0
    for _ in range(_FRAMES.value // len(frames)):
        for frame in frames:
            ours.step(frame)
    resident = ((memory.taken_bytes() or 0) - before) / 1024
    tracemalloc.start()
    for frame in frames:
        ours.step(frame)
    held = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        for frame in frames:
            ours.step(frame)
    held = (tracemalloc.get_traced_memory()[0] - held) / 1024
    tracemalloc.stop()
    return max(resident, held)


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
