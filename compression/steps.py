"""The steps that a recipe may hold, a frozen dataclass each: its settings, what it needs, what it does to a model."""
from __future__ import annotations

import dataclasses
import re
from typing import Any, Callable, ClassVar, Sequence

import numpy as np
import tf_keras

from leanood.compression import (
    cluster,
    cut,
    detection_distances,
    distances,
    distill,
    downscale,
    factorize,
    importance,
    prune,
    quantize,
    rebuild,
    shrink,
    students,
    views,
)
from leanood.models import named_outputs


@dataclasses.dataclass(frozen=True)
class Context:
    """What a recipe's steps work with.

    Attributes:
      teacher: the model before the first step, which every step distils from.
      images: uint8 [N, h, w, c], in-distribution.
      samples: float32 [M, h, w, c], a few dozen of them as the model takes them.
      finetune: (epochs, learning_rate=..., **more of `distill.Finetune`'s fields) -> a finetuner, or None where there
        are no epochs.
      decoder: z [N, Z] -> image, of the β-VAE that the teacher is the encoder of, where there is one.
      labels, validation_labels: class indices int64 [N] of the images, and of those that choose the best epoch; None
        where there are none.
    """
    teacher: tf_keras.Model
    images: np.ndarray
    samples: np.ndarray
    finetune: Callable[..., Callable[..., None] | None]
    decoder: tf_keras.Model | None = None
    labels: np.ndarray | None = None
    validation_labels: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a recipe.

    Attributes:
      epochs: of fine-tuning; -1 leaves it to the runner (0 where a `distill` comes next).
    """
    stage: ClassVar[int] = 0  # steps come in the order of their stages; within a stage as they are written
    trains: ClassVar[bool] = True  # False: the step says how to store the model and leaves its weights alone
    redefines: ClassVar[bool] = False  # True: the outputs are other ones; later steps distil from what it returns
    once: ClassVar[bool] = True
    epochs: int = dataclasses.field(default=-1, kw_only=True)

    def __post_init__(self) -> None:
        if not -1 <= self.epochs <= 100_000:
            self.refuse("epochs", "an integer of at least 0")

    @property
    def name(self) -> str:
        """As the recipe writes it."""
        return type(self).__name__.lower()

    def refuse(self, field: str, allowed: str) -> None:
        """Raises ValueError naming the step, the value and what is allowed."""
        raise ValueError(f"{self.name}: {field} is {getattr(self, field)!r}, but must be {allowed}")

    def check(self, model: tf_keras.Model) -> None:
        """Raises, naming the layer, if the step can't work on the model; before anything is trained."""
        rebuild.check(model)

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        """The compressed model."""
        raise NotImplementedError

    def _share(self, field: str, low: float = 0.0, high: float = 1.0) -> None:
        if not low < getattr(self, field) < high:
            self.refuse(field, f"between {low:g} and {high:g}, both excluded")

    def _choice(self, field: str, allowed: Sequence[str]) -> None:
        if getattr(self, field) not in allowed:
            self.refuse(field, f"one of {', '.join(map(repr, allowed))}")


@dataclasses.dataclass(frozen=True)
class Shrink(Step):
    """Removes filters and units, see `shrink.shrink`.

    Attributes:
      ratio: share of the channels to remove, of every layer.
      layers: instead, a share for each of these layers, e.g. "conv1=0.5,conv2=0.25"; the others keep their channels.
    """
    once: ClassVar[bool] = False
    ratio: float = 0.5
    importance: str = "activation"
    scope: str = "layer"
    multiple: int = 4
    layers: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._share("ratio")
        for name, share in self.shares.items():
            if not name or not 0 < share < 1:
                self.refuse("layers", "shares between 0 and 1 by layer, e.g. 'conv1=0.5,conv2=0.25'")
        self._choice("importance", importance.CRITERIA)
        self._choice("scope", shrink.SCOPES)
        if self.multiple < 1:
            self.refuse("multiple", "at least 1")

    @property
    def shares(self) -> dict[str, float]:
        """The single layers' shares by name; empty where all shrink by the ratio."""
        pairs = [pair.rpartition("=") for pair in self.layers.split(",")] if self.layers.strip() else []
        try:
            return {name.strip(): float(share) for name, _, share in pairs}
        except ValueError:
            self.refuse("layers", "shares between 0 and 1 by layer, e.g. 'conv1=0.5,conv2=0.25'")
            raise

    def check(self, model: tf_keras.Model) -> None:
        shrink.dependencies(model)
        known = [layer.name for layer in model.layers]
        for name in self.shares:
            if name not in known:
                self.refuse("layers", f"of the model's layers, and {name!r} is none: {', '.join(known)}")

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return shrink.shrink(model, self.shares or self.ratio, importance=self.importance, scope=self.scope,
                             multiple=self.multiple, images=context.samples, finetune=context.finetune(self.epochs),
                             teacher=context.teacher)


