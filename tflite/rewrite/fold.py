"""Puts a fitted score into a converted file as one more output, so that C++ and Android users get it with no Python.

The score's arithmetic is appended behind the file's own outputs, in float32: the network before it stays as it was to
the last bit, quantized or not, and so the statistics can first be fitted on what this very file puts out.
"""
from __future__ import annotations

import functools
import operator
from typing import Any, Callable, Dict, List, Mapping, Tuple

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from leanood.ood import scores, tail
from leanood.tflite.rewrite import graft

NAME = "ood_score"
Tensors = Mapping[str, tf.Tensor]


def fold(model: bytes, score: scores.Score, name: str = NAME) -> bytes:
    """Returns the flatbuffer with one more output, float32 [1]: what `score` says of its other outputs.

    Args:
      model: a converted file with a signature and the float32 outputs that the score reads.
      score: fitted (where it learns) on outputs of this file; of FOLDABLE, or several of them fused.
      name: of the new output.

    Raises:
      ValueError: if the score is no matrix arithmetic, or the file lacks its inputs.
    """
    check(score)
    score.require_fit()
    base = graft.open(model)
    outputs = graft.outputs(base)
    if name in outputs:
        raise ValueError(f"the file already has an output {name!r}; fold into the file without it")
    widths = {}
    for needed in score.reads():
        if needed not in outputs:
            raise ValueError(f"{scores.name(score)} reads the output {needed!r}; the file has {', '.join(outputs)}")
        tensor = base.subgraphs[0].tensors[outputs[needed]]
        if tensor.type != schema.TensorType.FLOAT32:
            raise ValueError(f"the file's output {needed!r} is not float32; convert it with float32 outputs")
        widths[needed] = int(tensor.shape[-1])
    graft.append(base, _head(score, widths), [outputs[needed] for needed in widths], [name], name)
    return graft.close(base)


def _head(score: scores.Score, widths: Dict[str, int]) -> Any:
    """The score's arithmetic as a graph of its own: the outputs it reads, in order, float32 [1, D] -> float32 [1]."""
    names = list(widths)
    signature = [tf.TensorSpec((1, widths[needed]), tf.float32, name=needed) for needed in names]

    def arithmetic(*values: tf.Tensor) -> List[tf.Tensor]:
        return [tf.reshape(score_of(score, dict(zip(names, values))), [1])]

    return graft.head(arithmetic, signature)


def check(score: scores.Score) -> None:
    """Raises ValueError if the score, or one that is fused in it, has no form in TFLite's operators."""
    for part in score.members if isinstance(score, scores.Fusion) else [score]:
        if type(part) not in _ARITHMETIC:
            raise ValueError(f"the score {scores.name(part)} has no form in TFLite's operators; these have: "
                             f"{', '.join(FOLDABLE)}")


def score_of(score: scores.Score, outputs: Tensors) -> tf.Tensor:
    """The score's arithmetic in TensorFlow: float32 [1, 1] of outputs [1, D]; for those that `check` lets pass."""
    if isinstance(score, scores.Fusion):
        return functools.reduce(operator.add, [
            float(weight) * _log_p(table, score_of(member, outputs))
            for weight, table, member in zip(score.weights, score.tables, score.members)])
    return _ARITHMETIC[type(score)](score, outputs)


def _log_p(table: tail.Counted, value: tf.Tensor) -> tf.Tensor:
    """−ln p [1, 1] of a score [1, 1]: `Counted.log_p`."""
    at_least = tf.reduce_sum(tf.cast(_constant(table.values) >= value, tf.float32), axis=1, keepdims=True)
    counted = -tf.math.log((at_least + 1.0) * (1.0 / (len(table.values) + 1.0)))
    if not table.scale > 0:
        return counted
    far = tf.cast(value > table.start, tf.float32)
    return far * ((value - table.start) * (1.0 / table.scale) + table.top) + (1.0 - far) * counted


def _log_sum_exp(logits: tf.Tensor) -> tf.Tensor:
    top = tf.reduce_max(logits, axis=1, keepdims=True)
    return tf.math.log(tf.reduce_sum(tf.exp(logits - top), axis=1, keepdims=True)) + top


