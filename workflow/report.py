"""Reports of an evaluation for people: one self-contained HTML page, or Markdown for a model card (Jinja2)."""
from __future__ import annotations

import base64
import json
import math
import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from leanood.files import atomic
from leanood.workflow import outcome, study_page, tabular

FORMATS = ("html", "markdown")
_TEMPLATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "report.html")
# What `evaluate --out` draws, in the order of the page.
_PICTURES = (("roc.png", "ROC of the sets"), ("score_over_time.png", "Score over time of a test sequence"),
             ("histograms.png", "Scores of in-distribution and OOD frames"),
             ("gallery.png", "Frames that were misjudged, and the least typical in-distribution ones"),
             ("reconstructions.png", "Images and their reconstructions"))
# Columns of the page's table, where the rows have them: title, and whether more is better (None: neither).
_COLUMNS: Mapping[str, str] = {
    "set": "set", "auroc": "AUROC", "auroc_low": "low", "auroc_high": "high", "aupr_in": "AUPR-in",
    "aupr_out": "AUPR-out", "fpr95": "FPR95", "detection_error": "det. error", "true_positive_rate": "flagged, OOD",
    "false_positive_rate": "flagged, ID", "hit_rate": "hits", "oracle_hit_rate": "oracle's hits",
    "delay_frames": "delay, frames", "delay_s": "delay, s",
    "frame_auroc": "AUROC of frames alone", "best_baseline": "best baseline",
    "best_baseline_auroc": "its AUROC", "non_inferior": "non-inferior"}
_LABEL, _LEFT, _WIDTH, _STEP = 22, 170, 520, 22  # characters; pixels of the chart


def report(folder: Union[str, os.PathLike[str]], out: Optional[str] = None, *,
           format: str = "html") -> outcome.Outcome:  # noqa: A002 - as the flag is called
    """Writes a report of an evaluation (`leanood.evaluate(…, out=folder)`) or a study; returns its path and size.

    Args:
      folder: with evaluation.json and pictures, or a study's.
      out: the file to write; None: report.html or report.md in the folder.
      format: "html", one page that needs no other file and no network; "markdown", for a model card.

    Raises:
      ValueError, OSError: if there is neither in the folder, or it is damaged.
    """
    if format not in FORMATS:
        raise ValueError(f"format is {format!r}, but should be one of {', '.join(FORMATS)}")
    folder = os.fspath(folder)
    if os.path.isfile(os.path.join(folder, study_page.FILE)):
        return _of_study(folder, out, format)
    summary = _read(folder)
    path = out or os.path.join(folder, "report.html" if format == "html" else "report.md")
    text = page(summary, _pictures(folder)) if format == "html" else markdown(summary)
    atomic.write_text(path, text)
    return outcome.Outcome(path, {"report": path, "sets": len(summary["rows"]), "bytes": os.path.getsize(path)})


def _of_study(folder: str, out: Optional[str], format: str) -> outcome.Outcome:  # noqa: A002
    summary = study_page.read(folder)
    path = out or os.path.join(folder, "report.html" if format == "html" else "report.md")
    if format == "html":
        evaluation = os.path.join(folder, study_page.EVALUATION)
        judged = _read(evaluation) if os.path.isdir(evaluation) else None
        pictures = [*study_page.pictures(folder), *_pictures(evaluation)]
        text = _rendered(pictures, **study_page.context(summary), chart=_chart(judged["rows"]) if judged else None)
    else:
        text = study_page.markdown(summary)
    atomic.write_text(path, text)
    return outcome.Outcome(path, {"report": path, "candidates": len(summary["candidates"]),
                                  "bytes": os.path.getsize(path)})


def page(summary: Mapping[str, Any], pictures: Sequence[Tuple[str, bytes]] = ()) -> str:
    """Returns the HTML page of an evaluation's summary.

    Args:
      summary: as `evaluation.json` holds it.
      pictures: (what it shows, PNG) of each.
    """
    tables = [{"title": "Out-of-distribution sets", **_table(summary["rows"])}]
    if summary.get("benign"):
        tables.append({"title": "Benign changes: what nobody sees must not alarm", **_plain_table(summary["benign"])})
    return _rendered(
        pictures, title=f"{summary.get('detector', 'detector')} on {summary.get('data', 'its data')}",
        lead=_lead(summary), figures=_figures(summary), notes=_notes(summary), chart=_chart(summary["rows"]),
        pareto=None, tables=tables, facts=_facts(summary))


def _rendered(pictures: Sequence[Tuple[str, bytes]], **context: Any) -> str:
    try:
        import jinja2
    except ImportError as error:
        raise ValueError(f"a report needs Jinja2: pip install 'leanood[study]' ({error})") from None
    with open(_TEMPLATE, encoding="utf-8") as stream:
        template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(stream.read())
    return template.render(**context, pictures=[
        {"alt": alt, "data": "data:image/png;base64," + base64.b64encode(data).decode()} for alt, data in pictures])


def markdown(summary: Mapping[str, Any]) -> str:
    """Returns an evaluation's summary as Markdown: a section of a model card."""
    table = _table(summary["rows"])

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    rows = [line([cell.text for cell in row]) for row in table["rows"]]
    figures = [f"- {name}: {value}" for name, value in _figures(summary)]
    title = f"## Out-of-distribution detection: {summary.get('detector', 'detector')}"
    notes = [f"- {note}" for note in _notes(summary)]
    ruler = "|" + " --- |" * len(table["headers"])
    return "\n".join([title, "", _lead(summary), "", *figures, *notes, "", line(table["headers"]), ruler, *rows, ""])