@dataclasses.dataclass(frozen=True)
class Downscale(Step):
    """Shows the network means of blocks of pixels, see `downscale.downscale`.

    Attributes:
      factor: pixels a block's side has.
    """
    epochs: int = dataclasses.field(default=0, kw_only=True)
    factor: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.factor <= 16:
            self.refuse("factor", "from 2 to 16")

    def check(self, model: tf_keras.Model) -> None:
        super().check(model)
        downscale.downscale(model, self.factor)

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return downscale.downscale(model, self.factor, finetune=context.finetune(self.epochs), teacher=context.teacher)


@dataclasses.dataclass(frozen=True)
class Cut(Step):
    """Ends a network of features earlier, see `cut.cut`; nothing is trained.

    Attributes:
      layer: the last one.
    """
    redefines: ClassVar[bool] = True
    epochs: int = dataclasses.field(default=0, kw_only=True)
    layer: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs > 0:
            self.refuse("epochs", "0: there is nothing to train towards")
        if not self.layer:
            self.refuse("layer", "the name of a layer, e.g. cut(block3)")

    def check(self, model: tf_keras.Model) -> None:
        super().check(model)
        cut.check(model, self.layer)

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return cut.cut(model, self.layer)


@dataclasses.dataclass(frozen=True)
class Factorize(Step):
    """Low-rank layers where they pay, see `factorize.factorize`."""
    energy: float = 0.9
    speedup: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._share("energy", 0, 1 + 1e-9)
        if self.speedup and self.speedup <= 1:
            self.refuse("speedup", "above 1, or 0 to go by the energy")

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return factorize.factorize(model, self.energy, speedup=self.speedup, finetune=context.finetune(self.epochs),
                                   teacher=context.teacher)


@dataclasses.dataclass(frozen=True)
class Student(Step):
    """A student drawn from the model's graph, see `students`.

    Attributes:
      kind: "strided" (strides where the model pools), "separable", "narrow", "shallow", "informed" (widths from the
        layers' sensitivity to shrinking), "plain" (a small one of its own) or "cnn" (a `models.cnn`).
      ratio: narrow: share of channels fewer.
      drop: shallow: layers to leave out, with commas between them.
      tolerance: informed: by how much each layer may move the student from its teacher, in the distance's own unit
        (nats for latents).
      widths: plain, cnn: channels of its convolutions, with commas between them.
      stem: plain: stride of its first convolution, 1 to 8.
    """
    once: ClassVar[bool] = False
    kind: str = "strided"
    ratio: float = 0.5
    drop: str = ""
    tolerance: float = 1.0
    widths: str = "16,32,32,32"
    stem: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        self._choice("kind", ("strided", "separable", "narrow", "shallow", "informed", "plain", "cnn"))
        self._share("ratio")
        self._share("tolerance", 0.0, float("inf"))
        if (self.kind == "shallow") != bool(self.drop):
            self.refuse("drop", "layers' names with kind='shallow', and left out with any other")
        if not re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", self.widths):
            self.refuse("widths", "numbers with commas between them, e.g. '16,32,32,32'")
        if not 1 <= self.stem <= 8:
            self.refuse("stem", "a stride from 1 to 8")

    @property
    def dropped(self) -> tuple[str, ...]:
        """The layers that a shallow student is without."""
        return tuple(name.strip() for name in self.drop.split(",") if name.strip())

    @property
    def _channels(self) -> tuple[int, ...]:
        return tuple(map(int, self.widths.split(",")))

    def check(self, model: tf_keras.Model) -> None:
        super().check(model)
        if self.kind == "shallow":
            students.shallower(model, self.dropped)
        if self.kind == "plain":
            students.plain(model)
        if self.kind == "cnn":
            students.strided_cnn(model, self._channels)
        if self.kind in ("narrow", "informed"):
            shrink.dependencies(model)

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        make: dict[str, Callable[[], tf_keras.Model]] = {
            "strided": lambda: students.strided(model),
            "separable": lambda: students.separable(model),
            "narrow": lambda: students.narrower(model, self.ratio, inherit=False),
            "shallow": lambda: students.shallower(model, self.dropped),
            "informed": lambda: students.informed(model, context.samples, self.tolerance),
            "plain": lambda: students.plain(model, self._channels, self.stem),
            "cnn": lambda: students.strided_cnn(model, self._channels),
        }
        student = make[self.kind]()
        finetune = context.finetune(self.epochs)
        if finetune is not None:
            finetune(student, context.teacher)
        return student


