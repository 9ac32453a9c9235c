"""Converts a trained network to a TFLite file: a run's encoder, or any saved Functional Keras model.

Outputs keep their names. Beside FILE.tflite goes FILE.json, which says what it was made from. The images that set
int8's ranges come from the training split of the run's own data, or of --data. A classifier becomes ready for scores by
naming its layers (--outputs=features=avg_pool,logits=predictions; others are averaged over the image), and a score can
be folded into its file.
"""
from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np
from absl import flags

from leanood.ood import scores
from leanood.tools import command
from leanood.workflow import quiet

_MODEL = flags.DEFINE_string("model", None, "a run's folder, or a Keras model (.h5, .keras)", required=True)
_OUT = flags.DEFINE_string("out", None, "the file; default: <part>_<quantize>.tflite in the run's folder")
_PART = flags.DEFINE_string("part", None, "which of a run's models; default: its encoder or classifier")
_QUANTIZE = flags.DEFINE_enum("quantize", "float32", ["float32", "float16", "dynamic", "int8", "int16"],
                              "what becomes smaller (int16: its activations only, weights are int8)")
_TARGET = flags.DEFINE_enum("target", "generic", ["generic", "jetson-nano", "gpu"],
                            "a file that could not be loaded there is refused")
_INPUT_SCALE = flags.DEFINE_enum("input_scale", None, ["unit", "signed", "bytes"],
                                 "what the model was trained on: x/255, x/127.5-1 or x; default: the run's, or unit")
_OUTPUTS = flags.DEFINE_list("outputs", [], "layers to put out, e.g. features=avg_pool,logits=predictions")
_EARLY = flags.DEFINE_boolean("early", None, "add the output `early`, a fixed first layer's statistics, which the "
                              "default detector reads; default: to a run's encoder")
_FOLD_SCORE = flags.DEFINE_string("fold_score", None, "add the output `ood_score`: a score such as energy or vim; its "
                                  "statistics are fitted on the new file's own outputs for training images")
_SIZE = flags.DEFINE_string("size", None, "height x width, where the model leaves them open")
_FLOAT_OUTPUTS = flags.DEFINE_boolean("float_outputs", True, "int8: compute the output layers in float, for resolution")
_DATA = flags.DEFINE_string("data", None, "int8: an image folder, a video, lanes or tfds:NAME; default: the run's own")
_SPLIT_CSV = flags.DEFINE_string("split_csv", None, "a table image,split for --data")
_REPRESENTATIVE = flags.DEFINE_integer("representative", 200, "int8: so many training images set the ranges",
                                       lower_bound=1)
_FOLD_IMAGES = flags.DEFINE_integer("fold_images", 5000, "fold_score: so many training images give the statistics",
                                    lower_bound=1)
_JSON = command.define_json()


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
    if not os.path.exists(_MODEL.value):
        raise FileNotFoundError(f"{_MODEL.value} is not there; --model takes a run's folder or a Keras model")
    part = _PART.value or ("classifier" if _has("classifier") else "encoder")
    out = _out(part)
    quiet.tensorflow()
    from leanood.models import filter_bank, run
    from leanood.tflite import convert

    config: Dict[str, Any] = {}
    if os.path.isdir(_MODEL.value):
        folder = run.Run(_MODEL.value)
        config, model = folder.config, folder.model(part)
    else:
        model = run.load(_MODEL.value)
    size = command.size(_SIZE.value) if _SIZE.value else None
    if _OUTPUTS.value:
        model = _with_outputs(model, command.pairs(_OUTPUTS.value), size)
    input_scale = trained_on = _INPUT_SCALE.value or config.get("input_scale", "unit")
    if _EARLY.value or (_EARLY.value is None and config and part == "encoder"):
        if trained_on != "unit":  # the statistics are of frames in [0, 1]
            model, input_scale = convert.with_unit_input(model, trained_on), "unit"
        model = filter_bank.with_statistics(model)
    data = _data(config)
    images = _images(data, model, size) if _QUANTIZE.value in ("int8", "int16") else None
    if _FOLD_SCORE.value:
        scores.by_name(_FOLD_SCORE.value)  # an unknown one is refused before the work
    flatbuffer = convert.convert(
        model, quantize=_QUANTIZE.value, representative=images, input_scale=input_scale, target=_TARGET.value,
        size=size, float_outputs=_FLOAT_OUTPUTS.value)
    outputs = sorted(convert.named(model, model.output))
    if _FOLD_SCORE.value:
        flatbuffer, outputs = _folded(flatbuffer, data, model, size), [*outputs, "ood_score"]
    provenance = convert.describe(
        flatbuffer, model=os.path.abspath(_MODEL.value), outputs=",".join(outputs),
        quantize=_QUANTIZE.value, target=_TARGET.value, input_scale=trained_on,
        representative=0 if images is None else len(images), fold_score=_FOLD_SCORE.value, data=data, run=config)
    _write(out, flatbuffer)
    _write(os.path.splitext(out)[0] + ".json", (json.dumps(provenance, indent=2) + "\n").encode())
    result = {"out": out, **{name: provenance[name] for name in
                             ("outputs", "quantize", "target", "input_scale", "representative", "bytes", "sha256")}}
    print(json.dumps(result) if _JSON.value else command.table(list(result.items()), ["result", "value"]))


