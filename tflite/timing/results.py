"""What a benchmark came to, as JSON: its figures beside their targets, with the machine, the versions and the date."""
from __future__ import annotations

import datetime
import os
import pathlib
import platform
import re
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Sequence

from leanood.files import atomic

_PACKAGES = ("ai-edge-litert", "numpy", "opencv-python-headless", "scikit-learn", "tensorflow", "tf_keras",
             "tflite-runtime")
_LEADING_FOLDERS = re.compile(r"(^|(?<==))/.*/")  # where somebody's files lie is nobody's business


class Figure(NamedTuple):
    """One line of the documents' tables."""

    what: str
    measured: str  # in words, with its unit: "11.2 µs a frame"
    target: str = ""  # likewise; none where there is none
    met: bool = True


def write(script: str, figures: Sequence[Figure], details: Any = None) -> int:
    """Writes `benchmarks/results/ROOM-NAME.json`; returns the script's exit status: 1 if a target was missed.

    The environment variable LEANOOD_RESULTS names another folder, for runs that are no measurements.

    Args:
      script: the benchmark's own `__file__`, benchmarks/ROOM/NAME.py.
      figures: what it found.
      details: whatever else JSON can hold, e.g. the rows of its table.
    """
    path = pathlib.Path(script).resolve()
    room, benchmarks = path.parent.name, path.parent.parent
    arguments = [_LEADING_FOLDERS.sub("", argument) for argument in sys.argv[1:]]
    folder = pathlib.Path(os.environ.get("LEANOOD_RESULTS") or benchmarks / "results")
    folder.mkdir(parents=True, exist_ok=True)
    atomic.write_json(folder / f"{room}-{path.stem}.json", {
        "name": path.stem, "command": " ".join(["python", f"benchmarks/{room}/{path.name}", *arguments]),
        "figures": [figure._asdict() for figure in figures], "details": details, "machine": machine(),
        "versions": versions(), "load": _load(),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat()})
    for figure in figures:
        if not figure.met:
            print(f"missed: {figure.what}: {figure.measured} (target {figure.target})", file=sys.stderr)
    return int(not all(figure.met for figure in figures))


def machine() -> Dict[str, Any]:
    """Returns the processor's name, its cores, the architecture and the system."""
    return {"processor": _processor(), "cores": os.cpu_count(), "architecture": platform.machine(),
            "system": platform.system()}


def versions() -> Dict[str, str]:
    """Returns the versions of Python and of the packages that figures depend on, as far as they are installed."""
    from importlib import metadata

    installed: List[Any] = [("python", platform.python_version())]
    for package in _PACKAGES:
        try:
            installed.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return dict(installed)


def _load() -> Optional[float]:
    """How many processes wanted a core in the last minute, the others' too."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"
