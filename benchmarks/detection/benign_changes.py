"""Benign changes of frames beside OOD rows, by detectors fitted on frames alone and on benign variants too.

    python benchmarks/detection/benign_changes.py --data=$LEANOOD_TEST_DATA/data --runs=runs

Each set's detector is calibrated twice, on its frames as they are and on benign variants of them too. Benign changes of
test frames must not alarm; corruptions, unseen transforms and real lightings of them must rank as high as before. It
writes docs/benign_changes.md and benchmarks/results/detection-benign_changes.json; what lies in --runs isn't computed
again.
"""
from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import sets
import unseen
import unseen_benign
from absl import flags

from leanood.data import benign, corruptions, dataset, sequences
from leanood.ood import baselines, metrics, statistics
from leanood.ood import detector as detector_
from leanood.tflite import bundle
from leanood.tflite.timing import results as results_
from leanood.tools import command
from leanood.workflow import benign_rows, calibrate, datasets, network

_OUT = flags.DEFINE_string("out", "docs/benign_changes.md", "the table, in Markdown")
_STRETCHES = flags.DEFINE_integer("stretches", 6, "test stretches a corruption")

FITS = {"frames alone": calibrate.Settings(benign_variants=0), "and variants": calibrate.Settings()}
SEVERITIES = (1, 3)
CODEC = ("JPEG at quality 10",)  # OOD rows that are themselves a codec's doing: not in the mean
WINDOWS = (1, 10)  # frames that a baseline is averaged over on driving: whichever does best on the row
Scores = Dict[str, np.ndarray]  # by fit and by baseline


def main(argv: List[str]) -> None:
    os.makedirs(sets.RUNS.value, exist_ok=True)
    results: Dict[str, Any] = {}
    for name in sets.SETS.value:
        path = os.path.join(sets.RUNS.value, f"benign_{name}.json")
        if not os.path.exists(path):
            sets.write(path, json.dumps(_Judge(name).result()))
        with open(path, encoding="utf-8") as stream:
            results[name] = json.load(stream)
    results_.write(__file__, [figure for name, result in results.items() for figure in _figures(name, result)], results)
    text = "\n".join(_text(results)) + "\n"
    sets.write(_OUT.value, text)
    print(text)


