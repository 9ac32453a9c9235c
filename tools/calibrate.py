"""Calibrates a converted network into a detector file: one .tflite that knows what is normal and when to alarm.

Everything is measured on that very file. Train fits the statistics, calibration the p-value tables, validation (with
synthetic corruptions of it) the decay and, with cross-fitted training driving, the alarm threshold for the stated
rate of false alarms. The data set is the network's own unless --data names another.
"""
from __future__ import annotations

import json
import os
from typing import Any, Dict, Sequence

from absl import flags

from leanood.tflite import bundle, runtime
from leanood.tools import command, data_flags
from leanood.workflow import calibrate

_OUT = flags.DEFINE_string("out", None, "the detector file; default: detector_<name>.tflite beside the network's file")
_DETECTOR = flags.DEFINE_string(
    "detector", None, "typicality: leanood's (default for encoders); kl-topk: the paper's; kl-typical: all latents, "
    "two-sided; of a classifier a score (energy is the default) or several joined by +: "
    + ", ".join(calibrate.DETECTORS[3:]))
_TOP_K = flags.DEFINE_integer("top_k", 1, "kl-topk: so many latents a partition", lower_bound=1)
_RANK_BY = flags.DEFINE_enum("rank_by", "variance", ["variance", "scenes"], "kl-topk: rank latents by the variance of "
                             "their KL or, as published, of its mean step in a scene")
_WINDOW = flags.DEFINE_integer("window", None, "frames that the martingale looks back on; 0: frames are single images; "
                               "default: 10, for kl-topk 20, and 0 for unordered images", lower_bound=0)
_FALSE_ALARMS = flags.DEFINE_float("false_alarms_per_hour", 3.0, "sequences: to allow in in-distribution driving",
                                   lower_bound=1e-6)
_FALSE_POSITIVES = flags.DEFINE_float("false_positive_rate", 0.05, "images: share of in-distribution images to flag",
                                      lower_bound=1e-6, upper_bound=0.999)
_SEED = flags.DEFINE_integer("seed", 0, "of the p-values' smoothing", lower_bound=0)
_THREADS = flags.DEFINE_integer("num_threads", 1, "CPU threads", lower_bound=1)
_JSON = command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise ValueError("name one .tflite file, e.g. leanood calibrate runs/lanes/encoder_int8.tflite")
    path = argv[1]
    flatbuffer = bundle.flatbuffer(path)
    made = data_flags.sidecar(path)
    found, opened = data_flags.open_data(made.get("data", {}))
    runner = runtime.load(flatbuffer, num_threads=_THREADS.value, trusted=False)
    tensor = next(iter(runner.inputs.values()))
    size = (int(tensor.shape[1]), int(tensor.shape[2]))
    settings = calibrate.Settings(
        detector=_DETECTOR.value or calibrate.default_detector(runner.outputs), top_k=_TOP_K.value,
        rank_by=_RANK_BY.value, window=_WINDOW.value, seed=_SEED.value,
        false_alarms_per_hour=_FALSE_ALARMS.value, false_positive_rate=_FALSE_POSITIVES.value)
    result = calibrate.calibrate(runner, size, found, settings)
    out = _OUT.value or os.path.join(os.path.dirname(path),
                                     f"detector_{os.path.splitext(os.path.basename(path))[0]}.tflite")
    fields = calibrate.fields(result, runner, size, found.fps, data=opened, network=made)
    bundle.write(out, flatbuffer, fields, result.detector.to_arrays())
    _print({"out": out, "bytes": os.path.getsize(out), "runtime": runner.runtime, **result.seen,
            "decay": result.detector.decay, "alarm_threshold": result.detector.threshold})


def _print(result: Dict[str, Any]) -> None:
    if _JSON.value:
        print(json.dumps(result))
        return
    flat = {}
    for name, value in result.items():
        if isinstance(value, dict):
            flat.update({f"{name} {key}": inner for key, inner in value.items()})
        elif isinstance(value, list):
            flat.update({name if i == 0 else "": inner for i, inner in enumerate(value)})
        else:
            flat[name] = value
    print(command.table([(name.replace("_", " "), value) for name, value in flat.items()], ["result", "value"]))


def run() -> None:
    command.run(main, example="leanood calibrate runs/lanes/encoder_int8.tflite --out=detector.tflite")


if __name__ == "__main__":
    run()
