"""Where an invocation's time goes, operator by operator, though the runtimes' Python packages have no profiler."""
from __future__ import annotations

import dataclasses
import os
import tempfile
from typing import List, NamedTuple

from leanood.tflite import bundle, flatbuffer
from leanood.tflite.timing import worker


class OperatorTime(NamedTuple):
    """One operator's share."""

    operator: str
    version: int
    seconds: float
    share: float


def profile(setup: worker.Setup, *, runs: int = 30) -> List[OperatorTime]:
    """One entry an operator, in the graph's order.

    The graph is cut after its first, second, … operator; an operator takes what its cut takes longer than the one
    before, at the least: what else runs on the machine only adds. What a runtime fuses across operators, or does to
    convert an output, counts for the operator where it shows.

    Args:
      setup: a file and how to run it.
      runs: timed invocations of each cut.
    """
    data = bundle.flatbuffer(setup.model)
    graph = flatbuffer.read(data)
    least = [0.0]
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        path = os.path.join(folder, "cut.tflite")
        for count in range(1, len(graph.operators) + 1):
            with open(path, "wb") as file:
                file.write(flatbuffer.truncated(data, count))
            with worker.start(dataclasses.replace(setup, model=path)) as child:
                child.run(3)
                least.append(min(child.run(runs)["seconds"]))
    total = least[-1] or 1.0
    taken = [max(0.0, after - before) for before, after in zip(least, least[1:])]
    return [OperatorTime(operator.name, operator.version, seconds, seconds / total)
            for operator, seconds in zip(graph.operators, taken)]
