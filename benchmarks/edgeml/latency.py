"""Times TFLite files, each in a child process of its own, taking turns, so that load falls on all alike."""
from __future__ import annotations

import subprocess
import sys
from typing import Dict, List, Sequence, Tuple

import numpy as np

_CHILD = """
import sys, time
import numpy as np
from leanood.tflite import runtime
runner = runtime.load(sys.argv[1], runtime=sys.argv[2], trusted=True)
frame = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
for _ in range(20):
    runner(frame)
print(runner.runtime, flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        runner(frame)
        times.append(time.perf_counter() - start)
    print(sorted(times)[len(times) // 2], flush=True)
"""


def measure(paths: Sequence[str], runtimes: Sequence[str] = ("litert", "tflite-runtime"), rounds: int = 40,
            runs: int = 10) -> Dict[Tuple[str, str], float]:
    """Milliseconds a frame on one thread by (path, runtime's name and version).

    Args:
      paths: files that take 32×32 frames.
      runtimes: as of `runtime.load`.
      rounds: how often each file has its turn; runs: invocations a turn. The result is the least of the turns'
        medians: other processes only ever add to it.
    """
    children: List[Tuple[str, str, subprocess.Popen]] = []
    try:
        for path in paths:
            for name in runtimes:
                child = subprocess.Popen([sys.executable, "-c", _CHILD, path, name], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                assert child.stdout
                found = child.stdout.readline().strip()
                if not found:
                    raise ValueError(f"{path} does not run on {name}")
                children.append((path, found, child))
        times: Dict[Tuple[str, str], List[float]] = {(path, found): [] for path, found, _ in children}
        for _ in range(rounds):
            for path, found, child in children:
                assert child.stdin
                assert child.stdout
                child.stdin.write(f"{runs}\n")
                child.stdin.flush()
                times[path, found].append(1000 * float(child.stdout.readline()))
        return {key: float(np.min(values)) for key, values in times.items()}
    finally:
        for _, _, child in children:
            child.kill()
            child.communicate()
