"""Stacks of flows of whole data sets: each flow computed once and kept as bytes, stacks cut from them when asked."""
from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os
from typing import Any, Callable, Iterable, List, Optional, Tuple

import numpy as np

from leanood.data import dataset, flow, frames
from leanood.files import atomic

_CHUNK = 200  # frames that one thread takes in a row; it computes one flow more than it has to share


class Stacks:
    """K stacks, uint8 [2h, w, n] each, that look like an array [K, 2h, w, n] to who indexes it.

    Attributes:
      flows: uint8 [N, 2h, w], `flows[i]` ending at frame i.
      ends: int64 [K], the newest flow of each stack.
      shape: (K, 2h, w, n).
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, flows: np.ndarray, ends: np.ndarray, length: int) -> None:
        if len(ends) and (ends.min() < length - 1 or ends.max() >= len(flows)):
            raise ValueError(f"ends: stacks of {length} flows end within [{ends.min()}, {ends.max()}], "
                             f"there are {len(flows)} flows")
        self.flows, self.ends, self._length = flows, ends, length
        self.shape = (len(ends),) + flows.shape[1:] + (length,)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, which: Any) -> Any:
        """One stack by a number, Stacks (nothing is copied but `ends`) by a slice, indices or a mask."""
        if isinstance(which, (int, np.integer)):
            end = int(self.ends[which])
            return np.ascontiguousarray(np.moveaxis(self.flows[end - self._length + 1:end + 1], 0, -1))
        return Stacks(self.flows, self.ends[which], self._length)

    def gatherer(self) -> Callable[[Any], Any]:
        """A function of indices, a tensor int [B], that gives those stacks, uint8 [B, 2h, w, n] (needs TensorFlow).

        Training gathers from the flows, which are kept once, not from all stacks at once.
        """
        import tensorflow as tf

        first = int(self.ends.min()) - self._length + 1
        flows = tf.constant(np.asarray(self.flows[first:int(self.ends.max()) + 1]))
        ends = tf.constant(self.ends - first, tf.int64)

        def gather(chosen: Any) -> Any:
            rows = tf.gather(ends, chosen)[:, tf.newaxis] + tf.range(1 - self._length, 1, dtype=tf.int64)
            return tf.transpose(tf.gather(flows, rows), [0, 2, 3, 1])

        return gather

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        """All stacks at once, uint8 [K, 2h, w, n]: n times the memory of the flows."""
        rows = self.ends[:, None] + np.arange(1 - self._length, 1)
        array = np.ascontiguousarray(np.moveaxis(self.flows[rows], 1, -1))
        return array if dtype is None else array.astype(dtype)


def load(data: dataset.Dataset, settings: flow.Settings) -> Tuple[Stacks, dataset.Dataset, Tuple[str, ...]]:
    """All stacks of a data set's sequences.

    A frame that begins a sequence, follows a gap (`gaps`) or cannot be read breaks them: the next stack ends n frames
    later.

    Args:
      data: ordered frames.
      settings: how flow is computed.

    Returns:
      (the stacks, the data set of the K frames that they end with, one line "name: reason" for each unreadable frame).

    Raises:
      ValueError: if the frames are unordered images, or too few follow each other.
    """
    if not len(data) or (data.sequence < 0).any():
        raise ValueError(f"{data.description}: motion needs frames that follow each other in time; give recordings "
                         "(sequences:DIR, a video, or --times_csv), not unordered images")
    if data.kept is None:
        flows, ends, lines = _computed(data, settings)
    else:
        words = [*data.names, settings.to_json(), data.sequence.tolist()]
        path = os.path.join(data.kept, f"{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]}.npz")
        if not os.path.exists(path):
            flows, ends, lines = _computed(data, settings)
            with atomic.replacing(path) as stream:
                np.savez(stream, flows=flows, ends=ends, lines=np.array(lines, str))
        with np.load(path, allow_pickle=False) as arrays:
            flows, ends, lines = arrays["flows"], arrays["ends"], tuple(arrays["lines"].tolist())
    if not len(ends):
        raise ValueError(f"{data.description}: nowhere do {settings.length + 1} readable frames follow each other "
                         "without a gap, which a stack of flows takes")
    return Stacks(flows, ends, settings.length), data.where(ends), lines


def _computed(data: dataset.Dataset, settings: flow.Settings) -> Tuple[np.ndarray, np.ndarray, Tuple[str, ...]]:
    """Returns the flow that ends at each frame, uint8 [N, 2h, w], the frames that end a stack, a line a bad frame."""
    broken = gaps(data)
    flows = np.zeros((len(data),) + settings.shape[:2], np.uint8)
    reasons: List[Optional[str]] = [None] * len(data)

    def fill(begin: int) -> None:
        computing, before = flow.Flow(settings), None
        for i in range(begin - 1 if begin and not broken[begin] else begin, min(begin + _CHUNK, len(data))):
            try:
                now = computing.prepare(data.read(i))
            except frames.FrameError as error:
                reasons[i] = dataset.named(data.names[i], str(error))
                before = None
                continue
            if before is not None and not broken[i]:
                flows[i] = computing.between(before, now)
            before = now

    with concurrent.futures.ThreadPoolExecutor(dataset.THREADS) as pool:
        list(pool.map(fill, range(0, len(data), _CHUNK)))  # list: a thread's exception is raised here
    unreadable = np.array([reason is not None for reason in reasons], bool)
    return flows, complete(broken, unreadable, settings.length), tuple(line for line in reasons if line)


def cut(data: dataset.Dataset, chunk: range, settings: flow.Settings, broken: np.ndarray,
        change: Optional[Callable[[np.ndarray, int], np.ndarray]] = None) -> Tuple[Stacks, List[int], List[str]]:
    """The stacks that end within a chunk of a data set, for who goes through it chunk by chunk.

    Args:
      data: ordered frames.
      chunk: of their indices.
      settings: how flow is computed.
      broken: of all frames, `gaps`.
      change: (frame at its own resolution, its index) -> the frame to take instead.

    Returns:
      (the stacks, the indices of the frames that they end with, one line "name: reason" for each unreadable frame).
    """
    before = max(chunk.start - settings.length, 0)
    images: List[np.ndarray] = []
    reasons: List[str] = []
    torn = broken[before:chunk.stop].copy()
    unreadable = np.zeros(len(torn), bool)
    for i in range(before, chunk.stop):
        try:
            frame = data.read(i)
            images.append(frame if change is None else change(frame, i))
        except frames.FrameError as error:
            if i >= chunk.start:
                reasons.append(dataset.named(data.names[i], str(error)))
            unreadable[i - before] = True
            images.append(np.zeros((*settings.size, 3), np.uint8))
    torn |= unreadable
    torn[1:] |= unreadable[:-1]
    stacks = of_frames(images, settings, torn)
    stacks = stacks[stacks.ends + before >= chunk.start]
    return stacks, (stacks.ends + before).tolist(), reasons


def of_frames(images: Iterable[np.ndarray], settings: flow.Settings,
              broken: Optional[np.ndarray] = None) -> Stacks:
    """The stacks of a sequence's frames, uint8 RGB [H, W, 3] each; `ends` says which frames they end with.

    Args:
      images: T frames in time order.
      settings: how flow is computed.
      broken: bool [T], true where a frame is missing before one.
    """
    computing = flow.Flow(settings)
    grey = [computing.prepare(image) for image in images]
    broken = np.arange(len(grey)) == 0 if broken is None else broken
    flows = np.zeros((len(grey),) + settings.shape[:2], np.uint8)
    for i in range(1, len(grey)):
        if not broken[i]:
            flows[i] = computing.between(grey[i - 1], grey[i])
    return Stacks(flows, complete(broken, np.zeros(len(grey), bool), settings.length), settings.length)


def complete(broken: np.ndarray, unreadable: np.ndarray, length: int) -> np.ndarray:
    """int64 [K]: the frames at which a stack ends, those with `length` flows in a row up to them.

    Args:
      broken: bool [N], true where a frame does not follow the one before it.
      unreadable: bool [N], frames that could not be read.
      length: n.
    """
    no_flow = broken | unreadable
    no_flow[1:] |= unreadable[:-1]
    no_flow[:1] = True
    frame = np.arange(len(no_flow))
    last = np.maximum.accumulate(np.where(no_flow, frame, -1))
    return np.flatnonzero(frame - last >= length)


def gaps(data: dataset.Dataset) -> np.ndarray:
    """bool [N], true where a frame begins a sequence, or a frame is missing between it and the one before.

    By the frames' times where the data set knows them: more than `flow.LATE` frame intervals, or back in time. A frame
    of unknown time follows the one before it.
    """
    broken = data.starts.copy()
    if data.seconds is not None and data.fps > 0:
        known = np.flatnonzero(np.isfinite(data.seconds))
        step = np.diff(data.seconds[known]) * data.fps / np.maximum(np.diff(known), 1)
        broken[known[1:][(step <= 0) | (step > flow.LATE)]] = True
    return broken
