"""A model's outputs by name."""
from __future__ import annotations

from typing import Any, Dict, Mapping

import tf_keras as keras


def of(model: keras.Model) -> Dict[str, Any]:
    """Returns the output tensors by name: the keys of the model's dict, or the names of the layers that make them."""
    if isinstance(model.output, Mapping):
        return dict(model.output)
    return dict(zip(model.output_names, model.outputs))
