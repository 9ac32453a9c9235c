"""Puts the whole detector into its network's graph: any TFLite client has score, p-value and alarm, with no Python.

    frame [1, h, w, 3], state [1, K] -> score, p_value, nonconformity, alarm [1], state [1, K]

A state of zeros begins a sequence; each frame is given the state that the one before put out. Single images have no
state. The NumPy arithmetic of `leanood.ood` is the reference: the graph computes in float32 what it does in float64,
and takes ½ where a p-value is smoothed at random, which moves p by less than 1/(n + 1) of n calibration frames. The
network and its own outputs stay as they are.
"""
from __future__ import annotations

import functools
import math
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from leanood.ood import classifier_score, detector, evidence, kl_topk, kl_typical, nonconformity, tail, typicality
from leanood.tflite import runtime
from leanood.tflite.rewrite import fold, graft

OUTPUTS = ("score", "p_value", "nonconformity", "alarm")
STATE = runtime.STATE
_HUGE = 1e30  # stands for an infinite nonconformity
Tensors = Mapping[str, tf.Tensor]


class _Odd(NamedTuple):
    """What a nonconformity says of a frame."""

    alphas: tf.Tensor  # [1, P], one column a partition
    memory: Optional[tf.Tensor]  # [1, E]: what it wants to know at the next frame


class _Kind(NamedTuple):
    """A nonconformity's arithmetic."""

    alphas: Callable[[Tensors, Optional[tf.Tensor], Optional[tf.Tensor]], _Odd]  # outputs, memory, whether it is first
    width: int  # of the memory


def fold_all(model: bytes, judge: detector.Detector) -> bytes:
    """Returns the flatbuffer with the detector's arithmetic behind its outputs.

    Args:
      model: a converted file with a signature and one input, the frame.
      judge: calibrated on it: of single images, or with evidence at several scales.

    Raises:
      ValueError: if the detector's arithmetic has no form in TFLite's operators; saying which has.
    """
    if judge.window and judge.scales is None:
        raise ValueError("a detector with a martingale over one window cannot be put into a graph; calibrate it with "
                         "evidence at several scales, or with --window=0")
    base = graft.open(model)
    given, outputs = graft.inputs(base), graft.outputs(base)
    if len(given) != 1:
        raise ValueError(f"the file has the inputs {', '.join(given)}, but should have one: the frame")
    taken = sorted(set(outputs) & {*OUTPUTS, STATE})
    if taken:
        raise ValueError(f"the file already has the output {taken[0]!r}; fold into the file without it")
    tensors = base.subgraphs[0].tensors
    specs, ties = [], []
    for name in judge.nonconformity.inputs:
        if name not in outputs:
            raise ValueError(f"the detector reads the output {name!r}; the file has {', '.join(outputs)}")
        if tensors[outputs[name]].type != schema.TensorType.FLOAT32:
            raise ValueError(f"the file's output {name!r} is not float32; convert it with float32 outputs")
        specs.append(tf.TensorSpec([int(n) for n in tensors[outputs[name]].shape], tf.float32, name=name))
        ties.append(outputs[name])
    (frame, place), = given.items()
    dtype = {schema.TensorType.FLOAT32: tf.float32, schema.TensorType.UINT8: tf.uint8}.get(tensors[place].type)
    if dtype is None:
        raise ValueError(f"the file's input {frame!r} is neither float32 nor uint8")
    specs.append(tf.TensorSpec([int(n) for n in tensors[place].shape], dtype, name="picture"))
    kind = _kind(judge.nonconformity)
    memory = judge.scales.memory if judge.scales else 0
    width = memory + kind.width + 1 if memory else 0
    if width:
        specs.append(tf.TensorSpec((1, width), tf.float32, name=STATE))
    head = graft.head(lambda *values: _judge(judge, kind, values, memory), specs)
    graft.append(base, head, [*ties, place, *([STATE] if width else [])], [*OUTPUTS, *([STATE] if width else [])],
                 "detector")
    return graft.close(base)


