"""Trains a twin variational autoencoder of motion into a run's folder."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, Optional, Tuple

import numpy as np
import tensorflow as tf
import tf_keras as keras

from leanood.models import flow_vae, precision, reconstructions, run, strategy, training

_PICTURED = 8


@dataclasses.dataclass(frozen=True)
class Settings:
    """How it is built and trained; see `flow_vae.encoder` and `flow_vae.FlowVae` for what builds it.

    Attributes:
      warm_up: share of the epochs over which β grows from 0.
      epochs: at most so many.
      patience: epochs without a better validation loss after which it stops; 0 never does.
      batch_size: stacks a step, over all devices together.
      learning_rate: Adam's.
      seed: of weights, order and noise.
      precision: "float32" or "bf16".
    """

    size: Tuple[int, int] = (113, 152)
    length: int = 6
    widths: Tuple[int, ...] = flow_vae.PAPER_WIDTHS
    latents: int = 12
    batch_norm: bool = False
    beta: float = 0.5
    optimal_prior: bool = False
    warm_up: float = 0.2
    epochs: int = 20
    patience: int = 5
    batch_size: int = 16
    learning_rate: float = 5e-4
    seed: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 1 or more")
        if not 0 <= self.warm_up <= 1:
            raise ValueError(f"warm_up is {self.warm_up}, but should be a share of the epochs, 0 to 1")
        for name in ("patience", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be 0 or more")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"learning_rate is {self.learning_rate}, but should lie between 0 and 1")


def train(batches: Callable[[int], tf.data.Dataset], settings: Settings, out: str, *, steps: int,
          flow: Mapping[str, Any], validation: Optional[tf.data.Dataset] = None,
          data: Optional[Mapping[str, Any]] = None, distribution: Optional[tf.distribute.Strategy] = None,
          picture_every: int = 5) -> Tuple[run.Run, training.Outcome]:
    """Trains, or goes on training, into the folder `out`; returns the run and what came of it.

    Args:
      batches: epoch (from 0) -> its batches, float32 [B, 2h, w, n] in [0, 1], in-distribution, the same ones whenever
        asked.
      settings: how; in a folder that exists only `epochs` and `patience` may differ.
      out: the run's folder.
      steps: batches an epoch, by which β's warm-up is counted.
      flow: how the stacks were computed (`data.flow.Settings.to_json`), for the run's config.
      validation: batches of the same kind; without them the last epoch counts as the best and nothing stops early.
      data: what the frames are, for the run's config.
      distribution: a strategy of tf.distribute; None for one device.
      picture_every: epochs between pictures of reconstructions.
    """
    config = {"model": "flow_vae", "input_scale": "unit", **dataclasses.asdict(settings), "flow": dict(flow),
              "data": dict(data or {})}
    where = distribution or strategy.choose("off")
    folder = run.Run.create(out, config, may_change=("epochs", "patience"), chief=strategy.is_chief(where))
    with folder.lock():
        keras.utils.set_random_seed(settings.seed)  # the initial weights; all else takes its seed from the step
        with where.scope():
            model = build(settings, steps)
            model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate))

        shown = next(iter(batches(0) if validation is None else validation))[:_PICTURED]

        def picture(epoch: int) -> None:
            output = model(shown).numpy()  # by every worker, since they read their weights together
            if folder.chief:
                reconstructions.picture(as_images(shown.numpy()), as_images(output), folder.file("reconstructions.png"),
                                        f"flow (red: horizontal, green: vertical) after epoch {epoch}")

        outcome = training.fit(
            model, batches, folder=folder, epochs=settings.epochs, validation=validation, patience=settings.patience,
            on_epoch=lambda epoch: picture(epoch + 1) if (epoch + 1) % picture_every == 0 else None)
        picture(outcome.best_epoch)
        encoder, decoder = flow_vae.deployed(model)
        folder.save("decoder", precision.as_float32(decoder))
        folder.save("encoder", precision.as_float32(encoder))
    return folder, outcome


def build(settings: Settings, steps: int) -> flow_vae.FlowVae:
    """Returns the untrained twin autoencoder, not compiled.

    Args:
      settings: its shape and its loss.
      steps: steps an epoch.
    """
    with precision.building(settings.precision):
        return flow_vae.FlowVae(
            flow_vae.encoder(settings.size, settings.length, settings.widths, settings.latents,
                             batch_norm=settings.batch_norm),
            flow_vae.decoder(settings.size, settings.length, latents=settings.latents), beta=settings.beta,
            optimal_prior=settings.optimal_prior, warm_up=int(settings.warm_up * settings.epochs * steps),
            seed=settings.seed)


def as_images(stacks: np.ndarray) -> np.ndarray:
    """Each stack's newest flow as a picture, float [N, h, w, 3]: horizontal in red, vertical in green."""
    newest = stacks[..., -1]
    half = newest.shape[1] // 2
    return np.stack([newest[:, :half], newest[:, half:], np.full_like(newest[:, :half], 0.5)], axis=-1)
