"""Packed storage gives the very bytes back, and pays after pruning and clustering."""
import gzip

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from leanood.compression import cluster, huffman, prune
from leanood.tflite import convert

L = tf_keras.layers


@pytest.fixture(scope="module")
def model():
    tf_keras.utils.set_random_seed(0)
    x = frame = L.Input((8, 8, 3), name="frame")
    x = L.Conv2D(16, 3, activation="relu", name="conv")(x)
    x = L.Dense(24, activation="relu", name="dense")(L.Flatten()(x))
    return tf_keras.Model(frame, {"mu": L.Dense(2, name="mu")(x)})


def test_a_dense_float_file_comes_back_and_is_about_as_large_as_gzipped(model):
    flatbuffer = convert.convert(model)
    packed = huffman.pack(flatbuffer)
    assert huffman.unpack(packed) == flatbuffer
    assert len(packed) < 1.05 * len(gzip.compress(flatbuffer, 9))


def test_a_pruned_and_clustered_file_is_smaller_than_gzipped(model):
    small = cluster.cluster(prune.prune(model, 0.8), 16)
    for quantize in ("float32", "dynamic"):
        flatbuffer = convert.convert(small, quantize=quantize)
        packed = huffman.pack(flatbuffer)
        assert huffman.unpack(packed) == flatbuffer
        assert len(packed) < 0.9 * len(gzip.compress(flatbuffer, 9))
        assert huffman.ratio(flatbuffer) == len(flatbuffer) / len(packed)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 1200), st.integers(-3, 3)), min_size=1, max_size=30), st.integers(0, 600))
def test_any_pattern_of_zeros_comes_back(runs, tail):
    values = np.concatenate([[0] * gap + [value] for gap, value in runs] + [[0] * tail]).astype(np.int8)
    best = huffman._smallest(values)
    if best is not None:
        entry, parts = best
        assert huffman._restored({**entry, "size": values.nbytes}, parts) == values.tobytes()


def test_damage_and_other_files_are_refused(model):
    packed = bytearray(huffman.pack(convert.convert(cluster.cluster(model, 4), quantize="dynamic")))
    with pytest.raises(ValueError, match="no Huffman-packed TFLite file"):
        huffman.unpack(b"TFL3" + bytes(packed))
    for position in (len(packed) // 2, len(packed) - 3, 30):
        broken = bytearray(packed)
        broken[position] ^= 255
        with pytest.raises(ValueError, match="the packed file is damaged"):
            huffman.unpack(bytes(broken))
