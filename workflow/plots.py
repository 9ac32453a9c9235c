"""Pictures of an evaluation: each set's ROC and histogram of scores, the score over time of a sequence (Matplotlib)."""
from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from leanood.files import atomic
from leanood.ood import metrics

ROC_SIZE = (5.2, 4.6)  # inches
_MOST_CURVES = 10
_MOST_HISTOGRAMS = 6
_BINS = 40
_CYCLE = ("blue", "orange", "green", "red", "purple", "brown", "pink", "olive", "cyan")  # Matplotlib's tab:…


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
    colour = colours(worst)
    for name in worst:
        curve = curves[name]
        axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=colour[name],
                  label=f"{name}  {aurocs[name]:.3f}")
    axes.plot([0, 1], [0, 1], color="0.8", linewidth=1, zorder=0)
    axes.set_xlabel("in-distribution frames flagged")
    axes.set_ylabel("OOD frames flagged")
    axes.set_title(title, fontsize=10)
    axes.legend(loc="lower right", fontsize=7, frameon=False)
    return figure


def histograms(scores: Mapping[str, np.ndarray], aurocs: Mapping[str, float], threshold: float, title: str) -> Any:
    """How scores are spread, in-distribution and in the worst sets, as a Matplotlib figure.

    Args:
      scores: [N] by set; the first is the in-distribution one, filled.
      aurocs: by set, for the order.
      threshold: of the alarm.
      title: above it.
    """
    figure, axes = _axes(ROC_SIZE)
    in_distribution, *others = scores
    worst = sorted(others, key=lambda name: aurocs[name])[:_MOST_HISTOGRAMS]
    known = {name: np.asarray(scores[name])[~np.isnan(scores[name])] for name in (in_distribution, *worst)}
    everything = np.concatenate(list(known.values()))
    everything = everything[np.isfinite(everything)]
    low, high = np.quantile(everything, (0.0, 0.99)) if len(everything) else (0.0, 1.0)
    bins = np.linspace(low, max(high, low + 1e-9, threshold if np.isfinite(threshold) else low), _BINS + 1)
    shares = {name: np.histogram(np.clip(values, bins[0], bins[-1]), bins)[0] / max(len(values), 1)
              for name, values in known.items()}
    axes.stairs(shares[in_distribution], bins, fill=True, color="0.75", label=in_distribution)
    colour = colours(worst)
    for name in worst:
        axes.stairs(shares[name], bins, color=colour[name], linewidth=1.3, label=name)
    if np.isfinite(threshold):
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1, label="alarm threshold")
    axes.set_xlabel("score (the last bin holds all above it)")
    axes.set_ylabel("share of frames")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=7, frameon=False)
    return figure


def colours(names: Sequence[str]) -> Dict[str, str]:
    """A colour for each name: its own where the name says one (a set "red" isn't drawn green), else one of the rest."""
    said = {name: next((f"tab:{word}" for word in re.findall("[a-z]+", name.lower()) if word in _CYCLE), "")
            for name in names}
    left = [f"tab:{word}" for word in _CYCLE if f"tab:{word}" not in said.values()] or ["0.5"]
    plain = [name for name in names if not said[name]]
    return {**said, **{name: left[i % len(left)] for i, name in enumerate(plain)}}


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

    blank = figure.Figure(figsize=size)
    backend_agg.FigureCanvasAgg(blank)
    return blank


def _axes(size: Any, into: Any = None) -> Any:
    figure = empty(size) if into is None else into
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
