"""Trains a detector's network on in-distribution images, into a run's folder.

Only the split "train" trains; "validation" stops the training early. Killed or interrupted, the same command goes on
from the last finished epoch. The folder then holds history.csv, TensorBoard's logs and, of a bvae, encoder.h5,
decoder.h5 and reconstructions.png, of a resnet18 (whose classes are the data's sub-folders) classifier.h5.
"""
from __future__ import annotations

import json
import os
import sys
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from absl import flags

from leanood.data import catalog, dataset
from leanood.tools import command
from leanood.workflow import quiet

_MODEL = flags.DEFINE_enum("model", "bvae", ["bvae", "resnet18"], "what to train")
_OUT = flags.DEFINE_string("out", None, "the run's folder; an unfinished run in it goes on", required=True)
_DATA = flags.DEFINE_string("data", None, "an image folder, a video, lanes or tfds:NAME", required=True)
_SPLIT_CSV = flags.DEFINE_string("split_csv", None, "a table image,split instead of the automatic split")
_TIMES_CSV = flags.DEFINE_string("times_csv", None, "a table frame,milliseconds that orders frames in time")
_OOD_PARTITIONS = flags.DEFINE_list("ood_partitions", [], "partitions (sub-folders) that are out of distribution")
_FPS = flags.DEFINE_float("fps", 20.0, "frames a second of ordered frames", lower_bound=0.001)
_DATA_SEED = flags.DEFINE_integer("data_seed", 0, "seed of the automatic split and of made-up scenes", lower_bound=0)
_LIMIT = flags.DEFINE_integer("limit", None, "use about so many frames, evenly spread", lower_bound=1)

_SIZE = flags.DEFINE_string("size", None, "height x width of the input in pixels; bvae 64x64, resnet18 32x32")
_STEM = flags.DEFINE_enum("stem", "cifar", ["cifar", "imagenet"], "resnet18: imagenet shrinks the image by 4 at once")
_WIDTH = flags.DEFINE_float("width", 1.0, "resnet18: multiplies all channels")
_WIDTHS = flags.DEFINE_list("widths", ["16", "32", "32", "32"], "channels of the convolutions; each halves the size")
_LATENTS = flags.DEFINE_integer("latents", 30, "number of latents", lower_bound=1)
_DENSE = flags.DEFINE_list("dense", [], "units of the fully connected layers before the latents")
_ACTIVATION = flags.DEFINE_enum("activation", "relu", ["relu", "leaky_relu"], "relu is faster when quantized")
_BATCH_NORM = flags.DEFINE_boolean("batch_norm", False, "bvae: normalise after each convolution; blinds it to light")
_POOL = flags.DEFINE_enum("pool", "stride", ["stride", "max"], "halve by strided convolution (4x cheaper) or maxima")
_DECODER_WIDTHS = flags.DEFINE_list("decoder_widths", [], "bvae: the decoder's, if other than --widths; a narrow one "
                                    "trains faster")
_BETA = flags.DEFINE_float("beta", 20.0, "bvae: weight of the KL term for a frame of 64x64, scaled with the pixels: "
                           "beta * h * w / 64^2", lower_bound=0.0)
_RECONSTRUCTION = flags.DEFINE_enum("reconstruction", "bce", ["bce", "mse"], "loss of the pixels, summed over an image")
_WARM_UP = flags.DEFINE_float("warm_up", 0.25, "bvae: share of the epochs over which beta grows from 0",
                              lower_bound=0.0, upper_bound=1.0)
_WARM_UP_EPOCHS = flags.DEFINE_integer("warm_up_epochs", None, "resnet18: epochs over which the learning rate grows; "
                                       "default 1", lower_bound=0)
_AUGMENT = flags.DEFINE_list("augment", [], "bvae: what varies in training besides the images, words of light, colour, "
                             "rain, flip, benign; a latent sees only what varied")

_EPOCHS = flags.DEFINE_integer("epochs", None, "at most so many epochs; bvae 40, resnet18 200", lower_bound=1)
_PATIENCE = flags.DEFINE_integer(
    "patience", 10, "bvae: stop after so many epochs without a better validation loss; 0: never", lower_bound=0)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "images a step, over all devices; bvae 32, resnet18 128",
                                   lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", None, "Adam's (bvae: 0.001), or the peak of SGD's (resnet18: 0.1)")
_SEED = flags.DEFINE_integer("seed", 0, "seed of weights, order and noise", lower_bound=0)
_PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "bf16", "auto"],
                               "what to compute in; auto takes bf16 where the hardware has it")
_DETERMINISTIC = flags.DEFINE_boolean("deterministic", False, "bitwise repeatable, and slower")
_DISTRIBUTION = flags.DEFINE_enum("distribution_strategy", "off", ["off", "mirrored", "multi_worker_mirrored"],
                                  "one device, all GPUs here, or the machines that TF_CONFIG names")
_JSON = command.define_json()