def _least(values: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_max(-values, axis=1, keepdims=True)


def _constant(value: Any) -> tf.Tensor:
    return tf.constant(np.atleast_2d(np.asarray(value, np.float32)))


def _unconfidence(logits: tf.Tensor) -> tf.Tensor:
    return 1.0 - tf.reduce_max(tf.nn.softmax(logits), axis=1, keepdims=True)


def _energy(score: scores.Energy, outputs: Tensors) -> tf.Tensor:
    return -score.temperature * _log_sum_exp(outputs["logits"] * (1.0 / score.temperature))


def _mahalanobis(score: scores.Mahalanobis, outputs: Tensors) -> tf.Tensor:
    white = tf.matmul(outputs[score.output] - _constant(score.centre), _constant(score.whitening))
    squared = np.sum(np.asarray(score.means, np.float64) ** 2, axis=1)
    nearest = _least(_constant(squared) - 2.0 * tf.matmul(white, _constant(score.means.T)))
    return tf.nn.relu(tf.reduce_sum(white * white, axis=1, keepdims=True) + nearest)


def _relative_mahalanobis(score: scores.RelativeMahalanobis, outputs: Tensors) -> tf.Tensor:
    along = tf.matmul(outputs[score.output] - _constant(score.centre), _constant(score.directions))
    spread = tf.matmul(along, _constant(score.between))
    return _least(_constant(score.squared) - 2.0 * along) + tf.reduce_sum(spread * spread, axis=1, keepdims=True)


def _residual(score: scores.Residual, outputs: Tensors) -> tf.Tensor:
    outside = tf.matmul(outputs["features"] - _constant(score.origin), _constant(score.complement))
    return tf.sqrt(tf.reduce_sum(outside * outside, axis=1, keepdims=True))


def _vim(score: scores.ViM, outputs: Tensors) -> tf.Tensor:
    return float(score.alpha) * _residual(score, outputs) - _log_sum_exp(outputs["logits"])


def _react(score: scores.ReAct, outputs: Tensors) -> tf.Tensor:
    clipped = tf.minimum(outputs["features"], _constant(score.limit))
    return -_log_sum_exp(tf.matmul(clipped, _constant(score.kernel)) + _constant(score.offset))


def _dice(score: scores.DICE, outputs: Tensors) -> tf.Tensor:
    return -_log_sum_exp(tf.matmul(outputs["features"], _constant(score.kernel)) + _constant(score.offset))


def _she(score: scores.SHE, outputs: Tensors) -> tf.Tensor:
    logits = outputs["logits"]
    likeness = tf.matmul(outputs["features"], _constant(score.patterns.T))
    # 1 where the logit is the largest, else 0, in operators that a GPU has.
    top = tf.cast(logits >= tf.reduce_max(logits, axis=1, keepdims=True), tf.float32)
    return -tf.reduce_sum(likeness * top, axis=1, keepdims=True) / tf.reduce_sum(top, axis=1, keepdims=True)


_ARITHMETIC: Dict[type, Callable[[Any, Tensors], tf.Tensor]] = {
    scores.MSP: lambda score, outputs: _unconfidence(outputs["logits"]),
    scores.ODIN: lambda score, outputs: _unconfidence(outputs["logits"] * (1.0 / score.temperature)),
    scores.MaxLogit: lambda score, outputs: -tf.reduce_max(outputs["logits"], axis=1, keepdims=True),
    scores.Energy: _energy,
    scores.Mahalanobis: _mahalanobis,
    scores.EarlyStatistics: _mahalanobis,
    scores.RelativeMahalanobis: _relative_mahalanobis,
    scores.Residual: _residual,
    scores.ViM: _vim,
    scores.ReAct: _react,
    scores.DICE: _dice,
    scores.SHE: _she,
}
FOLDABLE: Tuple[str, ...] = tuple(name for name, kind in scores.NAMES.items() if kind in _ARITHMETIC)


def fitted(model: bytes, score: scores.Score, images: np.ndarray, labels: Any = None) -> scores.Score:
    """Returns `score`, fitted on what the file itself puts out for in-distribution images.

    Args:
      model: a converted file.
      score: to be fitted; one that learns nothing is returned as it is.
      images: uint8 [N, h, w, 3] at the file's size.
      labels: [N] or None.
    """
    from leanood.tflite import runtime

    if not score.LEARNED:
        return score
    reads: List[str] = list(score.reads())
    runner = runtime.load(model, trusted=True)
    outputs = runner.each(images)
    missing = [name for name in reads if name not in outputs]
    if missing:
        raise ValueError(f"{scores.name(score)} reads the output {missing[0]!r}; the file has {', '.join(outputs)}")
    return score.fit(outputs, labels)
