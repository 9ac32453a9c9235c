"""Pictures of an evaluation: colours that don't contradict names, histograms that add up."""
import numpy as np
import pytest
from matplotlib import colors

from leanood.workflow import plots


def test_a_set_named_after_a_colour_has_it_and_no_other_has():
    chosen = plots.colours(["red", "dark", "Green light", "fog 3", "blue/1"])
    assert (chosen["red"], chosen["Green light"], chosen["blue/1"]) == ("tab:red", "tab:green", "tab:blue")
    assert len(set(chosen.values())) == 5
    many = plots.colours([f"set {i}" for i in range(30)])
    assert all(colors.is_color_like(colour) for colour in many.values())


def test_the_curves_wear_these_colours():
    from leanood.ood import metrics

    random = np.random.default_rng(0)
    curves = {name: metrics.roc(random.normal(size=50), random.normal(1, size=50)) for name in ("green", "red")}
    figure = plots.roc(curves, {"green": 0.7, "red": 0.8}, "title")
    drawn = {line.get_label().split()[0]: line.get_color() for line in figure.axes[0].lines}
    assert (drawn["green"], drawn["red"]) == ("tab:green", "tab:red")


def test_histograms_are_shares_of_all_frames():
    scores = {"in-distribution": np.arange(10.0), "red": np.array([5.0, 500.0, np.inf]), "fog": np.arange(3, 9.0)}
    figure = plots.histograms(scores, {"red": 0.9, "fog": 0.8}, 4.0, "title")
    stairs = {patch.get_label(): patch for patch in figure.axes[0].patches}
    assert list(stairs) == ["in-distribution", "fog", "red"]
    for patch in stairs.values():
        assert sum(patch.get_data().values) == pytest.approx(1.0)
    assert stairs["red"].get_edgecolor() == colors.to_rgba("tab:red")
