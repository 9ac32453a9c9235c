"""Writes the figures of `benchmarks/results/` into docs/benchmarks.md: `python benchmarks/table.py`.

Each benchmark leaves one JSON there; the document's table holds nothing else. A figure that missed its target says so.
"""
from __future__ import annotations

import json
import pathlib
from typing import Any, Dict, List

from leanood.files import atomic

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"
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
        raise ValueError(f"{DOCUMENT}: it lacks the lines {BEGIN} and {END}")
    return f"{head}{BEGIN}\n{table}\n{END}{tail}"


if __name__ == "__main__":
    whole = document(DOCUMENT.read_text(encoding="utf-8"), markdown(read(ROOT / "benchmarks" / "results")))
    atomic.write_text(DOCUMENT, whole)
