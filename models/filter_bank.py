"""Pooled statistics of the first layer: a fixed filter bank beside the network, as one extra output, `early`.

Deep layers drop what they were not trained to keep (light, colour, blur, noise); the first layer still holds it. So a
fixed first layer (opponent colours, Laplacians at three scales, second differences along rows and columns) runs in the
same pass and is averaged: over the frame (`statistics`), and, so that it matters where in the frame things are, over
cells of it, of which each of three horizontal bands keeps mean and deviation (`layout`): near and far road, and what is
above. Being fixed, it doesn't need training, and compression can't wear it off.
Opponent colours and Laplacian pyramids: Burt & Adelson, IEEE Trans. Communications 31 (1983) 532-540; log energies of
filter banks as a signature of a distortion: Mittal et al., "No-reference image quality assessment in the spatial
domain", IEEE TIP 21 (2012) 4695-4708.

An average needs samples, not all pixels: filters move by several pixels at a time, the more the larger the frame, so
that neither the samples nor the cost depend much on its size. A coarse scale is a larger kernel on the frame itself,
not a pass over a smaller one. Its Laplacian is a sum of two products of an axis' profile with the other's, and of a
small frame it is taken so: first down the columns of a frame whose pixels lie side by side as channels, then across.
The runtimes do that in two thirds of the time of one convolution, whose three outputs leave most of their lanes idle.
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
FRAME = 6 + 2 + 3 * SCALES + 3 * SCALES + 2
BANDS = 3
# Mean and deviation of R, G, B; energies of the Laplacians by scale and colour, of four gradients.
CELL = 6 + 3 * SCALES + 4
SIZE = FRAME + BANDS * CELL * 2
STRIDES = (3, 4, 8)  # by scale, in pixels of a frame of about 112 rows (or columns, where they are fewer)
_ROWS = 112
_SHADOW, _HIGHLIGHT = 0.1, 0.85  # luma below and above which a sensor clips
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_OPPONENT = np.array([_LUMA, [1.0, -1.0, 0.0], [0.0, -1.0, 1.0]], np.float32)  # luma, R − G, B − G
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)
_ACROSS = np.array([[0, 0, 0], [-1, 2, -1], [0, 0, 0]], np.float32)
_RIGHT = np.array([[0, 0, 0], [-1, 0, 1], [0, 0, 0]], np.float32) / 2
_DIAGONAL = np.array([[-1, 0, 0], [0, 0, 0], [0, 0, 1]], np.float32) / 2
_CENTRE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
_BLOCK = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 0]], np.float32) / 4
_SMALLEST = 16  # pixels: the third scale still has an inside
_CELLS = (9, 10)  # rows and columns, or a few more
_BY_AXIS = 180 * 180  # pixels; of a larger frame, turning it costs more than the lanes that it fills save
_SPREAD_FLOOR = 1e-6
_FLOOR = 1e-6  # of an energy, in squares of the full range: below the rounding to 256 levels


def with_statistics(model: keras.Model, factor: float = 1.0, offset: float = 0.0) -> keras.Model:
    """Returns the model (weights shared) with one more output, `early` float32 [N, SIZE].

    The first FRAME columns are ≥ 0: mean R, G, B; standard deviation R, G, B (of 2×2 blocks); mean depth of shadows, of
    highlights; at each of three scales the mean magnitude of the Laplacian of luma, R − G and B − G; at each scale the
    same three's 4th-power mean (high where a few pixels stand out: rain, dead pixels); the largest column's and the
    largest row's mean second difference (dead columns and rows). The rest are `layout`'s.

    Args:
      model: Functional, one input `frame` float32 [N, h, w, 3], h and w at least 16, outputs by name.
      factor, offset: what the model sees of a frame x in [0, 1]: x · factor + offset.
    """
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3 or None in shape[1:3] or min(shape[1:3]) < _SMALLEST:
        raise ValueError(f"early statistics need an input [N, h, w, 3] with h and w at least {_SMALLEST}, "
                         f"but the model's is {list(shape)}")
    outputs = named_outputs.of(model)
    if NAME in outputs:
        raise ValueError(f"the model already has an output named {NAME!r}")
    frame = model.input if (factor, offset) == (1.0, 0.0) else (model.input - offset) / factor
    return keras.Model(model.input, {**outputs, NAME: early(frame)}, name=model.name)


def early(frame: tf.Tensor) -> tf.Tensor:
    """Returns `statistics` and `layout` side by side, float32 [N, SIZE], of frames float32 [N, h, w, 3] in [0, 1]."""
    strides = _strides(frame)
    with tf.name_scope(NAME):
        responses = _responses(frame, strides)
        return tf.concat([_statistics(responses), _layout(responses)], axis=1, name="early")


def statistics(frame: tf.Tensor, strides: Sequence[int] = STRIDES) -> tf.Tensor:
    """Returns the frame's statistics float32 [N, FRAME] of frames float32 [N, h, w, 3] in [0, 1]; order as above."""
    with tf.name_scope(NAME):
        return _statistics(_responses(frame, _strides(frame, strides)))