def _judge(judge: detector.Detector, kind: _Kind, values: Tuple[tf.Tensor, ...], memory: int) -> List[tf.Tensor]:
    names = judge.nonconformity.inputs
    outputs = {name: tf.reshape(value, [1, -1]) for name, value in zip(names, values)}  # a map too
    picture = tf.cast(values[len(names)], tf.float32)
    state: Any = values[-1] if memory else None
    valid = _valid(picture)
    known = state[:, memory + kind.width:] if state is not None else tf.zeros((1, 1))  # 1: there was a frame before
    before = state[:, memory:memory + kind.width] if state is not None and kind.width else None
    measured = kind.alphas(outputs, before, known)
    alphas = measured.alphas * valid + _HUGE * (1.0 - valid)
    p = tf.concat([_p_value(judge, column, alphas[:, column:column + 1])
                   for column in range(len(judge.partitions))], axis=1)
    if judge.partition_kind == "subset":
        p_value, alpha = tf.reduce_max(p, axis=1, keepdims=True), -tf.reduce_max(-alphas, axis=1, keepdims=True)
    else:
        p_value = tf.minimum(-tf.reduce_max(-p, axis=1, keepdims=True) * float(p.shape[1]), 1.0)
        alpha = tf.reduce_max(alphas, axis=1, keepdims=True)
    if judge.scales is None:
        score, after = alpha, []
    else:
        ring = tf.concat([state[:, 1:memory], -tf.math.log(p_value) - evidence.ORDINARY], axis=1)
        score = _at_scales(ring, judge.scales)
        kept = [ring]
        if measured.memory is not None:  # the nonconformity doesn't see an invalid frame
            kept.append(measured.memory * valid + before * (1.0 - valid))
        after = [tf.concat([*kept, tf.maximum(known, valid)], axis=1)]
    threshold = min(judge.threshold, 0.1 * _HUGE)
    alarm = tf.maximum(tf.cast(score > threshold, tf.float32), 1.0 - valid)
    return [*(tf.reshape(value, [1]) for value in (score, p_value, alpha, alarm)), *after]


def _valid(picture: tf.Tensor) -> tf.Tensor:
    """[1, 1]: 0 where all pixels are equal, else 1."""
    spread = tf.reduce_max(picture, axis=[1, 2]) + tf.reduce_max(-picture, axis=[1, 2])
    return tf.minimum(tf.reduce_max(spread, axis=1, keepdims=True) * 1e4, 1.0)  # a level is 1, or 1/255


def _p_value(judge: detector.Detector, column: int, alpha: tf.Tensor) -> tf.Tensor:
    """[1, 1]: by the calibration table, beyond its tail's start by the tail."""
    table = np.asarray(judge._tables[column], np.float64)
    above = tf.reduce_sum(tf.cast(_constant(table) > alpha, tf.float32), axis=1, keepdims=True)
    p = (above + 0.5) * (1.0 / (len(table) + 1))
    beyond = judge._tails[column]
    if beyond is None:
        return p
    far = tf.cast(alpha > float(beyond.start), tf.float32) * tf.cast(alpha < 0.1 * _HUGE, tf.float32)
    extrapolated = tf.exp(-_cautious(_log_p(beyond, tf.minimum(alpha, 0.1 * _HUGE))))
    return far * extrapolated + (1.0 - far) * p


def _log_p(beyond: tail.Tail, alpha: tf.Tensor) -> tf.Tensor:
    """−ln p [1, 1]: a sum of positive steps, so that nothing cancels in float32."""
    knots, levels = beyond.knots, beyond.evidence
    excess = tf.nn.relu(alpha - float(knots[-1])) * (1.0 / beyond.scale)
    if len(knots) == 1:
        return float(levels[0]) + excess
    width = np.maximum(np.diff(knots), np.spacing(np.abs(knots[1:]).astype(np.float32)))
    share = tf.minimum(tf.nn.relu((alpha - _constant(knots[:-1])) * _constant(1.0 / width)), 1.0)
    return float(levels[0]) + tf.reduce_sum(share * _constant(np.diff(levels)), axis=1, keepdims=True) + excess


def _cautious(value: tf.Tensor) -> tf.Tensor:
    plain, most = tail._PLAIN, tail._MOST
    beyond = tf.maximum(tf.minimum(value, most), plain) * (1.0 / plain)
    return tf.minimum(value, plain) + plain * tf.math.log(beyond)


def _at_scales(ring: tf.Tensor, scales: evidence.Scales) -> tf.Tensor:
    """[1, 1]: the largest S_s / τ_s of the last frames' evidence (less what is ordinary), the newest last."""
    memory = int(ring.shape[1])

    def means(lengths: List[int]) -> tf.Tensor:
        weights = np.zeros((memory, len(lengths)))
        for column, length in enumerate(lengths):
            weights[memory - length:, column] = 1.0 / length
        return tf.matmul(ring, _constant(weights)) + evidence.ORDINARY

    both = tf.minimum(means(scales.windows), means(scales.latest))
    inverse = [0.0 if math.isinf(threshold) else 1.0 / threshold for threshold in scales.thresholds]
    return tf.nn.relu(tf.reduce_max(both * _constant(inverse), axis=1, keepdims=True))


