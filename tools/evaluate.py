"""Evaluates a detector file on the test split: AUROC with its interval, rates, delay, false alarms, trivial baselines.

Images: the test images against every OOD partition and against corruptions of themselves. Sequences: stretches of test
driving that go out of distribution at a known frame. The three baselines (Mahalanobis distance of six colour numbers,
mean brightness, sharpness) see the same frames; a row says which did best and whether the detector is non-inferior to
it at a margin of 0.01. With --out, evaluation.json, roc.png and, for sequences, score_over_time.png are written there.
"""
from __future__ import annotations

import json
import os
from typing import Any, Dict, List, Sequence

from absl import flags

from leanood.data import corruptions
from leanood.tflite import bundle
from leanood.tools import command, data_flags
from leanood.workflow import evaluate, plots

_OUT = flags.DEFINE_string("out", None, "a folder for evaluation.json and the plots")
_SEVERITIES = flags.DEFINE_list("severities", [str(s) for s in evaluate.SEVERITIES], "of the corruptions, 1 to 5")
_CORRUPTIONS = flags.DEFINE_list("corruptions", list(corruptions.NAMES), "which; none: --corruptions=")
_STRETCH = flags.DEFINE_float("stretch_s", 10.0, "length of a test sequence in seconds", lower_bound=0.1)
_STRETCHES = flags.DEFINE_integer("stretches", 12, "test sequences for each corruption", lower_bound=1)
_ACCELERATOR = flags.DEFINE_enum("accelerator", "cpu", ["cpu", "gpu"], "what runs the network")
_RUNTIME = flags.DEFINE_enum("runtime", "auto", ["auto", "litert", "tflite-runtime", "tf.lite"], "which runtime")
_THREADS = flags.DEFINE_integer("num_threads", 1, "CPU threads", lower_bound=1)
_RECORD = flags.DEFINE_boolean("record", False, "keep the result in the detector file, where `leanood info` shows it")
_JSON = command.define_json()

_MOST_PARTITIONS = 4  # columns of the table; more are in evaluation.json alone


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError("name one detector file, e.g. leanood evaluate detector.tflite --out=results")
    if any(not word.isdigit() or not 1 <= int(word) <= 5 for word in _SEVERITIES.value):
        raise ValueError(f"--severities={','.join(_SEVERITIES.value)}: they are whole numbers from 1 to 5")
    if _OUT.value:
        os.makedirs(_OUT.value, exist_ok=True)
    path = argv[1]
    detector = bundle.load(path, _ACCELERATOR.value, _THREADS.value, _RUNTIME.value)
    provenance = detector.config.get("provenance", {})
    found, _ = data_flags.open_data(provenance.get("data", {}))
    settings = evaluate.Settings(
        severities=tuple(int(word) for word in _SEVERITIES.value), stretch_s=_STRETCH.value,
        corruptions=tuple(name for name in _CORRUPTIONS.value if name), stretches=_STRETCHES.value)
    result = evaluate.evaluate(detector, found, settings)
    report = {"file": path, "bytes": os.path.getsize(path), **result.report}
    report["reconstruction_loss"] = _reconstruction(detector, found, provenance)
    if _RECORD.value:
        _record(path, report)
    if _OUT.value:
        report["written"] = _write(_OUT.value, report, result)
    print(json.dumps(report) if _JSON.value else _text(report))


def _reconstruction(detector: bundle.BundledDetector, found: Any, provenance: Dict[str, Any]) -> Any:
    """Returns the mean test reconstruction loss, nats an image, while the run's decoder is at hand; else None."""
    folder = provenance.get("network", {}).get("model", "")
    if "mu" not in detector.runner.outputs or not os.path.exists(os.path.join(folder, "decoder.h5")):
        return None
    try:
        from leanood.workflow import reconstruction
    except ImportError:  # the base install has no TensorFlow
        return None
    return reconstruction.loss(detector, found, folder)


