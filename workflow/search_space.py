"""The recipes that a study draws from, by what the run's network is and how sensitive its layers are to shrinking."""
from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Dict, List, Tuple

import numpy as np

from leanood.compression import space as spaces
from leanood.data import input_scales, spread
from leanood.files import atomic, lock
from leanood.workflow import datasets, progress

_IMAGES = 64
_PLAIN = {"network": "shrink", "ratio": 0.0, "energy": 0.0, "matching": 0, "sparsity": 0.0, "format": "int8"}


def of(run: str, folder: str) -> spaces.Space:
    """Returns the space of a run's network; the layers' sensitivities are measured once a study.

    A frozen backbone may be shown less and cut earlier, which needs no training; plain students are left out, for on a
    user's few images they forget what it knows (docs/compression.md).

    Args:
      run: the run's folder.
      folder: the study's, in which frames were prepared.
    """
    from leanood.compression import cut, rebuild
    from leanood.models import backbone, named_outputs
    from leanood.models import run as runs

    opened = runs.Run(run)
    if datasets.motion(opened.config):  # stacks of flows are not kept
        return spaces.Space(matching=False)
    model = rebuild.clone(opened.model(opened.part))
    space = spaces.Space(by_layer=_by_layer(model, opened.config, folder), matching=opened.part == "classifier")
    outputs = set(named_outputs.of(model))
    if backbone.FEATURES not in outputs or outputs - {backbone.FEATURES, backbone.LOCAL}:
        return space
    rows, cuts = min(backbone.shown(model)), cut.maps(model)[:-1]
    whole = {layer.name for layer in model.layers}
    dropped = [tuple(sorted(whole - {layer.name for layer in cut.cut(model, name).layers})) for name in cuts]
    return dataclasses.replace(
        space, factors=tuple(factor for factor in (1, 2, 3, 4) if rows // factor >= backbone.SMALLEST),
        cuts=("", *cuts), dropped=((), *dropped), widths=(), energies=(0.0,), ratios=(0.0, 0.25, 0.5),
        sparsities=(0.0, 0.5))


def first(space: spaces.Space) -> Tuple[Dict[str, Any], ...]:
    """Returns the parameters of the candidates that are tried first: what a person would, in int8."""
    seeds: List[Dict[str, Any]] = []
    if len(space.factors) > 1 or len(space.cuts) > 1:  # a frozen backbone: what takes no training
        seeds += [{"downscale": factor} for factor in space.factors[:3]]
        seeds += [{"cut": layer} for layer in space.cuts[:0:-1][:1]]
    else:
        seeds += [{}, {"ratio": 0.5, "format": "qat"}]
    if space.by_layer:  # as narrow as the sensitivities allow at a middling cost
        seeds.append({"network": "by_layer", "by_layer": space.by_layer[len(space.by_layer) // 2]})
    return tuple({**_PLAIN, "downscale": 1, "cut": "", **seed} for seed in seeds)


def _by_layer(model: Any, config: Dict[str, Any], folder: str) -> Tuple[str, ...]:
    """Returns widths by layer, from `sensitivity.json` in the folder, made where it isn't there."""
    path = os.path.join(folder, "sensitivity.json")
    with lock.exclusive(f"{path}.lock", wait=True):  # another worker may be at it
        if not os.path.exists(path):
            _measure(model, config, folder, path)
    with open(path, encoding="utf-8") as stream:
        return tuple(json.load(stream)["by_layer"])


def _measure(model: Any, config: Dict[str, Any], folder: str, path: str) -> None:
    """Writes how far each layer's shrinking moves the outputs, and the widths that follow from it."""
    from leanood.compression import distances, rebuild, sensitivity, views

    shape = model.input_shape[1:]
    kept = np.memmap(os.path.join(folder, "prepared", "frames"), np.uint8, "r").reshape(-1, *shape)
    done = np.flatnonzero(np.memmap(os.path.join(folder, "prepared", "frames.done"), np.bool_, "r"))
    chosen = done[spread.evenly(len(done), _IMAGES)]
    images = views.scaled(np.array(kept[chosen]), input_scales.of_bytes(config.get("input_scale", "unit")))
    wanted = {name: np.asarray(value) for name, value in model(images).items()}
    distance = distances.default(wanted, wanted)

    def moved(candidate: Any) -> float:
        outputs = {name: np.asarray(value) for name, value in candidate(images).items()}
        return float(distance(distances.Batch(images, wanted, outputs)))

    progress.say("how far each layer's shrinking moves the outputs")
    try:
        analysis = sensitivity.analyse(model, moved, importance="activation", images=images)
    except rebuild.UnsupportedModel as error:
        progress.say(f"no sensitivities: {error}")
        atomic.write_json(path, {"layers": [], "by_layer": []})
    else:
        atomic.write_json(path, {
            "layers": ["+".join(names) for names in analysis.layers], "ratios": analysis.ratios,
            "values": analysis.values.tolist(), "baseline": analysis.baseline,
            "by_layer": spaces.informed_by(analysis)})
        sensitivity.plot(analysis, os.path.join(folder, "sensitivity.png"), "distance to the teacher's outputs")
