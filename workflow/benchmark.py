"""Times any TFLite file, plain or a detector file, in a child process; two of them in processes that take turns."""
from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple, TypeVar, Union

from leanood.tflite import benchmark as timing
from leanood.tflite.timing import operator_times
from leanood.workflow import tabular

T = TypeVar("T")


def benchmark(*files: Union[str, os.PathLike[str]], accelerator: Union[str, Sequence[str]] = "cpu",
              runtime: Union[str, Sequence[str]] = "auto", num_threads: Union[int, Sequence[int]] = 1,
              delegate: Optional[str] = None, allow_cpu: bool = False, runs: int = 100, warmup: int = 10,
              profile: bool = False) -> Benchmark:
    """Times a file: start, latency, memory, size, energy; or compares two, as a ratio with its 95% interval.

    Args:
      *files: one .tflite or detector file, or two to compare.
      accelerator: "cpu" or "gpu"; a list of two compares them.
      runtime: "auto", "litert", "tflite-runtime" or "tf.lite"; a list of two compares them.
      num_threads: CPU threads; a list of two compares them.
      delegate: a delegate library, e.g. libtensorflowlite_gpu_delegate.so.
      allow_cpu: let the CPU take what the accelerator cannot.
      runs: timed invocations.
      warmup: invocations before them.
      profile: time each operator too (on the CPU).

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    setups = _setups([os.fspath(file) for file in files], _several(accelerator), _several(runtime),
                     _several(num_threads), delegate, allow_cpu)
    ratio: Optional[timing.Ratio] = None
    if len(setups) == 1:
        results = [timing.measure(setups[0], runs=runs, warmup=warmup)]
    else:
        first, second, ratio = timing.compare(setups[0], setups[1], runs=runs, warmup=warmup)
        results = [first, second]
    return Benchmark(results, ratio, [operator_times.profile(setup) for setup in setups] if profile else [])


class Benchmark:
    """What a benchmark found; it shows itself as a table.

    Attributes:
      results: `tflite.benchmark.Measurement`, one or two; times in seconds, sizes in bytes.
      ratio: time of the second / time of the first with its interval, or None.
      operators: of each result, its operators' times, where they were asked for.
    """

    def __init__(self, results: Sequence[timing.Measurement], ratio: Optional[timing.Ratio],
                 operators: Sequence[Sequence[Any]]) -> None:
        self.results, self.ratio, self.operators = list(results), ratio, list(operators)

    @property
    def summary(self) -> Dict[str, Any]:
        """Everything, fit for JSON."""
        report: Dict[str, Any] = {"results": [result.as_dict() for result in self.results]}
        if self.ratio is not None:
            report["ratio"] = self.ratio._asdict()
        if self.operators:
            report["operators"] = [[entry._asdict() for entry in entries] for entries in self.operators]
        return report

    def __str__(self) -> str:
        blocks = [tabular.text(_rows(self.results), self._headers())]
        if self.ratio is not None:
            blocks.append(self._said())
        for result, entries in zip(self.results, self.operators):
            blocks.append(f"{result.setup.label()}, operator by operator\n"
                          + tabular.text(_operators(entries), ["", "operator", "ms", "share"]))
        return "\n\n".join(blocks)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        blocks = [tabular.html(_rows(self.results), self._headers())]
        if self.ratio is not None:
            blocks.append(f"<p>{self._said()}</p>")
        blocks += [tabular.html(_operators(entries), ["", "operator", "ms", "share"]) for entries in self.operators]
        return "".join(blocks)

    def _headers(self) -> List[str]:
        return ["", *(result.setup.label() for result in self.results)]

    def _said(self) -> str:
        ratio = self.ratio
        assert ratio is not None
        return (f"time of the second / time of the first: {ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f}, "
                f"{ratio.confidence:.0%} interval, {ratio.rounds} turns)")


def _several(value: Union[T, Sequence[T]]) -> List[T]:
    return [value] if isinstance(value, (str, int)) else list(value)  # type: ignore[list-item, arg-type]


def _setups(files: Sequence[str], accelerators: Sequence[str], runtimes: Sequence[str], threads: Sequence[int],
            delegate: Optional[str], allow_cpu: bool) -> List[timing.Setup]:
    """One setup, or the two to compare: lists of one value serve both."""
    if not 1 <= len(files) <= 2:
        raise ValueError(f"{len(files)} files were given; leanood benchmark FILE times one, FILE FILE compares two")
    count = max(map(len, (files, accelerators, runtimes, threads)))
    if count > 2:
        raise ValueError("at most two values can be compared")
    for number in threads:
        if number < 1:
            raise ValueError(f"--num_threads={number}: it must be a number of at least 1")
    return [timing.Setup(_at(files, i), _at(accelerators, i), _at(runtimes, i), _at(threads, i), delegate, allow_cpu)
            for i in range(count)]


def _at(values: Sequence[T], i: int) -> T:
    if not values:
        raise ValueError("a flag has no value")
    return values[min(i, len(values) - 1)]


def _operators(entries: Sequence[Any]) -> List[Tuple[str, ...]]:
    return [(f"{i}", f"{entry.operator} v{entry.version}", _ms(entry.seconds), f"{entry.share:.1%}")
            for i, entry in enumerate(entries)]


def _rows(results: Sequence[timing.Measurement]) -> List[Tuple[str, ...]]:
    def row(title: str, value: Callable[[timing.Measurement], Any]) -> Tuple[str, ...]:
        return (title, *(value(result) for result in results))

    rows = [row("runtime", lambda r: r.runtime), row("runs on", lambda r: r.placement),
            row("init, ms", lambda r: _ms(r.init)), row("first run, ms", lambda r: _ms(r.first)),
            row("warm-up, ms", lambda r: _ms(r.warmup)), row("runs", lambda r: str(r.invoke.runs))]
    rows += [(f"{name}, ms", *(_ms(getattr(result.invoke, name)) for result in results))
             for name in ("mean", "median", "std", "min", "p95", "p99")]
    if any(result.verdict for result in results):
        rows.append(row("frame to verdict, median ms", lambda r: _ms(r.verdict.median if r.verdict else None)))
    return [*rows, row("peak memory over the runtime's, MB", lambda r: _mb(r.peak_memory)),
            row("tensors alive at once (arena), MB", lambda r: _mb(r.arena)),
            row("file, MB", lambda r: _mb(r.file_size)),
            row("energy a run, mJ", lambda r: r.energy_source if r.energy is None
                else f"{r.energy * 1e3:.4g} ({r.energy_source})")]


def _ms(seconds: Optional[float]) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.4g}"


def _mb(size: Optional[int]) -> str:
    return "not available" if size is None else f"{size / 1e6:.3g}"
