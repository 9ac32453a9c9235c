"""Chooses where to cut a pretrained network, by in-distribution frames and made-up changes of them.

For each cut: the Gaussian that the default detector would fit on training frames and benign variants (the filter bank's
statistics and the cut's features together), then the AUROC of validation frames as they are against corrupted
ones and ones of changed content. The earliest cut that is as good as any, but for half a point, is chosen: it is the
cheapest.
"""
from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from leanood.data import content_changes, dataset, frames, input_scales, spread, variants
from leanood.ood import gaussian, metrics, typicality
from leanood.workflow import datasets, outcome, progress, stand_ins

# One of each kind, faint ones: strong ones any cut sees.
CORRUPTIONS = ("darker 1", "brighter 1", "rain 1", "fog 1", "motion_blur 1", "noise 1", "dead_pixels 1", "glare 1",
               "occlusion 5")
TOLERANCE = 0.005
DOWNSCALE = 3  # at 120×160 no slower than a β-VAE of 64, and worth more; docs/detection.md has the figures
_FIT, _JUDGE = 400, 80  # frames at most
_FEWEST = 2  # frames that a Gaussian takes
_BATCH = 32

Features = Dict[str, np.ndarray]  # by cut, float32 [N, C]; "early" beside them


class Cut(NamedTuple):
    """A cut and how well its features, with the filter bank's, rank changed frames behind frames as they are."""

    layer: str
    features: int
    corruptions: float  # mean AUROC
    content: float
    mean: float  # over all kinds


