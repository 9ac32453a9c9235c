"""Says what a file holds: a detector file's calibration, thresholds, metrics, provenance and hashes, or a plain
.tflite's graph; which operators it uses, which runtimes know them, and whether this machine can run it.
"""
from __future__ import annotations

import hashlib
import os
from typing import Any, Dict, List, Mapping, Tuple, Union

from leanood.tflite import bundle, compat, flatbuffer, interpreters, probe
from leanood.tflite.archive import description
from leanood.workflow import tabular


def info(file: Union[str, os.PathLike[str]], *, try_here: bool = True) -> Info:
    """Returns what a file holds, and where it runs.

    Args:
      file: a detector file, or any .tflite.
      try_here: run it here once, in child processes: each installed runtime, and the GPU.

    Raises:
      ValueError, OSError: if it is neither, is damaged, or cannot be read.
    """
    path = os.fspath(file)
    try:
        parts = bundle.read(path)
        model, detector, problem = parts.model, parts.detector, bundle.problem(parts)
        arrays = {name: [str(array.dtype), *array.shape] for name, array in parts.arrays.items()}
    except bundle.DetectorFileError as error:
        if not bundle.is_plain(error):
            raise
        model, detector, arrays, problem = bundle.flatbuffer(path), None, {}, ""
    graph = flatbuffer.read(model)
    return Info({
        "file": path, "bytes": os.path.getsize(path), "model_bytes": len(model),
        "model_sha256": hashlib.sha256(model).hexdigest(), "detector": detector, "arrays": arrays,
        "problem": problem,
        "inputs": [_tensor(graph.tensors[i]) for i in graph.inputs],
        "outputs": [_tensor(graph.tensors[i]) for i in graph.outputs],
        "operators": [use._asdict() for use in compat.uses(model)], "runs_on": compat.summary(model),
        "here": _here(path) if try_here else {}})


class Info:
    """What a file holds; it shows itself as tables.

    Attributes:
      summary: everything, fit for JSON; `detector` is detector.json, or None of a plain .tflite; `problem` says why its
        calibration is of no use, if so.
    """

    def __init__(self, summary: Mapping[str, Any]) -> None:
        self.summary: Dict[str, Any] = dict(summary)

    def __getitem__(self, name: str) -> Any:
        return self.summary[name]

    def __str__(self) -> str:
        blocks = [block if isinstance(block, str) else tabular.text(*block) for block in self._blocks()]
        return tabular.printable("\n\n".join(blocks))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(f"<p>{tabular.escaped(block)}</p>" if isinstance(block, str) else tabular.html(*block)
                       for block in self._blocks())

    def _blocks(self) -> List[Any]:
        """Returns sentences, and (rows, headers) of tables."""
        summary, detector = self.summary, self.summary["detector"]
        blocks: List[Any] = [(_general(summary), ["", os.path.basename(summary["file"])])]
        if detector is None:
            blocks.append("A plain TFLite model, not calibrated: leanood calibrate makes a detector file of it.")
        else:
            blocks += [summary["problem"]] if summary["problem"] else []
            blocks.append(_metrics(detector.get("metrics")) or "No metrics are recorded.")
            blocks += _benign(detector.get("metrics"))
            provenance = _flat(detector.get("provenance"))
            if provenance:
                blocks.append((provenance, ["provenance", ""]))
            blocks.append(([(name, " ".join(map(str, what))) for name, what in summary["arrays"].items()],
                           ["array", "type and shape"]))
        blocks.append(([(use["name"], str(use["version"]), use["times"]) for use in summary["operators"]],
                       ["operator", "version", "times"]))
        blocks.append(([(title, "; ".join(problems) or "yes") for title, problems in summary["runs_on"].items()],
                       ["by its operators", "runs"]))
        if summary["here"]:
            blocks.append((list(summary["here"].items()), ["on this machine", "runs"]))
        return blocks


def _here(path: str) -> Dict[str, str]:
    """Runtime -> where the graph ran, or why not."""
    placements = {}
    for title, runtime, accelerator in [(kind.title, name, "cpu") for name, kind in interpreters.KINDS.items()
                                        if name != "tf.lite"] + [("LiteRT on the GPU", "litert", "gpu")]:
        try:
            placements[title] = "yes, " + probe.placement(path, runtime, accelerator)
        except ValueError as error:
            placements[title] = f"no: {error}"
    return placements


def _tensor(tensor: flatbuffer.TensorInfo) -> Dict[str, Any]:
    return {"tensor": tensor.name, "type": tensor.type, "shape": list(tensor.shape),
            "scale": list(tensor.scales), "zero_point": list(tensor.zero_points)}


def _general(summary: Mapping[str, Any]) -> List[Tuple[str, str]]:
    detector = summary["detector"]
    rows = [("size", f"{summary['bytes'] / 1e6:.3g} MB (graph {summary['model_bytes'] / 1e6:.3g} MB)"),
            ("graph's SHA-256", summary["model_sha256"])]
    for word in ("inputs", "outputs"):
        rows += [(word[:-1], f"{t['tensor']} {t['type']} {t['shape']}") for t in summary[word]]
    if detector is None:
        return rows
    threshold = "none: it never alarms" if detector.get("threshold") is None else f"{detector['threshold']:.6g}"
    decay = "none: nothing is carried over" if detector.get("decay") is None else f"{detector['decay']:.6g}"
    rows += [("kind", f"{detector['kind']} ({detector.get('detector', '-')})"), ("schema", str(detector["schema"])),
             ("known in journals as", description.identity(detector)),
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


def _benign(metrics: Any) -> List[str]:
    """A sentence on the changes that nobody sees and that alarm all the same; none where nothing is known."""
    last = metrics[-1] if isinstance(metrics, list) and metrics else None
    rows = last.get("benign") if isinstance(last, dict) else None
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        return []
    loud = [f"{row.get('change')} ({row.get('alarmed')})" for row in rows if not row.get("silent")]
    if not loud:
        return [f"Silent on all {len(rows)} benign changes that it was tried on."]
    return [f"NOT SILENT on {len(loud)} of {len(rows)} benign changes, which no person sees (share of frames that "
            f"alarm): {', '.join(loud)}. Calibrate it on frames of the camera that it will watch."]


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
