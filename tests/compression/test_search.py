"""The search: fronts and volumes by brute force, kills, failures, nothing worked out twice, better than chance."""
import itertools
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from leanood.compression import recipe, search, space

optuna = pytest.importorskip("optuna")
OBJECTIVES = (search.Objective("auroc", True, 0.5), search.Objective("latency_ms", False, 10.0))
SPACE = space.Space()


def worth(text):
    """A made-up landscape: smaller is faster and sees less, distillation mends some of it."""
    steps = recipe.parse(text)
    speed, sight = 8.0, 0.98
    for step in steps:
        if step.name == "shrink":
            speed, sight = speed * (1 - step.ratio), sight - 0.1 * step.ratio ** 2
        elif step.name == "student":
            speed, sight = speed / 20, sight - 0.03
        elif step.name in ("int8", "qat", "pqat"):
            speed, sight = speed / 3, sight - (0.01 if step.name == "int8" else 0.002)
        elif step.name == "prune":
            sight -= 0.04 * step.sparsity
    return search.Evaluation({"auroc": sight, "latency_ms": speed}, {"bytes": len(text)})


def settings(tmp_path, **change):
    return search.Settings(**{"trials": 12, "storage": f"sqlite:///{tmp_path}/study.db", "rungs": (1, 4), **change})


BACKBONE = space.Space(factors=(1, 2, 3), cuts=("", "block3"), widths=(), energies=(0.0,))


@pytest.mark.parametrize(("drawn_from", "count"), [(SPACE, 60), (BACKBONE, 40)])
def test_every_recipe_that_can_be_drawn_is_one(drawn_from, count):
    class First:
        def __init__(self, places):
            self.places = iter(places)

        def suggest_categorical(self, name, choices):
            return choices[next(self.places) % len(choices)]

    texts = {space.at(drawn_from.draw(First(places)), 3) for places in itertools.product(range(3), repeat=8)}
    assert len(texts) > count
    for text in texts:
        recipe.parse(text)
    assert any("epochs=3" in text for text in texts)
    assert ("downscale(3)+cut('block3')+dynamic" in texts) == (drawn_from is BACKBONE)


def test_widths_by_layer_leave_out_the_layers_that_a_cut_leaves_out():
    class Chosen:
        def __init__(self, **values):
            self.values = values

        def suggest_categorical(self, name, choices):
            return self.values.get(name, choices[0])

    drawn_from = space.Space(cuts=("", "b", "a"), dropped=((), ("c",), ("b", "c")), by_layer=("b=0.5,c=0.25",))
    texts = [drawn_from.draw(Chosen(network="by_layer", cut=name)) for name in drawn_from.cuts]
    assert texts == ["shrink(layers='b=0.5,c=0.25', epochs=0)+distill(epochs={epochs})+float32",
                     "cut('b')+shrink(layers='b=0.5', epochs=0)+distill(epochs={epochs})+float32", "cut('a')+float32"]
    with pytest.raises(ValueError, match="dropped is of 1 cuts, but there are 2"):
        space.Space(cuts=("", "a"), dropped=((),))


@pytest.mark.parametrize("sampler", search.SAMPLERS)
def test_each_trial_is_another_recipe_until_there_are_none_left(tmp_path, sampler):
    small = space.Space(ratios=(0.0, 0.5), widths=(), energies=(0.0,), sparsities=(0.0,), formats=("float32", "int8"),
                        matching=False)
    rows = search.search(small, worth, OBJECTIVES, settings(tmp_path, trials=9, rungs=(1,), sampler=sampler))
    shrunk = "shrink(0.5, epochs=0)+distill(epochs=1)+"
    assert {row.recipe for row in rows} == {"float32", "int8", f"{shrunk}float32", f"{shrunk}int8"}
    assert len(rows) == 4


def test_another_space_in_the_same_storage_is_told(tmp_path):
    search.search(SPACE, worth, OBJECTIVES, settings(tmp_path, trials=3))
    with pytest.raises(ValueError, match="was begun with other recipes to choose from .* give another --out"):
        search.search(space.Space(formats=("int8",)), worth, OBJECTIVES, settings(tmp_path, trials=6))