for _holder in (_WIDTHS, _DENSE, _DECODER_WIDTHS):
    flags.register_validator(_holder, lambda words: all(word.strip().isdigit() for word in words),
                             "should be whole numbers with commas between")


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise ValueError(f"unexpected argument {argv[1]!r}; flags are written --name=value")
    size = command.size(_SIZE.value or ("64x64" if _MODEL.value == "bvae" else "32x32"))
    data = {"spec": _absolute(_DATA.value), "split_csv": _absolute(_SPLIT_CSV.value),
            "times_csv": _absolute(_TIMES_CSV.value), "ood_partitions": _OOD_PARTITIONS.value, "fps": _FPS.value,
            "seed": _DATA_SEED.value, "limit": _LIMIT.value}
    found = catalog.open(data["spec"], **{name: value for name, value in data.items() if name != "spec"})
    data["description"] = found.description
    images, validation = (found.where((found.split == split) & ~found.ood) for split in ("train", "validation"))
    if not len(images):
        raise ValueError(f"{data['spec']} has no in-distribution image in its split \"train\"")
    _say(f"{found.description}: {len(images)} images to train on, {len(validation)} for validation")
    if not len(validation):
        _say("no validation images: the last epoch counts as the best")
    quiet.tensorflow()
    import tensorflow as tf

    if _DETERMINISTIC.value:
        tf.config.experimental.enable_op_determinism()
    train = _train_bvae if _MODEL.value == "bvae" else _train_resnet18
    folder, outcome, unreadable, latents = train(images, validation, data, size)
    for line in unreadable:
        _say(f"unreadable, left out: {line}")
    best = outcome.history[outcome.best_epoch - 1]
    result = {"out": folder.path, "epochs": len(outcome.history), "best_epoch": outcome.best_epoch,
              "stopped_early": outcome.stopped_early, "train_images": len(images),
              "validation_images": len(validation), "unreadable_images": len(unreadable),
              **{name: value for name, value in best.items() if name != "epoch"}}
    if latents is not None:
        result["active_latents"] = int(latents.active.sum())
        if latents.warning:
            _say(f"warning: {latents.warning}")
        if not _JSON.value:
            print(command.table(latents.rows(), latents.headers()) + "\n")
    print(json.dumps(result) if _JSON.value else command.table(list(result.items()), ["result", "value"]))


def _train_bvae(images: dataset.Dataset, validation: dataset.Dataset, data: Dict[str, Any],
                size: Tuple[int, int]) -> Tuple[Any, Any, List[str], Any]:
    from leanood.data import augment, pipeline
    from leanood.models import bvae_training, precision, strategy
    from leanood.workflow import latents

    if _WARM_UP_EPOCHS.value is not None:
        raise ValueError("--warm_up_epochs is resnet18's; a bvae's is --warm_up, a share of the epochs")
    varied = augment.by_words(_AUGMENT.value) if _AUGMENT.value else None

    distribution = strategy.choose(_DISTRIBUTION.value)  # before TensorFlow computes anything
    settings = bvae_training.Settings(
        size=size, widths=_numbers(_WIDTHS), latents=_LATENTS.value,
        dense=_numbers(_DENSE), activation=_ACTIVATION.value, batch_norm=_BATCH_NORM.value,
        decoder_widths=_numbers(_DECODER_WIDTHS), warm_up=_WARM_UP.value, augment=tuple(_AUGMENT.value),
        pool=_POOL.value, beta=_BETA.value, reconstruction=_RECONSTRUCTION.value, patience=_PATIENCE.value,
        seed=_SEED.value, precision=precision.resolve(_PRECISION.value), **_given())
    sources = [pipeline.Source(part, size) for part in (images, validation) if len(part)]
    folder, outcome = bvae_training.train(
        lambda epoch: sources[0].batches(settings.batch_size, seed=settings.seed, epoch=epoch, augment=varied),
        settings, _OUT.value,
        steps=-(-len(images) // settings.batch_size),
        validation=sources[1].batches(settings.batch_size, shuffle=False) if len(validation) else None,
        data=data, distribution=distribution)
    seen = latents.report(folder, validation if len(validation) else images) if folder.chief else None
    return folder, outcome, [line for source in sources for line in source.unreadable], seen


def _train_resnet18(images: dataset.Dataset, validation: dataset.Dataset, data: Dict[str, Any],
                    size: Tuple[int, int]) -> Tuple[Any, Any, List[str], Any]:
    from leanood.models import precision, resnet_training, strategy

    distribution = strategy.choose(_DISTRIBUTION.value)
    classes = np.unique(images.partition)
    unknown = sorted(set(validation.partition.tolist()) - set(classes.tolist()))
    if unknown:
        raise ValueError(f"class {unknown[0]!r} has validation images, but none to train on")
    settings = resnet_training.Settings(
        size=size, stem=_STEM.value, width=_WIDTH.value, seed=_SEED.value,
        precision=precision.resolve(_PRECISION.value), **_given())
    (frames, shown, bad), (judged, known, also_bad) = images.load(size), validation.load(size)
    folder, outcome = resnet_training.train(
        frames, np.searchsorted(classes, shown.partition), (judged, np.searchsorted(classes, known.partition)),
        classes.tolist(), settings, _OUT.value, data=data, distribution=distribution)
    return folder, outcome, [*bad, *also_bad], None


def _given() -> Dict[str, Any]:
    """The flags whose defaults differ from model to model, where they were given."""
    named = {"epochs": _EPOCHS.value, "batch_size": _BATCH_SIZE.value, "learning_rate": _LEARNING_RATE.value,
             "warm_up_epochs": _WARM_UP_EPOCHS.value}
    return {name: value for name, value in named.items() if value is not None}


def _numbers(holder: flags.FlagHolder) -> Tuple[int, ...]:
    return tuple(int(word) for word in holder.value)


def _absolute(path: Any) -> Any:
    # The run's config is read from other folders later.
    prefix = "sequences:" if path and path.startswith("sequences:") else ""
    rest = path[len(prefix):] if path else path
    return prefix + os.path.abspath(rest) if rest and os.path.exists(rest) else path


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run() -> None:
    command.run(main, example="leanood train --model=bvae --data=lanes --out=runs/lanes")


if __name__ == "__main__":
    run()
