"""The detector file: one `.tflite` that carries its own calibration, checked to the last byte.

    flatbuffer | ZIP(detector.json, calibration.npz)

`detector.json` holds the SHA-256 of the flatbuffer, of `calibration.npz` and of itself (counted with its own digest as
zeros), so that damage and mix-ups are found; this is integrity, not security: who can write the file can rehash it.
"""
from __future__ import annotations

import contextlib
import hashlib
import io
import os
import warnings
from typing import Any, BinaryIO, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple, Union, overload

import numpy as np

from leanood.files import atomic, regular
from leanood.ood import detector as ood_detector
from leanood.tflite import runtime as tflite_runtime
from leanood.tflite import together
from leanood.tflite.archive import appendix, description
from leanood.tflite.archive import arrays as npz
from leanood.tflite.detector import BundledDetector, Verdict

__all__ = ["BundledDetector", "DetectorFileError", "Parts", "Verdict", "flatbuffer", "load", "read", "write"]

_MEMBERS = ("detector.json", "calibration.npz")
_LIMITS = (description.LIMIT, 256 << 20)  # bytes of each member
_Path = Union[str, "os.PathLike[str]"]
_Paths = Union[List[_Path], Tuple[_Path, ...]]


class DetectorFileError(ValueError):
    """A file that is no sound detector file; one line says why."""


class Parts(NamedTuple):
    """What a detector file is made of."""

    model: bytes  # the flatbuffer alone
    detector: Dict[str, Any]  # detector.json
    arrays: Dict[str, np.ndarray]


