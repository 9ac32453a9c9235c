"""Times .tflite files: each in a child process of its own, two of them taking turns; memory, size, energy."""
from __future__ import annotations

import dataclasses
import os
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from leanood.tflite import flatbuffer
from leanood.tflite.timing import worker
from leanood.tflite.timing.worker import Setup

__all__ = ["Measurement", "Ratio", "Setup", "Times", "compare", "measure"]


@dataclasses.dataclass(frozen=True)
class Times:
    """Statistics of seconds."""

    runs: int
    mean: float
    median: float
    std: float
    min: float
    p95: float
    p99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Times:
        values = np.asarray(seconds, np.float64)
        p50, p95, p99 = np.percentile(values, [50, 95, 99]).tolist()
        return cls(len(values), float(values.mean()), p50, float(values.std(ddof=1)) if len(values) > 1 else 0.0,
                   float(values.min()), p95, p99)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a benchmark found out of one setup. Times are in seconds, sizes in bytes."""

    setup: Setup
    runtime: str
    accelerator: str
    placement: str
    init: float  # from the file to an interpreter with its memory allocated
    first: float  # the first invocation
    warmup: float  # mean of the warm-up's invocations
    invoke: Times
    verdict: Optional[Times]  # of a detector file: from a frame of the model's size to the verdict
    peak_memory: Optional[int]  # above the process with the runtime loaded and no model
    file_size: int
    arena: int  # tensors alive at once, at the worst point of the graph: the least that an arena can have
    energy: Optional[float]  # joules an invocation, of the whole board or package
    energy_source: str

    def as_dict(self) -> Dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)


class Ratio(NamedTuple):
    """time(b) / time(a), with its confidence interval."""

    ratio: float
    low: float
    high: float
    confidence: float
    rounds: int


def measure(setup: Setup, *, runs: int = 100, warmup: int = 10) -> Measurement:
    """Measures one file.

    Args:
      setup: the file and how to run it; it may be any .tflite, or a detector file.
      runs: timed invocations.
      warmup: invocations before them, beside the first.

    Raises:
      ValueError: if the file cannot be run; OSError: if it cannot be read.
    """
    _check(runs, warmup)
    with worker.start(setup) as child:
        return _finish(child, setup, child.run(warmup), [child.run(runs)], runs)


def compare(first: Setup, second: Setup, *, runs: int = 100, warmup: int = 10, rounds: int = 20,
            confidence: float = 0.95) -> Tuple[Measurement, Measurement, Ratio]:
    """(Measurement, Measurement, Ratio) of two setups whose processes take turns, so that both see the same machine.

    Args:
      first, second: two files, or one file in two runtimes.
      runs: timed invocations of each, in all.
      warmup: invocations before them.
      rounds: turns; the ratio is the median of the rounds' ratios of medians, its interval that median's bootstrap.
      confidence: of the interval.
    """
    _check(runs, warmup)
    rounds = max(1, min(rounds, runs))
    blocks = [runs // rounds + (i < runs % rounds) for i in range(rounds)]
    with worker.start(first) as a, worker.start(second) as b:
        warm_a, warm_b = a.run(warmup), b.run(warmup)
        of_a: List[Dict[str, Any]] = []
        of_b: List[Dict[str, Any]] = []
        for i, block in enumerate(blocks):
            turns = [(a, of_a), (b, of_b)]
            for child, results in turns if i % 2 == 0 else reversed(turns):  # neither always comes second
                results.append(child.run(block))
        ratios = [float(np.median(y["seconds"]) / np.median(x["seconds"])) for x, y in zip(of_a, of_b)]
        return (_finish(a, first, warm_a, of_a, runs), _finish(b, second, warm_b, of_b, runs),
                _ratio(ratios, confidence))


def _finish(child: worker.Worker, setup: Setup, warm: Dict[str, Any], blocks: List[Dict[str, Any]],
            runs: int) -> Measurement:
    verdicts = child.ask({"frames": runs})["seconds"] if child.detector else None
    peak = child.ask({"finish": 1})["peak_memory"]
    with open(setup.model, "rb") as file:
        graph = flatbuffer.read(file.read())
    readings = [block["energy"] for block in blocks]
    source = readings[0][2] if readings[0] else "not available"
    return Measurement(
        setup, child.described["runtime"], child.described["accelerator"], child.described["placement"],
        child.described["init_s"], child.described["first_s"],
        float(np.mean(warm["seconds"])) if warm["seconds"] else child.described["first_s"],
        Times.of([s for block in blocks for s in block["seconds"]]), Times.of(verdicts) if verdicts else None, peak,
        os.path.getsize(setup.model), graph.arena_bytes(),
        sum(reading[0] for reading in readings) / runs if readings[0] else None, source)


def _ratio(ratios: Sequence[float], confidence: float) -> Ratio:
    """The median of paired ratios, with the bootstrap interval of that median."""
    logs = np.log(ratios)
    drawn = np.random.default_rng(0).integers(0, len(logs), (2000, len(logs)))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.median(logs[drawn], axis=1), [tail, 100 - tail])
    return Ratio(float(np.exp(np.median(logs))), float(np.exp(low)), float(np.exp(high)), confidence, len(logs))


def _check(runs: int, warmup: int) -> None:
    if runs < 1 or warmup < 0:
        raise ValueError(f"runs is {runs} and warmup {warmup}: there must be at least 1 run and 0 warm-ups")
