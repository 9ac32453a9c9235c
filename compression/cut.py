"""Ends a network earlier: its features become the means of an earlier layer's maps.

Middle layers tell scenes apart as well as late ones, whose rest names objects (see `models.backbone`), and cost less.
"""
from __future__ import annotations

import tf_keras

from leanood.compression import rebuild
from leanood.models import backbone, named_outputs


def cut(model: tf_keras.Model, layer: str) -> tf_keras.Model:
    """Returns the network up to a layer, as `features` float32 [N, C], with the same weights.

    Where it puts out a map, `local`, the shorter network puts out the one that `models.backbone.cut` takes of it.

    Args:
      model: Functional, with `features` as its only output, or with `local` beside it.
      layer: one whose output is a map [N, h, w, C].

    Raises:
      ValueError: if the network has other outputs, or no such map.
    """
    check(model, layer)
    return rebuild.clone(backbone.cut(model, layer, backbone.LOCAL in named_outputs.of(model)))


def check(model: tf_keras.Model, layer: str) -> None:
    """Raises ValueError, naming what there is, if the network can't end at the layer."""
    outputs = list(named_outputs.of(model))
    if backbone.FEATURES not in outputs or set(outputs) - {backbone.FEATURES, backbone.LOCAL}:
        raise ValueError(f"cut: the network has the outputs {', '.join(outputs)}; only one of {backbone.FEATURES} "
                         f"(and {backbone.LOCAL}) can end earlier")
    if layer not in maps(model):
        raise ValueError(f"cut: there is no map {layer!r}; the network can end at {', '.join(maps(model))}")


def maps(model: tf_keras.Model) -> list[str]:
    """Returns the layers worth ending at, in order."""
    return backbone.cuts(model)
