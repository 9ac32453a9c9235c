"""What a report of a study shows: verdict, front of candidates, finalists set by set, certificate."""
from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Mapping, Tuple

from leanood.workflow import pareto, tabular

FILE, EVALUATION = "study.json", "evaluation"
_AXES: Mapping[str, str] = {"latency_ms": "frame to verdict, ms", "kilobytes": "file, kB", "memory_kb": "memory, kB",
                            "auroc": "AUROC", "hit_rate": "hits at the promised rate", "benign": "benign alarms"}
_PICTURES = (("sensitivity.png", "How far shrinking each layer alone moves the outputs"),)


def read(folder: str) -> Dict[str, Any]:
    """Returns a study's summary from its folder.

    Raises:
      ValueError, OSError: if it is damaged.
    """
    path = os.path.join(folder, FILE)
    try:
        with open(path, encoding="utf-8") as stream:
            summary = dict(json.load(stream))
        for name in ("baseline", "candidates", "verdict", "settings"):
            summary[name]  # noqa: B018 - is it there?
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run the study again, what it measured is kept") from None
    return summary


def pictures(folder: str) -> List[Tuple[str, bytes]]:
    """Returns (what it shows, PNG) of the study's own pictures."""
    shown = []
    for name, alt in _PICTURES:
        if os.path.isfile(os.path.join(folder, name)):
            with open(os.path.join(folder, name), "rb") as stream:
                shown.append((alt, stream.read()))
    return shown


def context(summary: Mapping[str, Any]) -> Dict[str, Any]:
    """Returns the template's values: title, lead, figures, notes, pareto, tables, facts."""
    verdict, settings = summary["verdict"], summary["settings"]
    said = {name: value for name, value in verdict["said"].items() if name != "verdict"}
    failed = [row for row in summary["candidates"] if row["failure"]]
    notes = [verdict["said"]["verdict"],
             f"{len(summary['candidates'])} candidates, {len(failed)} of them failed; chosen on validation data, "
             f"judged on the test split at {verdict['confidence']:.1%} one-sided confidence each"]
    return {"title": f"Study of {os.path.basename(settings['run'])} on {summary['data']}",
            "lead": f"Recommended: {verdict['recipe']}",
            "figures": [(name, _text(value)) for name, value in said.items()], "notes": notes,
            "pareto": {"axes": list(_AXES.items()), "points": _points(summary)},
            "tables": [_candidates(summary), *([_finalists(verdict)] if verdict["finalists"] else [])],
            "facts": _facts(verdict.get("certificate", {}))}


def markdown(summary: Mapping[str, Any]) -> str:
    """Returns a study as Markdown: a section of a model card."""
    shown = context(summary)
    blocks = [f"## {shown['title']}", shown["lead"],
              "\n".join(f"- {name}: {value}" for name, value in shown["figures"]),
              "\n".join(f"- {note}" for note in shown["notes"])]
    for table in shown["tables"]:
        lines = [table["headers"], ["---"] * len(table["headers"]),
                 *([cell.text for cell in row] for row in table["rows"])]
        blocks.append(f"### {table['title']}\n\n" + "\n".join(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines))
    return "\n\n".join(blocks) + "\n"


def _points(summary: Mapping[str, Any]) -> List[Dict[str, Any]]:
    """Returns what the chart draws, and how each point is described to who can't see it."""
    points = [_point({**summary["baseline"], "recipe": "baseline, float32"}, "baseline", False)]
    points += [_point(row, "candidate", bool(row.get("front"))) for row in summary["candidates"] if not row["failure"]]
    for row in summary["verdict"]["finalists"]:
        points.append(_point(row, "accepted" if row["accepted"] else "refused", True))
    return points


def _point(row: Mapping[str, Any], kind: str, front: bool) -> Dict[str, Any]:
    figures = {name: row[name] for name, _ in pareto.AXES}
    text = ", ".join(f"{_AXES[name]} {_text(value)}" for name, value in figures.items())
    label = {"accepted": "finalist, accepted: ", "refused": "finalist, refused: "}.get(kind, "")
    return {**figures, "kind": kind, "front": front, "text": f"{label}{row['recipe']}: {text}"}


def _candidates(summary: Mapping[str, Any]) -> Dict[str, Any]:
    names = [name for name, _ in pareto.AXES]
    rows = []
    for row in summary["candidates"]:
        state = f"failed: {row['failure']}" if row["failure"] else "front" if row.get("front") else ""
        kind = "bad" if row["failure"] else "good" if state else ""
        rows.append([_cell(row["recipe"]), *(_cell(row.get(name)) for name in names), tabular.Cell(state, state, kind)])
    return {"title": "Candidates, on validation data", "headers": ["recipe", *(_AXES[name] for name in names), ""],
            "rows": rows}


def _finalists(verdict: Mapping[str, Any]) -> Dict[str, Any]:
    rows = []
    for row in verdict["finalists"]:
        rows.append([_cell(row["recipe"]), *(_cell(row[name]) for name in (
            "auroc", "delta", "delta_low", "hit_rate", "benign", "latency_ms", "ratio", "kilobytes")),
            tabular.Cell("accepted" if row["accepted"] else "refused", int(row["accepted"]),
                         "good" if row["accepted"] else "bad")])
    return {"title": "Finalists, on the test split", "rows": rows, "headers": [
        "recipe", "AUROC", "pooled difference", "its lower bound", "hits", "benign alarms", "ms",
        "× the baseline's time", "kB", "verdict"]}


def _facts(certificate: Mapping[str, Any]) -> List[Tuple[str, str]]:
    flat: List[Tuple[str, str]] = []
    for name, value in certificate.items():
        if isinstance(value, Mapping):
            flat += [(f"{name} {key}", _text(inner)) for key, inner in value.items()
                     if not isinstance(inner, (dict, list))]
        else:
            flat.append((name, ", ".join(map(str, value)) if isinstance(value, list) else _text(value)))
    return flat


def _cell(value: Any) -> tabular.Cell:
    return tabular.Cell(_text(value), -1e300 if value is None else value, "")


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"
    return tabular.printable(str(value))

