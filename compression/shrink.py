"""Structured pruning that really removes filters and units: the result is a smaller dense model, faster anywhere."""
from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import tf_keras

from leanood.compression import channels, rebuild
from leanood.compression import importance as importance_

SCOPES = ("layer", "model")


def shrink(model: tf_keras.Model, ratio: float | Mapping[str, float] = 0.5, *, importance: str = "l2",
           scope: str = "layer", multiple: int = 4, minimum: int = 1, exclude: Sequence[str] = (),
           free: Sequence[str] = ("early",), images: np.ndarray | None = None,
           finetune: Callable[..., None] | None = None, teacher: tf_keras.Model | None = None) -> tf_keras.Model:
    """A copy of the model without its least important channels.

    Args:
      model: Functional, channels last, one input; see `channels.trace` for what holds channels together.
      ratio: share of channels to remove, in [0, 1): of every layer (or of all, by one threshold, where scope is
        "model"); or a share for each of the named layers, the others keeping theirs.
      importance: one of `importance.CRITERIA`.
      scope: "layer" removes `ratio` in each set of coupled layers, "model" ranks the whole model's channels.
      multiple: a layer's kept channels are rounded up to a multiple of this (kernels work on 4 or 8 at a time).
      minimum: channels that every layer keeps at least.
      exclude: layers that keep all their channels.
      free: outputs that may lose channels; all others keep their width.
      images: float32 [N, h, w, c] in the model's input range, for the criteria that look at activations.
      finetune: `finetune(student, teacher)` trains the result in place; None leaves it as cut.
      teacher: what to distil from; None takes `model`.
    """
    graph = dependencies(model, free)
    removed = select(graph, importance_.scores(model, graph, importance, images), ratio, scope=scope,
                     multiple=multiple, minimum=minimum, exclude=exclude)
    small = cut(model, graph, removed)
    if finetune is not None:
        finetune(small, model if teacher is None else teacher)
    return small


def dependencies(model: tf_keras.Model, free: Sequence[str] = ("early",)) -> channels.Graph:
    """`channels.trace`, refusing a model that nothing can be removed from."""
    graph = channels.trace(model, free)
    if not graph.removable():
        raise rebuild.UnsupportedModel(f"shrink: no layer of model {model.name!r} has channels that could be removed: "
                                       "each leads to an output or to a layer that mixes channels in an unknown way")
    return graph


def select(graph: channels.Graph, scores: np.ndarray, ratio: float | Mapping[str, float], *, scope: str = "layer",
           multiple: int = 1, minimum: int = 1, exclude: Sequence[str] = ()) -> np.ndarray:
    """Which labels go, bool [graph.count]; see `shrink` for the arguments."""
    _check(graph, ratio, scope, multiple, minimum, exclude)
    removed = np.zeros(graph.count, bool)
    spared = np.zeros(graph.count, bool)
    spared[channels.FIXED] = True
    for name in exclude:
        spared[graph.makes[name]] = True
    sets = graph.coupled()
    if isinstance(ratio, Mapping):
        tasks = [(s, max(ratio.get(name, 0.0) for name in s)) for s in sets]
    elif scope == "layer":
        tasks = [(s, ratio) for s in sets]
    else:
        tasks = [(tuple(name for s in sets for name in s), ratio)] if sets else []
    for names, share in tasks:
        candidates = np.unique(np.concatenate([graph.makes[name] for name in names]))
        candidates = candidates[~spared[candidates]]
        budget = int(share * candidates.size + 1e-9)
        for label in candidates[np.argsort(scores[candidates], kind="stable")]:
            if budget == 0:
                break
            if all(_can_spare(graph.makes[name], removed, label, minimum) for name in names):
                removed[label] = True
                budget -= 1
    _round_up(graph, scores, removed, multiple)
    return removed


def cut(model: tf_keras.Model, graph: channels.Graph, removed: np.ndarray) -> tf_keras.Model:
    """The model without the channels whose labels are removed (bool [graph.count]), the rest of its weights kept."""
    widths = {name: int(np.sum(~removed[labels])) for name, labels in graph.makes.items()}

    def narrower(layer: Any) -> list[Any]:
        if layer.name in widths:
            size = "units" if isinstance(layer, tf_keras.layers.Dense) else "filters"
            return [rebuild.fresh(layer, **{size: widths[layer.name]})]
        if isinstance(layer, tf_keras.layers.Reshape):
            kept = ~removed[graph.passes[layer.name]] if layer.name in graph.passes else np.ones(layer.target_shape[-1])
            return [rebuild.fresh(layer, target_shape=(*layer.target_shape[:-1], int(kept.sum())))]
        return [rebuild.fresh(layer)]

    small = rebuild.rewrite(model, narrower)
    rebuild.copy_weights(model, small, lambda layer, weights: _sliced(layer, weights, graph, removed))
    return small


