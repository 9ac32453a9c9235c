"""One Keras 3 layer in tf_keras: which class, and what its configuration is called there.

Keras 3 kept most names. What differs: `negative_slope` was `alpha` in LeakyReLU, `hard_sigmoid` is relu6(x + 3) / 6
and was clip(0.2 x + 0.5), data types are policies. Initial values and their seeds don't matter, weights are copied.
"""
from __future__ import annotations

import inspect
from typing import Any, Callable, Dict, List, Mapping, Tuple

import tf_keras as keras

L = keras.layers
SAME = (
    "Activation", "Add", "AdditiveAttention", "Attention", "Average", "AveragePooling1D", "AveragePooling2D",
    "BatchNormalization", "CategoryEncoding", "CenterCrop", "Concatenate", "Conv1D", "Conv1DTranspose", "Conv2D",
    "Conv2DTranspose", "Conv3D", "Cropping1D", "Cropping2D", "Dense", "DepthwiseConv1D", "DepthwiseConv2D", "Dot",
    "Dropout", "EinsumDense", "ELU", "Embedding", "Flatten", "GaussianDropout", "GaussianNoise",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "GroupNormalization", "LayerNormalization", "LeakyReLU", "Maximum", "MaxPooling1D", "MaxPooling2D", "Minimum",
    "MultiHeadAttention", "Multiply", "Normalization", "Permute", "PReLU", "ReLU", "RepeatVector", "Rescaling",
    "Reshape", "Resizing", "SeparableConv1D", "SeparableConv2D", "Softmax", "SpatialDropout1D", "SpatialDropout2D",
    "Subtract", "UnitNormalization", "UpSampling1D", "UpSampling2D", "ZeroPadding1D", "ZeroPadding2D")
# Identities at inference: augmentation is what the compression's own views do.
LEFT_OUT = ("Identity", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
            "RandomCrop", "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue",
            "RandomInvert", "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness",
            "RandomShear", "RandomTranslation", "RandomZoom", "StochasticDepth", "ActivityRegularization")
_ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softmax", "elu", "selu", "softplus", "softsign", "swish", "silu",
                "gelu", "exponential", "mish")
_FORGOTTEN = ("initializer", "lora", "quantization", "synchronized", "pad_to_aspect_ratio", "rms_scaling")

Call = Callable[..., Any]


def build(kind: str, name: str, config: Mapping[str, Any]) -> Call:
    """What to call instead of a Keras 3 layer: a tf_keras layer, or a short chain of them.

    Args:
      kind: the layer's class.
      name: of the layer.
      config: its `get_config()`.

    Raises:
      ValueError: if there is no such layer in tf_keras; naming it, and the way out.
    """
    if kind in LEFT_OUT:
        return lambda x, *_, **__: x
    if kind == "LayerScale":  # of keras.applications' ConvNeXt
        return keras.src.applications.convnext.LayerScale(config["init_values"], config["projection_dim"], name=name)
    if kind == "CustomScaleLayer":  # of its InceptionResNetV2
        return lambda x, *_, **__: L.Add(name=name)([x[0], L.Rescaling(config["scale"], name=f"{name}_scale")(x[1])])
    if kind not in SAME:
        raise ValueError(f"layer {name!r} ({kind}) has no counterpart in tf_keras: put a standard layer in its place, "
                         "or export the model (model.export('folder')) and convert that SavedModel")
    settings = _config(kind, config)
    activation = settings.get("activation")
    if activation is None or activation in _ACTIVATIONS:
        return getattr(L, kind)(**settings)
    chain = _activation(kind, name, activation)
    if kind == "Activation":
        return chain
    layer = getattr(L, kind)(**{**settings, "activation": "linear"})
    return _Chain(layer, chain)


class _Chain:
    """A layer, and what is applied to its output."""

    def __init__(self, layer: Any, after: Call) -> None:
        self.layer, self._after = layer, after

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._after(self.layer(*arguments, **named))


# An operator with a number, `x + 3.0`: its Rescaling, x · scale + offset.
OPERATORS: Dict[str, Callable[[float], Tuple[float, float]]] = {
    "Add": lambda number: (1.0, number), "Subtract": lambda number: (1.0, -number),
    "Multiply": lambda number: (number, 0.0), "Divide": lambda number: (1.0 / number, 0.0),
    "TrueDivide": lambda number: (1.0 / number, 0.0)}


def operation(kind: str, name: str) -> Call:
    """What to call instead of one of OPERATORS: a merging layer, or a Rescaling where one side is a number."""
    def call(a: Any, b: Any) -> Any:
        if isinstance(a, (int, float)) and kind in ("Add", "Multiply"):
            a, b = b, a
        if isinstance(b, (int, float)) and not isinstance(a, (int, float, list)):
            scale, offset = OPERATORS[kind](float(b))
            return L.Rescaling(scale, offset, name=name)(a)
        if isinstance(a, (int, float, list)) or isinstance(b, list) or not hasattr(L, kind):
            raise ValueError(f"layer {name!r} ({kind}) is an operator without a counterpart in tf_keras: put a "
                             "standard layer in its place, or export the model (model.export('folder')) and convert "
                             "that SavedModel")
        return getattr(L, kind)(name=name)([a, b])

    return call


def layer_of(call: Call) -> Any:
    """The tf_keras layer that holds a call's weights, or None."""
    return call.layer if isinstance(call, _Chain) else call if isinstance(call, L.Layer) else None


def _config(kind: str, config: Mapping[str, Any]) -> Dict[str, Any]:
    """The configuration in tf_keras's words: what its constructor doesn't know is left off; the proof judges that."""
    accepted = _parameters(getattr(L, kind))
    settings: Dict[str, Any] = {}
    for key, value in config.items():
        if kind == "LeakyReLU" and key == "negative_slope":
            key = "alpha"
        if key == "dtype" or any(word in key for word in _FORGOTTEN) or key not in accepted:
            continue
        if isinstance(value, dict) and "class_name" in value:
            if key == "activation":  # an object, not a name
                value = str(value["class_name"])
            else:
                value = {"class_name": value["class_name"], "config": value.get("config")}
        settings[key] = value
    return settings


def _parameters(layer: type) -> List[str]:
    names = ["name", "trainable"]
    for kind in inspect.getmro(layer):
        if kind is L.Layer:
            break
        if "__init__" in vars(kind):
            names += inspect.signature(vars(kind)["__init__"]).parameters
    return names


def _activation(kind: str, name: str, activation: Any) -> Call:
    """The activations that tf_keras lacks, or computes otherwise, of standard layers."""
    prefix = f"{name}_{activation}"
    if activation == "relu6":
        return L.ReLU(6.0, name=prefix)
    if activation == "leaky_relu":
        return L.LeakyReLU(0.2, name=prefix)
    if activation in ("hard_sigmoid", "hard_silu", "hard_swish"):
        def hard(x: Any) -> Any:
            gate = L.Rescaling(1.0, 3.0, name=f"{prefix}_shift")(x)
            gate = L.Rescaling(1 / 6, name=f"{prefix}_scale")(L.ReLU(6.0, name=f"{prefix}_clip")(gate))
            return gate if activation == "hard_sigmoid" else L.Multiply(name=f"{prefix}_gate")([x, gate])
        return hard
    raise ValueError(f"layer {name!r} ({kind}) has the activation {activation!r}, which tf_keras lacks: use one of "
                     f"{', '.join(_ACTIVATIONS)}, or export the model and convert that SavedModel")
