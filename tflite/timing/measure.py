"""The child process of a benchmark: loads one model and times it on command (python -m leanood.tflite.timing.measure).

Requests and replies are lines of JSON: {"run": n} -> {"seconds": […]}; {"frames": n} -> the same, from frame to verdict
(detector files); {"finish": 1} -> memory.
"""
from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Dict, List

import numpy as np

from leanood.tflite import interpreters, runtime
from leanood.tflite.timing import energy, memory


def main(options: Dict[str, Any]) -> None:
    replies = _redirect_stdout()
    try:
        worker = _Worker(options)
        _reply(replies, worker.described)
        for line in sys.stdin:
            request = json.loads(line)
            if "run" in request:
                _reply(replies, worker.run(int(request["run"])))
            elif "frames" in request:
                _reply(replies, worker.frames(int(request["frames"])))
            else:
                _reply(replies, worker.memory())
    except (ValueError, OSError, MemoryError) as error:
        _reply(replies, {"error": interpreters.single_line(error)})


class _Worker:
    def __init__(self, options: Dict[str, Any]) -> None:
        self._detector: Any = None
        self._detector_file = bool(options.pop("detector", False))
        path = options.pop("model")
        if self._detector_file:
            from leanood.tflite import bundle  # loaded before the baseline is taken: it is no part of the model
        interpreters.choose(options.get("runtime", "auto"))
        memory.forget_peak()
        self._baseline = memory.taken_bytes()
        start = time.perf_counter()
        if self._detector_file:
            self._detector = bundle.load(path, **options)
            self._runner = self._detector.runner
        else:
            self._runner = runtime.load(path, trusted=True, **options)  # this process may crash
        loaded = time.perf_counter()
        random = np.random.default_rng(0)
        self._runner.feed({name: _random(tensor, random) for name, tensor in self._runner.inputs.items()})
        fed = time.perf_counter()
        self._runner.invoke()
        self._meter: Any = energy.meter()
        self.described = {"runtime": self._runner.runtime, "accelerator": self._runner.accelerator,
                          "placement": self._runner.placement, "init_s": loaded - start,
                          "first_s": time.perf_counter() - fed}

    def run(self, count: int) -> Dict[str, Any]:
        """Seconds of each of `count` invocations, and the energy of all where the board tells."""
        invoke, clock = self._runner.invoke, time.perf_counter
        seconds: List[float] = [0.0] * count
        if self._meter is not None:
            self._meter.start()
        for i in range(count):
            start = clock()
            invoke()
            seconds[i] = clock() - start
        reading = self._meter.stop() if self._meter is not None else None
        return {"seconds": seconds, "energy": reading}

    def frames(self, count: int) -> Dict[str, Any]:
        """Seconds from frame to verdict of each of `count` random frames of the model's own size."""
        frame = np.random.default_rng(0).integers(0, 256, (*self._detector.size, 3), dtype=np.uint8)
        return {"seconds": [self._detector(frame).latency_s for _ in range(count)]}

    def memory(self) -> Dict[str, Any]:
        peak = memory.taken_bytes("VmHWM")
        return {"peak_memory": None if peak is None or self._baseline is None else peak - self._baseline}


def _random(tensor: Any, random: np.random.Generator) -> np.ndarray:
    """An input's worth of noise: real values within [0, 1], or whatever integers its type holds."""
    if np.dtype(tensor.dtype).kind == "f":
        return random.uniform(0.0, 1.0, tensor.shape).astype(tensor.dtype)
    if np.dtype(tensor.dtype).kind in "iu" and np.dtype(tensor.dtype).itemsize == 1:
        limits = np.iinfo(tensor.dtype)
        return random.integers(limits.min, limits.max, tensor.shape, dtype=tensor.dtype, endpoint=True)
    return np.zeros(tensor.shape, tensor.dtype)  # of indices and the like, zero is always in range


def _redirect_stdout() -> Any:
    """The replies' stream; what the runtimes print to stdout goes to stderr."""
    kept = os.dup(1)
    os.dup2(2, 1)
    return os.fdopen(kept, "w", encoding="utf-8")


def _reply(stream: Any, reply: Dict[str, Any]) -> None:
    stream.write(json.dumps(reply) + "\n")
    stream.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
