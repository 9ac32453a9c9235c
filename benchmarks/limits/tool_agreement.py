"""Whether `leanood benchmark` and LiteRT's own benchmark tool agree on a file's latency.

    python benchmarks/limits/tool_agreement.py model.tflite [--rounds=9 --runs=200]

The two take turns, a process each (`ai_edge_litert.tools.benchmark_litert_model`, which comes with ai-edge-litert 2.x,
on one CPU thread). The least median that each tool saw is compared: what else runs on the machine only adds. Exits with
1 if they differ by more than 5%. On the CPU only, and why is printed with the figures.
"""
from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import List

from absl import app, flags

from leanood.tflite import benchmark
from leanood.tflite.timing import results
from leanood.tools import command

_ROUNDS = flags.DEFINE_integer("rounds", 9, "turns of each tool", lower_bound=1)
_RUNS = flags.DEFINE_integer("runs", 200, "invocations a turn", lower_bound=10)
_MOST = 0.05
_CPU_ONLY = ("On the CPU only: on a GPU LiteRT's tool times how long it takes to submit an invocation, not to compute "
             "it; `leanood benchmark` reads an output before the clock stops.")


def theirs(path: str, runs: int) -> float:
    """Median milliseconds by LiteRT's tool."""
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        result = os.path.join(folder, "result.json")
        subprocess.run([sys.executable, "-m", "ai_edge_litert.tools.benchmark_litert_model", f"--model={path}",
                        f"--num_runs={runs}", "--warmup_runs=10", "--num_threads=1", f"--result_json={result}"],
                       check=True, capture_output=True)
        with open(result, encoding="utf-8") as file:
            return _find(json.load(file), "median")


def _find(node: object, word: str) -> float:
    """The first number whose key has the word, wherever the tool's version puts it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if word in key.lower() and isinstance(value, (int, float)):
                return float(value)
        for value in node.values():
            inner = _find(value, word)
            if inner == inner:
                return inner
    return float("nan")


def main(argv: List[str]) -> int:
    if len(argv) != 2:
        raise app.UsageError("give one .tflite file")
    rounds = []
    for turn in range(_ROUNDS.value):
        ours = theirs_ = 0.0
        for tool in ("ours", "theirs") if turn % 2 else ("theirs", "ours"):
            if tool == "ours":
                setup = benchmark.Setup(argv[1], runtime="litert")
                ours = 1e3 * benchmark.measure(setup, runs=_RUNS.value).invoke.median
            else:
                theirs_ = theirs(argv[1], _RUNS.value)
        rounds.append((ours, theirs_))
    columns = list(zip(*rounds))
    rows = [[name, min(column), statistics.median(column)]
            for name, column in zip(("leanood benchmark", "LiteRT's tool"), columns)]
    print(command.table(rows, ["milliseconds", "least median", "median of medians"]))
    ratio = min(columns[0]) / min(columns[1])
    print(_CPU_ONLY)
    print(f"ours / theirs: {ratio:.3f}; round by round {', '.join(f'{a / b:.3f}' for a, b in rounds)}")
    return results.write(__file__, [results.Figure(
        f"`leanood benchmark` / LiteRT's own benchmark tool on the CPU, {os.path.basename(argv[1])}", f"{ratio:.3f}",
        f"{1 - _MOST:g} to {1 + _MOST:g}", abs(ratio - 1) <= _MOST)], rounds)


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
