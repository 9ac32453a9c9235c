"""Recipes: "shrink(0.5)+distill(epochs=20)+qat" read, checked before anything runs, and run step by step.

A run in a folder can be killed at any moment; the same call goes on from the last finished step and epoch.
"""
from __future__ import annotations

import ast
import os
import shutil
from typing import Any, Callable, NamedTuple, Sequence

import numpy as np
import tf_keras

from leanood.compression import distill, rebuild, report, steps, views
from leanood.models import run as runs

Recipe = tuple[steps.Step, ...]
SAMPLES = 64  # images that importances and ranges are taken from


class Result(NamedTuple):
    """What a recipe came to.

    Attributes:
      model: the compressed model; quantization-aware if the recipe says so.
      sizes: (what, size) before the first step and after each that changes weights.
      quantize: the format to convert to: "float32", "float16", "dynamic" or "int8".
      pack: True if the file is to be stored Huffman-packed.
    """
    model: tf_keras.Model
    sizes: tuple[tuple[str, report.Size], ...]
    quantize: str
    pack: bool


def parse(text: str) -> Recipe:
    """The steps of a recipe, their settings checked, their order too.

    Args:
      text: steps with "+" between them, settings in parentheses by position or by name: "shrink(0.5)+qat(epochs=3)".
        Words need no quotes.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"recipe {text!r} can't be read at character {error.offset}: write steps like "
                         "shrink(0.5)+distill(epochs=20)+qat") from error
    recipe = tuple(_step(node, text) for node in _terms(tree))
    _check_order(recipe)
    return recipe


def write(recipe: Sequence[steps.Step]) -> str:
    """The recipe's text, each step with its first setting and those that differ from the default; `parse` reads it."""
    return "+".join(_written(step) for step in recipe)


def check(recipe: Sequence[steps.Step], model: tf_keras.Model) -> None:
    """Raises, naming the step, the layer and why, if a step can't work on the model.

    Args:
      recipe: what `parse` returned.
      model: the model before the first step.
    """
    rebuild.check(model)
    report.multiply_adds(model)  # open sizes are refused here
    for step in recipe:
        step.check(model)


def check_labels(recipe: Sequence[steps.Step], labels: np.ndarray | None) -> None:
    """Raises if a step wants labels and there are none."""
    if labels is None and any(isinstance(step, steps.Distill) and step.alpha < 1 for step in recipe):
        raise ValueError("distill: alpha is below 1, but there are no labels; use a classifier's run and a folder of "
                         "folders, one a class")


def run(recipe: Sequence[steps.Step], model: tf_keras.Model, images: np.ndarray, *, scale: views.Scale = views.UNIT,
        epochs: int = 5, batch_size: int = 32, validation: np.ndarray | None = None, seed: int = 0,
        freeze_batch_norm: bool = False,
        folder: str | None = None, decoder: tf_keras.Model | None = None, labels: np.ndarray | None = None,
        validation_labels: np.ndarray | None = None, keep: str | None = None, checked: bool = False,
        progress: Callable[[str], None] | None = None) -> Result:
    """Runs the recipe's steps, each distilled from the original on images without labels.

    Args:
      recipe: what `parse` returned.
      model: Functional, its input size fixed; left as it is.
      images: uint8 [N, h, w, c], in-distribution, at the model's size.
      scale: (factor, offset) from their uint8 pixels to what the model takes.
      epochs: of fine-tuning after each step that doesn't say.
      batch_size: images a step.
      validation: images that choose the best epoch of each fine-tuning.
      seed: of order, views and whatever starts at random; TensorFlow's global seed is set to it.
      freeze_batch_norm: see `distill.Finetune`; students, whose weights are new, train theirs all the same.
      folder: where finished steps and checkpoints are kept, so that the same call goes on; None keeps none.
      decoder: of the β-VAE that the model is the encoder of, for distill(reconstruct=True); it is not trained.
      labels, validation_labels: class indices of the two, for distill(alpha=…).
      keep: see `distill.Finetune`.
      checked: `check` found nothing wrong before.
      progress: told of every step in a line.
    """
    if not checked:
        check(recipe, model)
    check_labels(recipe, labels)
    if decoder is None and any(isinstance(step, steps.Distill) and step.reconstruct for step in recipe):
        raise ValueError("distill: reconstruct is True, but there is no decoder; it must be a β-VAE's run")
    teacher = rebuild.clone(model)
    samples = views.scaled(views.sample(images, SAMPLES), scale)
    kept = _Kept(folder, recipe, images)
    current, sizes = teacher, [("original", report.measure(teacher))]
    for i, step in enumerate(recipe):
        follows = recipe[i + 1].name if i + 1 < len(recipe) else ""
        default = 0 if follows == "distill" else epochs
        frozen = freeze_batch_norm and not any(isinstance(before, steps.Student) for before in recipe[:i + 1])
        name = f"{i + 1}_{step.name}"

        def finetune(wanted: int, learning_rate: float = 1e-3, *, default: int = default, name: str = name,
                     frozen: bool = frozen, **more: Any) -> distill.Finetune | None:
            count = default if wanted < 0 else wanted
            if count == 0:
                return None
            return distill.Finetune(images, epochs=count, batch_size=batch_size, learning_rate=learning_rate,
                                    scale=scale, validation=validation, seed=seed, folder=kept.training(name),
                                    freeze_batch_norm=frozen, keep=keep, **more)

        if progress:
            progress(f"step {i + 1}/{len(recipe)}: {_written(step)}")
        done = kept.load(name) if step.trains else None
        if done is None:
            tf_keras.utils.set_random_seed(seed)  # a student's weights, a cluster's first centroids
            done = step.apply(current, steps.Context(teacher, images, samples, finetune, decoder, labels,
                                                           validation_labels))
            if step.trains:
                kept.save(name, done)
        current = done
        if step.redefines:
            teacher = current
        if step.trains:
            sizes.append((_written(step), report.measure(current)))
    formats = [step.format for step in recipe if isinstance(step, (steps.Qat, steps.Format))]
    return Result(current, tuple(sizes), formats[0] if formats else "float32",
                  any(isinstance(step, steps.Huffman) for step in recipe))