def _kind(measure: nonconformity.Nonconformity) -> _Kind:
    if isinstance(measure, typicality.Typicality):
        return _typicality(measure)
    if isinstance(measure, kl_typical.KlTypical):
        gauss = measure._gaussian
        return _Kind(lambda outputs, *_: _Odd(_distance(tf.math.log(_kl(outputs) + kl_typical._FLOOR), gauss), None), 0)
    if isinstance(measure, kl_topk.KlTopK):
        chosen = np.zeros((int(measure.latents.max()) + 1, len(measure.partitions)))
        for column, latents in enumerate(measure.latents):
            chosen[latents, column] = 1.0
        return _Kind(lambda outputs, *_: _Odd(tf.matmul(_kl(outputs)[:, :len(chosen)], _constant(chosen)), None), 0)
    if isinstance(measure, classifier_score.ClassifierScore):
        score = measure.wrapped
        fold.check(score)
        return _Kind(lambda outputs, *_: _Odd(tf.reshape(fold.score_of(score, outputs), [1, 1]), None), 0)
    raise ValueError(f"the detector {measure.name!r} has no form in TFLite's operators")


def _typicality(measure: typicality.Typicality) -> _Kind:
    """The columns are those of `Typicality`: early, features, logarithms of early; ln KL of the latents."""
    magnitudes = measure._widths[2]
    change = typicality.CHANGE in measure.channels

    def alphas(outputs: Tensors, before: Optional[tf.Tensor], known: Optional[tf.Tensor]) -> _Odd:
        logarithms: Any = None
        channels = []
        if typicality.EARLY in measure.inputs:
            early = outputs[typicality.EARLY]
            positive = tf.nn.relu(early[:, :magnitudes])
            logarithms = tf.math.log(positive + typicality._FLOOR)
            deep = [outputs[typicality.FEATURES]] if typicality.FEATURES in measure.inputs else []
            columns = {typicality.EARLY: tf.concat([positive, early[:, magnitudes:], *deep, logarithms], axis=1)}
        else:
            columns = {}
        if typicality.LATENT in measure.channels:
            columns[typicality.LATENT] = tf.math.log(_kl(outputs) + typicality._KL_FLOOR)
        for channel, gauss in measure._gaussians.items():
            channels.append(_evidence(measure, channel, _distance(columns[channel], gauss)))
        if measure._local is not None:
            channels.append(_evidence(measure, typicality.LOCAL, _largest(outputs[typicality.LOCAL], measure._local)))
        if change:
            mean, deviation = measure._pace
            moved = tf.reduce_mean(tf.abs(logarithms - before), axis=1, keepdims=True)
            off = (tf.math.log(moved + typicality._CHANGE_FLOOR) - mean) * (1.0 / deviation)
            channels.append(_evidence(measure, typicality.CHANGE, off * off * known))
        return _Odd(tf.reduce_max(tf.concat(channels, axis=1), axis=1, keepdims=True), logarithms if change else None)

    return _Kind(alphas, magnitudes if change else 0)


def _evidence(measure: typicality.Typicality, channel: str, distance: tf.Tensor) -> tf.Tensor:
    return _log_p(measure._tails[channel], distance) + typicality._LOG_WEIGHTS[channel]


def _distance(columns: tf.Tensor, gauss: Any) -> tf.Tensor:
    """Squared Mahalanobis distance [1, 1] of columns [1, D] to the nearest mean, taken off first for float32's sake."""
    distances = []
    for offset in np.atleast_2d(gauss.offset):
        mean = np.linalg.lstsq(gauss.whitening.T, offset, rcond=None)[0]
        white = tf.matmul(columns - _constant(mean), _constant(gauss.whitening))
        distances.append(tf.reduce_sum(white * white, axis=1, keepdims=True))
    return functools.reduce(tf.minimum, distances)


def _largest(cells: tf.Tensor, gauss: Any) -> tf.Tensor:
    """The largest distance [1, 1] of a map's cells, of the map [1, h·w·C]."""
    count, channels = gauss.means.shape
    rest = tf.reshape(cells - _constant(gauss.means.ravel()), [1, count, channels, 1])  # a GPU wants four dimensions
    white = tf.reduce_sum(rest * _constant(gauss.whitening[np.newaxis]), axis=2)
    return tf.reduce_max(tf.reshape(tf.reduce_sum(white * white, axis=2), [1, count]), axis=1, keepdims=True)


def _kl(outputs: Tensors) -> tf.Tensor:
    """KL of each latent [1, Z]; near ln σ² = 0 by the exponential's series, where float32 cancels."""
    mu, logvar = outputs["mu"], outputs["logvar"]
    series = logvar * logvar * (0.5 + logvar * (1 / 6 + logvar * (1 / 24 + logvar * (1 / 120))))
    near = tf.cast(tf.abs(logvar) < 0.3, tf.float32)
    return 0.5 * (mu * mu + near * series + (1.0 - near) * (tf.exp(tf.minimum(logvar, 80.0)) - 1.0 - logvar))


def _constant(value: Any) -> tf.Tensor:
    return tf.constant(np.atleast_2d(np.asarray(value, np.float64)).astype(np.float32))
