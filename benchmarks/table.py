"""Writes the figures of `benchmarks/results/` into docs/benchmarks.md and docs/models.md: `python benchmarks/table.py`.

Each benchmark leaves one JSON there; the documents' tables hold nothing else. A figure that missed its target says so.
"""
from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, List

from leanood.files import atomic

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT, MODELS = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "models.md"
ROOMS = ("limits", "robustness", "study")
BEGIN, END = "<!-- written by benchmarks/table.py -->", "<!-- end -->"


def read(folder: pathlib.Path) -> List[Dict[str, Any]]:
    """Returns the results of these rooms in a folder, by name; detection has documents of its own."""
    paths = [path for room in ROOMS for path in sorted(folder.glob(f"{room}-*.json"))]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def markdown(results: List[Dict[str, Any]]) -> str:
    """Returns the table of all figures, and below it the machines and versions that they were measured with."""
    lines = ["| what | measured | target | command |", "| --- | --- | --- | --- |"]
    places: Dict[str, List[str]] = {}
    for result in results:
        machine = result["machine"]
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        place = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}; {versions}"
        load = f", load {result['load']:g}" if result.get("load") is not None else ""
        places.setdefault(place, []).append(f"`{result['name']}` ({result['date']}{load})")
        for number, figure in enumerate(result["figures"]):
            target = figure["target"] + ("" if figure["met"] else ": **missed**")
            lines.append(f"| {figure['what']} | {figure['measured']} | {target} | "
                         f"{'the same' if number else '`' + result['command'] + '`'} |")
    return "\n".join([*lines, "", *(f"{', '.join(names)}: {place}." for place, names in places.items())])


def document(text: str, table: str) -> str:
    """Returns a document's text with the table between its two marks."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document lacks the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


def networks(rows: Dict[str, Dict[str, str]]) -> str:
    """Returns the table of networks and steps, and below it why what was refused was.

    Args:
      rows: by network what each step came to, as `limits/keras_applications.py` leaves it. Of layers that had to be
        left out their number is shown, and the first.
    """
    steps = list(dict.fromkeys(step for cells in rows.values() for step in cells))
    lines = ["| network | " + " | ".join(steps) + " |", "| --- " * (len(steps) + 1) + "|"]
    reasons: Dict[str, List[str]] = {}
    without: List[str] = []
    for name, cells in rows.items():
        line = [name]
        for step in steps:
            word, _, reason = cells.get(step, "–").partition(": ")
            line.append(word)
            if word.endswith("*"):
                layers = reason.removeprefix("without ").split(", ")
                line[-1] = f"{word.rstrip('*')} ({len(layers)}\\*)"
                without.append(f"{name} {layers[0]}")
            elif reason:
                reasons.setdefault(f"`{step}` {word}: {reason.removeprefix(step + ': ')}", []).append(name)
        lines.append(f"| {' | '.join(line)} |")
    notes = [f"\\* so many layers left in float; the first: {', '.join(without)}."] if without else []
    return "\n".join([*lines, "", *notes, *(f"* {', '.join(names)}, {why}." for why, names in reasons.items())])


if __name__ == "__main__":
    results = read(ROOT / "benchmarks" / "results")
    atomic.write_text(DOCUMENT, document(DOCUMENT.read_text(encoding="utf-8"), markdown(results)))
    for result in results:
        if result["name"] == "keras_applications":
            text = document(MODELS.read_text(encoding="utf-8"), networks(result["details"]))
            atomic.write_text(MODELS, text)
