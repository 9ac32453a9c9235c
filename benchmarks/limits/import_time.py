"""How long device code takes to import, each module in a fresh process.

    python benchmarks/limits/import_time.py

Prints a table, the interpreter's own start taken off; exits with 1 if one takes 0.3 s or more at least, or drags in
TensorFlow, scikit-learn, SciPy or OpenCV.
"""
from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
from typing import Tuple

from leanood.tflite.timing import results
from leanood.tools import command

_MODULES = ("leanood.tflite.runtime", "leanood.tflite.bundle", "leanood.tflite.compat", "leanood.tflite.delegates",
            "leanood.tflite.benchmark", "leanood.ood.detector", "leanood.ood.scores", "leanood.ood.baselines",
            "leanood.data.frames", "leanood.data.flow", "leanood.tools.monitor", "leanood.tools.benchmark",
            "leanood.tools.info")
_HEAVY = ("tensorflow", "tf_keras", "sklearn", "scipy", "cv2", "tflite_runtime", "ai_edge_litert")
_REPEATS, _MOST_SECONDS = 7, 0.3
_CHILD = """
import json, sys, time
begin = time.perf_counter()
__import__(sys.argv[1])
seconds = time.perf_counter() - begin
print(json.dumps([seconds, [name for name in sys.argv[2:] if name in sys.modules]]))
"""


def imported(module: str) -> Tuple[list, list]:
    """Returns the seconds of each `import module` in a child process, and which heavy packages came with it."""
    seconds, heavy = [], []
    for _ in range(_REPEATS):
        child = subprocess.run([sys.executable, "-c", _CHILD, module, *_HEAVY], check=True, stdout=subprocess.PIPE,
                               text=True)
        took, heavy = json.loads(child.stdout.splitlines()[-1])
        seconds.append(took)
    return seconds, heavy


def main() -> int:
    imported("numpy")  # read from disk once
    rows, good = [], True
    for module in _MODULES:
        if importlib.util.find_spec(module) is None:
            rows.append([module, None, None, "not in this version"])
            continue
        seconds, heavy = imported(module)
        good &= min(seconds) < _MOST_SECONDS and not heavy  # what else runs on the machine only adds
        rows.append([module, 1e3 * statistics.median(seconds), 1e3 * min(seconds), ", ".join(heavy)])
    print(command.table(rows, ["import", "median ms", "least ms", "drags in"]))
    slowest = max(rows, key=lambda row: row[2] or 0)
    return results.write(__file__, [
        results.Figure("importing `leanood.tflite.runtime`", f"{rows[0][2]:.0f} ms"),
        results.Figure(f"the slowest of the device's modules, `{slowest[0]}`", f"{slowest[2]:.0f} ms",
                       f"< {1e3 * _MOST_SECONDS:.0f} ms, without TensorFlow, scikit-learn, SciPy, OpenCV", good)], rows)


if __name__ == "__main__":
    sys.exit(main())
