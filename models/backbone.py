"""Pretrained image networks as frozen feature extractors: opened by name or file, cut at a layer, averaged.

What a network has learnt of a million photographs tells scenes apart that statistics of pixels can't. Middle layers do
so best: late ones have dropped what doesn't name an object. A network that sees the frame at half its size costs a
quarter and keeps most of that.
"""
from __future__ import annotations

import os
from typing import Any, List, NamedTuple, Tuple

import tf_keras as keras

from leanood.models import efficientnet_lite, run

NAMES = ("efficientnet_lite0", "mobilenet_v2", "mobilenet_v3_small")
FEATURES, LOCAL = "features", "local"
CELLS = 10  # rows of the map that is put out as `local`, at most
SMALLEST = 32  # rows and columns that a network sees at least
_SHRUNK = (8, 16)  # by how much the maps that are worth a cut are smaller than what the network sees


class Backbone(NamedTuple):
    """A network and what it wants of a frame.

    Attributes:
      model: Functional, float32 [N, h, w, 3] -> maps and whatever follows them.
      input_scale: "unit" x/255, "signed" x/127.5 − 1 or "bytes" x.
    """

    model: keras.Model
    input_scale: str


def load(name: str, size: Tuple[int, int], *, downscale: int = 1, input_scale: str = "unit",
         weights: Any = "imagenet") -> Backbone:
    """Returns a backbone for frames of a size.

    Args:
      name: one of NAMES, or the path of a Functional Keras model (.h5, .keras).
      size: (h, w) of the frame in pixels.
      downscale: a named network sees means of so many by so many pixels.
      input_scale: of a file's model: what it was trained on; the named ones know theirs.
      weights: MobileNets: "imagenet" (which Keras downloads), or None: random ones.

    Raises:
      ValueError: if there is no such network, or it doesn't take such frames.
    """
    if downscale < 1 or min(size) // downscale < SMALLEST:
        raise ValueError(f"a backbone sees at least {SMALLEST}x{SMALLEST} pixels, not {size[0]}x{size[1]} shrunk by "
                         f"{downscale}; give a larger --size or a smaller --downscale")
    if name == "efficientnet_lite0":
        return Backbone(efficientnet_lite.build(size, efficientnet_lite.published(), downscale=downscale), "unit")
    if name in NAMES:
        network, scale = {"mobilenet_v2": (keras.applications.MobileNetV2, "signed"),
                          "mobilenet_v3_small": (keras.applications.MobileNetV3Small, "bytes")}[name]
        frame = keras.Input((*size, 3), name="frame")
        shrunk = keras.layers.AveragePooling2D(downscale, name="downscale")(frame) if downscale > 1 else frame
        try:
            return Backbone(network(input_tensor=shrunk, include_top=False, weights=weights), scale)
        except Exception as error:
            raise ValueError(f"{name}'s weights could not be downloaded ({str(error).splitlines()[0]}); use "
                             "--backbone=efficientnet_lite0, which needs no network, or a file") from error
    if not os.path.exists(name):
        raise ValueError(f"backbone {name!r} is no file; it can be {', '.join(NAMES)} or a Keras model (.h5, .keras)")
    if downscale > 1:
        raise ValueError(f"{name}: --downscale is for {', '.join(NAMES)}; a file's model sees frames as they are")
    model = run.load(name)
    if not getattr(model, "_is_graph_network", False) or len(model.inputs) != 1:
        raise ValueError(f"{name}: a backbone is a Functional Keras model with one input, the frame")
    shape = model.inputs[0].shape
    if len(shape) != 4 or shape[-1] != 3 or tuple(shape[1:3]) != tuple(size):
        raise ValueError(f"{name} takes {list(shape[1:])}, not frames of {size[0]}x{size[1]}; give its own --size")
    return Backbone(model, input_scale)


def cuts(model: keras.Model) -> List[str]:
    """Returns the layers worth cutting at, in order: ends of blocks whose maps are an eighth or sixteenth of the frame.

    A block ends with a sum, or with a normalisation that a convolution or the mean reads (a linear bottleneck). Where a
    network has neither, any such map will do.
    """
    height, _ = shown(model)
    maps = [layer for layer in model.layers if len(_shape(layer)) == 4
            and any(abs(_shape(layer)[1] - height / shrunk) < 1 for shrunk in _SHRUNK)]
    ends = [layer.name for layer in maps if isinstance(layer, keras.layers.Add)
            or isinstance(layer, keras.layers.BatchNormalization)
            and isinstance(_reader(layer), (keras.layers.Conv2D, keras.layers.GlobalAveragePooling2D))]
    return ends or [layer.name for layer in maps]


def shown(model: keras.Model) -> Tuple[int, int]:
    """Returns (h, w) of what the network sees of the frame: the frame's, or that of means of its pixels."""
    shape = model.inputs[0].shape
    for layer in model.layers[1:]:
        if not isinstance(layer, keras.layers.AveragePooling2D):
            break
        shape = layer.output_shape
    return shape[1], shape[2]


def cut(model: keras.Model, layer: str, local: bool = False) -> keras.Model:
    """Returns the network up to a layer, its map averaged: `features` float32 [N, C], with the same weights.

    Args:
      model: the network.
      layer: the last one, as of `cuts`.
      local: put out a map besides, `local` float32 [N, h', w', C'], which shows small things: of the last layer whose
        map is an eighth of the frame, its neighbouring places averaged down to CELLS rows.
    """
    network = pooled(model, {FEATURES: layer}, "encoder")
    if not local:
        return network
    before = cuts(model)
    before = before[:before.index(layer) + 1] if layer in before else [layer]
    rows = max(_shape(model.get_layer(name))[1] for name in before)
    cells = model.get_layer([name for name in before if _shape(model.get_layer(name))[1] == rows][-1]).output
    factor = -(-int(cells.shape[1]) // CELLS)
    mean = keras.layers.AveragePooling2D(factor, name=LOCAL)(cells)
    return keras.Model(network.input, {**network.output, LOCAL: mean}, name="encoder")


def pooled(model: keras.Model, layers: Any, name: str = "pooled") -> keras.Model:
    """Returns the network with the means of layers' maps as outputs, float32 [N, C] each.

    Args:
      model: the network.
      layers: output's name -> layer's.
      name: of the new model.
    """
    outputs = {}
    for output, layer in layers.items():
        if layer not in _names(model) or len(_shape(model.get_layer(layer))) != 4:
            raise ValueError(f"the backbone has no map {layer!r}; it can be cut at {', '.join(cuts(model))}")
        mean = keras.layers.GlobalAveragePooling2D(name=f"{output}_mean" if output == layer else output)
        outputs[output] = mean(model.get_layer(layer).output)
    return keras.Model(model.input, outputs, name=name)


def _names(model: keras.Model) -> List[str]:
    return [layer.name for layer in model.layers]


def _reader(layer: keras.layers.Layer) -> Any:
    return layer.outbound_nodes[0].outbound_layer if layer.outbound_nodes else None


def _shape(layer: keras.layers.Layer) -> Tuple[Any, ...]:
    shape = layer.output_shape
    return tuple(shape) if isinstance(shape, tuple) else ()
