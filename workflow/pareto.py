"""The Pareto front of a study's candidates: its axes and its picture."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

# Figure of a candidate, whether more is better.
AXES = (("auroc", True), ("hit_rate", True), ("benign", False), ("latency_ms", False), ("kilobytes", False),
        ("memory_kb", False))


def figure(rows: Sequence[Mapping[str, Any]], baseline: Mapping[str, float], verdict: Mapping[str, Any]) -> Any:
    """Returns AUROC against latency of every candidate as a Matplotlib figure.

    Args:
      rows: the candidates, see `study.Study`.
      baseline: its figures.
      verdict: whose finalists are marked with their figures on the test split.
    """
    from matplotlib import figure as figures

    drawn = figures.Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawn.add_subplot()
    known = [row for row in rows if not row["failure"]]
    for chosen, colour, label in ((False, "0.7", "candidates"), (True, "tab:blue", "not dominated")):
        part = [row for row in known if bool(row.get("front")) == chosen]
        axes.scatter([row["latency_ms"] for row in part], [row["auroc"] for row in part],
                     s=[20 + 60 * min(1.0, row["kilobytes"] / baseline["kilobytes"]) for row in part], c=colour,
                     label=f"{label} (validation)", alpha=0.8)
    axes.scatter(baseline["latency_ms"], baseline["auroc"], marker="s", c="k", label="baseline (validation)")
    for row in verdict["finalists"]:
        word, colour = ("accepted", "tab:green") if row["accepted"] else ("refused", "tab:red")
        axes.scatter(row["latency_ms"], row["auroc"], marker="*", s=140, c=colour, label=f"finalist, {word} (test)")
    axes.set_xscale("log")
    axes.set_xlabel("frame to verdict, ms")
    axes.set_ylabel("AUROC, mean of the OOD sets")
    axes.grid(alpha=0.3)
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles))
    axes.legend(unique.values(), unique.keys(), fontsize="small")
    return drawn