class _Kept:
    """The finished steps in a run's folder, or nothing where there is no folder."""

    def __init__(self, folder: str | None, recipe: Sequence[steps.Step], images: np.ndarray) -> None:
        config = {"recipe": write(recipe), "images": list(images.shape)}
        self._run = None if folder is None else runs.Run.create(folder, config)

    def training(self, name: str) -> str | None:
        return None if self._run is None else self._run.file(f"{name}_training")

    def load(self, name: str) -> tf_keras.Model | None:
        if self._run is None or not os.path.exists(self._run.file(f"{name}.h5")):
            return None
        return self._run.model(name)

    def save(self, name: str, model: tf_keras.Model) -> None:
        if self._run is not None:
            self._run.save(name, model)
            shutil.rmtree(os.path.join(self._run.file(f"{name}_training"), "checkpoints"), ignore_errors=True)


def _terms(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_terms(node.left), *_terms(node.right)]
    return [node]


def _step(node: ast.expr, text: str) -> steps.Step:
    kinds = {kind.__name__.lower(): kind for kind in steps.ALL}
    call = node if isinstance(node, ast.Call) else None
    name = call.func if call else node
    if not isinstance(name, ast.Name):
        raise ValueError(f"recipe {text!r}: {ast.unparse(node)!r} is no step; write steps like shrink(0.5)")
    if name.id not in kinds:
        raise ValueError(f"recipe: there is no step {name.id!r}; the steps are {', '.join(kinds)}")
    fields = steps.settings(kinds[name.id])
    given: dict[str, Any] = {}
    positional = call.args if call else []
    known = ", ".join(fields) or "none"
    if len(positional) > len(fields):
        raise ValueError(f"{name.id}: {len(positional)} values are too many; its settings are {known}")
    for key, value in [*zip(fields, positional), *((k.arg, k.value) for k in (call.keywords if call else []))]:
        if key not in fields:
            raise ValueError(f"{name.id}: there is no setting {key!r}; its settings are {known}")
        given[key] = _value(value, fields[key], f"{name.id}: {key}")
    return kinds[name.id](**given)


def _value(node: ast.expr, default: Any, what: str) -> Any:
    try:
        value = node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
    except ValueError as error:
        raise ValueError(f"{what} is {ast.unparse(node)}, but must be a number or a word") from error
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not type(default):
        raise ValueError(f"{what} is {value!r}, but must be of type {type(default).__name__}, as {default!r} is")
    return value


def _check_order(recipe: Recipe) -> None:
    for before, after in zip(recipe, recipe[1:]):
        if after.stage < before.stage:
            raise ValueError(f"recipe: {after.name} can't follow {before.name}, whose work it would undo; the order is "
                             "downscale, cut, shrink, factorize, student, distill, then prune, cluster, a "
                             "quantization, huffman")
    names = [step.name for step in recipe]
    for step in recipe:
        if step.once and names.count(step.name) > 1:
            raise ValueError(f"recipe: {step.name} comes {names.count(step.name)} times; once is all it takes")
    quantizations = [step.name for step in recipe if step.stage == steps.Qat.stage]
    if len(quantizations) > 1:
        raise ValueError(f"recipe: {' and '.join(quantizations)} are two quantizations; choose one")
    wanted = {("prune",): "pqat", ("cluster",): "cqat", ("prune", "cluster"): "pcqat"}.get(
        tuple(name for name in ("prune", "cluster") if name in names), "qat")
    for step in recipe:
        if isinstance(step, steps.Qat) and step.name != wanted:
            raise ValueError(f"recipe: {step.name} doesn't keep just what the steps before it made; use {wanted}")


def _written(step: steps.Step) -> str:
    defaults = steps.settings(type(step))
    first = next(iter(defaults), "")
    given = [repr(getattr(step, first))] if first and getattr(step, first) != "" else []
    given += [f"{name}={getattr(step, name)!r}" for name, default in list(defaults.items())[1:]
              if getattr(step, name) != default]
    return f"{step.name}({', '.join(given)})" if given else step.name
