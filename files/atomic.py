"""Files that are written whole or not at all: under a name of their own beside the target, renamed onto it when done.

The partial file is created by us or not at all (O_EXCL, a random name), so that no link that somebody has put there is
followed; a link in the target's own place is replaced, not written through. What is killed leaves `.NAME.….partial`.
"""
from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import tempfile
import uuid
from typing import IO, Any, BinaryIO, Iterator, Union, cast

PARTIAL = ".partial"  # the ending of what is not finished
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_Path = Union[str, "os.PathLike[str]"]


@contextlib.contextmanager
def replacing(path: _Path) -> Iterator[BinaryIO]:
    """Yields a binary file that takes the name `path` once the block ends without an error and it is on the disk.

    Args:
      path: replaced in one step if it exists; a device or a pipe (/dev/stdout) is written to as it stands.

    Raises:
      OSError: if it cannot be written, e.g. on a full disk; then nothing is left behind.
    """
    name = os.fspath(path)
    with _told(name):
        if _is_stream(name):
            with open(name, "wb") as stream:
                yield stream
            return
        partial = _partial(name)
        try:
            with cast(BinaryIO, os.fdopen(os.open(partial, _FLAGS, 0o666), "wb")) as file:
                yield file
                _flush(file)
            os.replace(partial, name)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)
        _flush_folder(name)


@contextlib.contextmanager
def replacing_path(path: _Path) -> Iterator[str]:
    """Yields the path of a file yet to be written, which then takes the name `path`: for writers that take only paths.

    It bears the same name and ending, in a folder of its own that nobody else may write to.

    Args:
      path: replaced in one step if it exists.

    Raises:
      OSError: if it cannot be written; then nothing is left behind.
    """
    name = os.fspath(path)
    parent, base = os.path.split(name)
    with _told(name):
        folder = tempfile.mkdtemp(prefix=f".{base}.", suffix=PARTIAL, dir=parent or ".")
        try:
            partial = os.path.join(folder, base)
            yield partial
            with open(partial, "rb+") as file:
                _flush(file)
            os.replace(partial, name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        _flush_folder(name)


def write_bytes(path: _Path, data: bytes) -> None:
    """Writes `data` as the whole content of `path`, or raises OSError and leaves what was there."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: _Path, text: str) -> None:
    """Writes `text` in UTF-8 as the whole content of `path`, or raises OSError and leaves what was there."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: _Path, value: Any) -> None:
    """Writes `value` as JSON, indented, as the whole content of `path`; raises ValueError on NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_figure(path: _Path, figure: Any, **options: Any) -> None:
    """Writes a Matplotlib figure whole or not at all, in the format that the path's ending names (else PNG).

    Args:
      path: of the picture.
      figure: a `matplotlib.figure.Figure`.
      options: for its `savefig`, e.g. dpi.
    """
    ending = os.path.splitext(os.fspath(path))[1][1:]
    with replacing(path) as file:
        figure.savefig(file, format=ending or "png", **options)


def _partial(name: str) -> str:
    folder, base = os.path.split(name)
    return os.path.join(folder, f".{base}.{uuid.uuid4().hex[:8]}{PARTIAL}")


def _is_stream(name: str) -> bool:
    try:
        mode = os.stat(name).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _flush(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(name: str) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        handle = os.open(os.path.dirname(name) or ".", os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Errors of writing say which file was meant, not which partial one."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in _FULL else error.strerror or str(error)
        raise OSError(error.errno, f"{name}: not written, {reason}") from None
