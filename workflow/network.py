"""A TFLite file at work on whole data sets: all cores run interpreters of it side by side, and memory doesn't grow.

Frames are read, resized and run chunk by chunk, a few chunks ahead of what is collected; of a frame only the network's
outputs are kept, a few hundred bytes, and those of long data sets on disk.
"""
from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import os
import queue
from typing import (
    Any,
    Callable,
    Deque,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

import numpy as np

from leanood.data import dataset, flow, frames, stacks, storage
from leanood.tflite import runtime as tflite_runtime
from leanood.workflow import datasets, progress
from leanood.workflow.prepared import Prepared

T = TypeVar("T")
R = TypeVar("R")
Outputs = Dict[str, np.ndarray]
CHUNK = 16  # frames in a row for one interpreter
_NOTHING: Mapping[str, Callable[[Any], np.ndarray]] = {}
_IN_MEMORY = 64 << 20  # bytes of one output's array; a longer one is kept in a file that is gone with it


class Ran(NamedTuple):
    """What a network said of a data set's frames."""

    outputs: Outputs  # named arrays [N, …]
    frames: dataset.Dataset  # those N frames: the readable ones
    unreadable: Tuple[str, ...]  # one line "name: reason" for each of the others


def load(model: tflite_runtime.Model, *, num_threads: Optional[int] = None, accelerator: str = "cpu",
         runtime: str = "auto", trusted: bool = False, motion: Optional[flow.Settings] = None,
         prepared: Optional[Prepared] = None) -> Network:
    """Returns the network of a file, in one interpreter a core.

    Each interpreter has one thread, so that numbers don't depend on how many cores there are.

    Args:
      model: a path or the flatbuffer's bytes.
      num_threads: so many interpreters side by side; None: one a core. A GPU has one.
      accelerator, runtime, trusted: see `runtime.load`.
      motion: how the stacks of flows are computed that it takes; None: it takes frames.
      prepared: where frames that were prepared for an earlier network are found; None: nothing is kept.

    Raises:
      ValueError: if the file takes something else than one frame, rows of pixels, or those stacks.
    """
    count = (num_threads or cores()) if accelerator == "cpu" else 1
    runners = [tflite_runtime.load(model, accelerator, 1, runtime, trusted=trusted or number > 0)
               for number in range(count)]
    shapes = [tuple(tensor.shape) for name, tensor in runners[0].inputs.items() if name != "state"]
    _check(shapes, motion)
    tensor = next(iter(runners[0].inputs.values()))
    if motion is not None and tuple(tensor.shape[1:]) != motion.shape:
        raise ValueError(f"the network takes {list(tensor.shape)}, its stacks of flows are {[1, *motion.shape]}; "
                         "convert it again")
    return Network(runners, motion.size if motion else (int(tensor.shape[1]), int(tensor.shape[2])), motion, prepared)


def _check(shapes: Sequence[Tuple[int, ...]], motion: Optional[flow.Settings]) -> None:
    """Raises ValueError unless the inputs, shapes but for a state's, are one frame, or a stack of flows."""
    if len(shapes) != 1:
        raise ValueError(f"the file has {len(shapes)} inputs ({', '.join(map(str, shapes))}), but a detector takes "
                         "one: the frame")
    shape = shapes[0]
    if len(shape) == 4 and shape[1] == 3 != shape[3]:
        raise ValueError(f"the file's input is {shape}, channels first, but a detector takes one frame [1, height, "
                         "width, 3]; name the outputs, --outputs=features=NAME: its pixels are turned then")
    if len(shape) != 4 or shape[0] != 1 or motion is None and shape[3] != 3:
        raise ValueError(f"the file's input is {shape}, but a detector takes one RGB frame [1, height, width, 3]")


class Network:
    """One model in several interpreters.

    Args:
      runners: of the same model.
      size: (h, w) that frames are resized to for it.
      motion: how the stacks of flows are computed that it takes; None: it takes frames.
      prepared: where frames that were prepared for an earlier network are found.

    Attributes:
      runner: one of them.
      size, motion: as given.
      takes: how frames become its input: `motion`, or else `size`.
    """

    def __init__(self, runners: Sequence[tflite_runtime.Runner], size: Tuple[int, int],
                 motion: Optional[flow.Settings] = None, prepared: Optional[Prepared] = None) -> None:
        self.runner, self.size, self.motion, self._prepared = runners[0], size, motion, prepared
        self.takes: Union[Tuple[int, int], flow.Settings] = motion or size
        self._runners = list(runners)
        self._movable = self.runner.accelerator == "cpu"  # a GPU's context belongs to the thread that made it

    def run(self, data: dataset.Dataset, what: str, *, change: Optional[Callable[[np.ndarray, int], np.ndarray]] = None,
            also: Mapping[str, Callable[[Any], np.ndarray]] = _NOTHING) -> Ran:
        """What the network says of each readable frame (of motion: that ends a stack); unreadable ones are named.

        Args:
          data: the frames.
          what: a few words for the progress bar.
          change: (frame at its own resolution, its index in `data`) -> the frame to judge instead.
          also: by name what further arrays [n, …] are made of: frames uint8 [n, h, w, 3] at the network's size, or
            Stacks. They are prepared with the frames, once for all networks.
        """
        if self.motion is not None and not (data.sequence >= 0).all():
            raise ValueError(f"{data.description}: motion needs frames that follow each other in time; give recordings "
                             "(sequences:DIR, a video, or --times_csv), not unordered images")
        broken = np.zeros(len(data), bool) if self.motion is None else stacks.gaps(data)

        def beside(chunk: range) -> Tuple[Any, ...]:
            images, kept, reasons = prepare(chunk)
            return images, kept, reasons, *(measure(images) for measure in also.values() if kept)

        def prepare(chunk: range) -> Tuple[Any, List[int], List[str]]:
            if self.motion is not None:
                return stacks.cut(data, chunk, self.motion, broken, change)
            images = np.empty((len(chunk), *self.size, 3), np.uint8)
            kept: List[int] = []
            reasons: List[str] = []
            for i in chunk:
                try:
                    frame = data.read(i)
                    frame = frame if change is None else change(frame, i)
                    images[len(kept)] = frames.resize(frame, self.size)
                    kept.append(i)
                except frames.FrameError as error:
                    reasons.append(dataset.named(data.names[i], str(error)))
            return images[:len(kept)], kept, reasons

        def judge(runner: tflite_runtime.Runner, prepared: Tuple[Any, ...]) -> Tuple:
            images, kept, reasons, *measured = prepared
            return {**runner.each(images), **dict(zip(also, measured))}, kept, reasons

        store, readable, unreadable = _Store(len(data)), [], []
        step = CHUNK if self.motion is None else 8 * CHUNK  # a chunk of motion begins with frames of the one before
        chunks = [range(begin, min(begin + step, len(data))) for begin in range(0, len(data), step)]
        for outputs, kept, reasons in self.map(beside, judge, chunks, what, beside=tuple(also)):
            if kept:
                store.append(outputs, len(kept))
            readable += kept
            unreadable += reasons
        datasets.say_unreadable(tuple(unreadable))
        if not readable:
            raise ValueError(f"{data.description}: none of {len(data)} frames can be read ({what})"
                             + (f", or nowhere {self.motion.length + 1} in a row" if self.motion else ""))
        if len(readable) < len(data):
            data = data.where(np.array(readable))
            if self.motion is not None:  # what follows the frames left out is no neighbour of what was before them
                broken = data.starts
                broken[1:] |= np.diff(readable) > 1
                data = dataclasses.replace(data, sequence=np.cumsum(broken) - 1)
        return Ran(store.arrays(), data, tuple(unreadable))

    def inputs(self, images: np.ndarray) -> Any:
        """What the network takes of a sequence's frames uint8 [T, h, w, 3] at its size: they themselves, or stacks."""
        return images if self.motion is None else stacks.of_frames(images, self.motion)

    def kept(self, what: str, make: Callable[[], Tuple[np.ndarray, ...]]) -> Tuple[np.ndarray, ...]:
        """Returns what `make` returns, of the data alone: made once for all networks where preparations are kept.

        Args:
          what: the words for it, see `Prepared.work`.
          make: makes it.
        """
        return make() if self._prepared is None else tuple(self._prepared.work(what)(0, make))

    def map(self, prepare: Callable[[T], Any], judge: Callable[[tflite_runtime.Runner, Any], R], jobs: List[T],
            what: str, beside: Tuple[str, ...] = ()) -> Iterator[R]:
        """Yields judge(a runner, prepare(job)) of each job, in order, a few jobs ahead.

        Args:
          prepare: reads and changes frames, on any thread.
          judge: runs the network on what `prepare` returned: where a model is bound to its thread, on the caller's.
          jobs: what to do.
          what: a few words for the progress bar.
          beside: names of what is prepared beside frames; what was kept without is no use.
        """
        idle: queue.SimpleQueue = queue.SimpleQueue()
        for runner in self._runners:
            idle.put(runner)

        known = self._prepared.work(", ".join((what, *beside))) if self._prepared is not None else None
        numbered = list(enumerate(jobs))

        def ready(item: Tuple[int, T]) -> Any:
            return prepare(item[1]) if known is None else known(item[0], lambda: prepare(item[1]))

        def both(item: Tuple[int, T]) -> R:
            prepared = ready(item)
            runner = idle.get()
            try:
                return judge(runner, prepared)
            finally:
                idle.put(runner)

        with concurrent.futures.ThreadPoolExecutor(len(self._runners) if self._movable else cores()) as pool:
            if self._movable:
                yield from _ahead(pool, both, progress.track(numbered, what), 2 * len(self._runners))
            else:
                for prepared in _ahead(pool, ready, progress.track(numbered, what), 2 * cores()):
                    yield judge(self.runner, prepared)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ahead(pool: concurrent.futures.Executor, work: Callable[[T], R], jobs: Iterable[T], ahead: int) -> Iterator[R]:
    """Yields work(job) of each job in order, with at most `ahead` of them begun and not yet yielded."""
    begun: Deque[concurrent.futures.Future] = collections.deque()
    try:
        for job in jobs:
            begun.append(pool.submit(work, job))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


class _Store:
    """Named arrays that grow to at most `most` rows; long ones lie in a file."""

    def __init__(self, most: int) -> None:
        self._most, self._arrays, self._count = most, {}, 0  # type: int, Outputs, int

    def append(self, rows: Mapping[str, np.ndarray], count: int) -> None:
        for name, values in rows.items():
            if name not in self._arrays:
                self._arrays[name] = storage.empty(
                    (self._most, *values.shape[1:]), values.dtype, _IN_MEMORY)
            self._arrays[name][self._count:self._count + count] = values
        self._count += count

    def arrays(self) -> Outputs:
        return {name: array[:self._count] for name, array in self._arrays.items()}
