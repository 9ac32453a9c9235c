"""Pictures of an evaluation: the ROC of every set, and the score over time of one sequence (Matplotlib)."""
from __future__ import annotations

from typing import Any, List, Mapping

import numpy as np

from leanood.files import atomic
from leanood.ood import metrics

ROC_SIZE = (5.2, 4.6)  # inches
_MOST_CURVES = 10


def save(figure: Any, path: str) -> str:
    """Writes a Matplotlib figure whole or not at all; returns the path."""
    atomic.write_figure(path, figure, dpi=120, bbox_inches="tight")
    return path


def roc(curves: Mapping[str, metrics.Roc], aurocs: Mapping[str, float], title: str, into: Any = None) -> Any:
    """The ROC of each set, the worst first, as a Matplotlib figure; more than ten become the ten worst.

    Args:
      curves: by set.
      aurocs: by set, for the legend and the order.
      title: above it.
      into: a (sub)figure to draw in; None: a new one.
    """
    figure, axes = _axes(ROC_SIZE, into)
    worst: List[str] = sorted(curves, key=lambda name: aurocs[name])[:_MOST_CURVES]
    for name in worst:
        curve = curves[name]
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, label=f"{name}  {aurocs[name]:.3f}")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
    axes.set_xlabel("in-distribution frames flagged")
    axes.set_ylabel("OOD frames flagged")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", fontsize=7, frameon=False)
    return figure


def score_over_time(score: np.ndarray, ood: np.ndarray, threshold: float, fps: float, title: str) -> Any:
    """S_t of one sequence [T], its OOD stretch bool [T] shaded, and the alarm threshold, as a Matplotlib figure."""
    figure, axes = _axes((7.0, 2.8))
    seconds = np.arange(len(score)) / fps
    axes.fill_between(seconds, 0, 1, where=ood, transform=axes.get_xaxis_transform(), color="tab:red", alpha=0.15,
                      linewidth=0, label="out of distribution")
    axes.plot(seconds, score, color="tab:blue", label="score")
    if np.isfinite(threshold):
        axes.axhline(threshold, color="black", linestyle="--", linewidth=1, label="alarm threshold")
    axes.set_xlabel("seconds")
    axes.set_ylabel("score (nats)")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="upper left", fontsize=7, frameon=False)
    return figure


def empty(size: Any) -> Any:
    """An empty Matplotlib figure, (width, height) in inches."""
    # No pyplot: it keeps state, and needs a display where one is configured.
    from matplotlib import figure
    from matplotlib.backends import backend_agg

    made = figure.Figure(figsize=size)
    backend_agg.FigureCanvasAgg(made)
    return made


def _axes(size: Any, into: Any = None) -> Any:
    made = empty(size) if into is None else into
    axes = made.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return made, axes
