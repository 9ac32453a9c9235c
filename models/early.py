"""Pooled statistics of the first layer: a fixed filter bank beside the encoder, as one extra output, `early`.

Deep layers drop what they were not trained to keep (light, colour, blur, noise); the first layer still holds it. So a
fixed first layer (opponent colours, Laplacians at three scales, second differences along rows and columns) runs in the
same pass and is averaged over the frame. Being fixed, it doesn't need training, and compression can't wear it off.
Opponent colours and Laplacian pyramids: Burt & Adelson, IEEE Trans. Communications 31 (1983) 532-540; log energies of
filter banks as a signature of a distortion: Mittal et al., "No-reference image quality assessment in the spatial
domain", IEEE TIP 21 (2012) 4695-4708.
"""
from __future__ import annotations

import numpy as np
import tensorflow as tf
import tf_keras as keras

NAME = "early"
SCALES = 3
# The columns, in order; the moments come first because scores read them linearly too.
MOMENTS = 6  # mean of R, G, B; standard deviation of R, G, B
SIZE = MOMENTS + 2 + 3 * SCALES + SCALES + 2  # moments, tails, magnitudes, peaks, stuck column and row
_FILTERS = 5  # Laplacian of luma, R − G, B − G; second difference of luma across columns, across rows
_SHADOW, _HIGHLIGHT = 0.1, 0.85  # luma below and above which a sensor clips
_OPPONENT = np.array([[0.299, 0.587, 0.114], [1.0, -1.0, 0.0], [0.0, -1.0, 1.0]], np.float32)  # luma, R − G, B − G
_LAPLACIAN = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)
_ACROSS = np.array([[0, 0, 0], [-1, 2, -1], [0, 0, 0]], np.float32)
_CENTRE = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
_SMALLEST = 16  # pixels: the third scale still has an inside


def with_statistics(model: keras.Model) -> keras.Model:
    """Returns the model (weights shared) with one more output, `early` float32 [N, SIZE], all values ≥ 0.

    Columns: mean R, G, B; standard deviation R, G, B (at half resolution); mean depth of shadows, of highlights; at
    each of three scales the mean magnitude of the Laplacian of luma, R − G and B − G; at each scale the 4th-power mean
    of luma's Laplacian (high where a few pixels stand out: rain, dead pixels); the largest column's and the largest
    row's mean second difference (dead columns and rows).

    Args:
      model: Functional, one input `frame` float32 [N, h, w, 3] in [0, 1], h and w at least 16, outputs by name.
    """
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3 or None in shape[1:3] or min(shape[1:3]) < _SMALLEST:
        raise ValueError(f"early statistics need an input [N, h, w, 3] with h and w at least {_SMALLEST}, "
                         f"but the model's is {list(shape)}")
    outputs = dict(model.output) if isinstance(model.output, dict) else dict(zip(model.output_names, model.outputs))
    if NAME in outputs:
        raise ValueError(f"the model already has an output named {NAME!r}")
    return keras.Model(model.input, {**outputs, NAME: statistics(model.input)}, name=model.name)


def statistics(frame: tf.Tensor) -> tf.Tensor:
    """Returns the early statistics float32 [N, SIZE] of frames float32 [N, h, w, 3] in [0, 1]; order as above."""
    with tf.name_scope(NAME):
        magnitudes, peaks = [], []
        image = frame
        for scale in range(SCALES):
            # Every other pixel is sample enough of the full resolution, at a quarter of its cost.
            response = tf.nn.relu(tf.nn.conv2d(image, _KERNEL, 1 if scale else 2, "VALID") + _BIAS)
            mean = tf.reduce_mean(response, axis=[1, 2])
            magnitudes.append(_both_signs(mean)[:, :3])
            square = response * response
            fourth = _both_signs(tf.reduce_mean(square * square, axis=[1, 2]))
            peaks.append(tf.sqrt(tf.sqrt(fourth[:, :1])))
            if scale == 0:
                tails = mean[:, 2 * _FILTERS:]
                column = _both_signs(tf.reduce_max(tf.reduce_mean(response, axis=1), axis=1))[:, 3:4]
                row = _both_signs(tf.reduce_max(tf.reduce_mean(response, axis=2), axis=1))[:, 4:5]
            image = tf.nn.avg_pool2d(image, 2, 2, "VALID")
            if scale == 0:
                colour = tf.reduce_mean(image, axis=[1, 2])
                spread = tf.sqrt(tf.nn.relu(tf.reduce_mean(image * image, axis=[1, 2]) - colour * colour))
        return tf.concat([colour, spread, tails, *magnitudes, *peaks, column, row], axis=1, name="statistics")


def _both_signs(rectified: tf.Tensor) -> tf.Tensor:
    """[N, 2·5 + 2] of filters rectified either way -> [N, 5], the two signs added."""
    return rectified[:, :_FILTERS] + rectified[:, _FILTERS:2 * _FILTERS]


def _kernel() -> np.ndarray:
    """float32 [3, 3, 3, 12]: the five filters, the same negated (a ReLU follows), and luma negated and plain."""
    filters = [np.multiply.outer(_LAPLACIAN, colour) for colour in _OPPONENT]
    filters += [np.multiply.outer(second, _OPPONENT[0]) for second in (_ACROSS, _ACROSS.T)]
    luma = np.multiply.outer(_CENTRE, _OPPONENT[0])
    return np.stack([*filters, *[-one for one in filters], -luma, luma], axis=-1)


_KERNEL = _kernel()
_BIAS = np.array([0.0] * 2 * _FILTERS + [_SHADOW, -_HIGHLIGHT], np.float32)
