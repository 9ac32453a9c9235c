"""Is what studies recommend as good and as fast as what hands chose? `benchmarks/study/by_hand.py NAME=STUDY=RECIPE …`.

Each STUDY is a finished study's folder, each RECIPE the best that was chosen by hand for the same network. The study's
own bench makes, calibrates and times it and judges it on the same test frames, once; then the recommended detector is
compared with it: one-sided, non-inferior at the study's margin and confidence, and no slower, both of them timed in
turns with the same baseline. Writes a table for docs/study_results.md. Exits with 1 if one is worse, or slower.
"""
from __future__ import annotations

import sys
from typing import Any, Dict, List, Tuple

from absl import app

from leanood.ood import statistics
from leanood.tflite.timing import results
from leanood.tools import command
from leanood.workflow import candidates, study, study_page

_COLUMNS = ["study", "", "recipe", "AUROC", "hits", "benign alarms", "of the baseline's time", "kB"]


def main(argv: List[str]) -> int:
    figures, rows, details = [], [], {}
    for argument in argv[1:]:
        name, folder, recipe = argument.split("=", 2)
        figure, cells, details[name] = _compared(name, folder, recipe)
        figures.append(figure)
        rows += cells
    if not figures:
        raise app.UsageError("give NAME=STUDY=RECIPE, one or more")
    print(command.table(rows, _COLUMNS))
    for figure in figures:
        print(f"{figure.what}: {figure.measured}; {figure.target}: {'met' if figure.met else 'missed'}")
    return results.write(__file__, figures, details)


def _compared(name: str, folder: str, recipe: str) -> Tuple[results.Figure, List[List[Any]], Dict[str, Any]]:
    """Returns the comparison's figure, its rows of the table and all its numbers."""
    summary, bench = study_page.read(folder), study.reopened(folder)
    settings, chosen = summary["settings"], summary["verdict"]["recipe"]
    judged, timed = {}, {}
    for word, wanted in (("baseline", candidates.BASELINE), ("by hand", recipe), ("recommended", chosen)):
        path = bench.make(wanted)
        judged[word], timed[word] = bench.judge(path, "test"), bench.time(path)
    hand, study_s = (candidates.pooled(judged[word].scores, list(judged["baseline"].scores))
                     for word in ("by hand", "recommended"))
    pair = (hand.id_scores, hand.ood_scores, study_s.id_scores, study_s.ood_scores)
    groups = {"id_groups": hand.id_groups, "ood_groups": hand.ood_groups}
    difference = statistics.auroc_difference(*pair, confidence=2 * settings["confidence"] - 1, **groups)
    as_good = statistics.non_inferior(*pair, margin=settings["margin"], confidence=settings["confidence"], **groups)
    # Two timings of one file differ by a little.
    as_fast = timed["recommended"].ratio_low <= timed["by hand"].ratio_high
    cells = [[name, word, {"baseline": candidates.BASELINE, "by hand": recipe, "recommended": chosen}[word],
              f"{of['auroc']:.4f}", f"{of['hit_rate']:.2f}", f"{of['benign']:.3f}",
              f"{timed[word].ratio:.3f} ({timed[word].ratio_low:.3f}–{timed[word].ratio_high:.3f})",
              f"{of['kilobytes']:.0f}"]
             for word, of in ((word, candidates.figures_of(judged[word], timed[word])) for word in judged)]
    figure = results.Figure(
        f"{name}: the recommended detector against the best by hand, {recipe}",
        f"AUROC {difference.delta:+.4f} (at least {difference.low:+.4f}), "
        f"{timed['by hand'].ratio / timed['recommended'].ratio:.2f} times as fast",
        f"non-inferior at {settings['margin']:g}, no slower", bool(as_good and as_fast))
    return figure, cells, {word: {**candidates.figures_of(judged[word], timed[word]),
                                  "rows": judged[word].figures["rows"]} for word in judged}


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