def _has(part: str) -> bool:
    return os.path.exists(os.path.join(_MODEL.value, f"{part}.h5"))


def _out(part: str) -> str:
    if _OUT.value:
        if not os.path.isdir(os.path.dirname(os.path.abspath(_OUT.value))):
            raise FileNotFoundError(f"the folder of --out={_OUT.value} is not there; make it first")
        return _OUT.value
    if not os.path.isdir(_MODEL.value):
        raise ValueError("--out is needed where --model is no run's folder; e.g. --out=model.tflite")
    return os.path.join(_MODEL.value, f"{part}_{_QUANTIZE.value}.tflite")


def _data(config: Dict[str, Any]) -> Dict[str, Any]:
    if _DATA.value:
        return {"spec": _DATA.value, "split_csv": _SPLIT_CSV.value}
    return dict(config.get("data", {}))


def _with_outputs(model: Any, layers: Dict[str, str], size: Optional[Tuple[int, int]]) -> Any:
    from leanood.models import classifier
    from leanood.tflite import convert

    if "logits" not in layers:
        return convert.with_outputs(model, layers)
    pooled = {name: layer for name, layer in layers.items() if name not in ("features", "logits")}
    return classifier.with_outputs(model, features=layers.get("features"), logits=layers["logits"], pooled=pooled,
                                   size=size)


def _folded(flatbuffer: bytes, data: Dict[str, Any], model: Any, size: Optional[Tuple[int, int]]) -> bytes:
    from leanood.ood import classifier_score
    from leanood.tflite import runtime
    from leanood.tflite.rewrite import fold

    score = scores.by_name(_FOLD_SCORE.value)()
    if score.LEARNED:
        if not data:
            raise ValueError(f"{_FOLD_SCORE.value} has statistics to fit on training images; give --data")
        images, classes = _training(data, model, size, _FOLD_IMAGES.value)
        classifier_score.ClassifierScore(score).fit(runtime.load(flatbuffer, trusted=True).each(images), classes)
    return fold.fold(flatbuffer, score)


def _images(data: Dict[str, Any], model: Any, size: Optional[Tuple[int, int]]) -> Optional[np.ndarray]:
    if not data:
        if any(layer.name.startswith("quant") for layer in model.layers):
            return None  # it has learnt its ranges
        raise ValueError("int8 needs training images to set its ranges; give --data")
    return _training(data, model, size, _REPRESENTATIVE.value)[0]


def _training(data: Dict[str, Any], model: Any, size: Optional[Tuple[int, int]],
              count: int) -> Tuple[np.ndarray, np.ndarray]:
    """Up to `count` training images, evenly spread, uint8 [N, h, w, 3], and their partitions (classes), str [N]."""
    from leanood.data import catalog

    own = model.inputs[0].shape[1:3]
    height, width = size or own
    if height is None or width is None:
        raise ValueError("the model leaves its size open; give --size, e.g. --size=32x32")
    options = {name: value for name, value in data.items() if name not in ("spec", "description")}
    found = catalog.open(data["spec"], **options)
    training = found.where((found.split == "train") & ~found.ood)
    if not len(training):
        raise ValueError(f"{data['spec']} has no in-distribution image in its split \"train\"")
    chosen = np.unique(np.linspace(0, len(training) - 1, count).round().astype(int))
    images, readable, bad = training.where(chosen).load((int(height), int(width)))
    for line in bad:
        print(f"unreadable, left out: {line}", file=sys.stderr)
    return images, readable.partition


def _write(path: str, content: bytes) -> None:
    with open(f"{path}.partial", "wb") as stream:
        stream.write(content)
    os.replace(f"{path}.partial", path)


def run() -> None:
    command.run(main, example="leanood convert --model=runs/lanes --quantize=int8")


if __name__ == "__main__":
    run()