class _Judge:
    """One set's network, detectors and baselines."""

    def __init__(self, name: str):
        self._name = name
        self._data, _ = sets.load(name)
        self._network = network.load(bundle.flatbuffer(sets.file(name)))
        calibrated = {label: calibrate.fit(self._network, self._data, settings) for label, settings in FITS.items()}
        self._detectors: Dict[str, detector_.Detector] = {
            label: calibration.detector for label, calibration in calibrated.items()}
        self._promises = {label: calibration.summary["promise"] for label, calibration in calibrated.items()}
        few, _ = datasets.load_split(self._data, "train", self._network.size, 2000)
        self._trivial: Dict[str, Any] = {"six colour numbers": baselines.Colour().fit(few), "sharpness":
                                         baselines.Sharpness().fit(few), "mean brightness":
                                         baselines.Brightness().fit(few)}
        self._test = self._data.where((self._data.split == "test") & ~self._data.ood)
        self._ordered = bool(self._detectors["and variants"].window)

    def result(self) -> Dict[str, Any]:
        """Returns everything, fit for JSON."""
        rows = list(self._driving() if self._ordered else self._images())
        return {"promises": self._promises, "benign": self._benign(), "rows": rows, "usual": self._alarm_shares(),
                "test_frames": len(self._test)}

    def _benign(self) -> List[Dict[str, Any]]:
        """Returns the benign changes' rows, of `benign_rows`, by fit."""
        unchanged = benign_rows.changed(self._network, self._test, None, self._ordered)
        alarms = {label: detector.run(*unchanged)["alarm"] for label, detector in self._detectors.items()}
        rows = []
        changes: Dict[str, Any] = {**{name: name for name in benign.available()}, **unseen_benign.changes()}
        for name, change in changes.items():
            outputs, starts = benign_rows.changed(self._network, self._test, change, self._ordered)
            rows.append({"change": name, "known": name in benign.NAMES, "fits": {
                label: benign_rows.row(detector, name, outputs, starts, alarms[label], self._test.fps, 3.0)
                for label, detector in self._detectors.items()}})
        return rows

    def _alarm_shares(self) -> Dict[str, Any]:
        """Returns the share of unchanged test frames that alarm, of all and by partition, by fit."""
        ran = self._network.run(self._test, f"{self._name}: test frames")
        shares = {}
        for label, detector in self._detectors.items():
            alarm = detector.run(ran.outputs, ran.frames.starts if self._ordered else None)["alarm"]
            shares[label] = {"all": float(alarm.mean()), **{
                str(part): float(alarm[ran.frames.partition == part].mean())
                for part in np.unique(ran.frames.partition)}}
        return shares

    def _scores(self, outputs: Mapping[str, np.ndarray], images: Mapping[str, np.ndarray],
                starts: Optional[np.ndarray]) -> Scores:
        scores = {label: detector.run(outputs, starts)["score"] for label, detector in self._detectors.items()}
        for name, values in images.items():
            for window in WINDOWS if starts is not None else (1,):
                scores[f"{name}, {window}"] = values if window == 1 else baselines.windowed(values, starts, window)
        return scores

    def _images(self) -> Iterator[Dict[str, Any]]:
        """Yields a row a set, a corruption, an unseen transform."""
        def scores(data: dataset.Dataset, what: str, change: Optional[Callable[..., np.ndarray]] = None) -> Scores:
            ran = self._network.run(data, f"{self._name}: {what}", change=change, also={
                name: baseline.score for name, baseline in self._trivial.items()})
            return self._scores(ran.outputs, {name: ran.outputs[name] for name in self._trivial}, None)

        id_scores = scores(self._test, "test images")
        for part in sorted(set(self._data.partition[self._data.ood].tolist())):
            yield _row(part, "real", id_scores, scores(
                self._data.where(self._data.ood & (self._data.partition == part)), part))
        for name, severity in self._kinds():
            yield _row(f"{name} {severity}", "corruption", id_scores, scores(
                self._test, f"{name} {severity}", lambda frame, i, name=name, severity=severity: (
                    corruptions.corrupt(name, frame, severity, seed=i))))
        for name, transform in unseen.transforms().items():
            yield _row(name, "codec" if name in CODEC else "unseen", id_scores, scores(
                self._test, name, lambda frame, i, transform=transform: unseen.apply(transform, frame, i)))

    def _driving(self) -> Iterator[Dict[str, Any]]:
        """Yields a row a corruption, on stretches that are corrupted from a known frame on."""
        length = int(sets.STRETCH_S[self._name] * self._data.fps)
        chosen = sequences.stretches(self._test, length, _STRETCHES.value)
        jobs = [(where, name, severity, sequences.PATTERNS[i % len(sequences.PATTERNS)], i)
                for name, severity in self._kinds() for i, where in enumerate(chosen)]

        def judge(runner: Any, prepared: Tuple[np.ndarray, np.ndarray]) -> Tuple[network.Outputs, Scores, np.ndarray]:
            images, ood = prepared
            return runner.each(images), self._simple(images), ood

        ran = self._network.map(lambda job: sequences.corrupted(self._test, *job, self._network.size), judge, jobs,
                                f"{self._name}: corrupted stretches")
        group, begins = np.repeat(np.arange(len(chosen)), length), np.arange(length) == 0
        for name, severity in self._kinds():
            stretches = [next(ran) for _ in chosen]
            parts = [self._scores(outputs, simple, begins) for outputs, simple, _ in stretches]
            ood = np.concatenate([mask for _, _, mask in stretches])
            scores = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
            yield _row(f"{name} {severity}", "corruption", {key: values[~ood] for key, values in scores.items()},
                       {key: values[ood] for key, values in scores.items()}, group[~ood], group[ood])

    def _kinds(self) -> List[Tuple[str, int]]:
        return [(name, severity) for severity in SEVERITIES for name in corruptions.NAMES
                if (self._ordered or name != "frozen")
                and corruptions.outside_id(name, severity, self._data.partition_kind)]


def _row(name: str, kind: str, id_scores: Scores, ood_scores: Scores, id_groups: Optional[np.ndarray] = None,
         ood_groups: Optional[np.ndarray] = None) -> Dict[str, Any]:
    """Returns a set's AUROC by fit and by baseline, and the interval of what the variants change."""
    auroc = {key: metrics.evaluate(id_scores[key], ood_scores[key]).auroc for key in id_scores}
    before, after = FITS
    changed = statistics.auroc_difference(id_scores[before], ood_scores[before], id_scores[after], ood_scores[after],
                                          id_groups=id_groups, ood_groups=ood_groups)
    trivial = {key: value for key, value in auroc.items() if key not in FITS}
    best = max(trivial, key=lambda key: trivial[key])
    return {"set": name, "kind": kind, "auroc": {key: auroc[key] for key in FITS}, "delta_low": changed.low,
            "delta_high": changed.high, "baseline": best.split(",")[0], "baseline_auroc": trivial[best]}


def _mean(rows: List[Dict[str, Any]], label: str, kinds: Sequence[str] = ("real", "corruption", "unseen")) -> float:
    return float(np.mean([row["auroc"][label] for row in rows if row["kind"] in kinds]))


