"""Deep Compression's storage (Han et al., ICLR 2016): a TFLite file's weights as codebook, gaps and Huffman codes.

`unpack` gives the very bytes back. It pays after pruning and clustering, where a kernel has many zeros or few values;
what wouldn't get smaller is deflated instead, so a packed file is never much larger than a gzipped one.
"""
from __future__ import annotations

import hashlib
import json
import struct
import zlib
from typing import Any, Iterator, NamedTuple

import bitarray
import numpy as np
from bitarray import util as huffman

_MAGIC = b"LEANOOD-HUFFMAN-1\n"
_SMALLEST = 256  # bytes: below, a code table costs more than it saves
_MOST_VALUES = 4096  # distinct values: above, a codebook doesn't pay
_LONGEST_GAP = 255  # zeros before a nonzero weight that one symbol can tell; a longer gap takes filler zeros


class _Coded(NamedTuple):
    """Symbols as canonical Huffman codes: how many codes have each length, the symbols in order, the bits."""
    counts: list[int]
    symbols: np.ndarray
    bits: bytes
    length: int


def pack(flatbuffer: bytes) -> bytes:
    """The TFLite file, packed.

    Args:
      flatbuffer: a TFLite file; needs TensorFlow, whose schema finds its weights.
    """
    entries, payload, skeleton, end = [], [], [], 0
    for offset, kind, raw in sorted(_weights(flatbuffer), key=lambda weight: weight[0]):
        best = _smallest(np.frombuffer(raw, kind))
        if best is None or offset < end:
            continue
        entry, parts = best
        entries.append({"offset": offset, "size": len(raw), "dtype": kind, **entry, "parts": [len(p) for p in parts]})
        payload.extend(parts)
        skeleton.append(flatbuffer[end:offset])
        end = offset + len(raw)
    skeleton.append(flatbuffer[end:])
    rest = zlib.compress(b"".join(skeleton), 9)
    header = zlib.compress(json.dumps({"sha256": hashlib.sha256(flatbuffer).hexdigest(), "skeleton": len(rest),
                                       "weights": entries}).encode(), 9)
    return b"".join([_MAGIC, struct.pack("<I", len(header)), header, rest, *payload])


def unpack(packed: bytes) -> bytes:
    """The TFLite file that `pack` was given, byte for byte; its hash is checked."""
    if not packed.startswith(_MAGIC):
        raise ValueError("this is no Huffman-packed TFLite file: it doesn't begin as `huffman.pack` writes")
    try:
        flatbuffer, wanted = _unpacked(packed)
    except (zlib.error, struct.error, ValueError, KeyError, IndexError, StopIteration) as error:
        raise ValueError(f"the packed file is damaged ({error}); pack the model again") from error
    if hashlib.sha256(flatbuffer).hexdigest() != wanted:
        raise ValueError("the packed file is damaged (its hash doesn't match); pack the model again")
    return flatbuffer


def ratio(flatbuffer: bytes) -> float:
    """How many times smaller the packed file is."""
    return len(flatbuffer) / len(pack(flatbuffer))


def _unpacked(packed: bytes) -> tuple[bytes, str]:
    position = len(_MAGIC) + 4
    (length,) = struct.unpack("<I", packed[position - 4:position])
    header = json.loads(zlib.decompress(packed[position:position + length]))
    position += length
    skeleton = zlib.decompress(packed[position:position + header["skeleton"]])
    position += header["skeleton"]
    pieces, at, written = [], 0, 0
    for entry in header["weights"]:
        gap = entry["offset"] - written
        pieces.append(skeleton[at:at + gap])
        at += gap
        parts = []
        for size in entry["parts"]:
            parts.append(packed[position:position + size])
            position += size
        pieces.append(_restored(entry, parts))
        written = entry["offset"] + entry["size"]
    return b"".join([*pieces, skeleton[at:]]), header["sha256"]


