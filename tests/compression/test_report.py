"""Parameters, sparsity, multiply-adds and bytes, by hand."""
import gzip

import numpy as np
import pytest
import tf_keras

from leanood.compression import rebuild, report

L = tf_keras.layers


def test_multiply_adds_of_each_kind_of_layer_by_hand():
    frame = L.Input((8, 6, 3), name="frame")
    x = L.Conv2D(4, 3, strides=2, padding="same", name="conv")(frame)        # 4×3 places
    x = L.DepthwiseConv2D(3, padding="same", name="depth")(x)
    x = L.SeparableConv2D(5, 3, padding="same", name="sep")(x)
    x = L.Conv2DTranspose(2, 3, strides=2, padding="same", name="up")(x)     # from 4×3 places
    model = tf_keras.Model(frame, L.Dense(7, name="dense")(L.Flatten()(x)))
    assert report.multiply_adds(model) == {
        "conv": 12 * 27 * 4, "depth": 12 * 9 * 4, "sep": 12 * (9 * 4 + 4 * 5), "up": 12 * 9 * 5 * 2,
        "dense": 8 * 6 * 2 * 7}


def test_size_counts_zeros_in_kernels_only():
    frame = L.Input((4,), name="frame")
    model = tf_keras.Model(frame, L.Dense(3, name="d")(frame))
    kernel = np.ones((4, 3), np.float32)
    kernel[0] = 0
    model.get_layer("d").set_weights([kernel, np.zeros(3, np.float32)])
    size = report.measure(model)
    assert (size.parameters, size.sparsity, size.multiply_adds, size.bytes) == (15, 0.25, 12, 60)
    assert size.gzipped_bytes == len(gzip.compress(kernel.tobytes() + bytes(12), 6))
    assert report.measure(model, b"x" * 100).bytes == 100


def test_open_sizes_are_refused():
    frame = L.Input((None, None, 3))
    with pytest.raises(rebuild.UnsupportedModel, match="layer 'c' has an open size"):
        report.measure(tf_keras.Model(frame, L.Conv2D(2, 3, name="c")(frame)))


def test_the_table_has_a_row_for_each_model():
    rows, headers = report.table([("before", report.Size(10, 0.5, 100, 40, 30))])
    assert dict(zip(headers, rows[0])) == {"model": "before", "parameters": 10, "sparsity": 0.5, "multiply-adds": 100,
                                           "bytes": 40, "gzipped": 30}
