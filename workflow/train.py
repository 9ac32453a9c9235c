"""Trains a detector's network on in-distribution images, into a run's folder."""
from __future__ import annotations

import os
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.data import dataset, flow
from leanood.data import frames as frames_
from leanood.tflite import silence
from leanood.workflow import backbone as backbone_
from leanood.workflow import datasets, outcome, progress

_SIZES = {"bvae": (64, 64), "backbone": (120, 160), "flow_vae": (120, 160), "resnet18": (32, 32),
          "cnn": (32, 32)}
_IDLE = {"resnet18": ("widths", "latents", "beta"), "cnn": ("latents", "beta")}  # of these it has none


def train(data: datasets.Data, out: Union[str, os.PathLike], *, model: str = "backbone",
          size: Optional[Tuple[int, int]] = None, backbone: str = "efficientnet_lite0", cut: str = "",
          downscale: Optional[int] = None, local: bool = False, input_scale: str = "unit", stem: str = "cifar",
          width: float = 1.0, widths: Optional[Sequence[int]] = None, latents: Optional[int] = None,
          dense: Sequence[int] = (), activation: Optional[str] = None, batch_norm: bool = False, pool: str = "stride",
          decoder_widths: Sequence[int] = (),
          beta: Optional[float] = None, reconstruction: str = "bce", warm_up: float = 0.25,
          warm_up_epochs: Optional[int] = None, augment: Sequence[str] = (), epochs: Optional[int] = None,
          patience: int = 10, batch_size: Optional[int] = None, learning_rate: Optional[float] = None, seed: int = 0,
          precision: Optional[str] = None, cutout: Optional[int] = None, label_smoothing: Optional[float] = None,
          progressive_resizing: Optional[float] = None, deterministic: bool = False, distribution_strategy: str = "off",
          flow_method: str = "dis", flow_reach: float = 32.0, optimal_prior: bool = False, every: int = 3,
          **data_options: Any) -> outcome.Outcome:
    """Trains a network on the data's split "train"; returns its run's folder, which the next steps take.

    Killed or interrupted, the same call goes on from the last finished epoch.

    Args:
      data: a folder, a video, "lanes" or "tfds:NAME", or an opened data set.
      out: the run's folder; an unfinished run in it goes on.
      model: "backbone", a pretrained network's first layers, frozen; "bvae"; "flow_vae", of motion, which takes
        recordings; or "resnet18" and "cnn" (a few convolutions of stride 2), whose classes are the data's partitions.
      size: (height, width) of the input in pixels; None: backbone 120×160, or that of smaller images, bvae 64×64,
        resnet18 and cnn 32×32; flow_vae: of the frames that flow is computed between, 120×160.
      backbone: "efficientnet_lite0", which comes with leanood[train]; "mobilenet_v2" or "mobilenet_v3_small", which
        Keras downloads; or a Functional Keras model (.h5, .keras).
      cut: backbone: the layer whose map's means are the features; empty: chosen on validation frames and changes of
        them.
      downscale: backbone: it sees means of so many by so many pixels; 1 is the accurate choice; None: 3, or as many as
        leave 32 rows and columns.
      local: backbone: put out a map besides, so that the detector sees small things, and says where in the frame.
      input_scale: backbone from a file: what it was trained on, "unit" x/255, "signed" x/127.5−1 or "bytes" x.
      stem: resnet18: "cifar", or "imagenet", which shrinks the image by 4 at once.
      width: resnet18: multiplies all channels.
      widths: channels of the convolutions, each of which halves the size; None: bvae 16, 32, 32, 32; flow_vae 32, 64,
        128, 256; cnn 256, 512.
      latents: their number; None: bvae 30, flow_vae 12 of each direction.
      dense: bvae: units of the fully connected layers before the latents.
      activation: "relu" (faster when quantized) or "leaky_relu"; None: bvae relu, cnn leaky_relu.
      batch_norm: normalise after each convolution; blinds a bvae to light, a flow_vae to speed.
      pool: bvae: halve by "stride" (4× cheaper) or "max".
      decoder_widths: bvae: the decoder's, if other than `widths`; a narrow one trains faster.
      beta: weight of the KL term; bvae: for a frame of 64×64, scaled with the pixels: beta · h · w / 64²; None: bvae
        20, flow_vae 0.5.
      reconstruction: bvae: loss of the pixels, "bce" or "mse", summed over an image.
      warm_up: share of the epochs over which beta grows from 0.
      warm_up_epochs: resnet18: epochs over which the learning rate grows; None: 1.
      cutout: resnet18: side of a square, in pixels at 32×32, that each training image loses; None: 8.
      label_smoothing: resnet18: share of a label that goes to all classes alike; None: 0.
      progressive_resizing: resnet18: share of the epochs, the first ones, whose images have three quarters of the
        size; None: 0.5.
      augment: bvae: what varies in training besides the images: words of "light", "colour", "rain", "flip",
        "benign"; a latent sees only what varied.
      epochs: at most so many; None: bvae 40, flow_vae 20, resnet18 30, cnn 10; a backbone takes none.
      patience: bvae, flow_vae: stop after so many epochs without a better validation loss; 0: never.
      batch_size: images a step, over all devices; None: bvae 32, flow_vae 16, resnet18 128, cnn 64.
      learning_rate: Adam's (bvae, cnn: 0.001, flow_vae: 0.0005), or the peak of SGD's (resnet18: 0.1).
      seed: of weights, order and noise.
      precision: "float32", "bf16", or "auto": bf16 where the hardware has it; None: resnet18 auto, others float32.
      deterministic: bitwise repeatable, and slower.
      distribution_strategy: "off", "mirrored" (all GPUs here) or "multi_worker_mirrored" (the machines in TF_CONFIG).
      flow_method: flow_vae: "dis", or the paper's "farneback", which takes longer and loses fast motion.
      flow_reach: flow_vae: pixels a frame that flow is clipped at; the paper's is 64.
      optimal_prior: flow_vae: measure KL from the Gaussian that fits the posteriors of the training set as a whole.
      every: flow_vae: each epoch takes every so many-th stack of flows, since neighbours share most of them.
      **data_options: split_csv, times_csv, ood_partitions, fps, data_seed, limit, as of `leanood.data.catalog.open`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    if model not in _SIZES:
        raise ValueError(f"model is {model!r}; it can be {', '.join(_SIZES)}")
    if model not in ("resnet18", "backbone") and warm_up_epochs is not None:
        raise ValueError("--warm_up_epochs is resnet18's" + ("" if model == "cnn" else f"; a {model}'s is --warm_up, a "
                                                             "share of the epochs"))
    recipe = {"cutout": cutout, "label_smoothing": label_smoothing, "progressive_resizing": progressive_resizing}
    if model != "resnet18" and any(value is not None for value in recipe.values()):
        name = next(name for name, value in recipe.items() if value is not None)
        raise ValueError(f"--{name} is resnet18's; leave it out, or give --model=resnet18")
    if model == "backbone":
        _refuse_architecture(widths=widths, latents=latents, beta=beta, augment=augment or None,
                             warm_up_epochs=warm_up_epochs)
        idle = [f"--{name}" for name, value in {"epochs": epochs, "batch_size": batch_size,
                                                "learning_rate": learning_rate}.items() if value is not None]
        if idle:
            progress.say(f"note: {', '.join(idle)} changes nothing, a backbone is frozen; --model=bvae trains one")
    elif local:
        raise ValueError("--local is a backbone's map; leave --model out, or give --model=backbone")
    frames, opened = datasets.open(data, data_options, {})
    images = datasets.split(frames, "train")
    validation = frames.where((frames.split == "validation") & ~frames.ood)
    progress.say(f"{frames.description}: {len(images)} images to train on, {len(validation)} for validation")
    if not len(validation) and model != "backbone":
        progress.say("no validation images: the last epoch counts as the best")
    silence.tensorflow()
    if model == "backbone":
        return backbone_.train(images, validation, opened, os.fspath(out), name=backbone, cut=cut, downscale=downscale,
                               input_scale=input_scale, size=size or _of_small(images) or _SIZES[model], seed=seed,
                               local=local)
    import tensorflow as tf

    from leanood.models import precision as precision_
    from leanood.models import strategy

    if deterministic:
        tf.config.experimental.enable_op_determinism()
    distribution = strategy.choose(distribution_strategy)  # before TensorFlow computes anything
    shared = {"size": tuple(size or _SIZES[model]), "seed": seed,
              "precision": precision_.resolve(precision or ("auto" if model == "resnet18" else "float32")), **{
        name: value for name, value in (("epochs", epochs), ("batch_size", batch_size),
                                        ("learning_rate", learning_rate), ("warm_up_epochs", warm_up_epochs),
                                        ("widths", None if widths is None else tuple(widths)), ("latents", latents),
                                        ("beta", beta), *recipe.items())
        if value is not None and name not in _IDLE.get(model, ())}}
    if model == "bvae":
        folder, result, unreadable, carried = _bvae(images, validation, opened, os.fspath(out), distribution, dict(
            shared, dense=tuple(dense), activation=activation or "relu",
            batch_norm=batch_norm, pool=pool, decoder_widths=tuple(decoder_widths),
            reconstruction=reconstruction, warm_up=warm_up, augment=tuple(augment), patience=patience))
    elif model == "flow_vae":
        carried = None
        shared.pop("size")
        motion = flow.Settings(size=size or _SIZES[model], crop=_cropped(size or _SIZES[model]), method=flow_method,
                               reach=flow_reach)
        folder, result, unreadable = _flow_vae(images, validation, opened, os.fspath(out), distribution, motion, every,
                                               dict(shared, batch_norm=batch_norm, optimal_prior=optimal_prior,
                                                    warm_up=warm_up, patience=patience))
    else:
        carried = None
        options = dict(stem=stem, width=width) if model == "resnet18" else dict(activation=activation or "leaky_relu")
        folder, result, unreadable = _classifier(model, images, validation, opened, os.fspath(out), distribution,
                                                 {**shared, **options})
    datasets.say_unreadable(tuple(unreadable))
    best = result.history[result.best_epoch - 1]
    summary = {
        "out": folder.path, "epochs": len(result.history), "best_epoch": result.best_epoch,
        "stopped_early": result.stopped_early, "train_images": len(images), "validation_images": len(validation),
        "unreadable_images": len(unreadable), **{name: value for name, value in best.items() if name != "epoch"}}
    if carried is None:
        return outcome.Outcome(folder.path, summary)
    if carried.warning:
        progress.say(f"warning: {carried.warning}")
    return outcome.Outcome(folder.path, {**summary, "active_latents": int(carried.active.sum())},
                           [(carried.rows(), carried.headers())])


def _of_small(images: dataset.Dataset) -> Optional[Tuple[int, int]]:
    """Returns the size of the first readable image where a backbone's own would only blow it up; None otherwise."""
    from leanood.models import backbone

    for i in range(len(images)):
        try:
            height, width = images.read(i).shape[:2]
        except frames_.FrameError:
            continue
        small = height < _SIZES["backbone"][0] and width < _SIZES["backbone"][1]
        return (height, width) if small and min(height, width) >= backbone.SMALLEST else None
    return None