def _record(path: str, report: Dict[str, Any]) -> None:
    parts = bundle.read(path)
    kept = {name: value for name, value in report.items() if name not in ("file", "bytes")}
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    bundle.write(path, parts.model, {**fields, "metrics": [kept]}, parts.arrays)


def _write(folder: str, report: Dict[str, Any], result: evaluate.Evaluation) -> List[str]:
    aurocs = {row["set"]: row["auroc"] for row in report["rows"]}
    title = f"{report['detector']} on {report['data']} ({report['runtime']})"
    written = [os.path.join(folder, "evaluation.json")]
    partial = written[0] + ".partial"
    with open(partial, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=1)
    os.replace(partial, written[0])
    if result.roc:
        written.append(plots.roc(result.roc, aurocs, os.path.join(folder, "roc.png"), title))
    if result.example:
        written.append(plots.score_over_time(
            result.example["score"], result.example["ood"], report["threshold"], report["fps"],
            os.path.join(folder, "score_over_time.png"), f"{report['detector']}: {result.example['name']}"))
    return written


def _text(report: Dict[str, Any]) -> str:
    sequences = report["mode"] == "sequences"
    parts = list(report["rows"][0].get("auroc_by_partition", {})) if report["rows"] else []
    parts = parts if 1 < len(parts) <= _MOST_PARTITIONS else []
    headers = ["set", "AUROC", "95% interval", *(f"against {part}" for part in parts),
               "AUPR-in", "AUPR-out", "FPR95", "FPR95-ood", "det. error", "TPR", "FPR",
               *(["hits", "delay", "s"] if sequences else []), "best baseline", "its AUROC", "non-inferior"]
    rows = []
    for row in report["rows"]:
        rows.append([
            row["set"] + ("" if row["ood"] else " (in range)"), "constant" if row["constant"] else _three(row["auroc"]),
            f"{row['auroc_low']:.3f}–{row['auroc_high']:.3f}",
            *(_three(row["auroc_by_partition"][part]) for part in parts),
            *(_three(row[name]) for name in ("aupr_in", "aupr_out", "fpr95", "fpr95_ood_positive", "detection_error",
                                             "true_positive_rate", "false_positive_rate")),
            *([_three(row["hit_rate"]), f"{row['delay_frames']:g}", f"{row['delay_s']:.2f}"] if sequences else []),
            row["best_baseline"], _three(row["baselines"][row["best_baseline"]]),
            "yes" if row["non_inferior"] else "no"])
    lines = [command.table(rows, headers), ""]
    mean = report["out_of_range_mean_auroc"]
    lines.append(f"mean AUROC over the {sum(row['ood'] for row in report['rows'])} truly OOD rows: "
                 f"{'-' if mean is None else _three(mean)}; detector {report['detector']}, {report['runtime']} "
                 f"({report['accelerator']}), {report['bytes'] / 1e6:.3f} MB")
    if sequences:
        alarms = report["false_alarms"]
        lines.append(f"false alarms in {alarms['hours'] * 60:.1f} min of untouched test driving: {alarms['count']} "
                     f"({alarms['per_hour']:.1f} an hour, 95% {alarms['low']:.1f}–{alarms['high']:.1f})")
    else:
        each = ", ".join(f"{name} {share:.3f}" for name, share in report["false_positive_rate_by_partition"].items())
        lines.append(f"{report['test_images']} test images, flagged: {report['false_positive_rate']:.3f} ({each})")
    if report["reconstruction_loss"] is not None:
        lines.append(f"test reconstruction loss: {report['reconstruction_loss']:.1f} nats an image")
    if report["unreadable"]:
        lines.append(f"{report['unreadable']} unreadable test images, named above, were left out")
    lines += [f"wrote {path}" for path in report.get("written", [])]
    return "\n".join(lines)


def _three(value: float) -> str:
    return f"{value:.3f}"


def run() -> None:
    command.run(main, example="leanood evaluate detector.tflite --out=results")


if __name__ == "__main__":
    run()
