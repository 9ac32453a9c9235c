"""Converts a trained network to a TFLite file: a run's encoder or classifier, or any saved Functional Keras model."""
from __future__ import annotations

import json
import os
from typing import Any, Dict, Mapping, Optional, Tuple, Union

import numpy as np

from leanood.data import flow
from leanood.files import atomic
from leanood.ood import scores
from leanood.tflite import silence
from leanood.workflow import datasets, outcome


def convert(model: Union[str, os.PathLike], out: Optional[str] = None, *, part: Optional[str] = None,
            quantize: str = "float32", target: str = "generic", input_scale: Optional[str] = None,
            outputs: Optional[Mapping[str, str]] = None, early: Optional[bool] = None,
            fold_score: Optional[str] = None, unsafe: bool = False, size: Optional[Tuple[int, int]] = None,
            float_outputs: bool = True, data: Optional[datasets.Data] = None, representative: int = 200,
            fold_images: int = 5000, **data_options: Any) -> outcome.Outcome:
    """Converts a network to a .tflite file; returns the file, which `leanood.calibrate` takes.

    Outputs keep their names. Beside FILE.tflite goes FILE.json, which says what it was made from.

    Args:
      model: a run's folder (of `leanood.train` or `leanood.compress`), a Keras model (.h5, .keras; of Keras 3 too),
        or a SavedModel's folder.
      out: the file; None: <part>_<quantize>.tflite in the run's folder.
      part: which of a run's models; None: its encoder or classifier.
      quantize: "float32", "float16", "dynamic", "int8" or "int16" (its activations only, weights are int8).
      target: "generic", "jetson-nano" or "gpu": a file that could not be loaded there is refused.
      input_scale: what the model was trained on: "unit" x/255, "signed" x/127.5−1 or "bytes" x; None: the run's, or
        unit.
      outputs: layers to put out by name, e.g. {"features": "avg_pool", "logits": "predictions"}; maps are averaged
        over the image.
      early: add the output `early`, a fixed first layer's statistics, which the default detector reads (of a network
        of motion `motion`, the flow's own statistics); None: to a run's encoder.
      fold_score: add the output `ood_score`: a score such as "energy" or "vim", its statistics fitted on the new
        file's own outputs for training images.
      unsafe: let code within the model's file run (Lambda layers).
      size: (height, width), where the model leaves them open.
      float_outputs: int8: compute the output layers in float, for resolution.
      data: int8, fold_score: where the training images come from; None: the run's own.
      representative: int8: so many training images set the ranges.
      fold_images: fold_score: so many training images give the statistics.
      **data_options: split_csv, times_csv, ood_partitions, fps, data_seed, limit, as of `leanood.data.catalog.open`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    path = os.fspath(model)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is not there; --model takes a run's folder or a Keras model")
    part = part or ("classifier" if os.path.exists(os.path.join(path, "classifier.h5")) else "encoder")
    out = _out(path, out, f"{part}_{quantize}.tflite")
    if fold_score:
        scores.by_name(fold_score)  # an unknown one is refused before the work
    silence.tensorflow()
    from leanood.models import filter_bank, motion_statistics, run, saved_model
    from leanood.tflite import convert as converter

    config: Dict[str, Any] = {}
    if saved_model.is_program(path):
        network = saved_model.SavedModel(path)
    elif os.path.isdir(path) and not os.path.exists(os.path.join(path, "saved_model.pb")):
        folder = run.Run(path)
        config, network = folder.config, folder.model(part, unsafe=unsafe)
    else:
        network = run.load(path, unsafe=unsafe)
    if outputs:
        network = with_outputs(network, outputs, size)
    scale = trained_on = input_scale or config.get("input_scale", "unit")
    if config.get("model") == "flow_vae" and part == "encoder":
        network = motion_statistics.with_statistics(network) if early is not False else network
    elif early or (early is None and config and part == "encoder"):
        if trained_on != "unit":  # the statistics are of frames in [0, 1]
            network, scale = converter.with_unit_input(network, trained_on), "unit"
        network = filter_bank.with_statistics(network)
    training = _Training(data, data_options, config.get("data", {}), network, datasets.motion(config) or size)
    images = training.ranges(representative) if quantize in ("int8", "int16") else None
    flatbuffer = converter.convert(network, quantize=quantize, representative=images, input_scale=scale, target=target,
                                   size=size, float_outputs=float_outputs)
    names = sorted(converter.named(network, network.output))
    if fold_score:
        flatbuffer, names = _folded(flatbuffer, fold_score, training, fold_images), [*names, "ood_score"]
    provenance = converter.describe(
        flatbuffer, model=os.path.abspath(path), outputs=",".join(names), quantize=quantize, target=target,
        input_scale=trained_on, representative=0 if images is None else len(images), fold_score=fold_score,
        data=training.described(), run=config)
    atomic.write_bytes(out, flatbuffer)
    atomic.write_text(os.path.splitext(out)[0] + ".json", json.dumps(provenance, indent=2) + "\n")
    return outcome.Outcome(out, {"out": out, **{name: provenance[name] for name in (
        "outputs", "quantize", "target", "input_scale", "representative", "bytes", "sha256")}})


class _Training:
    """The training images that int8's ranges and folded scores want, opened only when they are asked for."""

    def __init__(self, data: Optional[datasets.Data], options: Mapping[str, Any], recorded: Mapping[str, Any],
                 network: Any, takes: Union[None, Tuple[int, int], flow.Settings]) -> None:
        self._data, self._options, self._recorded = data, options, recorded
        self._network, self._takes = network, takes
        self._opened: Optional[Tuple[Any, Dict[str, Any]]] = None
        self.there = data is not None or bool(recorded.get("spec"))
        if data is not None or any(value is not None for value in options.values()):
            self._open()  # a slip in them is told, needed or not

    def ranges(self, count: int) -> Optional[np.ndarray]:
        """Images uint8 [N, h, w, 3] that set int8's ranges; None where the network has learnt them."""
        if not self.there:
            if any(layer.name.startswith("quant") for layer in self._network.layers):
                return None
            raise ValueError("int8 needs training images to set its ranges; give --data")
        return self.images(count)[0]

    def images(self, count: int) -> Tuple[np.ndarray, np.ndarray]:
        """Up to `count` images, evenly spread, uint8 [N, h, w, 3], and their partitions (classes), str [N]."""
        takes = self._takes or tuple(self._network.inputs[0].shape[1:3])
        if not isinstance(takes, flow.Settings) and None in takes:
            raise ValueError("the model leaves its size open; give --size, e.g. --size=32x32")
        images, readable = datasets.load_split(self._open()[0], "train", takes, count)
        return np.asarray(images), readable.partition

    def described(self) -> Dict[str, Any]:
        """How to open the data again."""
        return dict(self._recorded) if self._opened is None else self._opened[1]

    def _open(self) -> Tuple[Any, Dict[str, Any]]:
        if self._opened is None:
            self._opened = datasets.open(self._data, self._options, self._recorded)
        return self._opened


