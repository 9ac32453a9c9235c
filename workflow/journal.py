"""The monitor's journal: one line of JSON a frame, written at once, so that a killed monitor can go on from it."""
from __future__ import annotations

import collections
import contextlib
import itertools
import json
import math
import os
import sys
from typing import Any, Deque, Dict, List, NamedTuple, Optional, Tuple, Union

from leanood.data import frames, stream
from leanood.tflite import bundle, together

_KEPT = 10_000


class Journal:
    """Appends records to a file, or to stdout ("-").

    Args:
      path: the file.
      limit: bytes after which it is renamed to `<path>.1`, in place of an older one, and begun anew; None: never.

    Attributes:
      problem: why nothing is written any more, on a full disk for one; empty as long as all is well.
    """

    def __init__(self, path: str, limit: Optional[int] = None) -> None:
        self._file: Any = sys.stdout if path == "-" else open(path, "ab", buffering=0)  # noqa: SIM115
        self._path, self._limit = path, limit
        self._size = 0 if path == "-" else self._file.tell()
        self.problem = ""

    def write(self, record: Dict[str, Any]) -> None:
        """One line; infinity, which JSON lacks, becomes null. What cannot be written ends the journal, nothing else."""
        if self.problem:
            return
        plain = {key: None if isinstance(value, float) and not math.isfinite(value) else value
                 for key, value in record.items()}
        line = json.dumps(plain) + "\n"
        if self._file is sys.stdout:
            self._file.write(line)
            self._file.flush()
            return
        try:
            if self._limit is not None and self._size + len(line) > self._limit and self._size:
                self._rotate()
            data = line.encode()
            while data:
                data = data[self._file.write(data):]
            self._size += len(line)
        except OSError as error:
            self.problem = f"{self._path}: not written, {error.strerror}; the monitor goes on without its journal"
            print(self.problem, file=sys.stderr)

    def _rotate(self) -> None:
        self._file.close()
        os.replace(self._path, f"{self._path}.1")
        self._file, self._size = open(self._path, "ab", buffering=0), 0  # noqa: SIM115

    def close(self) -> None:
        if self._file is not sys.stdout:
            with contextlib.suppress(OSError):  # what could not be written was told when it was tried
                self._file.close()


class Past(NamedTuple):
    """What a journal tells of the frames so far."""

    frames: int
    tail: List[Dict[str, Any]]  # the records of the last of them


def read(path: str, keep: int) -> Past:
    """A journal's past; a last line that was cut off is removed from the file.

    Args:
      path: a file that need not be there yet.
      keep: how many records to keep at most.

    Raises:
      ValueError: if a line is no record of a monitor.
    """
    tail: Deque[Dict[str, Any]] = collections.deque(maxlen=keep)
    if not os.path.exists(path):
        return Past(0, [])
    with open(path, "rb+") as file:
        good = count = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or record.get("frame") != count:
                raise ValueError(f"{path}: line {count + 1} is not frame {count} of a monitor's journal: "
                                 "give --jsonl another name, or delete the file")
            tail.append(record)
            good += len(line)
            count += 1
        file.truncate(good)
    return Past(count, list(tail))


Detector = Union[bundle.BundledDetector, together.Together]


def resume(detector: Detector, source: stream.Stream, path: str) -> Past:
    """Brings the detector to where it was after a journal's last frame, exactly, by the last frames that it looks at.

    Args:
      detector: fresh.
      source: the same files as then.
      path: the journal.

    Raises:
      ValueError: if the journal is of other frames or another detector, or of several detectors.
    """
    if isinstance(detector, together.Together):
        raise ValueError("--resume goes on with one detector file; of several begin anew, without --resume")
    window = max(1, detector.detector.window)
    memory = detector.detector.memory
    past = read(path, max(_KEPT, 2 * memory))
    if not past.frames:
        return past
    then = past.tail[-1].get("detector", detector.identity)  # journals of older versions don't say
    if then != detector.identity:
        raise ValueError(f"{path}: its frames were judged by the detector {then}, this one is {detector.identity} "
                         "(leanood info shows which is which): go on with that file, give --jsonl another name, or "
                         "begin anew without --resume")
    # The martingale sums its window anew whenever it wraps around: begun at such a place, sums are the same to the bit.
    earliest = past.frames - len(past.tail)
    # The first valid frame is judged without the one before it: it has to lie further back than the score looks.
    remembered = past.frames - memory
    start = max(0, remembered - 1) // window * window
    while start - window >= earliest and all(
            record.get("invalid") for record in past.tail[start - earliest:remembered - earliest]):
        start -= window
    if detector.memory:
        start = 0  # of motion: which frames were judged, and so drew a number, depends on all before them
    detector.detector.skip(start)
    number, known = start, start == 0
    for item in itertools.islice((item for item in source.items(start) if item is not None), past.frames - start):
        verdict, then = judge(detector, item)[0], past.tail[max(0, number - earliest)]
        if number < earliest:
            number += 1
            continue
        if item.name != then.get("name") or known and not _close(verdict.p_value, then.get("p_value")):
            raise ValueError(f"{path}: frame {number} was {then.get('name')}, or had another p-value: it is of another "
                             "source or detector; give --jsonl another name, or delete the file")
        known = known or not verdict.invalid
        number += 1
    if number < past.frames:
        raise ValueError(f"{path}: it has {past.frames} frames, the source only {number}")
    if detector.detector.window:
        detector.detector.resume(float(past.tail[-1]["score"]))
    return past


def judge(detector: Detector, item: stream.Item) -> Tuple[bundle.Verdict, str]:
    """(the verdict on an item, what is wrong with it): a missing frame, or one that cannot be judged, is invalid."""
    if item.frame is None:
        return detector.invalid(), item.problem
    try:
        verdict = detector(item.frame, item.seconds, item.gap)
    except frames.FrameError as error:
        return detector.invalid(), str(error)
    wrong = f"{item.name}: all of one colour, not finite, or nothing that can be judged"
    return verdict, wrong if verdict.invalid else ""


def _close(value: float, then: Optional[Any]) -> bool:
    return isinstance(then, float) and math.isclose(value, then, rel_tol=1e-6)
