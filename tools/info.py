"""Says what a file holds: a detector file's calibration, thresholds, metrics, provenance and hashes, or a plain
.tflite's graph; which operators it uses, which runtimes know them, and whether this machine can run it.
"""
from __future__ import annotations

import hashlib
import json
import os
from typing import Any, Dict, List, Sequence, Tuple

from absl import flags

from leanood.tflite import bundle, compat, flatbuffer, interpreters, probe
from leanood.tools import command

_TRY = flags.DEFINE_boolean("try", True, "run it here once, in child processes: each installed runtime, and the GPU")
_JSON = command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError(f"{len(argv) - 1} files were given; leanood info takes one")
    path = argv[1]
    try:
        parts = bundle.read(path)
        model, detector = parts.model, parts.detector
        arrays = {name: [str(array.dtype), *array.shape] for name, array in parts.arrays.items()}
    except bundle.DetectorFileError as error:
        if not bundle.is_plain(error):
            raise
        model, detector, arrays = bundle.flatbuffer(path), None, {}
    graph = flatbuffer.read(model)
    report: Dict[str, Any] = {
        "file": path, "bytes": os.path.getsize(path), "model_bytes": len(model),
        "model_sha256": hashlib.sha256(model).hexdigest(), "detector": detector, "arrays": arrays,
        "inputs": [_tensor(graph.tensors[i]) for i in graph.inputs],
        "outputs": [_tensor(graph.tensors[i]) for i in graph.outputs],
        "operators": [use._asdict() for use in compat.uses(model)], "runs_on": compat.summary(model),
        "here": _here(path) if _TRY.value else {}}
    print(json.dumps(report) if _JSON.value else _text(report))


def _here(path: str) -> Dict[str, str]:
    """Runtime -> where the graph ran, or why not."""
    found = {}
    for title, runtime, accelerator in [(kind.title, name, "cpu") for name, kind in interpreters.KINDS.items()
                                        if name != "tf.lite"] + [("LiteRT on the GPU", "litert", "gpu")]:
        try:
            found[title] = "yes, " + probe.placement(path, runtime, accelerator)
        except ValueError as error:
            found[title] = f"no: {error}"
    return found


def _tensor(tensor: flatbuffer.TensorInfo) -> Dict[str, Any]:
    return {"tensor": tensor.name, "type": tensor.type, "shape": list(tensor.shape),
            "scale": list(tensor.scales), "zero_point": list(tensor.zero_points)}


def _text(report: Dict[str, Any]) -> str:
    detector = report["detector"]
    blocks = [command.table(_general(report), ["", os.path.basename(report["file"])])]
    if detector is None:
        blocks.append("A plain TFLite model, not calibrated: leanood calibrate makes a detector file of it.")
    else:
        metrics = _metrics(detector.get("metrics"))
        blocks.append(command.table(*metrics) if metrics else "No metrics: leanood evaluate --record keeps them here.")
        provenance = _flat(detector.get("provenance"))
        if provenance:
            blocks.append(command.table(provenance, ["provenance", ""]))
        blocks.append(command.table([(name, " ".join(map(str, what))) for name, what in report["arrays"].items()],
                                    ["array", "type and shape"]))
    blocks.append(command.table([(use["name"], str(use["version"]), use["times"]) for use in report["operators"]],
                                ["operator", "version", "times"]))
    judged = [(title, "; ".join(problems) or "yes") for title, problems in report["runs_on"].items()]
    blocks.append(command.table(judged, ["by its operators", "runs"]))
    if report["here"]:
        blocks.append(command.table(list(report["here"].items()), ["on this machine", "runs"]))
    return command.printable("\n\n".join(blocks))


def _general(report: Dict[str, Any]) -> List[Tuple[str, str]]:
    detector = report["detector"]
    rows = [("size", f"{report['bytes'] / 1e6:.3g} MB (graph {report['model_bytes'] / 1e6:.3g} MB)"),
            ("graph's SHA-256", report["model_sha256"])]
    for word in ("inputs", "outputs"):
        rows += [(word[:-1], f"{t['tensor']} {t['type']} {t['shape']}") for t in report[word]]
    if detector is None:
        return rows
    threshold = "none: it never alarms" if detector.get("threshold") is None else f"{detector['threshold']:.6g}"
    decay = "none: nothing is carried over" if detector.get("decay") is None else f"{detector['decay']:.6g}"
    rows += [("kind", f"{detector['kind']} ({detector.get('detector', '-')})"), ("schema", str(detector["schema"])),
             ("frame", f"{detector['input']['size'][0]} x {detector['input']['size'][1]}, "
              f"{detector['input'].get('channels', 'RGB')}"), ("reads outputs", ", ".join(detector["outputs"])),
             ("partitions", f"{', '.join(detector['partitions'])} ({detector['partition_kind']})"),
             ("threshold", threshold), ("decay", decay),
             ("window", f"{detector['window']} frames" if detector["window"] else "single images")]
    rows += _flat({key: value for key, value in detector.items() if key not in _SHOWN})
    return rows + [(f"SHA-256 of {part}", digest) for part, digest in detector["sha256"].items() if part != "model"]


_SHOWN = {"kind", "detector", "schema", "input", "outputs", "partitions", "partition_kind", "threshold", "decay",
          "window", "sha256", "metrics", "provenance"}


def _metrics(metrics: Any) -> Any:
    """(rows, headers) of the last evaluation's table, or None."""
    if not isinstance(metrics, list) or not metrics or not isinstance(metrics[-1], dict):
        return None
    rows = metrics[-1].get("rows")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return _flat(metrics[-1]), ["metric", ""]
    headers = [name for name, value in rows[0].items() if not isinstance(value, (dict, list))]
    return [[_plain(row.get(name)) for name in headers] for row in rows], headers


def _flat(fields: Any, prefix: str = "") -> List[Tuple[str, str]]:
    """Nested fields as rows, "data.seed" -> "0"."""
    rows: List[Tuple[str, str]] = []
    for key, value in fields.items() if isinstance(fields, dict) else ():
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key}.")
        else:
            text = str(value)
            rows.append((prefix + key, text if len(text) <= 100 else text[:99] + "…"))
    return rows


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, type(None))) and not isinstance(value, bool) else str(value)


def run() -> None:
    command.run(main, example="leanood info detector.tflite")


if __name__ == "__main__":
    run()
