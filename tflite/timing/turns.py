"""Times jobs that take turns in one process, so that whatever else the machine does falls on all of them alike."""
from __future__ import annotations

import time
from typing import Callable, Dict, Mapping

import numpy as np

Job = Callable[[], object]


def seconds(jobs: Mapping[str, Job], rounds: int, *, calls: int = 1, warmup: int = 0,
            clock: Callable[[], float] = time.process_time) -> Dict[str, np.ndarray]:
    """Returns the seconds that one call of each job took, float64 [rounds] by name.

    Processor time by default: waiting for a crowded machine doesn't count. Other processes still cost caches, which
    only ever adds; so the least of the rounds is the steadiest figure, and ratios are taken within a round.

    Args:
      jobs: by name; in every other round they go in the opposite order, so that none always finds another's caches.
      rounds: turns of each job, ≥ 1.
      calls: of a job in a turn, for jobs of few microseconds.
      warmup: turns before that are not counted.
      clock: `time.process_time` (all threads), `time.thread_time` (this thread) or `time.perf_counter` (the wall's).
    """
    if rounds < 1 or calls < 1 or warmup < 0:
        raise ValueError(f"rounds, calls, warmup are {rounds}, {calls}, {warmup}; at least 1, 1, 0")
    taken = {name: np.empty(rounds) for name in jobs}
    names = list(jobs)
    for turn in range(-warmup, rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            job = jobs[name]
            begin = clock()
            for _ in range(calls):
                job()
            end = clock()
            if turn >= 0:
                taken[name][turn] = (end - begin) / calls
    return taken
