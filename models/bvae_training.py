"""Trains a β-VAE into a run's folder."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

import tensorflow as tf
import tf_keras as keras

from leanood.models import bvae, elbo, precision, reconstructions, run, strategy, training

_PICTURED = 8


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a β-VAE is built and trained; see `bvae.encoder` and `bvae.BetaVae` for what builds it.

    Attributes:
      beta: weight of the KL term for a frame of 64×64 pixels; scaled to other sizes by `elbo.kl_weight`.
      decoder_widths: channels of the decoder, as the encoder's in its order; empty: the encoder's.
      augment: words of `data.augment`, what varies in training besides the images.
      warm_up: share of the epochs over which β grows from 0; with more epochs later it grows longer too.
      epochs: at most so many.
      patience: epochs without a better validation loss after which it stops; 0 never does.
      batch_size: images a step, over all devices together.
      learning_rate: Adam's.
      seed: of weights, order and noise.
      precision: "float32" or "bf16".
    """

    size: Tuple[int, int] = (64, 64)
    widths: Tuple[int, ...] = (16, 32, 32, 32)
    latents: int = 30
    dense: Tuple[int, ...] = ()
    activation: str = "relu"
    batch_norm: bool = False
    pool: str = "stride"
    decoder_widths: Tuple[int, ...] = ()
    beta: float = 20.0
    reconstruction: str = "bce"
    warm_up: float = 0.25
    augment: Tuple[str, ...] = ()
    epochs: int = 40
    patience: int = 10
    batch_size: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 1 or more")
        for name in ("patience", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 0 or more")
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up is {self.warm_up}, but should be a share of the epochs, 0 to 1")
        if self.decoder_widths and len(self.decoder_widths) != len(self.widths):
            raise ValueError(f"decoder_widths is {self.decoder_widths}, but should be as many as widths {self.widths}")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}, but should lie between 0 and 1")


def train(batches: Callable[[int], tf.data.Dataset], settings: Settings, out: str, *, steps: int,
          validation: Optional[tf.data.Dataset] = None, data: Optional[Mapping[str, Any]] = None,
          distribution: Optional[tf.distribute.Strategy] = None,
          picture_every: int = 5) -> Tuple[run.Run, training.Outcome]:
    """Trains, or goes on training, into the folder `out`; returns the run and what came of it.

    Args:
      batches: epoch (from 0) -> its batches, float32 [B, h, w, 3] in [0, 1], in-distribution, the same ones whenever
        asked.
      settings: how; in a folder that exists only `epochs` and `patience` may differ.
      out: the run's folder.
      steps: batches an epoch, by which β's warm-up is counted.
      validation: batches of the same kind; without them the last epoch counts as the best and nothing stops early.
      data: what the images are, for the run's config.
      distribution: a strategy of tf.distribute; None for one device.
      picture_every: epochs between pictures of reconstructions.
    """
    config = {"model": "bvae", "input_scale": "unit", **dataclasses.asdict(settings),
              "kl_weight": elbo.kl_weight(settings.beta, settings.size), "data": dict(data or {})}
    where = distribution or strategy.choose("off")
    folder = run.Run.create(out, config, may_change=("epochs", "patience"), chief=strategy.is_chief(where))
    with folder.lock():
        keras.utils.set_random_seed(settings.seed)  # the initial weights; all else takes its seed from the step
        with where.scope():
            model = build(settings, steps)
            model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate))

        shown = next(iter(batches(0) if validation is None else validation))[:_PICTURED]

        def picture(epoch: int) -> None:
            reconstructed = model(shown).numpy()  # by every worker, since they read their weights together
            if folder.chief:
                reconstructions.picture(shown.numpy(), reconstructed, folder.file("reconstructions.png"),
                                        f"after epoch {epoch}")

        outcome = training.fit(
            model, batches, folder=folder, epochs=settings.epochs, validation=validation, patience=settings.patience,
            on_epoch=lambda epoch: picture(epoch + 1) if (epoch + 1) % picture_every == 0 else None)
        picture(outcome.best_epoch)
        folder.save("decoder", precision.as_float32(model.decoder))
        folder.save("encoder", precision.as_float32(model.encoder))
    return folder, outcome


def build(settings: Settings, steps: int) -> bvae.BetaVae:
    """Returns the untrained β-VAE, not compiled.

    Args:
      settings: its shape and its loss.
      steps: steps an epoch; β's warm-up is counted in them.
    """
    shape: Dict[str, Any] = {name: getattr(settings, name) for name in
                             ("size", "latents", "dense", "activation", "batch_norm")}
    with precision.building(settings.precision):
        return bvae.BetaVae(
            bvae.encoder(widths=settings.widths, pool=settings.pool, **shape),
            bvae.decoder(widths=settings.decoder_widths or settings.widths, **shape),
            beta=elbo.kl_weight(settings.beta, settings.size), reconstruction=settings.reconstruction,
            warm_up=round(settings.warm_up * settings.epochs * steps), seed=settings.seed)
