"""detector.json: what a detector file says of itself, with a hash over every byte of it.

Fields that the device relies on: `kind`; `input` {`size` [height, width], …}; `outputs`, names; `partitions`, names;
`partition_kind`; `window`; `decay` (null: nothing is carried over); `threshold` (null: never an alarm); from schema 2
on `scales`, null or {`windows` [frames], `thresholds` [nats, null: never an alarm], from schema 3 on `latest` [frames
of each window that have to agree with it]}. Others are kept as they are: `fps`, `map` {`cells` [rows, columns]},
`calibration`, `metrics`, `provenance`, …. Files of schema 1 are read as they are: one window, one threshold; of those
of schema 2 an eighth of each window has to agree.
"""
from __future__ import annotations

import hashlib
import json
import math
from typing import Any, Dict, List, Mapping, Tuple

SCHEMA = 3
LIMIT = 4 << 20
_ZEROS = "0" * 64
_DIGESTS = ("model", "arrays", "detector")


def dump(fields: Mapping[str, Any], model: str, arrays: str) -> bytes:
    """detector.json's bytes.

    Args:
      fields: as above; numbers are finite.
      model, arrays: SHA-256 of the flatbuffer and of calibration.npz, hexadecimal.

    Raises:
      ValueError: if a field is missing, of a wrong type, or cannot be kept in JSON.
    """
    # Its own hash is that of the text in which it is all zeros.
    complete = {**fields, "schema": SCHEMA, "sha256": {"model": model, "arrays": arrays, "detector": _ZEROS}}
    check(complete)
    try:
        text = json.dumps(complete, indent=1, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the detector's description has a value that JSON cannot keep: {error}") from None
    if len(text) > LIMIT or text.count(_ZEROS) != 1:
        raise ValueError("the detector's description is larger than 4 MiB, or has a text of 64 zeros")
    return text.replace(_ZEROS, hashlib.sha256(text.encode()).hexdigest()).encode()


def parse(data: bytes) -> Dict[str, Any]:
    """The fields of detector.json's bytes.

    Raises:
      ValueError: if they were changed, are of a newer schema, or lack what the device needs.
    """
    if len(data) > LIMIT:
        raise ValueError(f"detector.json is larger than {LIMIT >> 20} MiB, which leanood never writes")
    try:
        text = data.decode()
        fields = json.loads(text, parse_constant=_refuse, parse_int=_integer, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"detector.json is damaged: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict) or type(fields.get("schema")) is not int:
        raise ValueError("detector.json has no schema version")
    if fields["schema"] > SCHEMA:
        raise ValueError(f"written by a newer leanood (schema {fields['schema']}; this one reads up to {SCHEMA}): "
                         "upgrade leanood")
    digests = fields.get("sha256")
    if not isinstance(digests, dict) or not all(isinstance(digests.get(k), str) for k in _DIGESTS):
        raise ValueError("detector.json has no hashes")
    digest = digests["detector"]
    if (len(digest) != 64 or text.count(digest) != 1
            or hashlib.sha256(text.replace(digest, _ZEROS).encode()).hexdigest() != digest):
        raise ValueError("detector.json was changed after it was written (its SHA-256 differs)")
    check(fields)
    return fields


def identity(fields: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that tell detectors apart: what an evaluation or a study adds to a file doesn't count."""
    digests = fields.get("sha256", {})
    judging = {name: value for name, value in fields.items() if name not in ("metrics", "provenance", "sha256")}
    judging["sha256"] = [digests.get("model"), digests.get("arrays")]
    return hashlib.sha256(json.dumps(judging, sort_keys=True).encode()).hexdigest()[:16]


def check(fields: Mapping[str, Any]) -> None:
    """Raises ValueError unless the fields that the device relies on have their types."""
    given = fields.get("input")
    size = given.get("size") if isinstance(given, dict) else None
    wrong: List[str] = []
    if not isinstance(size, (list, tuple)) or len(size) != 2 or not all(_is_int(n) and 0 < n <= 1 << 14 for n in size):
        wrong.append("input.size, [height, width]")
    if not isinstance(fields.get("kind"), str):
        wrong.append("kind, text")
    for key in ("partitions", "outputs"):
        value = fields.get(key)
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
            wrong.append(f"{key}, a list of names")
    if fields.get("partition_kind") not in ("subset", "factor"):
        wrong.append("partition_kind, subset or factor")
    if not _is_int(fields.get("window")) or not 0 <= fields["window"] <= 1 << 20:
        wrong.append("window, a number of frames")
    for key in ("decay", "threshold"):
        if key not in fields or fields[key] is not None and not _is_number(fields[key]):
            wrong.append(f"{key}, a number or null")
    if not _are_scales(fields.get("scales")):
        wrong.append("scales, null or windows, as many thresholds and their latest parts")
    if wrong:
        raise ValueError(f"detector.json lacks or misstates: {'; '.join(wrong)}")


def _are_scales(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict):
        return False
    windows: Any = value.get("windows")
    thresholds: Any = value.get("thresholds")
    latest: Any = windows if value.get("latest") is None else value["latest"]  # schema 2 has none
    return (all(isinstance(each, (list, tuple)) for each in (windows, thresholds, latest))
            and 0 < len(windows) == len(thresholds) == len(latest)
            and all(_is_int(frames) and frames > 0 for frames in (*windows, *latest))
            and all(threshold is None or _is_number(threshold) and threshold > 0 for threshold in thresholds))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def _integer(digits: str) -> int:
    if len(digits) > 20:  # long integers take quadratic time
        raise ValueError(f"the integer {digits[:20]}… is out of range")
    return int(digits)


def _unique(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is there twice")
    return fields