def test_search_goes_up_its_rungs_and_works_nothing_out_twice(tmp_path):
    asked, lines = [], []

    def evaluate(text):
        asked.append(text)
        return worth(text)

    rows = search.search(SPACE, evaluate, OBJECTIVES, settings(tmp_path), progress=lines.append,
                         always=[{"network": "student", "widths": "16,32,32,32", "stem": 2}])
    assert len(asked) == len(set(asked))
    first, second = ([row for row in rows if row.epochs == epochs] for epochs in (1, 4))
    assert len(first) == 12
    assert len(second) == 4
    assert "student(plain, widths='16,32,32,32', stem=2" in first[0].recipe
    assert rows[0].detail == {"bytes": len(rows[0].recipe)}
    assert len(lines) == 16
    assert "auroc" in lines[0]
    # Those that nothing dominates come first to the second rung.
    best = {row.recipe.replace("epochs=1", "epochs=4") for row in search.front(first, OBJECTIVES)}
    assert best & {row.recipe for row in second}
    # Asked again, it only reads.
    assert search.search(SPACE, evaluate, OBJECTIVES, settings(tmp_path)) == rows
    assert len(asked) == len(set(asked))


def test_a_failed_candidate_keeps_its_reason_and_the_rest_goes_on(tmp_path):
    def evaluate(text):
        if "qat" in text or "dynamic" in text:
            raise ValueError("quantize_apply:\n no such layer")
        return worth(text)

    rows = search.search(SPACE, evaluate, OBJECTIVES, settings(tmp_path, rungs=(1,), trials=20))
    failed = [row for row in rows if row.figures is None]
    assert failed
    assert {row.failure for row in failed} == {"quantize_apply: no such layer"}
    assert len(rows) == 20
    with pytest.raises(KeyError):  # our own mistake is no candidate's failure
        search.search(SPACE, lambda text: search.Evaluation({}), OBJECTIVES, settings(tmp_path / "..", name="x"))


def test_a_killed_search_goes_on(tmp_path, monkeypatch):
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
        import test_search
        from leanood.compression import search
        count = 0
        def evaluate(text):
            global count
            count += 1
            if count == 5:
                os.kill(os.getpid(), signal.SIGKILL)
            return test_search.worth(text)
        settings = test_search.settings({str(tmp_path)!r}, rungs=(1,))
        search.search(test_search.SPACE, evaluate, test_search.OBJECTIVES, settings)
    """))
    assert subprocess.run([sys.executable, str(script)], stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    before = search.candidates(OBJECTIVES, settings(tmp_path, rungs=(1,)))
    assert len(before) == 4
    rows = search.search(SPACE, worth, OBJECTIVES, settings(tmp_path, rungs=(1,)))
    assert rows[:4] == before
    assert len(rows) == 12


def test_front_and_hypervolume_by_brute_force():
    random = np.random.default_rng(0)
    points = np.stack([random.uniform(0.4, 1, 40), random.uniform(0, 12, 40)], axis=1)
    rows = [search.Candidate(str(i), 1, {"auroc": a, "latency_ms": t}, {}, "") for i, (a, t) in enumerate(points)]
    rows.append(search.Candidate("failed", 1, None, {}, "no"))
    expected = {str(i) for i, (a, t) in enumerate(points)
                if not any((b >= a and s <= t) and (b > a or s < t) for b, s in points)}
    assert {row.recipe for row in search.front(rows, OBJECTIVES)} == expected
    # The share of the box between the worst and the ideal that some point dominates, on a fine grid.
    grid_a, grid_t = np.meshgrid(np.linspace(0.5, 1, 801), np.linspace(0, 10, 801))
    dominated = np.zeros_like(grid_a, bool)
    for a, t in points:
        dominated |= (grid_a <= a) & (grid_t >= t)
    assert search.hypervolume(rows, OBJECTIVES) == pytest.approx(dominated.mean() * 0.5 * 10, rel=0.01)
    assert search.hypervolume(rows[-1:], OBJECTIVES) == 0


def test_what_is_beyond_the_worst_goes_on_last():
    trials = [optuna.trial.create_trial(values=values) for values in ((0.4, 0.1), (0.9, 5.0), (0.8, 6.0), (0.95, 8.0))]
    chosen = search.survivors_of(trials, OBJECTIVES, 0.75)
    assert [trial.values for trial in chosen] == [[0.9, 5.0], [0.8, 6.0], [0.95, 8.0]]  # the first is on the front too
    assert trials[0] in search.survivors_of(trials, OBJECTIVES, 1.0)


@pytest.mark.parametrize(("change", "text"), [({"trials": 0}, "trials is 0"), ({"rungs": (4, 2)}, r"are \(4, 2\)"),
                                              ({"survive": 0.0}, "survive is 0"), ({"sampler": "x"}, "sampler is 'x'")])
def test_refused_settings(tmp_path, change, text):
    with pytest.raises(ValueError, match=text):
        settings(tmp_path, **change)


def test_a_storage_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot be opened"):
        search.search(SPACE, worth, OBJECTIVES, settings(tmp_path, storage="sqlite:////nowhere/at/all.db"))
    with pytest.raises(ValueError, match="formats is empty"):
        space.Space(formats=())
