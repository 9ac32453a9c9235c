"""Frames read, changed and resized once, and kept on disk for every further network that judges the same ones."""
from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import re
import threading
from typing import Any, Callable, Counter, Dict, List, Tuple, Union

import numpy as np

from leanood.data import dataset, frames, stacks
from leanood.files import atomic, lock

# NumPy reads an array's header with `ast.literal_eval`; in CPython 3.11 two threads inside of it, one of them
# collecting garbage, end in "AST constructor recursion depth mismatch" (python/cpython#106905).
_READING = threading.Lock()

Parts = Union[np.ndarray, Tuple[Any, ...]]  # an array, or several, stacks of flows, and lists of int or str


class Prepared:
    """A folder of what was prepared for one data set at one size.

    Work is told apart by its words and by how often the same words came before, so whoever uses a folder again must ask
    in the same order: as steps with the same settings do. `begin` starts over for the next network.

    Args:
      folder: made where it isn't there.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._asked: Counter[str] = collections.Counter()
        os.makedirs(folder, exist_ok=True)

    def begin(self) -> Prepared:
        """Returns the same folder, for another network that asks from the beginning."""
        return Prepared(self._folder)

    def work(self, what: str) -> Callable[[int, Callable[[], Parts]], Parts]:
        """Returns (number of the job, how to prepare it) -> what was prepared for it, now or earlier.

        Args:
          what: the words for the work, e.g. "scoring rain 3".
        """
        turn = self._asked[what]
        self._asked[what] += 1
        words = re.sub(r"[^0-9A-Za-z]+", "-", what)[:40]
        stem = f"{words}-{hashlib.sha256(what.encode()).hexdigest()[:12]}-{turn}"

        def prepare(number: int, make: Callable[[], Parts]) -> Parts:
            path = os.path.join(self._folder, f"{stem}-{number}.npz")
            if os.path.exists(path):
                with _READING, np.load(path, allow_pickle=False) as kept:
                    return _read(kept)
            parts = make()
            with atomic.replacing(path) as stream:
                np.savez(stream, **_named(parts))
            return parts

        return prepare


def _named(parts: Parts) -> Dict[str, np.ndarray]:
    """Returns the arrays that parts are kept as; of stacks of flows each flow once."""
    if isinstance(parts, np.ndarray):
        return {"alone": parts}
    named: Dict[str, np.ndarray] = {}
    for i, part in enumerate(parts):
        if isinstance(part, stacks.Stacks):
            named.update({f"flows{i}": part.flows, f"ends{i}": part.ends, f"length{i}": np.array(part.shape[-1])})
        else:
            named[f"{'list' if isinstance(part, list) else 'array'}{i}"] = np.asarray(part)
    return named


def _read(kept: Any) -> Parts:
    """Returns the parts that `_named` took apart."""
    if kept.files == ["alone"]:
        return kept["alone"]
    parts: List[Any] = []
    for name in kept.files:
        if name.startswith("flows"):
            i = name[len("flows"):]
            parts.append(stacks.Stacks(kept[name], kept[f"ends{i}"], int(kept[f"length{i}"])))
        elif name.startswith(("list", "array")):
            parts.append(kept[name].tolist() if name.startswith("list") else kept[name])
    return tuple(parts)


def resized(data: dataset.Dataset, size: Tuple[int, int], path: str) -> dataset.Dataset:
    """Returns the same data set at one size, each frame read from its source but once.

    Args:
      data: N frames.
      size: (h, w).
      path: a file for N · h · w · 3 bytes, sparse where frames are never read; made anew where it doesn't fit.
    """
    shape = (len(data), *size, 3)
    done_path = f"{path}.done"
    with lock.exclusive(f"{path}.lock", wait=True):
        fits = (os.path.exists(path) and os.path.getsize(path) == int(np.prod(shape))
                and os.path.exists(done_path) and os.path.getsize(done_path) == len(data))
        mode: Any = "r+" if fits else "w+"
        images = np.memmap(path, np.uint8, mode, shape=shape)
        done = np.memmap(done_path, np.bool_, mode, shape=(len(data),))

    def read(i: int) -> np.ndarray:
        if not done[i]:
            images[i] = frames.resize(data.read(i), size)
            done[i] = True
        return np.array(images[i])

    return dataclasses.replace(data, read=read)
