"""The data set and the model file that a verb works on: the flags that calibrate and evaluate share.

The flags default to what the network was trained and converted on: `leanood convert` writes FILE.json beside
FILE.tflite with the data's description in it, and `leanood calibrate` carries that into the detector file.
"""
from __future__ import annotations

import json
import os
from typing import Any, Dict, Mapping, Tuple

from absl import flags

from leanood.data import catalog, dataset

_DATA = flags.DEFINE_string("data", None, "an image folder, a video, lanes or tfds:NAME; default: the network's own")
_SPLIT_CSV = flags.DEFINE_string("split_csv", None, "a table image,split instead of the automatic split")
_TIMES_CSV = flags.DEFINE_string("times_csv", None, "a table frame,milliseconds that orders frames in time")
_OOD_PARTITIONS = flags.DEFINE_list("ood_partitions", None, "partitions (sub-folders) that are out of distribution")
_FPS = flags.DEFINE_float("fps", None, "frames a second of ordered frames (default 20)", lower_bound=0.001)
_DATA_SEED = flags.DEFINE_integer("data_seed", None, "seed of the automatic split and of made-up scenes", lower_bound=0)
_LIMIT = flags.DEFINE_integer("limit", None, "use about so many frames, evenly spread", lower_bound=1)


def open_data(recorded: Mapping[str, Any]) -> Tuple[dataset.Dataset, Dict[str, Any]]:
    """Returns the data set that the flags name, or else the recorded one, and how to open it again.

    Args:
      recorded: what an earlier step wrote down: `spec` and the options of `catalog.open`; may be empty.
    """
    if _DATA.value is None and not recorded.get("spec"):
        raise ValueError("--data is needed: the file doesn't say what its network was trained on")
    base = {} if _DATA.value else {name: value for name, value in recorded.items() if name != "description"}
    given = {"spec": _DATA.value, "split_csv": _SPLIT_CSV.value, "times_csv": _TIMES_CSV.value,
             "ood_partitions": _OOD_PARTITIONS.value, "fps": _FPS.value, "seed": _DATA_SEED.value,
             "limit": _LIMIT.value}
    options = {**base, **{name: _absolute(value) for name, value in given.items() if value is not None}}
    found = catalog.open(options["spec"], **{name: value for name, value in options.items() if name != "spec"})
    return found, {**options, "description": found.description}


def sidecar(path: str) -> Dict[str, Any]:
    """Returns what `leanood convert` wrote beside a .tflite, or nothing where there is no such file."""
    beside = os.path.splitext(path)[0] + ".json"
    if not os.path.exists(beside):
        return {}
    try:
        with open(beside, encoding="utf-8") as stream:
            return dict(json.load(stream))
    except ValueError as error:
        raise ValueError(f"{beside} is damaged ({error}); convert the network again") from error


def _absolute(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    prefix = "sequences:" if value.startswith("sequences:") else ""
    rest = value[len(prefix):]
    return prefix + os.path.abspath(rest) if os.path.exists(rest) else value