def train(images: dataset.Dataset, validation: dataset.Dataset, data: Mapping[str, Any], out: str, *,
          name: str = "efficientnet_lite0", cut: str = "", downscale: Optional[int] = None, input_scale: str = "unit",
          size: Tuple[int, int] = (120, 160), seed: int = 0, local: bool = False) -> outcome.Outcome:
    """Makes a run's folder of a pretrained network up to a cut, frozen: `encoder.h5` with the output `features`.

    Args:
      images: training frames.
      validation: frames to choose the cut by; where there are none, the last fifth of `images`.
      data: how to open the data set again.
      out: the folder.
      name, input_scale: as of `models.backbone.load`.
      downscale: too; None: of a named network DOWNSCALE, or as many as leave it rows and columns enough, of a file 1.
      cut: a layer's name; empty: chosen.
      size: (h, w) of the frame in pixels.
      seed: of the made-up changes.
      local: put out a map too, `local`, for small things and for where a frame is odd.
    """
    from leanood.models import backbone, run

    if downscale is None:
        downscale = max(1, min(DOWNSCALE, min(size) // backbone.SMALLEST)) if name in backbone.NAMES else 1
    base = backbone.load(name, size, downscale=downscale, input_scale=input_scale)
    folder = run.Run.create(out, {
        "model": "backbone", "backbone": os.path.abspath(name) if os.path.exists(name) else name, "cut": cut,
        "downscale": downscale, "size": list(size), "input_scale": base.input_scale, "seed": seed,
        **({"local": True} if local else {}), "data": dict(data)})
    with folder.lock():
        candidates = [] if cut else choose(base.model, base.input_scale, size, images, validation, seed)
        chosen = cut or best(candidates).layer
        network = backbone.cut(base.model, chosen, local)
        folder.save("encoder", network)
    summary: Dict[str, Any] = {
        "out": folder.path, "backbone": name, "cut": chosen, "features": int(network.output["features"].shape[-1]),
        **({"local": list(network.output["local"].shape[1:])} if local else {}),
        "parameters": int(network.count_params()), "train_images": len(images), "validation_images": len(validation)}
    rows = [[candidate.layer, candidate.features, candidate.corruptions, candidate.content, candidate.mean,
             "yes" if candidate.layer == chosen else ""] for candidate in candidates]
    table = (rows, ["cut", "features", "corruptions", "content", "mean AUROC", "chosen"])
    return outcome.Outcome(folder.path, summary, [table] if rows else [])


def best(candidates: List[Cut]) -> Cut:
    """Returns the first cut whose mean is within TOLERANCE of the largest."""
    largest = max(candidate.mean for candidate in candidates)
    return next(candidate for candidate in candidates if candidate.mean >= largest - TOLERANCE)


def choose(model: Any, input_scale: str, size: Tuple[int, int], images: dataset.Dataset, validation: dataset.Dataset,
           seed: int = 0) -> List[Cut]:
    """Returns every cut, in the network's order, judged.

    Args: as of `train`; model: the whole backbone.
    """
    from leanood.models import backbone

    layers = backbone.cuts(model)
    if not layers:
        raise ValueError("the backbone has no map of an eighth or a sixteenth of the frame's size; name a layer: --cut")
    if not len(validation):
        last = max(1, len(images) // 5)
        images, validation = (images.where(np.arange(len(images))[part]) for part in (slice(-last), slice(-last, None)))
    features = _extractor(backbone.pooled(model, {layer: layer for layer in layers}), input_scale)
    shown, _, unreadable = _spread(images, _FIT).load(size)
    ordinary, judged, also = _spread(validation, _JUDGE).load(size)
    datasets.say_unreadable(tuple(dict.fromkeys(unreadable + also)))
    if len(shown) < _FEWEST or not len(judged):
        raise ValueError(f"{len(shown)} readable images to train on and {len(judged)} for validation are too few "
                         f"to choose the cut by ({_FEWEST} and one are the least); give more, or name a layer: --cut")
    fitted = features(shown)
    varied = features(np.stack([variants.draw((seed, i))(frame, seed, i) for i, frame in enumerate(shown)]))
    kinds = (*CORRUPTIONS, *content_changes.NAMES)
    ood = {kind: features(_changed(judged, kind, size, seed)) for kind in progress.track(kinds, "choosing the cut")}
    in_distribution = features(ordinary)
    candidates = []
    for layer in layers:
        joined = _joined(fitted, layer)
        normal = gaussian.Gaussian.fit(joined, _joined(varied, layer) - joined)
        id_scores = normal.distances(_joined(in_distribution, layer))
        auroc = {kind: metrics.evaluate(id_scores, normal.distances(_joined(outputs, layer))).auroc
                 for kind, outputs in ood.items()}
        low = [value for kind, value in auroc.items() if kind not in content_changes.NAMES]
        content = [value for kind, value in auroc.items() if kind in content_changes.NAMES]
        candidates.append(Cut(layer, in_distribution[layer].shape[1], float(np.mean(low)), float(np.mean(content)),
                              float(np.mean(low + content))))
    return candidates


def _changed(judged: dataset.Dataset, kind: str, size: Tuple[int, int], seed: int) -> np.ndarray:
    """The judged frames as stand-ins of a kind, uint8 [N, h, w, 3]."""
    change = stand_ins.change(kind, judged, seed)
    return np.stack([frames.resize(change(judged.read(i), i), size) for i in range(len(judged))])


def _spread(data: dataset.Dataset, count: int) -> dataset.Dataset:
    """At most so many frames, evenly spread."""
    return data if len(data) <= count else data.where(spread.evenly(len(data), count))


def _extractor(model: Any, input_scale: str) -> Callable[[np.ndarray], Features]:
    """Returns what gives every cut's features and `early` of images uint8 [N, h, w, 3]."""
    import tensorflow as tf

    from leanood.models import filter_bank

    factor, offset = input_scales.SCALES[input_scale]

    @tf.function
    def forward(images: Any) -> Any:
        return {**model(images * factor + offset, training=False), filter_bank.NAME: filter_bank.early(images)}

    def run(images: np.ndarray) -> Features:
        parts = [forward(tf.constant(images[begin:begin + _BATCH].astype(np.float32) / 255))
                 for begin in range(0, len(images), _BATCH)]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}

    return run


def _joined(features: Features, layer: str) -> np.ndarray:
    """What the default detector's Gaussian is of, float64 [N, …]."""
    return typicality.joined(features[typicality.EARLY], features[layer])