def write(path: _Path, model: bytes, detector: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Writes the detector file, whole or not at all.

    Args:
      path: replaced in one step if it exists.
      model: a flatbuffer; what another calibration appended to it is left off.
      detector: detector.json's fields (`description` says which); `schema` and `sha256` are filled in.
      arrays: the calibration, without NaN.

    Raises:
      ValueError: if a field or an array cannot be kept.
      OSError: if the file cannot be written, e.g. on a full disk; then nothing is left behind.
    """
    model = _flatbuffer_of(model)
    calibration = npz.to_npz(arrays)
    text = description.dump(detector, hashlib.sha256(model).hexdigest(), hashlib.sha256(calibration).hexdigest())
    members = [appendix.Member(name, data) for name, data in zip(_MEMBERS, (text, calibration))]
    with atomic.replacing(path) as file:
        file.write(model)
        file.write(appendix.build(members, len(model)))


def read(path: _Path) -> Parts:
    """The parts of a detector file, each checked.

    Raises:
      DetectorFileError: if the file is no detector file, is damaged, or was written by a newer version.
      OSError: if it cannot be read.
    """
    name = os.fspath(path)
    with regular.open(name) as file:
        fields, arrays, start = _read_open(file, name)
        file.seek(0)
        return Parts(file.read(start), fields, arrays)


@overload
def load(path: _Path, accelerator: str = "cpu", num_threads: int = 1, runtime: str = "auto", *,
         delegate: Optional[str] = None, allow_cpu: bool = False) -> BundledDetector: ...


@overload
def load(path: _Paths, accelerator: str = "cpu", num_threads: int = 1, runtime: str = "auto", *,
         delegate: Optional[str] = None, allow_cpu: bool = False) -> together.Together: ...


def load(path: Union[_Path, _Paths], accelerator: str = "cpu", num_threads: int = 1, runtime: str = "auto", *,
         delegate: Optional[str] = None, allow_cpu: bool = False) -> Union[BundledDetector, together.Together]:
    """A detector that is ready for frames: `verdict = detector(frame)`.

    Args:
      path: a detector file; or several, such as one of appearance and one of motion, which then judge each frame
        together.
      accelerator, num_threads, runtime, delegate, allow_cpu: as of `runtime.load`.

    Raises:
      DetectorFileError: if the file is not sound.
      ValueError: if this machine cannot run it as asked.
      OSError: if it cannot be read.
    """
    if not isinstance(path, (str, os.PathLike)):
        return together.Together([load(entry, accelerator, num_threads, runtime, delegate=delegate, allow_cpu=allow_cpu)
                                  for entry in path])
    name = os.fspath(path)
    with regular.open(name) as file:
        fields, arrays, _ = _read_open(file, name)
    # Its hash was checked: no child process needs to try it first.
    runner = tflite_runtime.load(name, accelerator, num_threads, runtime, delegate=delegate, allow_cpu=allow_cpu,
                                 trusted=True)
    with _usable(name):
        # A calibration may be sound in itself and not fit this graph: one step on constant outputs tells.
        trial = ood_detector.Detector.from_arrays(fields, arrays)
        BundledDetector(runner, trial, fields).try_out()
        loaded = BundledDetector(runner, ood_detector.Detector.from_arrays(fields, arrays), fields)
        never = _never_alarms(loaded.detector)
    if never:
        warnings.warn(f"{name}: {never}", RuntimeWarning, stacklevel=2)
    return loaded


def problem(parts: Parts) -> str:
    """Why a detector file's calibration is of no use: it can't be read, or never alarms; empty where all is well."""
    try:
        with _usable("detector"):
            return _never_alarms(ood_detector.Detector.from_arrays(parts.detector, parts.arrays))
    except DetectorFileError as error:
        return str(error)


def flatbuffer(path: _Path) -> bytes:
    """The graph alone, of a detector file or of a plain .tflite; a detector file is checked."""
    name = os.fspath(path)
    with regular.open(name) as file:
        data = file.read()
    try:
        return read(path).model
    except DetectorFileError as error:
        if is_plain(error):
            return data
        raise


def is_plain(error: DetectorFileError) -> bool:
    """True if the file was refused for being a plain .tflite, without a calibration."""
    return isinstance(error.__cause__, appendix.NoAppendix)


@contextlib.contextmanager
def _usable(name: str) -> Iterator[None]:
    """Whatever a calibration's arrays make go wrong is one line."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, MemoryError) as error:
        raise DetectorFileError(f"{name}: its calibration is not usable: {_line(error)}") from None


def _never_alarms(detector: ood_detector.Detector) -> str:
    why = detector.unreachable()
    return why and f"THIS DETECTOR NEVER ALARMS but on invalid frames: {why}; calibrate it again"


def _flatbuffer_of(data: bytes) -> bytes:
    """The model without a calibration that it may carry already."""
    if data[4:8] != b"TFL3":
        raise ValueError("model is not a TFLite flatbuffer (it does not bear the mark TFL3)")
    with contextlib.suppress(appendix.AppendixError):
        return data[:appendix.read(io.BytesIO(data), len(data), _MEMBERS, _LIMITS)[0]]
    return data


def _read_open(file: BinaryIO, name: str) -> Tuple[Dict[str, Any], Dict[str, np.ndarray], int]:
    """(detector.json, arrays, length of the flatbuffer)."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(8)
    if head[4:8] != b"TFL3":
        raise DetectorFileError(f"{name}: not a TFLite file (it does not bear the mark TFL3)")
    try:
        start, (text, calibration) = appendix.read(file, size, _MEMBERS, _LIMITS)
        fields = description.parse(text)
        digests = fields["sha256"]
        if hashlib.sha256(calibration).hexdigest() != digests["arrays"]:
            raise ValueError("calibration.npz is not the one that was written with detector.json")
        if _digest(file, start) != digests["model"]:
            raise ValueError("the calibration is not of this model: the model was damaged or exchanged")
        return fields, npz.from_npz(calibration), start
    except appendix.NoAppendix as error:
        raise DetectorFileError(f"{name}: a plain TFLite model, not calibrated (or cut off): run leanood calibrate"
                                ) from error
    except ValueError as error:
        raise DetectorFileError(f"{name}: {_line(error)}") from error


def _digest(file: BinaryIO, length: int) -> str:
    """SHA-256 of the file's first `length` bytes."""
    digest = hashlib.sha256()
    file.seek(0)
    while length > 0:
        block = file.read(min(length, 1 << 20))
        if not block:
            break
        digest.update(block)
        length -= len(block)
    return digest.hexdigest()


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
