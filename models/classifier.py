"""Any saved Functional classifier with the outputs that scores read: `features`, `logits`, pooled inner layers."""
from __future__ import annotations

import os
from typing import Dict, Mapping, Optional, Tuple

import tf_keras as keras

from leanood.models import run


def load(path: str, *, features: Optional[str] = None, logits: Optional[str] = None,
         pooled: Optional[Mapping[str, str]] = None, size: Optional[Tuple[int, int]] = None,
         unsafe: bool = False) -> keras.Model:
    """Returns a saved classifier with named outputs; the file's own model is not changed.

    Args:
      path: `.h5`, `.keras` or a SavedModel's folder, Functional or Sequential.
      features, logits, pooled, size: as for `with_outputs`.
      unsafe: whether code within the file may run.
    """
    if not os.path.exists(path):
        raise ValueError(f"there is no model {path}; give a Keras model's .h5, .keras or SavedModel")
    return with_outputs(run.load(path, unsafe=unsafe), features=features, logits=logits, pooled=pooled, size=size)


def with_outputs(model: keras.Model, *, features: Optional[str] = None, logits: Optional[str] = None,
                 pooled: Optional[Mapping[str, str]] = None, size: Optional[Tuple[int, int]] = None) -> keras.Model:
    """Returns a copy with the outputs `features` [N, D], `logits` [N, C] and one [N, channels] for each of `pooled`.

    A softmax inside the logits' layer is left out of the copy: scores need what comes before it.

    Args:
      model: Functional or Sequential, one image in.
      features: name of the layer before the last linear one; None takes what feeds the logits' layer.
      logits: name of the last linear layer; None takes the last Dense layer.
      pooled: output name -> name of a layer with activations [N, h, w, channels], averaged over the image;
        early layers know of light, blur and noise what late ones have dropped.
      size: (height, width) to fix an input to whose own is open; quantization wants it fixed.
    """
    if not getattr(model, "_is_graph_network", False):
        raise ValueError(f"{type(model).__name__} is no Functional or Sequential Keras model; build it with "
                         "tf_keras.Model(inputs, outputs)")
    if logits is None:
        dense = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Dense)]
        if not dense:
            raise ValueError("the model has no Dense layer to take logits from; name one with logits")
        logits = dense[-1]
    for name in (features, logits, *(pooled or {}).values()):
        _require(model, name)
    if isinstance(model.get_layer(logits), (keras.layers.Softmax, keras.layers.Activation)):
        raise ValueError(f"layer {logits!r} is an activation; name the linear layer before it as logits")
    clone = _clone(model, logits, size)
    last = clone.get_layer(logits)
    outputs: Dict[str, keras.KerasTensor] = {
        "features": last.input if features is None else clone.get_layer(features).output, "logits": last.output}
    if len(outputs["features"].shape) != 2:
        raise ValueError(f"features {features or 'before ' + logits!r} have shape {tuple(outputs['features'].shape)}; "
                         "name a layer with [N, D], after pooling or flattening")
    for name, layer in (pooled or {}).items():
        inner = clone.get_layer(layer).output
        if len(inner.shape) != 4:
            raise ValueError(f"layer {layer!r} has shape {tuple(inner.shape)}; pooled ones are [N, h, w, channels]")
        if name in outputs:
            raise ValueError(f"pooled output {name!r} is already there; give it another name")
        outputs[name] = keras.layers.GlobalAveragePooling2D(name=name)(inner)
    return keras.Model(clone.input, outputs, name=model.name)


def _clone(model: keras.Model, logits: str, size: Optional[Tuple[int, int]]) -> keras.Model:
    shape = tuple(model.inputs[0].shape[1:])
    if len(shape) != 3:
        raise ValueError(f"the model's input is {('N', *shape)}; an image classifier takes [N, h, w, channels]")
    wanted = tuple(size) if size is not None else shape[:2]
    if any(o not in (None, w) for o, w in zip(shape, wanted)):
        raise ValueError(f"size is {wanted}, but the model is fixed to {shape[:2]}")

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name == logits and config.get("activation") == "softmax":
            config["activation"] = "linear"
        return type(layer).from_config(config)

    frame = keras.Input((*wanted, shape[2]), name="frame")
    clone = keras.models.clone_model(model, input_tensors=frame, clone_function=copy)
    clone.set_weights(model.get_weights())
    return clone


def _require(model: keras.Model, name: Optional[str]) -> None:
    known = [layer.name for layer in model.layers]
    if name is not None and name not in known:
        raise ValueError(f"the model has no layer {name!r}; its last are {', '.join(known[-8:])}")