def _refuse_architecture(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"--{name} is of networks that are trained, and a backbone is frozen; add --model=bvae")


def _bvae(images: dataset.Dataset, validation: dataset.Dataset, data: Mapping[str, Any], out: str, distribution: Any,
          options: Dict[str, Any]) -> Tuple[Any, Any, List[str], Any]:
    from leanood.data import augment, pipeline
    from leanood.models import bvae_training
    from leanood.workflow import latents

    varied = augment.by_words(options["augment"]) if options["augment"] else None
    settings = bvae_training.Settings(**options)
    sources = [pipeline.Source(part, settings.size) for part in (images, validation) if len(part)]
    folder, result = bvae_training.train(
        lambda epoch: sources[0].batches(settings.batch_size, seed=settings.seed, epoch=epoch, augment=varied),
        settings, out, steps=-(-len(images) // settings.batch_size),
        validation=sources[1].batches(settings.batch_size, shuffle=False) if len(validation) else None,
        data=data, distribution=distribution)
    carried = latents.report(folder, validation if len(validation) else images) if folder.chief else None
    return folder, result, [line for source in sources for line in source.unreadable], carried


def _flow_vae(images: dataset.Dataset, validation: dataset.Dataset, data: Mapping[str, Any], out: str,
              distribution: Any, motion: flow.Settings, every: int, options: Dict[str, Any]
              ) -> Tuple[Any, Any, List[str]]:
    from leanood.data import pipeline, stacks
    from leanood.models import flow_vae_training

    settings = flow_vae_training.Settings(size=motion.crop, length=motion.length, **options)
    progress.say(f"computing flow ({motion.method}) between {len(images) + len(validation)} frames")
    cut, _, unreadable = stacks.load(images, motion)
    judged: Any = None
    bad: Tuple[str, ...] = ()
    if len(validation):
        held_out, _, bad = stacks.load(validation, motion)
        judged = pipeline.of_stacks(held_out, settings.batch_size, every=motion.length, shuffle=False)
    folder, result = flow_vae_training.train(
        lambda epoch: pipeline.of_stacks(cut, settings.batch_size, every=every, seed=settings.seed, epoch=epoch),
        settings, out, steps=-(-len(cut) // (every * settings.batch_size)), flow=motion.to_json(), validation=judged,
        data=data, distribution=distribution)
    return folder, result, [*unreadable, *bad]


def _cropped(size: Tuple[int, int]) -> Tuple[int, int]:
    """The part of a frame that flow is certain in: of 120×160 the paper's 113×152, of others likewise."""
    return round(size[0] * 113 / 120), round(size[1] * 152 / 160)


def _classifier(model: str, images: dataset.Dataset, validation: dataset.Dataset, data: Mapping[str, Any], out: str,
                distribution: Any, options: Dict[str, Any]) -> Tuple[Any, Any, List[str]]:
    from leanood.models import cnn_training, resnet_training

    classes = np.unique(images.partition)
    unknown = sorted(set(validation.partition.tolist()) - set(classes.tolist()))
    if unknown:
        raise ValueError(f"class {unknown[0]!r} has validation images, but none to train on")
    trainer: Any = resnet_training if model == "resnet18" else cnn_training
    settings = trainer.Settings(**options)
    (frames, shown, bad), (judged, known, also_bad) = images.load(settings.size), validation.load(settings.size)
    folder, result = trainer.train(
        frames, np.searchsorted(classes, shown.partition), (judged, np.searchsorted(classes, known.partition)),
        classes.tolist(), settings, out, data=data, distribution=distribution)
    return folder, result, [*bad, *also_bad]
