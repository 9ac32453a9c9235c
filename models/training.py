"""The loop over epochs: a checkpoint after each, an exact resume, early stopping, TensorBoard, `history.csv`.

It trains any compiled Keras model; what a step does is the model's own `train_step`. Whatever changes from step to
step (the data's order, noise) must follow from the epoch's or the step's number, and then a run that was killed
ends like one that was not.
"""
from __future__ import annotations

import csv
import gc
import glob
import io
import json
import math
import os
import shutil
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

import tensorflow as tf
import tf_keras as keras

from leanood.models import progress, run, strategy

Row = Dict[str, Any]
_COLLECT_S = 10.0  # an epoch's batches hold its images in reference cycles, which Python finds late by itself


class Outcome(NamedTuple):
    """What a training came to.

    Attributes:
      history: one row an epoch: epoch (from 1), the model's figures, validation's with `val_` before them.
      best_epoch: the epoch whose weights the model has now, from 1.
      stopped_early: True if validation had stopped improving.
    """

    history: List[Row]
    best_epoch: int
    stopped_early: bool


def fit(
    model: keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    *,
    folder: run.Run,
    epochs: int,
    validation: Optional[tf.data.Dataset] = None,
    monitor: str = "loss",
    patience: int = 0,
    on_epoch: Optional[Callable[[int], None]] = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Outcome:
    """Trains a model, or goes on from its folder's last checkpoint; leaves it with the best epoch's weights.

    Args:
      model: compiled, its variables built.
      batches: epoch (from 0) -> that epoch's batches, the same ones in the same order whenever asked.
      folder: where checkpoints, history and logs go.
      epochs: how many there are to be in all.
      validation: batches to judge each epoch by; without it the last epoch counts as the best.
      monitor: the figure of `validation` to minimise.
      patience: stop after so many epochs without improvement; 0 never stops early.
      on_epoch: called with the epoch's number (from 0) after each epoch but the ones already done.
      callbacks: Keras callbacks that a model needs at its batches, e.g. tfmot's pruning step.

    Raises:
      ValueError: if the loss is no longer finite; the last checkpoint stays.
      OSError: if the disk is full.
    """
    state = _State()
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, state=state)
    model.optimizer.build(model.trainable_variables)
    chief = strategy.is_chief(model.distribute_strategy)
    # TensorFlow has every worker write; only the chief's files are ever read.
    where = folder.file("checkpoints" if chief else f".worker{strategy.worker(model.distribute_strategy)}")
    manager = tf.train.CheckpointManager(checkpoint, where, max_to_keep=2, checkpoint_name="epoch")
    if chief:
        for unfinished in glob.glob(folder.file("checkpoints/*_temp")):  # what a killed process was writing
            shutil.rmtree(unfinished)
    latest = tf.train.latest_checkpoint(folder.file("checkpoints"))
    if latest:
        checkpoint.restore(latest).assert_existing_objects_matched()
        _write_history(folder, state)  # a kill may have come between the checkpoint and the table
    if state.stopped_early and not (patience and state.epoch - state.best_epoch >= patience):
        state.stopped_early = False  # more patience was asked for
    best = tf.train.Checkpoint(weights=model.weights)
    show = progress.Progress(epochs, state.epoch) if chief else None
    if show and latest and state.epoch < epochs and not state.stopped_early:
        show.say(f"going on after epoch {state.epoch}")
    collected = time.monotonic()
    with tf.summary.create_file_writer(folder.file("tensorboard") if chief else where).as_default():
        try:
            while state.epoch < epochs and not state.stopped_early:
                row = _epoch(model, batches, validation, state.epoch, [*callbacks, *([show] if show else [])])
                if validation is None or row[f"val_{monitor}"] < state.best:
                    state.best, state.best_epoch = row.get(f"val_{monitor}", math.inf), state.epoch + 1
                    if validation is not None:
                        _save(lambda: best.write(os.path.join(where, f"best-{state.best_epoch}")), where)
                state.epoch += 1
                state.history.append(row)
                state.stopped_early = bool(patience) and state.epoch - state.best_epoch >= patience
                _save(lambda: manager.save(state.epoch), where)
                if chief:
                    _log(folder, state, show)
                if on_epoch:
                    on_epoch(state.epoch - 1)
                if time.monotonic() - collected >= _COLLECT_S:
                    gc.collect()
                    collected = time.monotonic()
        finally:
            if show:
                show.close()
    if validation is not None and state.best_epoch not in (0, state.epoch):
        best.read(os.path.join(where, f"best-{state.best_epoch}")).expect_partial()
    return Outcome(state.history, state.best_epoch, state.stopped_early)


class _State(tf.train.experimental.PythonState):
    """What the loop must know to go on; part of the checkpoint, so that both are of one moment."""

    _KEPT = ("epoch", "best", "best_epoch", "stopped_early", "history")

    def __init__(self) -> None:
        self.epoch = 0
        self.best = math.inf
        self.best_epoch = 0
        self.stopped_early = False
        self.history: List[Row] = []

    def serialize(self) -> str:
        return json.dumps({name: getattr(self, name) for name in self._KEPT})

    def deserialize(self, string_value: str) -> None:
        for name, value in json.loads(string_value).items():
            setattr(self, name, value)


def _epoch(model: keras.Model, batches: Callable[[int], tf.data.Dataset], validation: Optional[tf.data.Dataset],
           epoch: int, callbacks: List[keras.callbacks.Callback]) -> Row:
    figures = model.fit(batches(epoch), initial_epoch=epoch, epochs=epoch + 1, verbose=0,
                        callbacks=callbacks).history
    row: Row = {"epoch": epoch + 1, **{name: float(values[-1]) for name, values in figures.items()}}
    if validation is not None:
        judged = model.evaluate(validation, verbose=0, return_dict=True)
        row.update({f"val_{name}": float(value) for name, value in judged.items()})
    for name, value in row.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} became {value} in epoch {epoch + 1}; train with a lower --learning_rate into "
                             "another --out")
    return row


def _save(write: Callable[[], Any], folder: str) -> None:
    try:
        write()
    except (tf.errors.OpError, OSError) as error:
        full = "No space left" in str(error)
        reason = "the disk is full; make room" if full else f"{str(error).splitlines()[0]}; put that right"
        raise OSError(f"could not write a checkpoint to {folder}: {reason} and run the same command again, it goes on "
                      "from the last epoch that was written") from error


def _log(folder: run.Run, state: _State, show: Optional[progress.Progress]) -> None:
    row = state.history[-1]
    for name, value in row.items():
        if name != "epoch":
            tf.summary.scalar(name, value, step=state.epoch)
    tf.summary.flush()
    _write_history(folder, state)
    for path in glob.glob(folder.file("checkpoints/best-*")):
        if not os.path.basename(path).startswith(f"best-{state.best_epoch}."):
            os.remove(path)
    if show:
        show.epoch(state.epoch - 1, row, "best" if state.best_epoch == state.epoch else "")


def _write_history(folder: run.Run, state: _State) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(state.history[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(state.history)
    folder.write("history.csv", text.getvalue())