def _weights(flatbuffer: bytes) -> Iterator[tuple[int, str, bytes]]:
    """(offset, NumPy dtype, bytes) of every sizeable constant tensor, each buffer once."""
    from tensorflow.lite.python import schema_py_generated as schema

    kinds = {schema.TensorType.INT8: "|i1", schema.TensorType.FLOAT32: "<u4", schema.TensorType.FLOAT16: "<u2"}
    model = schema.Model.GetRootAs(flatbuffer, 0)
    base = np.frombuffer(flatbuffer, np.uint8).__array_interface__["data"][0]
    yielded = set()
    for g in range(model.SubgraphsLength()):
        graph = model.Subgraphs(g)
        for t in range(graph.TensorsLength()):
            tensor = graph.Tensors(t)
            buffer = model.Buffers(tensor.Buffer())
            if tensor.Type() not in kinds or buffer.DataLength() < _SMALLEST or tensor.Buffer() in yielded:
                continue
            yielded.add(tensor.Buffer())
            data = buffer.DataAsNumpy()
            yield data.__array_interface__["data"][0] - base, kinds[tensor.Type()], data.tobytes()


def _smallest(values: np.ndarray) -> tuple[dict[str, Any], list[bytes]] | None:
    """The smaller of the dense and the sparse coding, or None where deflate does as well.

    Args:
      values: the weights' bit patterns, [N].
    """
    if len(np.unique(values)) > _MOST_VALUES:
        return None
    candidates = [_described("dense", [_encode(values)])]
    nonzero = np.flatnonzero(values)
    if 0 < len(nonzero) < len(values):
        gaps, kept = _with_fillers(values, nonzero)
        candidates.append(_described("sparse", [_encode(gaps), _encode(kept)]))
    entry, parts = min(candidates, key=lambda candidate: sum(map(len, candidate[1])))
    return (entry, parts) if sum(map(len, parts)) < len(zlib.compress(values.tobytes(), 9)) else None


def _with_fillers(values: np.ndarray, nonzero: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zeros before each kept value, uint8 [K], and the values, [K]; fillers split gaps that a byte can't hold."""
    gaps = np.diff(nonzero, prepend=-1) - 1
    fillers = gaps // (_LONGEST_GAP + 1)
    last = np.cumsum(fillers + 1) - 1
    every = np.full(last[-1] + 1, _LONGEST_GAP, np.uint8)
    every[last] = gaps % (_LONGEST_GAP + 1)
    kept = np.zeros(len(every), values.dtype)
    kept[last] = values[nonzero]
    return every, kept


def _encode(symbols: np.ndarray) -> _Coded:
    distinct, inverse, counts = np.unique(symbols, return_inverse=True, return_counts=True)
    codes, lengths, order = huffman.canonical_huffman(dict(enumerate(counts.tolist())))
    bits = bitarray.bitarray()
    bits.encode(codes, inverse.tolist())
    return _Coded(lengths, distinct[order], bits.tobytes(), len(bits))


def _described(mode: str, streams: list[_Coded]) -> tuple[dict[str, Any], list[bytes]]:
    entry = {"mode": mode, "streams": [{"counts": s.counts, "bits": s.length, "dtype": s.symbols.dtype.str}
                                       for s in streams]}
    return entry, [part for s in streams for part in (s.symbols.tobytes(), s.bits)]


def _restored(entry: dict[str, Any], parts: list[bytes]) -> bytes:
    streams = [_decode(stream, *parts[2 * i:2 * i + 2]) for i, stream in enumerate(entry["streams"])]
    if entry["mode"] == "dense":
        return streams[0].tobytes()
    gaps, kept = streams
    values = np.zeros(entry["size"] // kept.dtype.itemsize, kept.dtype)
    values[np.cumsum(gaps.astype(np.int64) + 1) - 1] = kept
    return values.tobytes()


def _decode(stream: dict[str, Any], symbols: bytes, coded: bytes) -> np.ndarray:
    bits = bitarray.bitarray()
    bits.frombytes(coded)
    distinct = np.frombuffer(symbols, stream["dtype"])
    order = range(len(distinct))
    places = huffman.canonical_decode(bits[:stream["bits"]], stream["counts"], order)
    return distinct[np.fromiter(places, np.int64)]
