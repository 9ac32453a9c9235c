"""Knowledge distillation: trains a student towards a teacher on images that need no labels."""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
from typing import Any, Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tf_keras

from leanood.compression import distances, rebuild, taught, views
from leanood.models import named_outputs, run, training

# `finetune(model, teacher, callbacks=())` trains the model in place; every step of `compression` takes one.
Finetuner = Callable[..., None]

# Of batch normalisation's averages. Keras' 0.99 takes hundreds of steps to forget the statistics of the teacher, or of
# an untrained student, and a fine-tuning may not have as many.
_MOMENTUM = 0.9
_MOST_KEPT = 256e6  # bytes of a teacher's outputs; what is larger is computed again every epoch


class Distiller(tf_keras.Model):
    """A training step that moves the student, and never the teacher.

    Compile it with an optimizer and fit it on batches (images, labels or ()), or with a third part, what `taught` said
    of the images.

    Args:
      student: Functional model, trained in place.
      teacher: a model with the same input, or several, whose outputs are averaged. They run in inference mode.
      distance: what is minimised; None takes `distances.default` for the outputs that both have.
      features: student layer -> teacher layer, for `distances.Features`; where widths differ, a linear map that is
        thrown away afterwards takes the student's features to the teacher's.
    """

    def __init__(self, *, student: tf_keras.Model, teacher: tf_keras.Model | Sequence[tf_keras.Model],
                 distance: distances.Distance | None = None, features: Mapping[str, str] | None = None) -> None:
        super().__init__()
        teachers = [teacher] if isinstance(teacher, tf_keras.Model) else list(teacher)
        if not teachers:
            raise ValueError("distillation needs a teacher, but there is none")
        pairs = dict(features or {})
        self.student = student
        self._probe = _with_features(student, list(pairs))
        ensemble = [_with_features(member, list(pairs.values()), list(pairs)) for member in teachers]
        # A closure, so that Keras neither trains nor saves the teacher.
        # Where a size is open, nobody knows how much it will be.
        self._row_bytes = 4 * sum(float("inf") if None in y.shape[1:] else y.shape[1:].num_elements()
                                  for y in ensemble[0].output.values())
        self._teach = lambda images: _mean([member(images, training=False) for member in ensemble])
        self._maps = {name: tf_keras.layers.Dense(ensemble[0].output[name].shape[-1], name=f"map_{i}")
                      for i, name in enumerate(self._probe.output) if name.startswith("feature:")
                      and ensemble[0].output[name].shape[-1] != self._probe.output[name].shape[-1]}
        for name, layer in self._maps.items():
            layer.build(self._probe.output[name].shape)
        self._distance = distance or distances.default(ensemble[0].output, self._probe.output)
        self._mean_loss = tf_keras.metrics.Mean("loss")
        self.built = True

    def call(self, images: tf.Tensor, training: bool = False) -> Any:
        """The student's outputs."""
        return self.student(images, training=training)

    def taught(self, images: np.ndarray, batch_size: int, scale: views.Scale, augment: views.Augment | None = None,
               seed: int = 0, epoch: int | None = None) -> dict[str, np.ndarray] | None:
        """The teacher's outputs for each image's view, [N, ...] by name; None if they would take too much room.

        Args:
          images, batch_size, scale, augment, seed, epoch: as of `views.batches`.
        """
        if len(images) * self._row_bytes > _MOST_KEPT:
            return None
        teach = tf.function(self._teach)
        parts: dict[str, list[np.ndarray]] = {}
        for x, _ in views.batches(images, batch_size, scale=scale, augment=augment, seed=seed, epoch=epoch):
            for name, y in teach(x).items():
                parts.setdefault(name, []).append(y.numpy())
        places = np.argsort(views.order(len(images), seed, epoch))  # back from the batches' order to the images'
        return {name: np.concatenate(rows)[places] for name, rows in parts.items()}

    @property
    def metrics(self) -> list[Any]:
        return [self._mean_loss]

    def train_step(self, data: Any) -> dict[str, Any]:
        with tf.GradientTape() as tape:
            loss = self._loss(data, training=True)
            total = tf.add_n([loss, *self.student.losses]) if self.student.losses else loss
        variables = self.trainable_variables
        gradients = tape.gradient(total, variables)
        # Cluster-preserving QAT trains centroids, and nothing flows to the kernels that it makes of them.
        self.optimizer.apply_gradients([pair for pair in zip(gradients, variables) if pair[0] is not None])
        self._mean_loss.update_state(loss)
        return {"loss": self._mean_loss.result()}

    def test_step(self, data: Any) -> dict[str, Any]:
        self._mean_loss.update_state(self._loss(data, training=False))
        return {"loss": self._mean_loss.result()}

    def _loss(self, data: Any, training: bool) -> tf.Tensor:
        images, labels = data[:2] if isinstance(data, tuple) and len(data) >= 2 else (data, ())
        teacher = data[2] if isinstance(data, tuple) and len(data) == 3 else {
            name: tf.stop_gradient(y) for name, y in self._teach(images).items()}
        student = {name: self._maps[name](y) if name in self._maps else y
                   for name, y in self._probe(images, training=training).items()}
        return self._distance(distances.Batch(images, teacher, student, None if isinstance(labels, tuple) else labels))


