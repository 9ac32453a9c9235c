"""A SavedModel as what it is: a function of one image with named outputs. It can be converted, not taken apart."""
from __future__ import annotations

import os
from typing import Any, Dict, Mapping

import tensorflow as tf


class SavedModel(tf.Module):
    """A SavedModel's signature, in the form that `leanood.tflite.convert` takes.

    Args:
      folder: of the SavedModel, e.g. Keras 3's `model.export(folder)`.

    Attributes:
      inputs: one spec, [N, h, w, channels].
      output: specs by name.
      layers: none, its graph can't be read.
    """

    from_signature = True
    layers: tuple = ()

    def __init__(self, folder: str) -> None:
        super().__init__(name="saved_model")
        try:
            self._loaded = tf.saved_model.load(folder)
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise ValueError(f"{folder} could not be loaded as a SavedModel: {' '.join(str(error).split())[:300]}"
                             ) from error
        signatures = self._loaded.signatures
        if not signatures:
            raise ValueError(f"{folder} has no signature to convert; save it with tf.saved_model.save(…, signatures=…) "
                             "or Keras 3's model.export")
        self._function = signatures.get("serving_default") or next(iter(signatures.values()))
        given: Dict[str, tf.TensorSpec] = self._function.structured_input_signature[1]
        if len(given) != 1:
            raise ValueError(f"{folder} has the inputs {', '.join(given) or 'none'}, but should have one: the frame")
        (self._input, spec), = given.items()
        self.inputs = [spec]
        self.output: Dict[str, Any] = dict(self._function.structured_outputs)
        self._names = {name: name for name in self.output}

    def __call__(self, x: tf.Tensor, training: bool = False) -> Dict[str, tf.Tensor]:
        outputs = self._function(**{self._input: x})
        return {name: outputs[signature_name] for name, signature_name in self._names.items()}

    def select(self, outputs: Mapping[str, str]) -> SavedModel:
        """This model, with the outputs under new names: name -> the signature's."""
        unknown = sorted(set(outputs.values()) - set(self.output))
        if unknown:
            raise ValueError(f"the SavedModel has no output {unknown[0]!r}; it has {', '.join(sorted(self.output))} "
                             "(its inner layers can't be reached: export a model with them as outputs)")
        self._names = dict(outputs)
        self.output = {name: self.output[signature_name] for name, signature_name in outputs.items()}
        return self


def is_program(path: str) -> bool:
    """True for a SavedModel's folder that Keras 2 can't take apart: of Keras 3's export, or of plain TensorFlow."""
    return os.path.isfile(os.path.join(path, "saved_model.pb")) and not os.path.isfile(
        os.path.join(path, "keras_metadata.pb"))
