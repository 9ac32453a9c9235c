"""Work fanned out over a Ray cluster: one machine's processes, or many machines that share a folder."""
from __future__ import annotations

import contextlib
import logging
import os
from typing import Any, Callable, Iterator, Optional

_RETRIES = 5  # of a worker that dies; what it had begun is taken up by the others


def run(work: Callable[[int], None], workers: int, address: Optional[str] = None) -> None:
    """Runs work(0), …, work(workers - 1) side by side, each in a process of its own; returns when all have ended.

    A worker that is killed is started again, here or on another machine.

    Args:
      work: a function that Ray can send; what it does must bear being done again.
      workers: how many; each takes one core.
      address: "auto" or "ray://HOST:PORT", a cluster that runs; None: a Ray of this machine's own, for as long as the
        work takes.

    Raises:
      ValueError: if Ray isn't installed, or the cluster can't be reached.
      RuntimeError: if a worker failed, or died too often.
    """
    ray = _ray()

    def pinned(number: int) -> None:  # TensorFlow and TFLite would start a thread for every core there is
        with _one_core(number):
            work(number)

    with connected(workers, address):
        try:
            task = ray.remote(num_cpus=1, max_retries=_RETRIES)(pinned)
            ray.get([task.remote(number) for number in range(workers)])
        except ray.exceptions.RayTaskError as error:
            raise RuntimeError(str(error.cause or str(error).splitlines()[-1])) from error
        except ray.exceptions.RayError as error:
            raise RuntimeError(f"a worker died {_RETRIES + 1} times: {' '.join(str(error).split())[:200]}") from error


@contextlib.contextmanager
def connected(workers: int, address: Optional[str] = None,
              ready: Optional[Callable[[], None]] = None) -> Iterator[None]:
    """Holds a connection to a Ray cluster for `run` to use several times over.

    Args:
      workers, address: as of `run`.
      ready: what each worker begins with, e.g. imports, while the caller gets ready itself.

    Raises:
      ValueError: if Ray isn't installed, or the cluster can't be reached.
    """
    ray = _ray()
    here = not ray.is_initialized()
    if here:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            ray.init(address=address, logging_level=logging.ERROR, include_dashboard=False,
                     num_cpus=workers if address is None else None)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ValueError(f"the Ray cluster {address!r} can't be reached ({' '.join(str(error).split())[:200]}); "
                             "start one with: ray start --head") from error
    try:
        if ready is not None:
            begin = ray.remote(num_cpus=1)(ready)
            for _ in range(workers):
                begin.remote()
        yield
    finally:
        if here:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ValueError(f"workers side by side need Ray: pip install 'leanood[study]' ({error})") from None
    return ray


@contextlib.contextmanager
def _one_core(number: int) -> Iterator[None]:
    """Keeps this process on one of its cores; where the system can't, it is left alone."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[number % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