@dataclasses.dataclass(frozen=True)
class Finetune:
    """The default `finetune(model, teacher)`: distillation on images without labels; trains `model` in place.

    Adam with gradients clipped to norm 1 and a cosine decay, counted in steps (the function-matching recipe).

    Attributes:
      images: uint8 (or scaled float32) [N, h, w, c], in-distribution.
      epochs: passes over the images.
      batch_size: images a step.
      learning_rate: at the start.
      distance: None chooses by the outputs' names, see `distances.default`.
      augment: views that teacher and student both see; None leaves the images as they are.
      labels: integers [N] for a distance that wants them.
      repeat: with `augment`: train on so many epochs' views again and again, so that the teacher looks at each once;
        0 makes new ones every epoch.
      scale: (factor, offset) from a uint8 pixel to what the model takes.
      validation: images whose distance chooses the best epoch; None keeps the last.
      validation_labels: integers, where the distance wants labels.
      patience: epochs without improvement on validation after which it stops; 0 never does.
      features: see `Distiller`.
      seed: of order and views.
      freeze_batch_norm: batch normalisations keep their statistics and weights. Those of a network that was trained on
        other images than these are lost in an epoch's batches, and the outputs with them.
      folder: where checkpoints and history go, so that the same call goes on after a kill; None keeps none.
      keep: a folder where the teacher's outputs are kept for its other students; None keeps them while it trains.
    """
    images: np.ndarray
    epochs: int = 5
    batch_size: int = 32
    learning_rate: float = 1e-3
    distance: distances.Distance | None = None
    augment: views.Augment | None = None
    labels: np.ndarray | None = None
    repeat: int = 0
    scale: views.Scale = views.UNIT
    validation: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    patience: int = 0
    features: Mapping[str, str] | None = None
    seed: int = 0
    freeze_batch_norm: bool = False
    folder: str | None = None
    keep: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise ValueError(f"epochs ({self.epochs}) and batch_size ({self.batch_size}) must be at least 1")
        if not 0 < self.learning_rate < 1:
            raise ValueError(f"the learning rate {self.learning_rate} is not in (0, 1)")
        if self.repeat < 0 or self.repeat and self.augment is None:
            raise ValueError(f"repeat is {self.repeat}, but should be 0, or with views (augment) 1 or more")

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.epochs * -(-len(self.images) // self.batch_size)

    def __call__(self, model: tf_keras.Model, teacher: tf_keras.Model | Sequence[tf_keras.Model],
                 callbacks: Sequence[tf_keras.callbacks.Callback] = ()) -> None:
        """Trains `model` towards `teacher`.

        Args:
          model: trained in place.
          teacher: see `Distiller`.
          callbacks: what a step needs at every batch (tfmot's pruning). Its schedule must run to the end, so with
            callbacks the last epoch is kept, not validation's best.
        """
        normalisations = [layer for layer in model.submodules  # inside tfmot's wrappers too
                          if isinstance(layer, tf_keras.layers.BatchNormalization) and layer.trainable]
        for layer in normalisations:
            layer.momentum = min(layer.momentum, _MOMENTUM)
            layer.trainable = not self.freeze_batch_norm
        distiller = Distiller(student=model, teacher=teacher, distance=self.distance, features=self.features)
        rate = tf_keras.optimizers.schedules.CosineDecay(self.learning_rate, self.steps, alpha=0.01)
        distiller.compile(optimizer=tf_keras.optimizers.Adam(rate, clipnorm=1.0), weighted_metrics=[])
        with self._run() as (folder, kept):
            held = None
            if self.validation is not None and len(self.validation) and not callbacks:
                held = views.batches(self.validation, self.batch_size, scale=self.scale, epoch=None,
                                     labels=self.validation_labels,
                                     taught=distiller.taught(self.validation, self.batch_size, self.scale))
            training.fit(distiller, self._epochs(distiller, teacher, kept), folder=folder, epochs=self.epochs,
                         validation=held, patience=self.patience, callbacks=callbacks)
        for layer in normalisations:
            layer.trainable = True

    def _epochs(self, distiller: Distiller, teacher: Any, keep: str) -> Callable[[int], tf.data.Dataset]:
        """Returns epoch -> its batches. What the teacher says of views that come again is worked out once."""
        batches = functools.partial(views.batches, self.images, self.batch_size, scale=self.scale, labels=self.labels,
                                    augment=self.augment)
        if self.augment is None:
            said = self._said(distiller, teacher, keep, None)
            return lambda epoch: batches(seed=self.seed, epoch=epoch, taught=said)
        if self.repeat == 0:
            return lambda epoch: batches(seed=self.seed, epoch=epoch)
        # The same views for all students, whatever their seed.
        return lambda epoch: batches(epoch=epoch % self.repeat,
                                     taught=self._said(distiller, teacher, keep, epoch % self.repeat))

    def _said(self, distiller: Distiller, teacher: Any, keep: str, epoch: int | None) -> taught.Outputs | None:
        def compute() -> taught.Outputs | None:
            return distiller.taught(self.images, self.batch_size, self.scale, self.augment, epoch=epoch)

        if self.keep is None and epoch is None:
            return compute()
        kept = taught.Kept(keep, teacher, self.images, self.scale, *(
            () if epoch is None else (self.augment, self.batch_size)))
        return kept.get(epoch, compute)

    @contextlib.contextmanager
    def _run(self) -> Iterator[tuple[run.Run, str]]:
        """The folders of the run and of what the teacher says."""
        config = {"epochs": self.epochs, "batch_size": self.batch_size, "learning_rate": self.learning_rate,
                  "seed": self.seed, "images": len(self.images), "freeze_batch_norm": self.freeze_batch_norm}
        with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
            opened = run.Run.create(self.folder or os.path.join(folder, "run"), config)
            yield opened, self.keep or os.path.join(folder, "taught")


def distill(student: tf_keras.Model, teacher: tf_keras.Model | Sequence[tf_keras.Model], *,
            finetune: Finetuner) -> tf_keras.Model:
    """A copy of the student, trained towards the teacher.

    Args:
      student: Functional model; left as it is.
      teacher: model or models with the same input.
      finetune: what trains, e.g. `Finetune(images, epochs=20)`.
    """
    copy = rebuild.clone(student)
    finetune(copy, teacher)
    return copy


def _with_features(model: tf_keras.Model, layers: Sequence[str], names: Sequence[str] | None = None) -> tf_keras.Model:
    """The same layers, with a dict of outputs that holds the layers' features as `feature:<name>` too."""
    outputs = named_outputs.of(model)
    known = {layer.name: layer for layer in model.layers}
    for name, layer in zip(names or layers, layers):
        if layer not in known:
            raise ValueError(f"distillation: model {model.name!r} has no layer {layer!r}; it has {', '.join(known)}")
        outputs[f"feature:{name}"] = known[layer].output
    return tf_keras.Model(model.inputs[0], outputs, name=model.name)


def _mean(outputs: Sequence[Mapping[str, tf.Tensor]]) -> dict[str, tf.Tensor]:
    return {name: tf.add_n([member[name] for member in outputs]) / len(outputs) for name in outputs[0]}
