"""Pooled statistics of the flow itself beside an encoder, as one extra output, `motion`.

How fast each part of the picture moves, how unevenly, how much that changes from flow to flow and how much the whole
picture jolts: few numbers, that need no training and that compression can't wear off. They are what a trivial motion
detector would look at; a detector that reads them besides its latents sees at least as much.
"""
from __future__ import annotations

import tensorflow as tf
import tf_keras as keras

from leanood.models import named_outputs

NAME = "motion"
ROWS, COLUMNS = 6, 4  # cells of each direction's flow
CELLS = 2 * ROWS * COLUMNS
_BLOCK = 4  # pixels: flow is smooth, and its blocks' means are a sixteenth of the arithmetic


def with_statistics(model: keras.Model) -> keras.Model:
    """Returns the model (weights shared) with one more output, `motion` float32 [N, (3 + n) · CELLS + 2].

    Columns, in units of twice the flow's reach: CELLS mean flows (horizontal, then vertical; row by row), CELLS
    standard deviations within a cell over a stack's blocks and flows, CELLS mean magnitudes of the change from one flow
    to the next; the standard deviations of the whole picture's mean flow, horizontal and vertical, over the stack;
    n · CELLS mean flows of the single flows, a cell's n in a row.

    Args:
      model: Functional, one input `frame` float32 [N, 2h, w, n] in [0, 1], n at least 2, outputs by name.
    """
    shape = model.inputs[0].shape
    least = _BLOCK * (ROWS + 1)
    if len(shape) != 4 or None in shape[1:] or shape[3] < 2 or min(shape[1] // 2, shape[2]) < least:
        raise ValueError(f"motion statistics need an input [N, 2h, w, n] with h and w at least {least} and n at least "
                         f"2, but the model's is {list(shape)}")
    outputs = named_outputs.of(model)
    if NAME in outputs:
        raise ValueError(f"the model already has an output named {NAME!r}")
    return keras.Model(model.input, {**outputs, NAME: statistics(model.input)}, name=model.name)


def statistics(stacks: tf.Tensor) -> tf.Tensor:
    """Returns the statistics float32 [N, (3 + n) · CELLS + 2] of stacks float32 [N, 2h, w, n] in [0, 1], as above."""
    with tf.name_scope(NAME):
        blocks = tf.nn.avg_pool2d(stacks, _BLOCK, _BLOCK, "VALID") - 0.5
        half = stacks.shape[1] // 2
        means, spreads, changes, jolts, courses = [], [], [], [], []
        for flow in (blocks[:, :half // _BLOCK], blocks[:, -(-half // _BLOCK):]):  # a block of both is neither's
            mean, square = _cells(flow), _cells(flow * flow)
            centre = tf.reduce_mean(mean, axis=3)
            means.append(centre)
            courses.append(tf.reshape(mean, (-1, ROWS * COLUMNS * mean.shape[3])))
            spreads.append(tf.sqrt(tf.nn.relu(tf.reduce_mean(square, axis=3) - centre * centre)))
            changes.append(tf.reduce_mean(_cells(tf.abs(flow[..., 1:] - flow[..., :-1])), axis=3))
            whole = tf.reduce_mean(mean, axis=[1, 2])
            apart = whole - tf.reduce_mean(whole, axis=1, keepdims=True)
            jolts.append(tf.sqrt(tf.reduce_mean(apart * apart, axis=1, keepdims=True)))
        flat = [tf.reshape(grid, (-1, ROWS * COLUMNS)) for grid in (*means, *spreads, *changes)]
        return tf.concat([*flat, *jolts, *courses], axis=1, name="statistics")


def _cells(flow: tf.Tensor) -> tf.Tensor:
    """Means over ROWS × COLUMNS cells, [N, ROWS, COLUMNS, n]; what is left over at the bottom and the right is left."""
    height, width = flow.shape[1] // ROWS, flow.shape[2] // COLUMNS
    return tf.nn.avg_pool2d(flow[:, :height * ROWS, :width * COLUMNS], (height, width), (height, width), "VALID")
