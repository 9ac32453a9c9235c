"""Unstructured and 2:4 pruning by magnitude, on tfmot: zeros that pay in the gzipped file (not in dense speed)."""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras

from leanood.compression import rebuild

SCHEDULES = ("constant", "polynomial")
METHODS = ("layer", "model")
_PRUNABLE = (tf_keras.layers.Conv2D, tf_keras.layers.Conv1D, tf_keras.layers.Dense)


def prune(model: tf_keras.Model, sparsity: float | Mapping[str, float] = 0.5, *, method: str = "layer",
          structure: str = "", schedule: str = "polynomial", exclude: Sequence[str] | None = None,
          finetune: Callable[..., None] | None = None, teacher: tf_keras.Model | None = None) -> tf_keras.Model:
    """A copy of the model in which the smallest weights are zero.

    Args:
      model: Functional; depthwise convolutions and biases are never pruned.
      sparsity: share of zeros in (0, 1) of every layer (or of all, with method "model"), or one for each of the
        named layers, the others staying dense. Ignored with a `structure`.
      method: "layer" gives each layer its sparsity; "model" sets one threshold on |weight| over all those layers
        (the paper's global L1-unstructured pruning).
      structure: "2:4" makes two zeros in every four weights along the input channels; "" has none.
      schedule: "polynomial" raises the sparsity from 0 over the first three quarters of the fine-tuning (Zhu & Gupta,
        arXiv 1710.01878), "constant" prunes at once.
      exclude: layers to leave dense; None leaves the heads that make the outputs (mu, logvar, logits).
      finetune: `finetune(model, teacher, callbacks=...)` trains the result in place; None prunes at once.
      teacher: what to distil from; None takes `model`.
    """
    targets = _targets(model, sparsity, method, structure, schedule, exclude)
    copy = rebuild.clone(model)
    steps = getattr(finetune, "steps", 0) if schedule == "polynomial" and not structure else 0

    def wrap(layer: Any) -> Any:
        if layer.name not in targets:
            return layer
        return tfmot.sparsity.keras.prune_low_magnitude(
            layer, pruning_schedule=_schedule(targets[layer.name], steps),
            **({"sparsity_m_by_n": (2, 4)} if structure else {}))

    wrapped = tf_keras.models.clone_model(copy, clone_function=wrap)
    if finetune is not None:
        finetune(wrapped, model if teacher is None else teacher,
                 callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    for layer in wrapped.layers:
        if hasattr(layer, "pruning_obj"):
            if finetune is None:
                layer.pruning_step.assign(1)  # tfmot makes 2:4 masks in step 1 only
                layer.pruning_obj.conditional_mask_update()
            layer.pruning_obj.weight_mask_op()
    pruned = rebuild.clone(model)
    for layer in wrapped.layers:
        inner = getattr(layer, "layer", layer)
        pruned.get_layer(inner.name).set_weights([v.numpy() for v in inner.weights])
    return pruned


def global_sparsities(model: tf_keras.Model, sparsity: float, exclude: Sequence[str]) -> dict[str, float]:
    """The sparsity of each layer when one threshold on |weight| zeroes the share `sparsity` of all their weights.

    Args:
      model: Functional.
      sparsity: share of zeros over all prunable layers together.
      exclude: layers to leave out.
    """
    kernels = {layer.name: np.abs(layer.kernel.numpy()) for layer in _prunable(model) if layer.name not in exclude}
    everything = np.concatenate([kernel.ravel() for kernel in kernels.values()])
    count = round(sparsity * everything.size)
    threshold = np.partition(everything, count - 1)[count - 1] if count else -1.0
    return {name: float(np.mean(kernel <= threshold)) for name, kernel in kernels.items()}


def _prunable(model: tf_keras.Model) -> list[Any]:
    return [layer for layer in model.layers
            if isinstance(layer, _PRUNABLE) and not isinstance(layer, tf_keras.layers.DepthwiseConv2D)]


def _targets(model: tf_keras.Model, sparsity: float | Mapping[str, float], method: str, structure: str, schedule: str,
             exclude: Sequence[str] | None) -> dict[str, float]:
    """Layer name -> sparsity."""
    rebuild.check(model)
    for name, value, allowed in (("method", method, METHODS), ("structure", structure, ("", "2:4")),
                                 ("schedule", schedule, SCHEDULES)):
        if value not in allowed:
            raise ValueError(f"prune: {name} {value!r} is unknown; it may be {', '.join(map(repr, allowed))}")
    names = [layer.name for layer in _prunable(model)]
    asked = dict(sparsity) if isinstance(sparsity, Mapping) else dict.fromkeys(names, sparsity)
    for name in [*asked, *(exclude or ())]:
        if name not in names:
            raise ValueError(f"prune: no layer named {name!r} can be pruned; those that can: {', '.join(names)}")
    for share in asked.values():
        if not 0 < share < 1:
            raise ValueError(f"prune: the sparsity {share} is not in (0, 1)")
    if exclude is None:
        exclude = () if isinstance(sparsity, Mapping) else rebuild.heads(model)
    targets = {name: share for name, share in asked.items() if name not in exclude}
    if method == "model" and targets:
        targets = global_sparsities(model, max(targets.values()), [name for name in names if name not in targets])
    if structure:  # tfmot's 2:4 masks need four input channels to choose from
        targets = {name: 0.5 for name in targets if model.get_layer(name).kernel.shape[-2] % 4 == 0}
    if not targets:
        raise rebuild.UnsupportedModel(f"prune: no layer of model {model.name!r} is left to prune")
    return targets


def _schedule(sparsity: float, steps: int) -> Any:
    sparsity = min(sparsity, 1 - 1e-6)
    if steps < 4:
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=0, frequency=1)
    end = max(int(steps * 0.75), 1)
    return tfmot.sparsity.keras.PolynomialDecay(initial_sparsity=0.0, final_sparsity=sparsity, begin_step=0,
                                                end_step=end, frequency=max(end // 20, 1))