def _out(model: str, out: Optional[str], name: str) -> str:
    if out:
        out = os.fspath(out)
        if not os.path.isdir(os.path.dirname(os.path.abspath(out))):
            raise FileNotFoundError(f"the folder of --out={out} is not there; make it first")
        return out
    if not os.path.isdir(model):
        raise ValueError("--out is needed where --model is no run's folder; e.g. --out=model.tflite")
    return os.path.join(model, name)


def with_outputs(network: Any, layers: Mapping[str, str], size: Optional[Tuple[int, int]]) -> Any:
    """Returns a network with chosen layers as its outputs, by name; of `logits` a softmax inside is left out.

    Args:
      network: a Keras model, or `models.saved_model.SavedModel`.
      layers: output's name -> layer's; maps are averaged over the image.
      size: (height, width), where the network leaves them open.
    """
    from leanood.models import classifier
    from leanood.tflite import convert as converter

    if getattr(network, "from_signature", False):
        return network.select(layers)
    if "logits" not in layers:
        return converter.with_outputs(network, dict(layers))
    pooled = {name: layer for name, layer in layers.items() if name not in ("features", "logits")}
    return classifier.with_outputs(network, features=layers.get("features"), logits=layers["logits"], pooled=pooled,
                                   size=size)


def _folded(flatbuffer: bytes, name: str, training: _Training, count: int) -> bytes:
    from leanood.ood import classifier_score
    from leanood.tflite import runtime
    from leanood.tflite.rewrite import fold

    score = scores.by_name(name)()
    if score.LEARNED:
        if not training.there:
            raise ValueError(f"{name} has statistics to fit on training images; give --data")
        images, classes = training.images(count)
        classifier_score.ClassifierScore(score).fit(runtime.load(flatbuffer, trusted=True).each(images), classes)
    return fold.fold(flatbuffer, score)
