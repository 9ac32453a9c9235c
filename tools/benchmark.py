"""Times any TFLite file, plain or a detector file, in a child process: start, latency, memory, size, energy, operators.

Two files, or one file in two runtimes, accelerators or thread numbers (--runtime=litert,tflite-runtime), are timed in
two processes that take turns, and compared as a ratio with its 95% interval.
"""
from __future__ import annotations

import json
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from absl import flags

from leanood.tflite import benchmark
from leanood.tflite.timing import operator_times
from leanood.tools import command

_ACCELERATOR = flags.DEFINE_list("accelerator", ["cpu"], "cpu or gpu; one, or two to compare")
_RUNTIME = flags.DEFINE_list("runtime", ["auto"], "auto, litert, tflite-runtime or tf.lite; one, or two to compare")
_THREADS = flags.DEFINE_list("num_threads", ["1"], "CPU threads; one number, or two to compare")
_DELEGATE = flags.DEFINE_string("delegate", None, "a delegate library, e.g. libtensorflowlite_gpu_delegate.so")
_ALLOW_CPU = flags.DEFINE_boolean("allow_cpu", False, "let the CPU take what the accelerator cannot")
_RUNS = flags.DEFINE_integer("runs", 100, "timed invocations", lower_bound=1)
_WARMUP = flags.DEFINE_integer("warmup", 10, "invocations before them", lower_bound=0)
_PROFILE = flags.DEFINE_boolean("profile", False, "time each operator too (on the CPU)")
_JSON = command.define_json()


def main(argv: Sequence[str]) -> None:
    setups = _setups(argv[1:])
    if len(setups) == 1:
        results = [benchmark.measure(setups[0], runs=_RUNS.value, warmup=_WARMUP.value)]
        ratio = None
    else:
        first, second, ratio = benchmark.compare(setups[0], setups[1], runs=_RUNS.value, warmup=_WARMUP.value)
        results = [first, second]
    profiles = [operator_times.profile(setup) for setup in setups] if _PROFILE.value else []
    if _JSON.value:
        report: Dict[str, Any] = {"results": [result.as_dict() for result in results]}
        if ratio is not None:
            report["ratio"] = ratio._asdict()
        if profiles:
            report["operators"] = [[entry._asdict() for entry in entries] for entries in profiles]
        print(json.dumps(report))
        return
    print(command.table(_rows(results), ["", *(setup.label() for setup in setups)]))
    if ratio is not None:
        print(f"\ntime of the second / time of the first: {ratio.ratio:.3f} ({ratio.low:.3f} to {ratio.high:.3f}, "
              f"{ratio.confidence:.0%} interval, {ratio.rounds} turns)")
    for setup, entries in zip(setups, profiles):
        print(f"\n{setup.label()}, operator by operator")
        print(command.table([(f"{i}", f"{entry.operator} v{entry.version}", _ms(entry.seconds), f"{entry.share:.1%}")
                             for i, entry in enumerate(entries)], ["", "operator", "ms", "share"]))


def _setups(files: Sequence[str]) -> List[benchmark.Setup]:
    """One setup, or the two to compare: lists of one value serve both."""
    if not 1 <= len(files) <= 2:
        raise ValueError(f"{len(files)} files were given; leanood benchmark FILE times one, FILE FILE compares two")
    count = max(map(len, (files, _ACCELERATOR.value, _RUNTIME.value, _THREADS.value)))
    if count > 2:
        raise ValueError("at most two values can be compared")
    setups = []
    for i in range(count):
        threads = _at(_THREADS.value, i)
        if not threads.isdigit() or int(threads) < 1:
            raise ValueError(f"--num_threads={threads}: it must be a number of at least 1")
        setups.append(benchmark.Setup(_at(files, i), _at(_ACCELERATOR.value, i), _at(_RUNTIME.value, i), int(threads),
                                      _DELEGATE.value, _ALLOW_CPU.value))
    return setups


def _at(values: Sequence[str], i: int) -> str:
    if not values:
        raise ValueError("a flag has no value")
    return values[min(i, len(values) - 1)]


def _rows(results: Sequence[benchmark.Measurement]) -> List[Tuple[str, ...]]:
    def row(title: str, value: Callable[[benchmark.Measurement], Any]) -> Tuple[str, ...]:
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


def run() -> None:
    command.run(main, example="leanood benchmark detector.tflite --runs=200")


if __name__ == "__main__":
    run()
