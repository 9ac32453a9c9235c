"""What an evaluation found: rows, a table, plots; as text, as HTML in a notebook, as files."""
from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from leanood.files import atomic
from leanood.ood import metrics
from leanood.workflow import benign_rows, gallery, plots, tabular

IN_DISTRIBUTION = "in-distribution"  # the name of the test frames' own scores
_MOST_PARTITIONS = 4  # columns of the table; more are in the summary alone


class Clustered(NamedTuple):
    """A detector's scores of one set's frames, and which of them depend on each other: a stretch's, or one image's."""

    id_scores: np.ndarray  # [N]
    ood_scores: np.ndarray  # [M]
    id_groups: np.ndarray  # int [N]
    ood_groups: np.ndarray  # int [M]; a number in both is one stretch, or one image and what was made of it


class Report:
    """The results of `leanood.evaluate`. In a notebook it shows itself as a table.

    Attributes:
      summary: everything, fit for JSON: `rows`, false alarms, data, runtime, ….
      roc: by set, its ROC.
      example: of one corrupted test stretch its scores, which frames are OOD and the corruption's name; else empty.
      pictures: frames to look at: false alarms, misses, the oddest of the others.
      scores: by set the detector's scores [N], the in-distribution ones first; none: no histograms.
      clustered: by set, the scores of both sides, for comparing two detectors on the same frames.
    """

    def __init__(self, summary: Mapping[str, Any], roc: Mapping[str, metrics.Roc], example: Mapping[str, np.ndarray],
                 pictures: Sequence[gallery.Picture] = (), scores: Optional[Mapping[str, np.ndarray]] = None,
                 clustered: Optional[Mapping[str, Clustered]] = None):
        self.summary: Dict[str, Any] = dict(summary)
        self.roc = dict(roc)
        self.example = dict(example)
        self.pictures = list(pictures)
        self.scores = dict(scores or {})
        self.clustered = dict(clustered or {})

    @property
    def rows(self) -> List[Dict[str, Any]]:
        """One mapping a set: `set`, `ood`, `auroc`, `auroc_low`, …, `baselines`, `best_baseline`, `non_inferior`."""
        return self.summary["rows"]

    def table(self) -> str:
        """The rows as an aligned text table."""
        return tabular.text(*self._cells())

    def benign_table(self) -> str:
        """The benign changes' rows as an aligned text table; empty where none was asked for."""
        return tabular.text(*self._benign_cells()) if self.summary.get("benign") else ""

    def plot(self) -> Any:
        """The ROC of each set, the ten worst, over the gallery, as a Matplotlib figure (a notebook shows it)."""
        if not self.pictures:
            return self.plot_roc()
        (_, above), (width, below) = plots.ROC_SIZE, gallery.SIZE
        figure = plots.empty((width, above + below))
        top, bottom = figure.subfigures(2, 1, height_ratios=(above, below))
        curves = top.subfigures(1, 2, width_ratios=(plots.ROC_SIZE[0], width - plots.ROC_SIZE[0]))[0]
        plots.roc(self.roc, {row["set"]: row["auroc"] for row in self.rows}, self._title(), curves)
        gallery.figure(self.pictures, "", bottom)
        return figure

    def plot_roc(self) -> Any:
        """The ROC of each set, the ten worst, as a Matplotlib figure."""
        return plots.roc(self.roc, {row["set"]: row["auroc"] for row in self.rows}, self._title())

    def plot_histograms(self) -> Any:
        """How the scores are spread in-distribution and in the six worst sets, as a Matplotlib figure."""
        return plots.histograms(self.scores, {row["set"]: row["auroc"] for row in self.rows},
                                self.summary["threshold"], self._title())

    def plot_example(self) -> Any:
        """The score over time of one corrupted test stretch, as a Matplotlib figure; None where frames are images."""
        if not self.example:
            return None
        return plots.score_over_time(self.example["score"], self.example["ood"], self.summary["threshold"],
                                     self.summary["fps"], f"{self.summary['detector']}: {self.example['name']}")

    def plot_gallery(self) -> Any:
        """False alarms, misses and the oddest in-distribution frames, each with what spoke, as a Matplotlib figure."""
        return gallery.figure(self.pictures, self._title())

    def write(self, folder: str) -> List[str]:
        """Writes evaluation.json and the plots into a folder that is there; returns their paths."""
        written = [os.path.join(folder, "evaluation.json")]
        atomic.write_text(written[0], json.dumps(self.summary, indent=1))
        if self.roc:
            written.append(plots.save(self.plot_roc(), os.path.join(folder, "roc.png")))
        if len(self.scores) > 1:
            written.append(plots.save(self.plot_histograms(), os.path.join(folder, "histograms.png")))
        if self.example:
            written.append(plots.save(self.plot_example(), os.path.join(folder, "score_over_time.png")))
        if self.pictures:
            written.append(plots.save(self.plot_gallery(), os.path.join(folder, "gallery.png")))
        self.summary["written"] = written
        return written

    def __str__(self) -> str:
        benign = self.benign_table()
        return "\n".join([self.table(), "", *([benign, ""] if benign else []), *self._notes()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows, headers = self._cells()
        benign = tabular.html(*self._benign_cells()) if self.summary.get("benign") else ""
        notes = "".join(f"<p>{tabular.escaped(note)}</p>" for note in self._notes())
        return tabular.html(rows, headers) + benign + notes

    def _title(self) -> str:
        return f"{self.summary['detector']} on {self.summary['data']} ({self.summary['runtime']})"

    def _cells(self) -> Tuple[List[List[Any]], List[str]]:
        sequences = self.summary["mode"] == "sequences"
        parts = list(self.rows[0].get("auroc_by_partition", {})) if self.rows else []
        parts = parts if 1 < len(parts) <= _MOST_PARTITIONS else []
        headers = ["set", "AUROC", "95% interval", *(f"against {part}" for part in parts),
                   "AUPR-in", "AUPR-out", "FPR95", "FPR95-ood", "det. error", "TPR", "FPR",
                   *(["hits", "oracle's", "delay", "s", "frames alone"] if sequences else []), "best baseline",
                   "its AUROC",
                   "non-inferior"]
        cells = []
        for row in self.rows:
            cells.append([
                row["set"] + ("" if row["ood"] else " (in range)"),
                "constant" if row["constant"] else _three(row["auroc"]),
                "-" if row["auroc_low"] is None else f"{row['auroc_low']:.3f}–{row['auroc_high']:.3f}",
                *(_three(row["auroc_by_partition"][part]) for part in parts),
                *(_three(row[name]) for name in ("aupr_in", "aupr_out", "fpr95", "fpr95_ood_positive",
                                                 "detection_error", "true_positive_rate", "false_positive_rate")),
                *([_three(row["hit_rate"]), _three(row["oracle_hit_rate"]), f"{row['delay_frames']:g}",
                   f"{row['delay_s']:.2f}", _three(row["frame_auroc"])] if sequences else []),
                row["best_baseline"], _three(row["baselines"][row["best_baseline"]]),
                {True: "yes", False: "no", None: "-"}[row["non_inferior"]]])
        return cells, headers

    def _benign_cells(self) -> Tuple[List[List[Any]], List[str]]:
        sequences = self.summary["mode"] == "sequences"
        headers = ["benign change", "frames that alarm", "unchanged", *(["alarms an hour"] if sequences else []),
                   "silent"]
        cells = [[row["change"], _three(row["alarmed"]), _three(row["usual"]),
                  *([f"{row['per_hour']:.1f} ({row['per_hour_low']:.1f}–{row['per_hour_high']:.1f})"]
                    if sequences else []), "yes" if row["silent"] else "no"] for row in self.summary["benign"]]
        return cells, headers

    def _notes(self) -> List[str]:
        summary = self.summary
        lines = [f"mean AUROC over the {sum(row['ood'] for row in self.rows)} truly OOD rows: "
                 f"{_three(summary['out_of_range_mean_auroc'])}; detector {summary['detector']}, {summary['runtime']} "
                 f"({summary['accelerator']})"
                 + (f", {summary['bytes'] / 1e6:.3f} MB" if "bytes" in summary else "")]
        if summary["mode"] == "sequences":
            alarms = summary["false_alarms"]
            lines.append(f"false alarms in {alarms['hours'] * 60:.1f} min of untouched test driving: {alarms['count']} "
                         f"({alarms['per_hour']:.1f} an hour, 95% {alarms['low']:.1f}–{alarms['high']:.1f})")
            if summary["mean_hit_rate"] is not None:
                lines.append(f"detected at that rate: {summary['mean_hit_rate']:.3f} of the stretches that turn OOD; "
                             "thresholds that know the test and raise no more false alarms: "
                             f"{summary['mean_oracle_hit_rate']:.3f}")
            if summary["stretches"] == 1:
                lines.append("the test driving holds one stretch only, which shows no spread: intervals are not "
                             "available; record longer, or give a smaller --stretch_s")
        else:
            each = ", ".join(f"{name} {share:.3f}"
                             for name, share in summary["false_positive_rate_by_partition"].items())
            lines.append(f"{summary['test_images']} test images, flagged: {_three(summary['false_positive_rate'])} "
                         f"({each})")
        if summary.get("benign"):
            loud = benign_rows.failed(summary["benign"])
            lines.append(f"silent on {len(summary['benign']) - len(loud)} of {len(summary['benign'])} benign changes"
                         + (f"; not on {', '.join(loud)}" if loud else ""))
            if summary["mode"] == "sequences":
                count, hours = (sum(row[key] for row in summary["benign"]) for key in ("raised", "hours"))
                lines.append(f"false alarms in {hours * 60:.0f} min of benign changes: {count} ({count / hours:.1f} an "
                             "hour)")
        if summary.get("reconstruction_loss") is not None:
            lines.append(f"test reconstruction loss: {summary['reconstruction_loss']:.1f} nats an image")
        if summary["unreadable"]:
            lines.append(f"{summary['unreadable']} unreadable test images, named above, were left out")
        return lines + [f"wrote {path}" for path in summary.get("written", [])]


def _three(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.3f}"