def _figures(name: str, result: Mapping[str, Any]) -> List[results_.Figure]:
    """Returns what was asked for and what was found on one set."""
    figure = results_.Figure
    before, after = FITS
    rows, benign_, shares = result["rows"], _known(result), result["usual"][after]
    change = _mean(rows, after) - _mean(rows, before)
    figures = [figure(f"benign changes it is silent on, {name}", f"{_silent(some, after)} of {len(some)}", "all",
                      _silent(some, after) == len(some)) for some in (benign_, _known(result, False))]
    figures += [
               figure("mean AUROC over OOD rows, against a fit on frames alone", f"{change:+.3f}", "≥ −0.02",
                      change >= -0.02)]
    if "raised" in benign_[0]["fits"][after]:
        count, hours = (sum(row["fits"][after][key] for row in benign_) for key in ("raised", "hours"))
        figures.append(figure("false alarms an hour in benign changes", f"{count / hours:.1f}", "≤ 3",
                              count <= 3 * hours))
    else:
        parts = {part: share for part, share in shares.items() if part != "all"}
        figures += [figure("images flagged where 5% was asked", f"{shares['all']:.1%}", "3–7%",
                           0.03 <= shares["all"] <= 0.07),
                    figure("in the worst partition", f"{max(parts.values()):.1%}", "≤ 8%", max(parts.values()) <= .08)]
    return figures


def _known(result: Mapping[str, Any], known: bool = True) -> List[Dict[str, Any]]:
    """Returns the rows of `data/benign.py`'s changes, or those of the others."""
    return [row for row in result["benign"] if row["known"] == known]


def _silent(rows: List[Dict[str, Any]], label: str) -> int:
    return sum(row["fits"][label]["silent"] for row in rows)


def _table(rows: List[Dict[str, Any]]) -> List[str]:
    before, after = FITS
    return [f"| {row['change']} | {row['fits'][before]['alarmed']:.3f} | {row['fits'][after]['alarmed']:.3f} | "
            f"{'yes' if row['fits'][after]['silent'] else '**no**'} |" for row in rows]


def _summary(rows: List[Dict[str, Any]]) -> List[str]:
    before, after = FITS
    lines = [f"Silent on {_silent(rows, after)} of {len(rows)} ({_silent(rows, before)} without variants)."]
    if "raised" in rows[0]["fits"][after]:
        for label in FITS:
            count, hours = (sum(row["fits"][label][key] for row in rows) for key in ("raised", "hours"))
            lines.append(f"False alarms in {60 * hours:.0f} minutes of benign changes, {label}: {count}, "
                         f"{count / hours:.1f} an hour.")
    return lines


def _text(results: Mapping[str, Any]) -> List[str]:
    before, after = FITS
    lines = ["# Benign changes beside OOD rows", "",
             "Written by `benchmarks/detection/benign_changes.py`. Each detector is fitted and calibrated twice: on a",
             "set's frames as they are, and on benign variants of them too (the default, `calibrate",
             "--benign_variants`). Changes are made at the network's size. *Silent*: the share of test frames that",
             "alarm is at most twice that of the unchanged ones, or two points above it.", ""]
    for name, result in results.items():
        shares, benign_ = result["usual"], _known(result)
        lines += [f"## {name}", "", f"What the promise rests on: {result['promises'][after]}.", "",
                  f"Unchanged test frames that alarm: {_shares(shares[before])} fitted on frames alone, "
                  f"{_shares(shares[after])} on variants too.", "",
                  f"| benign change | alarms, {before} | {after} | silent |", "| --- | --- | --- | --- |"]
        others = _known(result, False)
        lines += [*_table(benign_), "", *_summary(benign_), "",
                  "Others, which nothing is fitted to (`benchmarks/detection/unseen_benign.py`):", "",
                  f"| benign change | alarms, {before} | {after} | silent |", "| --- | --- | --- | --- |",
                  *_table(others), "", *_summary(others)]
        rows = result["rows"]
        lines += ["", f"| OOD | AUROC, {before} | {after} | 95% of the difference | best baseline |",
                  "| --- | --- | --- | --- | --- |"]
        lines += [f"| {row['set']} | {row['auroc'][before]:.3f} | {row['auroc'][after]:.3f} | "
                  f"{row['delta_low']:+.3f} to {row['delta_high']:+.3f} | {row['baseline']} "
                  f"{row['baseline_auroc']:.3f} |" for row in rows]
        counted = [row for row in rows if row["kind"] != "codec"]
        mean = {label: _mean(rows, label) for label in FITS}
        lost = [row["set"] for row in counted
                if row["auroc"][before] >= row["baseline_auroc"] > row["auroc"][after] + 5e-4]
        lines += ["", f"Mean over {len(counted)} rows (codecs left out): {mean[before]:.3f} → {mean[after]:.3f} "
                      f"({mean[after] - mean[before]:+.3f}). Below the best baseline where it wasn't: "
                      f"{', '.join(lost) or 'none'}.", ""]
    return lines


def _shares(shares: Mapping[str, float]) -> str:
    parts = [f"{name} {share:.1%}" for name, share in shares.items() if name != "all"]
    return f"{shares['all']:.1%}" + (f" ({', '.join(parts)})" if len(parts) > 1 else "")


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/benign_changes.py --data=$LEANOOD_TEST_DATA/data")