@dataclasses.dataclass(frozen=True)
class Distill(Step):
    """Trains towards the original on unlabelled images.

    Attributes:
      temperature: of the logits' soft targets.
      matching: adds crops, flips and mixup that teacher and student both see (function matching).
      reconstruct: of a β-VAE's encoder: match what the teacher's decoder makes of the latents, as the paper does (0.3
        of the student's own loss, 0.7 of the difference to the teacher's image), instead of the latents.
      alpha: of a classifier: share of the soft targets in the loss; the rest is the labels' cross-entropy.
      detection: of a classifier: adds what OOD scores read and soft targets don't say, with this weight: the relations
        between features, their norms and, at a tenth of it, the logits' scale, see `detection_distances`.
      views: with matching: the views of so many epochs, again and again, so that the teacher looks at each once; 0
        makes new ones every epoch.
    """
    once: ClassVar[bool] = False
    epochs: int = dataclasses.field(default=20)
    temperature: float = 4.0
    matching: bool = False
    reconstruct: bool = False
    learning_rate: float = 1e-3
    alpha: float = 1.0
    detection: float = 0.0
    views: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            self.refuse("epochs", "at least 1")
        if self.temperature <= 0:
            self.refuse("temperature", "positive")
        self._share("learning_rate")
        if not 0 <= self.alpha <= 1:
            self.refuse("alpha", "from 0 to 1")
        if not 0 <= self.detection < float("inf"):
            self.refuse("detection", "0 or more")
        if self.views < 0 or self.views and not self.matching:
            self.refuse("views", "0, or a number of epochs beside matching=True")
        if self.matching and self.alpha < 1:
            self.refuse("alpha", "1 with matching, whose mixed-up views have no label")

    def check(self, model: tf_keras.Model) -> None:
        super().check(model)
        outputs = named_outputs.of(model)
        for field, default, needed in (("alpha", 1.0, ("logits",)), ("detection", 0.0, ("logits", "features"))):
            for output in needed:
                if getattr(self, field) != default and output not in outputs:
                    self.refuse(field, f"{default:g} for model {model.name!r}, which has no output {output!r} among "
                                f"{', '.join(outputs)}; name it by --outputs")

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        more: dict[str, Any] = {}
        if self.matching:
            more.update(augment=views.FUNCTION_MATCHING, repeat=self.views)
        if self.alpha < 1:
            more.update(labels=context.labels, validation_labels=context.validation_labels)
        finetune = context.finetune(self.epochs, learning_rate=self.learning_rate, distance=self._distance(context),
                                    **more)
        assert finetune is not None  # there is at least one epoch
        return distill.distill(model, context.teacher, finetune=finetune)

    def _distance(self, context: Context) -> distances.Distance | None:
        """What is minimised; None leaves it to the outputs' names."""
        if self.reconstruct:
            assert context.decoder is not None  # the runner has seen to it
            return distances.Reconstruction(context.decoder)
        if self.detection:
            return detection_distances.detection_aware(self.temperature, self.detection, self.detection,
                                                       0.1 * self.detection, self.alpha)
        if "logits" in named_outputs.of(context.teacher) and (
                self.matching or self.temperature != 4.0 or self.alpha != 1):
            return distances.SoftTargets(self.temperature, self.alpha)
        return None


