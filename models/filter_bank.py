"""Pooled statistics of the first layer: a fixed filter bank beside the encoder, as one extra output, `early`.

Deep layers drop what they were not trained to keep (light, colour, blur, noise); the first layer still holds it. So a
fixed first layer (opponent colours, Laplacians at three scales, second differences along rows and columns) runs in the
same pass and is averaged over the frame. Being fixed, it doesn't need training, and compression can't wear it off.
Opponent colours and Laplacian pyramids: Burt & Adelson, IEEE Trans. Communications 31 (1983) 532-540; log energies of
filter banks as a signature of a distortion: Mittal et al., "No-reference image quality assessment in the spatial
domain", IEEE TIP 21 (2012) 4695-4708.

An average needs samples, not all pixels: filters move by several pixels at a time, the more the larger the frame, so
that neither the samples nor the cost depend much on its size. A coarse scale is a larger kernel on the frame itself,
not a pass over a smaller one.
"""
from __future__ import annotations

from typing import List, Sequence

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import named_outputs

NAME = "early"
SCALES = 3
# Mean and deviation of R, G, B; shadow, highlight; magnitude and 4th-power mean by scale and colour; column, row.
SIZE = 6 + 2 + 3 * SCALES + 3 * SCALES + 2
STRIDES = (2, 3, 6)  # by scale, in pixels of a frame of about 112 rows (or columns, where they are fewer)
_ROWS = 112
_SHADOW, _HIGHLIGHT = 0.1, 0.85  # luma below and above which a sensor clips
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_OPPONENT = np.array([_LUMA, [1.0, -1.0, 0.0], [0.0, -1.0, 1.0]], np.float32)  # luma, R − G, B − G
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)
_ACROSS = np.array([[0, 0, 0], [-1, 2, -1], [0, 0, 0]], np.float32)
_CENTRE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
_BLOCK = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32) / 4
_SMALLEST = 16  # pixels: the third scale still has an inside


def with_statistics(model: keras.Model) -> keras.Model:
    """Returns the model (weights shared) with one more output, `early` float32 [N, SIZE], all values ≥ 0.

    Columns: mean R, G, B; standard deviation R, G, B (of 2×2 blocks); mean depth of shadows, of highlights; at each of
    three scales the mean magnitude of the Laplacian of luma, R − G and B − G; at each scale the same three's 4th-power
    mean (high where a few pixels stand out: rain, dead pixels); the largest column's and the largest row's mean second
    difference (dead columns and rows).

    Args:
      model: Functional, one input `frame` float32 [N, h, w, 3] in [0, 1], h and w at least 16, outputs by name.
    """
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3 or None in shape[1:3] or min(shape[1:3]) < _SMALLEST:
        raise ValueError(f"early statistics need an input [N, h, w, 3] with h and w at least {_SMALLEST}, "
                         f"but the model's is {list(shape)}")
    outputs = named_outputs.of(model)
    if NAME in outputs:
        raise ValueError(f"the model already has an output named {NAME!r}")
    return keras.Model(model.input, {**outputs, NAME: statistics(model.input)}, name=model.name)


def statistics(frame: tf.Tensor, strides: Sequence[int] = STRIDES) -> tf.Tensor:
    """Returns the early statistics float32 [N, SIZE] of frames float32 [N, h, w, 3] in [0, 1]; order as above."""
    strides = [max(1, round(stride * min(frame.shape[1:3]) / _ROWS)) for stride in strides]
    with tf.name_scope(NAME):
        # No response is sliced: that costs more than the arithmetic on the channels that aren't wanted.
        response = tf.nn.conv2d(frame, _FIRST, strides[0], "VALID") + _BIAS
        magnitude, square = tf.abs(response), response * response
        signed, mean = _mean(response), _mean(magnitude)
        colour = signed[:, 7:]
        spread = tf.sqrt(tf.nn.relu(_mean(square)[:, 7:] - colour * colour))
        clipped = (mean[:, 5:7] + signed[:, 5:7] * _SIDES) / 2  # max(±x, 0) = (|x| ± x) / 2
        column = tf.reduce_max(tf.reduce_mean(magnitude, axis=1), axis=1)[:, 3:4]
        row = tf.reduce_max(tf.reduce_mean(magnitude, axis=2), axis=1)[:, 4:5]
        magnitudes, peaks = [mean[:, :3]], [_fourth(square)[:, :3]]
        for kernel, stride in zip(_COARSE, strides[1:]):
            response = tf.nn.conv2d(frame, kernel, stride, "VALID")
            magnitudes.append(_mean(tf.abs(response)))
            peaks.append(_fourth(response * response))
        return tf.concat([colour, spread, clipped, *magnitudes, *peaks, column, row], axis=1, name="statistics")


def _mean(responses: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(responses, axis=[1, 2])


def _fourth(square: tf.Tensor) -> tf.Tensor:
    """The 4th-power mean of responses, from their squares."""
    return tf.sqrt(tf.sqrt(_mean(square * square)))


def _first() -> np.ndarray:
    """float32 [3, 3, 3, 10]: Laplacians of three colours; luma across, down; luma twice; 2×2 blocks of R, G, B."""
    filters = [np.multiply.outer(_LAPLACIAN, colour) for colour in _OPPONENT]
    filters += [np.multiply.outer(kernel, _LUMA) for kernel in (_ACROSS, _ACROSS.T, _CENTRE, _CENTRE)]
    filters += [np.multiply.outer(_BLOCK, channel) for channel in np.eye(3)]
    return np.stack(filters, axis=-1).astype(np.float32)


def _coarse() -> List[np.ndarray]:
    """float32 [3f, 3f, 3, 3] for f = 2, 4: the three Laplacians of the frame averaged over f×f blocks."""
    kernels = []
    for factor in (2 ** scale for scale in range(1, SCALES)):
        laplacian = np.kron(_LAPLACIAN, np.full((factor, factor), 1 / factor ** 2))
        kernels.append(np.stack([np.multiply.outer(laplacian, colour) for colour in _OPPONENT], axis=-1))
    return [kernel.astype(np.float32) for kernel in kernels]


_FIRST, _COARSE = _first(), _coarse()
_BIAS = np.array([0.0] * 5 + [-_SHADOW, -_HIGHLIGHT] + [0.0] * 3, np.float32)
_SIDES = np.array([-1.0, 1.0], np.float32)