def _read(folder: str) -> Dict[str, Any]:
    path = os.path.join(folder, "evaluation.json")
    if not os.path.isfile(path):
        raise ValueError(f"{folder} holds no evaluation.json; make one with: leanood evaluate DETECTOR --out={folder}")
    try:
        with open(path, encoding="utf-8") as stream:
            summary = json.load(stream)
        if not all(isinstance(row["set"], str) and isinstance(row["auroc"], (int, float)) for row in summary["rows"]):
            raise ValueError("a row has no AUROC")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); evaluate the detector again") from None
    return dict(summary)


def _pictures(folder: str) -> List[Tuple[str, bytes]]:
    pictures = []
    for name, alt in _PICTURES:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            with open(path, "rb") as stream:
                pictures.append((alt, stream.read()))
    return pictures


def _lead(summary: Mapping[str, Any]) -> str:
    size = f", {summary['bytes'] / 1e6:.3f} MB" if "bytes" in summary else ""
    return f"Measured on the deployed file{size}, by {summary.get('runtime')} on the {summary.get('accelerator')}."


def _figures(summary: Mapping[str, Any]) -> List[Tuple[str, str]]:
    rows = [row for row in summary["rows"] if row.get("ood", True)]
    figures = [("mean AUROC of the OOD sets", _text(summary.get("out_of_range_mean_auroc")))]
    hits = [row["hit_rate"] for row in rows if row.get("hit_rate") is not None]
    if hits:
        figures.append(("mean hits at the promised rate", _text(sum(hits) / len(hits))))
    alarms = summary.get("false_alarms")
    if isinstance(alarms, Mapping):
        figures.append(("false alarms an hour, seen", _text(float(alarms["per_hour"]))))
    elif summary.get("false_positive_rate") is not None:
        figures.append(("in-distribution images flagged", _text(summary["false_positive_rate"])))
    benign = summary.get("benign") or []
    if benign:
        silent = sum(bool(row.get("silent")) for row in benign)
        figures.append(("benign changes it is silent on", f"{silent} of {len(benign)}"))
    judged = [row["non_inferior"] for row in rows if row.get("non_inferior") is not None]
    if judged:
        figures.append(("non-inferior to the best baseline", f"{sum(judged)} of {len(judged)}"))
    return figures


def _notes(summary: Mapping[str, Any]) -> List[str]:
    notes = []
    alarms = summary.get("false_alarms")
    if isinstance(alarms, Mapping):
        notes.append(f"{alarms['count']} false alarms in {60 * alarms['hours']:.1f} minutes of untouched test driving "
                     f"(95% interval {alarms['low']:.1f} to {alarms['high']:.1f} an hour)")
    if summary.get("unreadable"):
        notes.append(f"{summary['unreadable']} unreadable test images were left out")
    lost = [row["set"] for row in summary["rows"] if row.get("non_inferior") is False]
    if lost:
        notes.append(f"not shown to be as good as a trivial baseline on: {', '.join(lost)}")
    return notes


def _facts(summary: Mapping[str, Any]) -> List[Tuple[str, str]]:
    return [(name.replace("_", " "), tabular.cell(value)) for name, value in summary.items()
            if not isinstance(value, (dict, list)) and value is not None]


def _table(rows: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    flat = [{**row, "best_baseline_auroc": (row.get("baselines") or {}).get(row.get("best_baseline"))} for row in rows]
    names = [name for name in _COLUMNS if any(row.get(name) is not None for row in flat)]
    return {"headers": [_COLUMNS[name] for name in names],
            "rows": [[_cell(name, row.get(name), row) for name in names] for row in flat]}


def _plain_table(rows: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    names = [name for name, value in rows[0].items() if not isinstance(value, (dict, list))]
    return {"headers": [name.replace("_", " ") for name in names],
            "rows": [[_cell(name, row.get(name), row) for name in names] for row in rows]}


def _cell(name: str, value: Any, row: Mapping[str, Any]) -> tabular.Cell:
    if isinstance(value, bool):
        return tabular.Cell("yes" if value else "no", int(value), "good" if value else "bad")
    if name == "set":
        return tabular.Cell(tabular.printable(str(value)) + ("" if row.get("ood", True) else " (in range)"), value, "")
    return tabular.Cell(_text(value), -1e300 if value is None else value, "")


def _chart(rows: Sequence[Mapping[str, Any]]) -> Optional[Dict[str, Any]]:
    """Returns the places of dots and bars, in pixels; the worst set comes first."""
    rows = sorted((row for row in rows if math.isfinite(row["auroc"])), key=lambda row: row["auroc"])
    if not rows:
        return None
    least = min([0.5, *(row["auroc"] for row in rows)])
    floor = max(0.0, math.floor(10 * least) / 10)

    def x(value: Optional[float]) -> Optional[float]:
        return None if value is None else round(_LEFT + (value - floor) / (1 - floor) * (_WIDTH - _LEFT - 20), 1)

    places = []
    for i, row in enumerate(rows):
        best = (row.get("baselines") or {}).get(row.get("best_baseline"))
        baseline = None if best is None or best < floor else x(best)
        hint = f"{row['set']}: {_text(row['auroc'])}" + ("" if best is None else
                                                         f", {row['best_baseline']} {_text(best)}")
        places.append({"name": row["set"][:_LABEL], "y": 36 + _STEP * i, "x": x(row["auroc"]), "hint": hint,
                       "low": x(None if row.get("auroc_low") is None else max(floor, row["auroc_low"])),
                       "high": x(row.get("auroc_high")), "baseline": baseline})
    ticks = [{"x": x(tick / 10), "label": f"{tick / 10:g}"} for tick in range(round(10 * floor), 11)]
    return {"width": _WIDTH, "height": 40 + _STEP * len(rows), "rows": places, "ticks": ticks,
            "text": "; ".join(place["hint"] for place in places)}


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else tabular.printable(str(value))
