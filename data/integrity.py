"""Why an encoded image is broken: JPEG, PNG, BMP and WebP are walked to their end.

Decoders are forgiving: OpenCV fills the missing part of a truncated JPEG with grey and returns it as a picture,
which a detector would then score. The container formats say where they end, so the end is looked for.
"""
from __future__ import annotations

import re
import struct
import zlib

# In JPEG's entropy-coded data 0xFF is followed by 0 (a data byte), a restart marker or fill; else it begins a marker.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_JPEG_END = 0xD9
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def problem(data: bytes) -> str:
    """What is wrong with an encoded image's container, in a few words; empty if nothing is.

    Args:
      data: the file's bytes. Formats other than JPEG, PNG, BMP and WebP are left to the decoder.
    """
    if not data:
        return "the file is empty"
    if data[:2] == b"\xff\xd8":
        return "" if _jpeg_ends(data) else "truncated JPEG: its end marker is missing"
    if data[:8] == _PNG_SIGNATURE:
        return _png_problem(data)
    if data[:2] == b"BM" and len(data) >= 6 and struct.unpack_from("<I", data, 2)[0] > len(data):
        return "truncated BMP: it is shorter than its header says"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        return "truncated WebP: it is shorter than its header says"
    return ""


def _jpeg_ends(data: bytes) -> bool:
    """True if the JPEG's markers lead to an end-of-image marker (ITU-T T.81, annex B)."""
    at = 2
    while True:
        match = _JPEG_MARKER.search(data, at)
        if match is None:
            return False
        marker = data[match.start() + 1]
        at = match.end()
        if marker == _JPEG_END:
            return True
        if marker == 0x01:  # TEM, the only other marker without a length
            continue
        if at + 2 > len(data):
            return False
        at += struct.unpack_from(">H", data, at)[0]  # a segment's payload may hold a whole thumbnail: skip it


def _png_problem(data: bytes) -> str:
    at = len(_PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            break
        checksum = struct.unpack_from(">I", data, at + 8 + length)[0]
        if zlib.crc32(data[at + 4:at + 8 + length]) != checksum:
            return f"corrupt PNG: chunk {kind.decode('latin-1')} fails its checksum"
        if kind == b"IEND":
            return ""
        at += 12 + length
    return "truncated PNG: its IEND chunk is missing"
