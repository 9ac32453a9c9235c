"""Fitted scores in a file that remembers which model they were fitted on."""
from __future__ import annotations

import hashlib
import warnings
from typing import Optional

import numpy as np

from leanood.files import atomic
from leanood.ood import scores
from leanood.ood.scores.score import Score


def save(path: str, score: Score, model: bytes, description: str = "") -> None:
    """Writes a fitted score as `.npz` beside the SHA-256 of the model that its outputs came from.

    Args:
      path: of the new file.
      score: fitted.
      model: the content of the model's file.
      description: what the model is ("int8 ResNet-18"), for the message when another one is met.
    """
    arrays = {f"score/{name}": value for name, value in score.to_arrays().items()}
    arrays["name"] = np.asarray(scores.name(score))
    arrays["model_sha256"] = np.asarray(hashlib.sha256(model).hexdigest())
    arrays["model"] = np.asarray(description)
    with atomic.replacing(path) as file:
        np.savez(file, **arrays)


def load(path: str, model: Optional[bytes] = None) -> Score:
    """The score that `save` wrote; warns if `model` is not the one that its statistics were fitted on."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        name = str(arrays["name"])
        fitted_on = str(arrays["model_sha256"])
    except OSError:
        raise
    except Exception as error:  # a damaged archive shows itself in many ways
        raise ValueError(f"{path} holds no score statistics ({error}); write it with ood.scores.file.save") from None
    warn_if_other(fitted_on, model, str(arrays.get("model", "")), path)
    prefix = "score/"
    return scores.by_name(name).from_arrays(
        {key[len(prefix):]: value for key, value in arrays.items() if key.startswith(prefix)})


def warn_if_other(fitted_on: str, model: Optional[bytes], description: str = "", path: str = "statistics") -> bool:
    """True, with a UserWarning, if statistics fitted on the model with SHA-256 `fitted_on` meet another model."""
    if model is None:
        return False
    met = hashlib.sha256(model).hexdigest()
    if met == fitted_on:
        return False
    what = f"{description} " if description else ""
    warnings.warn(f"{path}: fitted on {what}(sha256 {fitted_on[:12]}), but this model is sha256 {met[:12]}; "
                  "quantization moves features and logits: fit statistics and threshold on this file's own outputs",
                  stacklevel=3)
    return True