def layout(frame: tf.Tensor) -> tf.Tensor:
    """Returns the bands' statistics float32 [N, BANDS · CELL · 2] of frames float32 [N, h, w, 3] in [0, 1].

    Of each cell: mean and deviation of R, G, B; the ln of the energies of the Laplacians of luma, R − G and B − G at
    three scales and of luma's gradients across, down and along both diagonals. By band, from the top: at the first
    scale the means over the band's cells, their deviations; then the other scales' alike.
    """
    with tf.name_scope(NAME):
        return _layout(_responses(frame, _strides(frame)))


def _strides(frame: tf.Tensor, strides: Sequence[int] = STRIDES) -> List[int]:
    return [max(1, round(stride * min(frame.shape[1:3]) / _ROWS)) for stride in strides]


def _responses(frame: tf.Tensor, strides: Sequence[int]) -> List[tf.Tensor]:
    """The filters' responses by scale: all 14 at the first, the three Laplacians at the others."""
    # No response is sliced: that costs more than the arithmetic on the channels that aren't wanted.
    first = tf.nn.bias_add(tf.nn.conv2d(frame, _FIRST, strides[0], "VALID"), _BIAS)
    height, width = frame.shape[1:3]
    coarse = [(2 ** scale, strides[scale]) for scale in range(1, SCALES)]
    if height * width > _BY_AXIS:
        return [first, *(tf.nn.conv2d(frame, _coarse(factor), stride, "VALID") for factor, stride in coarse)]
    side_by_side = tf.reshape(frame, (-1, height, 1, width * 3))
    return [first, *(_by_axis(side_by_side, factor, stride) for factor, stride in coarse)]