@contextlib.contextmanager
def masked(model: tf_keras.Model, graph: channels.Graph, removed: np.ndarray) -> Iterator[None]:
    """Lets the model compute what `cut` would, as long as the context lasts: whatever reads removed channels, reads 0.

    Args:
      model: of the graph, or a clone; its weights are as before afterwards.
      graph, removed: as of `cut`.
    """
    readers = [(model.get_layer(name), removed[graph.reads[name]]) for name in graph.makes
               if removed[graph.reads[name]].any()]
    before = [layer.get_weights() for layer, _ in readers]
    for (layer, unread), weights in zip(readers, before):
        kernel = weights[0].copy()
        if isinstance(layer, tf_keras.layers.SeparableConv2D):
            kernel[:, :, unread] = 0
        elif isinstance(layer, channels.TRANSPOSED):  # [..., out, in]
            kernel[..., unread] = 0
        else:
            kernel[..., unread, :] = 0
        layer.set_weights([kernel, *weights[1:]])
    try:
        yield
    finally:
        for (layer, _), weights in zip(readers, before):
            layer.set_weights(weights)


def _sliced(layer: Any, weights: list[np.ndarray], graph: channels.Graph, removed: np.ndarray) -> list[np.ndarray]:
    """The layer's weights without the removed channels."""
    layers = tf_keras.layers
    if layer.name in graph.passes:
        keep = ~removed[graph.passes[layer.name]]
        if isinstance(layer, layers.DepthwiseConv2D):  # [kh, kw, C, multiplier], bias [C · multiplier]
            kernel = weights[0][:, :, keep[::layer.depth_multiplier]]
            return [kernel, *(bias[keep] for bias in weights[1:])]
        return [w[..., keep] if w.shape[-1] == keep.size else w for w in weights]
    if layer.name not in graph.makes:
        return weights
    reads, makes = ~removed[graph.reads[layer.name]], ~removed[graph.makes[layer.name]]
    if isinstance(layer, layers.SeparableConv2D):
        inner = np.repeat(reads, layer.depth_multiplier)
        return [weights[0][:, :, reads], weights[1][:, :, inner][..., makes], *(bias[makes] for bias in weights[2:])]
    biases = [bias[makes] for bias in weights[1:]]
    if isinstance(layer, channels.TRANSPOSED):  # [..., out, in]
        return [weights[0][..., makes, :][..., reads], *biases]
    return [weights[0][..., reads, :][..., makes], *biases]


def _can_spare(labels: np.ndarray, removed: np.ndarray, label: int, minimum: int) -> bool:
    """True if a layer with these labels keeps `minimum` channels when `label` goes too."""
    shared = labels == label
    return not shared.any() or int(np.sum(~removed[labels] & ~shared)) >= minimum


def _round_up(graph: channels.Graph, scores: np.ndarray, removed: np.ndarray, multiple: int) -> None:
    """Takes back the best of the removed labels until every layer's width is a multiple, as far as there are any."""
    for labels in graph.removable().values():
        gone = labels[removed[labels]]
        want = -int(np.sum(~removed[labels])) % multiple
        back = gone[np.argsort(-scores[gone], kind="stable")][:want]
        removed[back] = False


def _check(graph: channels.Graph, ratio: float | Mapping[str, float], scope: str, multiple: int, minimum: int,
           exclude: Sequence[str]) -> None:
    shares = dict(ratio) if isinstance(ratio, Mapping) else {"every layer": ratio}
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"shrink: the ratio {share} of {name} is not in [0, 1)")
    for name in [*(shares if isinstance(ratio, Mapping) else ()), *exclude]:
        if name not in graph.makes:
            raise ValueError(f"shrink: no layer named {name!r} makes channels; those that do: {', '.join(graph.makes)}")
    if scope not in SCOPES:
        raise ValueError(f"shrink: scope {scope!r} is unknown; it may be {', '.join(SCOPES)}")
    if multiple < 1 or minimum < 1:
        raise ValueError(f"shrink: multiple ({multiple}) and minimum ({minimum}) must be at least 1")
