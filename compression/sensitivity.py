"""How much each set of layers can be shrunk: a measure of the model against the ratio, one set at a time."""
from __future__ import annotations

import dataclasses
from typing import Callable, Sequence

import numpy as np
import tf_keras

from leanood.compression import importance as importance_
from leanood.compression import rebuild, shrink
from leanood.files import atomic


@dataclasses.dataclass(frozen=True)
class Sensitivity:
    """The measure of every set of coupled layers at every ratio.

    Attributes:
      layers: the sets, a tuple of layer names each; sets shrink on their own.
      ratios: the shares of channels that were removed, [R], ascending.
      values: float64 [S, R], the measure with that set alone shrunk by that ratio.
      baseline: the measure of the model as it was.
    """
    layers: tuple[tuple[str, ...], ...]
    ratios: tuple[float, ...]
    values: np.ndarray
    baseline: float

    def ratios_within(self, tolerance: float, higher_is_better: bool = False) -> dict[str, float]:
        """The largest ratio of each layer up to which the measure stays within `tolerance` of the baseline.

        Args:
          tolerance: in the measure's own unit, e.g. 0.01 of AUROC or 0.1 of a loss.
          higher_is_better: True for an AUROC, False for a loss.
        """
        worse = (self.baseline - self.values) if higher_is_better else (self.values - self.baseline)
        ratios = {}
        for names, row in zip(self.layers, worse):
            within = np.logical_and.accumulate(row <= tolerance)
            ratio = self.ratios[int(within.sum()) - 1] if within.any() else 0.0
            ratios.update(dict.fromkeys(names, ratio))
        return ratios


def analyse(model: tf_keras.Model, evaluate: Callable[[tf_keras.Model], float],
            ratios: Sequence[float] = (0.25, 0.5, 0.75, 0.9), *, importance: str = "l2",
            images: np.ndarray | None = None, free: Sequence[str] = ("early",), minimum: int = 1,
            exclude: Sequence[str] = (), progress: Callable[[str], None] | None = None) -> Sensitivity:
    """Shrinks each set of coupled layers by each ratio, the rest left alone, and measures the result.

    Nothing is rebuilt for it: what reads the removed channels reads zeros (`shrink.masked`).

    Args:
      model: see `shrink.shrink`.
      evaluate: candidate -> its loss or AUROC; it may read the candidate, which is the same model each time.
      ratios: shares of channels to remove, each in [0, 1).
      importance, images, free, minimum, exclude: as of `shrink.shrink`.
      progress: told of every measurement in a line.
    """
    ratios = tuple(sorted(ratios))
    graph = shrink.dependencies(model, free)
    scores = importance_.scores(model, graph, importance, images)
    sets = graph.coupled()
    candidate = rebuild.clone(model)
    baseline = float(evaluate(candidate))
    values = np.empty((len(sets), len(ratios)))
    for i, names in enumerate(sets):
        for j, ratio in enumerate(ratios):
            removed = shrink.select(graph, scores, dict.fromkeys(names, ratio), minimum=minimum, exclude=exclude)
            with shrink.masked(candidate, graph, removed):
                values[i, j] = evaluate(candidate)
            if progress:
                progress(f"{'+'.join(names)} −{ratio:.0%}: {values[i, j]:.4g} (baseline {baseline:.4g})")
    return Sensitivity(tuple(sets), ratios, values, baseline)


def plot(sensitivity: Sensitivity, path: str, measure: str = "loss") -> None:
    """Draws a curve for each set of layers into an image file; needs matplotlib.

    Args:
      sensitivity: what `analyse` returned.
      path: where to, e.g. "sensitivity.png"; its ending chooses the format.
      measure: the name on the vertical axis.
    """
    from matplotlib import figure as figures

    figure = figures.Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for names, row in zip(sensitivity.layers, sensitivity.values):
        label = names[0] if len(names) == 1 else f"{names[0]} + {len(names) - 1}"
        axes.plot((0, *sensitivity.ratios), (sensitivity.baseline, *row), marker="o", label=label)
    axes.set(xlabel="share of channels removed", ylabel=measure)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=1 + len(sensitivity.layers) // 20)
    atomic.write_figure(path, figure)