def _by_axis(frame: tf.Tensor, factor: int, stride: int) -> tf.Tensor:
    """The convolution with `_coarse(factor)`, [N, h', w', 3], rows first, then columns.

    Args:
      frame: [N, h, 1, w · 3]: a depthwise convolution's strides are equal in TensorFlow, so the rows' is taken alone.
    """
    block, curve = (np.repeat(profile, factor) / factor for profile in ([0, 1, 0], [-1, 2, -1]))
    width = frame.shape[-1] // 3
    count, across = ((side - 3 * factor) // stride + 1 for side in (frame.shape[1], width))
    products = []
    for vertical, horizontal in ((block, curve), (curve, block)):
        vertical, horizontal = (np.trim_zeros(profile, "b") for profile in (vertical, horizontal))
        kernel = np.broadcast_to(vertical[:, np.newaxis, np.newaxis, np.newaxis], (len(vertical), 1, width * 3, 1))
        rows = tf.nn.depthwise_conv2d(frame, kernel.astype(np.float32), (1, stride, stride, 1), "VALID")
        rows = tf.reshape(_start(rows, count), (-1, count, width, 3))
        kernel = np.multiply.outer(horizontal, _OPPONENT.T)[np.newaxis]
        products.append(_start(tf.nn.conv2d(rows, kernel.astype(np.float32), (1, stride), "VALID"), count, across))
    return products[0] + products[1]


def _start(x: tf.Tensor, rows: int, columns: int = 0) -> tf.Tensor:
    """The first rows (and columns) of [N, h, w, C]; the tensor itself if it has no more."""
    columns = columns or x.shape[2]
    return x if tuple(x.shape[1:3]) == (rows, columns) else x[:, :rows, :columns]


def _statistics(responses: Sequence[tf.Tensor]) -> tf.Tensor:
    response = responses[0]
    magnitude, square = tf.abs(response), response * response
    rows, columns = magnitude.shape[1:3]
    by_column = _pooled(magnitude, (rows, 1))
    signed, mean = _mean(response), _mean(by_column)
    colour = signed[:, _COLOUR]
    spread = tf.sqrt(tf.nn.relu(_mean(square)[:, _COLOUR] - colour * colour))
    clipped = (mean[:, 5:7] + signed[:, 5:7] * _SIDES) / 2  # max(±x, 0) = (|x| ± x) / 2
    column = tf.reduce_max(by_column, axis=[1, 2])[:, 3:4]
    row = tf.reduce_max(_pooled(magnitude, (1, columns)), axis=[1, 2])[:, 4:5]
    magnitudes, peaks = [mean[:, :3]], [_fourth(square)[:, :3]]
    for response in responses[1:]:
        magnitudes.append(_mean(tf.abs(response)))
        peaks.append(_fourth(response * response))
    # Joined in two steps: XNNPACK joins no more than five.
    parts = [tf.concat(part, axis=1) for part in ((colour, spread, clipped), magnitudes, peaks)]
    return tf.concat([*parts, column, row], axis=1, name="statistics")


def _layout(responses: Sequence[tf.Tensor]) -> tf.Tensor:
    mean, square = _cells(responses[0]), _cells(responses[0] * responses[0])
    colour = mean[..., _COLOUR]
    spread = tf.sqrt(tf.nn.relu(square[..., _COLOUR] - colour * colour) + _SPREAD_FLOOR)
    energies = [tf.math.log(square[..., part] + _FLOOR) for part in (_LAPLACIANS, _GRADIENTS)]
    parts = [_bands(tf.concat([colour, spread, *energies], axis=-1))]
    for response in responses[1:]:
        parts.append(_bands(tf.math.log(_cells(response * response) + _FLOOR)))
    banded = tf.concat(parts, axis=-1)
    return tf.reshape(banded, (-1, BANDS * CELL * 2), name="layout")


def _cells(responses: tf.Tensor) -> tf.Tensor:
    """Means over cells: [N, about 9, about 10, C] of [N, h, w, C]."""
    window = [max(1, side // count) for side, count in zip(responses.shape[1:3], _CELLS)]
    return _pooled(responses, window)


def _bands(cells: tf.Tensor) -> tf.Tensor:
    """Means over each band's cells, then deviations, [N, BANDS, 2 · C]; rows left over at the bottom don't count."""
    window = [cells.shape[1] // BANDS, cells.shape[2]]
    # Reshaped, not indexed: an index that drops a dimension leaves XNNPACK's part of the graph.
    mean, square = (tf.reshape(_start(_pooled(x, window), BANDS), (-1, BANDS, x.shape[-1]))
                    for x in (cells, cells * cells))
    return tf.concat([mean, tf.sqrt(tf.nn.relu(square - mean * mean) + _SPREAD_FLOOR)], axis=-1)


def _mean(responses: tf.Tensor) -> tf.Tensor:
    """Means over the frame: [N, C] of [N, h, w, C]."""
    return tf.reduce_mean(responses, axis=[1, 2])


def _pooled(responses: tf.Tensor, window: Sequence[int]) -> tf.Tensor:
    # Not reduce_mean: the runtimes pool several times as fast as they reduce.
    return tf.nn.avg_pool2d(responses, list(window), list(window), "VALID")


def _fourth(square: tf.Tensor) -> tf.Tensor:
    """The 4th-power mean of responses, from their squares."""
    return tf.sqrt(tf.sqrt(_mean(square * square)))


def _first() -> np.ndarray:
    """float32 [3, 3, 3, 14]: Laplacians of three colours; luma across, down, as it is twice; 2×2 blocks; gradients."""
    filters = [np.multiply.outer(_LAPLACIAN, colour) for colour in _OPPONENT]
    filters += [np.multiply.outer(kernel, _LUMA) for kernel in (_ACROSS, _ACROSS.T, _CENTRE, _CENTRE)]
    filters += [np.multiply.outer(_BLOCK, channel) for channel in np.eye(3)]
    filters += [np.multiply.outer(gradient, _LUMA) for gradient in (_RIGHT, _RIGHT.T, _DIAGONAL, _DIAGONAL[:, ::-1])]
    return np.stack(filters, axis=-1).astype(np.float32)


def _coarse(factor: int) -> np.ndarray:
    """float32 [3f, 3f, 3, 3]: the three Laplacians of the frame averaged over f×f blocks."""
    laplacian = np.kron(_LAPLACIAN, np.full((factor, factor), 1 / factor ** 2))
    return np.stack([np.multiply.outer(laplacian, colour) for colour in _OPPONENT], axis=-1).astype(np.float32)


_FIRST = _first()
_BIAS = np.array([0.0] * 5 + [-_SHADOW, -_HIGHLIGHT] + [0.0] * 7, np.float32)
_LAPLACIANS, _COLOUR, _GRADIENTS = slice(0, 3), slice(7, 10), slice(10, 14)  # of the first layer's channels
_SIDES = np.array([-1.0, 1.0], np.float32)
