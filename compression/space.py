"""The space of recipes that a search draws from: how small, how distilled, how stored."""
from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol, Sequence

if TYPE_CHECKING:  # it imports TensorFlow
    from leanood.compression import sensitivity

EPOCHS = "{epochs}"  # stands for the fidelity's epochs in a recipe that was drawn


class Chooser(Protocol):
    """What a space asks of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[str | float | int]) -> str | float | int:
        """Returns one of the choices."""


@dataclasses.dataclass(frozen=True)
class Space:
    """Recipes: a network, perhaps zeros or shared weights in it, and a format.

    Attributes:
      factors: by which `downscale` may show the network less; 1 shows it all.
      cuts: layers that `cut` may end it at; "" leaves its end.
      ratios: shares of channels that `shrink` may remove.
      dropped: of each of the cuts the layers that it leaves out; () where none leaves out any of `by_layer`.
      by_layer: widths that follow the layers' sensitivities, as `shrink(layers=…)` takes them; see `informed_by`.
      widths: channels of the plain students' convolutions, as `student(plain, widths=…)` takes them.
      stems: strides of the plain students' first convolutions.
      sparsities: of `prune`; 0 prunes nothing.
      energies: of `factorize`; 0 factorizes nothing.
      formats: "float32", "float16", "dynamic", "int8" after training, or "qat".
      matching: whether function matching's views may be used.
    """

    factors: tuple[int, ...] = (1,)
    cuts: tuple[str, ...] = ("",)
    dropped: tuple[tuple[str, ...], ...] = ()
    ratios: tuple[float, ...] = (0.0, 0.25, 0.5, 0.625, 0.75, 0.875)
    by_layer: tuple[str, ...] = ()
    widths: tuple[str, ...] = ("8,16,16,16", "16,32,32,32", "16,24,40,80", "32,64,64,64")
    stems: tuple[int, ...] = (2, 4)
    sparsities: tuple[float, ...] = (0.0, 0.5, 0.8)
    energies: tuple[float, ...] = (0.0, 0.9, 0.7)
    formats: tuple[str, ...] = ("float32", "float16", "dynamic", "int8", "qat")
    matching: bool = True

    def __post_init__(self) -> None:
        for name in ("factors", "cuts", "ratios", "formats", "sparsities", "energies"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty, but a space needs one or more")
        if self.dropped and len(self.dropped) != len(self.cuts):
            raise ValueError(f"dropped is of {len(self.dropped)} cuts, but there are {len(self.cuts)}")

    def draw(self, trial: Chooser) -> str:
        """Returns a recipe's text, in which EPOCHS stands for the epochs of every fine-tuning.

        Args:
          trial: chooses; an Optuna trial.
        """
        families = ["shrink", *(["student"] if self.widths else []), *(["by_layer"] if self.by_layer else [])]
        steps: list[str] = []
        if len(self.factors) > 1 and (factor := trial.suggest_categorical("downscale", self.factors)) != 1:
            steps.append(f"downscale({factor})")
        gone: tuple[str, ...] = ()
        if len(self.cuts) > 1 and (layer := str(trial.suggest_categorical("cut", self.cuts))):
            steps.append(f"cut({layer!r})")
            gone = dict(zip(self.cuts, self.dropped)).get(layer, ())
        kept = len(steps)
        family = trial.suggest_categorical("network", families)
        if family == "by_layer":
            widths = str(trial.suggest_categorical("by_layer", self.by_layer)).split(",")
            if left := ",".join(width for width in widths if width.rpartition("=")[0] not in gone):
                steps.append(f"shrink(layers='{left}', epochs=0)")
        elif family == "student":
            channels = trial.suggest_categorical("widths", self.widths)
            stem = trial.suggest_categorical("stem", self.stems)
            steps.append(f"student(plain, widths='{channels}', stem={stem}, epochs=0)")
        else:
            ratio = float(trial.suggest_categorical("ratio", self.ratios))
            energy = float(trial.suggest_categorical("energy", self.energies))
            if ratio:
                steps.append(f"shrink({ratio:g}, epochs=0)")
            if energy:
                steps.append(f"factorize({energy:g}, epochs=0)")
        if len(steps) > kept:  # what went before that loses nothing that training could mend
            matching = self.matching and trial.suggest_categorical("matching", (0, 1))
            steps.append(f"distill(epochs={EPOCHS}{', matching=True' if matching else ''})")
        sparsity = float(trial.suggest_categorical("sparsity", self.sparsities))
        if sparsity:
            steps.append(f"prune({sparsity:g}, epochs={EPOCHS})")
        format_ = str(trial.suggest_categorical("format", self.formats))
        if format_ == "qat":
            steps.append(f"{'pqat' if sparsity else 'qat'}(epochs={EPOCHS})")
        else:
            steps.append(format_)
        return "+".join(steps)


def informed_by(analysis: sensitivity.Sensitivity, shares: Sequence[float] = (0.05, 0.15, 0.4)) -> tuple[str, ...]:
    """Returns widths by layer for `Space.by_layer`: each layer as narrow as its sensitivity allows, at several costs.

    Args:
      analysis: how far shrinking each layer alone moves the outputs.
      shares: of the largest move that was seen; each is a tolerance.
    """
    most = float(analysis.values.max() - analysis.baseline)
    texts = []
    for share in shares:
        ratios = {name: ratio for name, ratio in analysis.ratios_within(share * most).items() if ratio}
        text = ",".join(f"{name}={ratio:g}" for name, ratio in ratios.items())
        if text and text not in texts:
            texts.append(text)
    return tuple(texts)


def at(recipe: str, epochs: int) -> str:
    """Returns the text of a drawn recipe, its fine-tunings of so many epochs each.

    Args:
      recipe: what `Space.draw` returned.
      epochs: at least 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}, but should be 1 or more")
    return recipe.replace(EPOCHS, str(epochs))
