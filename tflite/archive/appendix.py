"""The ZIP behind a flatbuffer: uncompressed members in one fixed form, so that every byte of it can be checked.

A `.tflite` with a ZIP appended is the convention of TFLite Metadata: runtimes read the flatbuffer, `unzip` the rest
(file format: PKWARE APPNOTE 6.3). Members are stored, never deflated: what is read is as large as the file, no bomb
can be hidden in it.
"""
from __future__ import annotations

import struct
import zlib
from typing import BinaryIO, List, NamedTuple, Sequence, Tuple

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_FIELDS = "HHHHHIIIHH"  # version, flags, method, time, date, CRC-32, sizes, lengths of name and extra
_LOCAL_HEADER = struct.Struct("<4s" + _FIELDS)
_CENTRAL_HEADER = struct.Struct("<4sH" + _FIELDS + "HHHII")
_END_RECORD = struct.Struct("<4sHHHHIIH")
_VERSION, _DATE = 20, 0x21  # 2.0; 1 January 1980: the same content makes the same bytes
_MAX_DIRECTORY, _AT_ONCE = 1 << 16, 1 << 20  # bytes


class AppendixError(ValueError):
    """A ZIP that is damaged, or of another form than `build` makes."""


class NoAppendix(AppendixError):
    """A file that ends in no ZIP."""


class Member(NamedTuple):
    """A member's name and content."""

    name: str
    data: bytes


def build(members: Sequence[Member], start: int) -> bytes:
    """The ZIP's bytes, for a place `start` bytes into the file."""
    body, directory = b"", b""
    for name, data in members:
        encoded = name.encode("ascii")
        fields = (_VERSION, 0, 0, 0, _DATE, zlib.crc32(data), len(data), len(data), len(encoded), 0)
        directory += _CENTRAL_HEADER.pack(_CENTRAL, _VERSION, *fields, 0, 0, 0, 0, start + len(body)) + encoded
        body += _LOCAL_HEADER.pack(_LOCAL, *fields) + encoded + data
    place = start + len(body)
    if place + len(directory) >= 1 << 32:
        raise AppendixError("a file of 4 GiB and more cannot carry a ZIP")
    return body + directory + _END_RECORD.pack(_END, 0, 0, len(members), len(members), len(directory), place, 0)


def read(file: BinaryIO, size: int, names: Sequence[str], limits: Sequence[int]) -> Tuple[int, List[bytes]]:
    """Where the ZIP begins, and its members' contents.

    Args:
      file: opened for reading bytes.
      size: the file's length in bytes.
      names: the members' names, in their order; no other may be there.
      limits: bytes that each member may have.

    Raises:
      NoAppendix: if the file doesn't end in a ZIP.
      AppendixError: if one byte of the ZIP is not as `build` writes it.
    """
    count, length, place = _end_record(file, size, names[0])
    if length <= _MAX_DIRECTORY and _is_foreign(file, size, (count, length, place), names):
        raise NoAppendix("the ZIP behind the model is none of leanood's: labels of TFLite Metadata, for one")
    if length > _MAX_DIRECTORY or place + length + _END_RECORD.size != size:
        raise AppendixError("its ZIP's directory is damaged, or bytes were inserted or cut out")
    entries = _directory(_at(file, place, length), count)
    entry_names = [entry[0] for entry in entries]
    if entry_names != list(names):
        raise AppendixError(f"its ZIP holds {', '.join(map(repr, entry_names)) or 'nothing'}, "
                            f"a detector file's {', '.join(map(repr, names))}")
    start = entries[0][2]
    contents, position = [], start
    for (name, length, offset), limit in zip(entries, limits):
        position += _LOCAL_HEADER.size + len(name)
        if offset + _LOCAL_HEADER.size + len(name) != position or length > limit or position + length > place:
            raise AppendixError(f"its member {name!r} has an impossible place or size")
        contents.append(_at(file, position, length))
        position += length
    if _at(file, start, size - start) != build([Member(n, data) for n, data in zip(names, contents)], start):
        raise AppendixError("its ZIP is damaged (a checksum or a header is wrong)")
    return start, contents


def _end_record(file: BinaryIO, size: int, first: str) -> Tuple[int, int, int]:
    """(members, bytes of the directory, its place) of a ZIP that begins with the member `first`."""
    tail = _at(file, max(0, size - _MAX_DIRECTORY), min(size, _MAX_DIRECTORY))
    record = tail[-_END_RECORD.size:]
    if len(record) < _END_RECORD.size or record[:4] != _END:
        if _END in tail:
            raise AppendixError("bytes follow its ZIP: the file was padded or joined with another")
        if _LOCAL in tail or _CENTRAL in tail or _holds(file, size, first):
            raise AppendixError("its ZIP has no end: the file is truncated")
        raise NoAppendix("no ZIP follows the model")
    _, disk, first_disk, here, count, length, place, comment = _END_RECORD.unpack(record)
    if (disk, first_disk, comment) != (0, 0, 0) or here != count:
        raise AppendixError("its ZIP's last record is damaged")
    return count, length, place


def _holds(file: BinaryIO, size: int, name: str) -> bool:
    """True if the member's local header is anywhere in the file."""
    word, header = name.encode("ascii"), _LOCAL_HEADER.size
    overlap = header + len(word)
    for place in range(0, size, _AT_ONCE):
        data = _at(file, place, min(_AT_ONCE + overlap, size - place))
        at = data.find(word, header)
        while at >= 0:
            if data[at - header:at - header + len(_LOCAL)] == _LOCAL:
                return True
            at = data.find(word, at + 1)
    return False


def _is_foreign(file: BinaryIO, size: int, record: Tuple[int, int, int], names: Sequence[str]) -> bool:
    """True if a sound directory names none of a detector file's members; damage doesn't spoil all names at once.

    Metadata without labels leaves a ZIP of no members (MediaPipe's face_detection_short_range.tflite, for one).
    """
    count, length, place = record
    end = size - _END_RECORD.size
    if not length:
        return (count, place) == (0, end) and not _holds(file, size, names[0])
    if length > end:
        return False
    directory = _at(file, end - length, length)
    return directory[:4] == _CENTRAL and not any(name.encode("ascii") in directory for name in names)


def _directory(data: bytes, count: int) -> List[Tuple[str, int, int]]:
    """(name, length, place of the local header) of each member."""
    entries, position = [], 0
    for _ in range(count):
        header = data[position:position + _CENTRAL_HEADER.size]
        if len(header) < _CENTRAL_HEADER.size or header[:4] != _CENTRAL:
            raise AppendixError("its ZIP's directory is damaged")
        fields = _CENTRAL_HEADER.unpack(header)
        method, (stored, length, name_length, extra, comment), place = fields[4], fields[8:13], fields[16]
        if method != 0 or stored != length:
            raise AppendixError("its ZIP has a compressed member, which leanood never writes (a bomb?)")
        position += _CENTRAL_HEADER.size
        name = data[position:position + name_length].decode("ascii", "backslashreplace")
        entries.append((name, length, place))
        position += name_length + extra + comment
    if not entries or position != len(data):
        raise AppendixError("its ZIP's directory is damaged")
    return entries


def _at(file: BinaryIO, place: int, length: int) -> bytes:
    file.seek(place)
    data = file.read(length)
    if len(data) != length:
        raise AppendixError("the file ended while it was read: truncated")
    return data