@dataclasses.dataclass(frozen=True)
class Prune(Step):
    """Zeros by magnitude, see `prune.prune`."""
    stage: ClassVar[int] = 1
    sparsity: float = 0.5
    method: str = "layer"
    structure: str = ""
    schedule: str = "polynomial"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._share("sparsity")
        self._choice("method", prune.METHODS)
        self._choice("structure", ("", "2:4"))
        self._choice("schedule", prune.SCHEDULES)

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return prune.prune(model, self.sparsity, method=self.method, structure=self.structure, schedule=self.schedule,
                           finetune=context.finetune(self.epochs), teacher=context.teacher)


@dataclasses.dataclass(frozen=True)
class Cluster(Step):
    """Shared weights, see `cluster.cluster`; zeros of a `prune` before it stay."""
    stage: ClassVar[int] = 2
    clusters: int = 16
    per_channel: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.clusters <= 256:
            self.refuse("clusters", "from 2 to 256")

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return cluster.cluster(model, self.clusters, per_channel=self.per_channel,
                               finetune=context.finetune(self.epochs, learning_rate=1e-4), teacher=context.teacher)


@dataclasses.dataclass(frozen=True)
class Qat(Step):
    """Quantization-aware training to int8, see `quantize.qat`; the heads stay in float.

    Attributes:
      exclude: more layers to leave in float, with commas between them.
    """
    stage: ClassVar[int] = 3
    format: ClassVar[str] = "int8"
    preserve: ClassVar[str] = ""
    exclude: str = ""

    def excluded(self, model: tf_keras.Model) -> tuple[str, ...]:
        """The layers to leave in float: heads, an input's scaling (tfmot knows none), and what the recipe names."""
        scalings = (layer.name for layer in model.layers if isinstance(layer, tf_keras.layers.Rescaling))
        return (*rebuild.heads(model), *scalings, *(name.strip() for name in self.exclude.split(",") if name.strip()))

    def check(self, model: tf_keras.Model) -> None:
        super().check(model)
        quantize.check(model, self.excluded(model))

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return quantize.qat(model, preserve=self.preserve, exclude=self.excluded(model), images=context.samples,
                            finetune=context.finetune(self.epochs, learning_rate=1e-4), teacher=context.teacher)


@dataclasses.dataclass(frozen=True)
class Pqat(Qat):
    """Quantization-aware training that keeps the zeros of `prune`."""
    preserve: ClassVar[str] = "sparsity"


@dataclasses.dataclass(frozen=True)
class Cqat(Qat):
    """Quantization-aware training that keeps the shared weights of `cluster`."""
    preserve: ClassVar[str] = "clusters"


@dataclasses.dataclass(frozen=True)
class Pcqat(Qat):
    """Quantization-aware training that keeps both."""
    preserve: ClassVar[str] = "both"


@dataclasses.dataclass(frozen=True)
class Format(Step):
    """What the converter writes; nothing is trained."""
    stage: ClassVar[int] = 3
    trains: ClassVar[bool] = False

    @property
    def format(self) -> str:
        """A name of `tflite.convert`'s quantizations."""
        return self.name

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return model


class Float32(Format):
    """As it is."""


class Float16(Format):
    """Weights of 16 bits."""


class Dynamic(Format):
    """Weights of 8 bits, activations in float."""


class Int8(Format):
    """Weights and activations of 8 bits, their ranges from representative images."""


class Int16(Format):
    """Weights of 8 bits, activations of 16, their ranges from representative images."""


@dataclasses.dataclass(frozen=True)
class Huffman(Step):
    """Stores the file packed, see `huffman.pack`."""
    stage: ClassVar[int] = 4
    trains: ClassVar[bool] = False

    def apply(self, model: tf_keras.Model, context: Context) -> tf_keras.Model:
        return model


ALL: tuple[type[Step], ...] = (Downscale, Cut, Shrink, Factorize, Student, Distill, Prune, Cluster, Qat, Pqat, Cqat,
                               Pcqat, Float32, Float16, Dynamic, Int8, Int16, Huffman)


def settings(kind: type[Step]) -> dict[str, Any]:
    """A step's settings and their defaults, in the order in which a recipe may give them."""
    return {field.name: field.default for field in sorted(dataclasses.fields(kind), key=lambda f: bool(f.kw_only))
            if kind.trains or field.name != "epochs"}
