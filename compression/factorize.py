"""Low-rank factorization, only where it pays: Dense by truncated SVD, Conv2D by Tucker-2 (Kim et al., 1511.06530)."""
from __future__ import annotations

from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import tf_keras

from leanood.compression import rebuild, report

_layers = tf_keras.layers


class Ranks(NamedTuple):
    """Ranks that a layer is factorized to, of its input and its output channels (equal for a matrix)."""
    inputs: int
    outputs: int


def factorize(model: tf_keras.Model, energy: float = 0.9, *, speedup: float = 0.0, gain: float = 1.25,
              exclude: Sequence[str] | None = None, finetune: Callable[..., None] | None = None,
              teacher: tf_keras.Model | None = None) -> tf_keras.Model:
    """A copy of the model in which heavy layers are products of thin ones.

    `dense` becomes `dense_in` → `dense`; `conv` becomes `conv_in` (1×1) → `conv_core` → `conv` (1×1), so that the
    layer of the old name still puts out what it did.

    Args:
      model: Functional, its input size fixed.
      energy: share of the squared singular values to keep, in (0, 1]; chooses the ranks.
      speedup: where positive, ranks are chosen for so many times fewer multiply-adds instead.
      gain: a layer is left alone unless its multiply-adds fall by this factor at least.
      exclude: layers to leave alone; None leaves the heads that make the outputs.
      finetune: `finetune(model, teacher)` trains the result in place; None leaves it as decomposed.
      teacher: what to distil from; None takes `model`.
    """
    chosen = choose(model, energy, speedup=speedup, gain=gain, exclude=exclude)
    weights: dict[str, list[np.ndarray]] = {}

    def thin(layer: Any) -> list[Any]:
        if layer.name not in chosen:
            return [rebuild.fresh(layer)]
        make = _matrix if _is_matrix(layer) else _tucker
        return make(layer, chosen[layer.name], weights)

    small = rebuild.rewrite(model, thin)
    for layer in small.layers:
        if layer.name in weights:
            layer.set_weights(weights[layer.name])
        elif layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    if finetune is not None:
        finetune(small, model if teacher is None else teacher)
    return small


def choose(model: tf_keras.Model, energy: float = 0.9, *, speedup: float = 0.0, gain: float = 1.25,
           exclude: Sequence[str] | None = None) -> dict[str, Ranks]:
    """The ranks of the layers that are worth factorizing; see `factorize` for the arguments."""
    rebuild.check(model)
    if not 0 < energy <= 1:
        raise ValueError(f"factorize: the energy {energy} is not in (0, 1]")
    if speedup and speedup <= 1:
        raise ValueError(f"factorize: the speed-up {speedup} is not above 1")
    left_out = rebuild.heads(model) if exclude is None else exclude
    counts = report.multiply_adds(model)
    ranks_by_layer = {}
    for layer in model.layers:
        if layer.name in left_out or not _can(layer):
            continue
        ranks = _for_speedup(layer, counts[layer.name], speedup) if speedup else _for_energy(layer, energy)
        if _multiply_adds(layer, ranks, counts[layer.name]) * gain <= counts[layer.name]:
            ranks_by_layer[layer.name] = ranks
    return ranks_by_layer


def _can(layer: Any) -> bool:
    if type(layer) is _layers.Dense:
        return len(layer.input_shape) == 2
    return (type(layer) is _layers.Conv2D and layer.groups == 1 and layer.data_format == "channels_last"
            and not isinstance(layer.output_shape, list))


def _is_matrix(layer: Any) -> bool:
    return isinstance(layer, _layers.Dense) or tuple(layer.kernel_size) == (1, 1)


def _for_energy(layer: Any, energy: float) -> Ranks:
    kernel = layer.kernel.numpy()
    if _is_matrix(layer):
        rank = _rank(kernel.reshape(kernel.shape[-2:]), energy)
        return Ranks(rank, rank)
    return Ranks(*(_rank(np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1), energy) for axis in (2, 3)))


def _rank(matrix: np.ndarray, energy: float) -> int:
    squares = np.cumsum(np.linalg.svd(matrix, compute_uv=False) ** 2)
    return int(np.searchsorted(squares, energy * squares[-1] * (1 - 1e-6))) + 1


def _for_speedup(layer: Any, count: int, speedup: float) -> Ranks:
    """The largest ranks, in proportion to the channels, that reach the speed-up."""
    inputs, outputs = layer.kernel.shape[-2:]
    best = Ranks(1, 1)
    for share in np.linspace(0.02, 1, 99):
        rank = max(1, int(share * min(inputs, outputs)))
        ranks = Ranks(rank, rank) if _is_matrix(layer) else Ranks(max(1, int(share * inputs)),
                                                                  max(1, int(share * outputs)))
        if _multiply_adds(layer, ranks, count) * speedup <= count:
            best = ranks
    return best


def _multiply_adds(layer: Any, ranks: Ranks, count: int) -> int:
    """Multiply-adds of the factorized layer, `count` being those of the layer itself."""
    inputs, outputs = layer.kernel.shape[-2:]
    places = count // int(np.prod(layer.kernel.shape))
    if _is_matrix(layer):
        return places * ranks.inputs * (inputs + outputs)
    before = int(np.prod(layer.input_shape[1:3]))
    area = int(np.prod(layer.kernel_size))
    return before * inputs * ranks.inputs + places * ranks.outputs * (area * ranks.inputs + outputs)


def _matrix(layer: Any, ranks: Ranks, weights: dict[str, list[np.ndarray]]) -> list[Any]:
    """Two layers for one matrix: kernel ≈ (U·√s)(√s·V)."""
    kernel, *bias = layer.get_weights()
    u, s, v = np.linalg.svd(kernel.reshape(kernel.shape[-2:]), full_matrices=False)
    root = np.sqrt(s[:ranks.inputs])
    lead = (1,) * (kernel.ndim - 2)
    weights[f"{layer.name}_in"] = [(u[:, :ranks.inputs] * root).reshape(*lead, -1, ranks.inputs)]
    weights[layer.name] = [(root[:, None] * v[:ranks.inputs]).reshape(*lead, ranks.inputs, -1), *bias]
    if isinstance(layer, _layers.Dense):
        return [_layers.Dense(ranks.inputs, use_bias=False, name=f"{layer.name}_in"), rebuild.fresh(layer)]
    return [_layers.Conv2D(ranks.inputs, 1, strides=layer.strides, use_bias=False, name=f"{layer.name}_in"),
            rebuild.fresh(layer, strides=(1, 1))]


def _tucker(layer: Any, ranks: Ranks, weights: dict[str, list[np.ndarray]]) -> list[Any]:
    """Three layers for one convolution: 1×1 into `ranks.inputs` channels, the core, 1×1 out of `ranks.outputs`."""
    from tensorly import decomposition

    kernel, *bias = layer.get_weights()
    (core, (inputs, outputs)), _ = decomposition.partial_tucker(kernel, rank=list(ranks), modes=[2, 3])
    name = layer.name
    weights[f"{name}_in"] = [inputs[np.newaxis, np.newaxis]]
    weights[f"{name}_core"] = [core]
    weights[name] = [outputs.T[np.newaxis, np.newaxis], *bias]
    return [_layers.Conv2D(ranks.inputs, 1, use_bias=False, name=f"{name}_in"),
            _layers.Conv2D(ranks.outputs, layer.kernel_size, strides=layer.strides, padding=layer.padding,
                           dilation_rate=layer.dilation_rate, use_bias=False, name=f"{name}_core"),
            rebuild.fresh(layer, kernel_size=(1, 1), strides=(1, 1), dilation_rate=(1, 1))]
