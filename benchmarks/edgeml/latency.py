"""Times TFLite files, each in a child process of its own, taking turns, so that load falls on all alike."""
from __future__ import annotations

import contextlib
from typing import Dict, List, Sequence, Tuple

import numpy as np

from leanood.tflite.timing import worker

_WARM_UP = 20


def measure(paths: Sequence[str], runtimes: Sequence[str] = ("litert", "tflite-runtime"), rounds: int = 40,
            runs: int = 10) -> Dict[Tuple[str, str], float]:
    """Milliseconds an invocation on one thread by (path, runtime's name and version).

    Args:
      paths: .tflite files.
      runtimes: as of `runtime.load`.
      rounds: how often each file has its turn; runs: invocations a turn. The result is the least of the turns'
        medians: other processes only ever add to it.
    """
    with contextlib.ExitStack() as stack:
        children = {}
        for path in paths:
            for name in runtimes:
                child = stack.enter_context(worker.start(worker.Setup(path, runtime=name)))
                child.run(_WARM_UP)
                children[path, child.described["runtime"]] = child
        taken: Dict[Tuple[str, str], List[float]] = {key: [] for key in children}
        for _ in range(rounds):
            for key, child in children.items():
                taken[key].append(1000 * float(np.median(child.run(runs)["seconds"])))
        return {key: min(medians) for key, medians in taken.items()}
