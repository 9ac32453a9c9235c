"""A run's folder: `config.json`, the trained models, `history.csv`, `checkpoints/`, `tensorboard/`, pictures."""
from __future__ import annotations

import contextlib
import json
import os
import warnings
from typing import Any, Dict, Iterator, Mapping, Sequence

import tf_keras as keras
from tf_keras.src.saving import serialization_lib

from leanood.files import atomic, lock
from leanood.models.keras3 import rebuild

_TO_TFLITE = "convert it by litert-torch to a .tflite, which `leanood calibrate FILE.tflite --outputs=…` takes"
_OTHERS = {".tflite": "it is converted already; `leanood calibrate` takes it", ".pt": _TO_TFLITE, ".pth": _TO_TFLITE,
           ".onnx": "export the model that it came from to a .keras, a SavedModel or a .tflite"}


class Run:
    """A training run in a folder.

    Args:
      path: the folder; `config.json` must be in it (`Run.create` makes one).
      chief: False in all but one of the processes that train together: those write nothing.

    Attributes:
      path, chief: as given.
      config: what the run was started with, e.g. {"model": "bvae", "size": [64, 64], "data": {...}}.
    """

    def __init__(self, path: str, chief: bool = True) -> None:
        self.path, self.chief = os.fspath(path), chief
        try:
            with open(self.file("config.json"), encoding="utf-8") as stream:
                self.config: Dict[str, Any] = json.load(stream)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(f"{self.path} holds no training run (no config.json in it); make one with "
                             f"`leanood train --out={self.path}`") from error
        except ValueError as error:
            raise ValueError(f"{self.file('config.json')} is damaged ({error}); train into another --out") from error

    @classmethod
    def create(cls, path: str, config: Mapping[str, Any], may_change: Sequence[str] = (), chief: bool = True) -> Run:
        """Makes the folder, or opens it again to go on, if it was started with the same settings.

        Args:
          path: the folder.
          config: settings that JSON can hold.
          may_change: settings that may differ from the folder's own, and are then written anew (e.g. "epochs").
          chief: see `Run`.

        Raises:
          ValueError: naming the first setting that differs, or if the folder holds something else.
        """
        wanted = json.loads(json.dumps(dict(config)))
        if os.path.exists(os.path.join(path, "config.json")):
            run = cls(path, chief)
            before, now = _flat(run.config), _flat(wanted)
            for name in sorted({*before, *now} - set(may_change)):
                if before.get(name) != now.get(name):
                    raise ValueError(f"{path} was trained with {_setting(name, before)}, not with "
                                     f"{_setting(name, now)}; give another --out or the same settings")
            if run.config != wanted:
                if chief:
                    atomic.write_json(run.file("config.json"), wanted)
                run.config = wanted
            return run
        if os.path.isdir(path) and any(not name.endswith(atomic.PARTIAL) for name in os.listdir(path)):
            raise ValueError(f"{path} is not empty and holds no training run; give another --out")
        os.makedirs(path, exist_ok=True)
        atomic.write_json(os.path.join(path, "config.json"), wanted)
        return cls(path, chief)

    def file(self, name: str) -> str:
        """The path of a file in the folder."""
        return os.path.join(self.path, name)

    @property
    def part(self) -> str:
        """The name of the model that detects: "classifier" where one was trained, else "encoder"."""
        return "classifier" if os.path.exists(self.file("classifier.h5")) else "encoder"

    def write(self, name: str, text: str) -> None:
        """Writes a text file whole or not at all."""
        if self.chief:
            atomic.write_text(self.file(name), text)

    def save(self, name: str, model: keras.Model) -> None:
        """Saves a Functional model as `<name>.h5`, whole or not at all."""
        if not self.chief:
            return
        with warnings.catch_warnings(), atomic.replacing_path(self.file(f"{name}.h5")) as partial:
            warnings.simplefilter("ignore")  # Keras says that HDF5 is old; it is what every Keras can read
            model.save(partial, save_format="h5", include_optimizer=False)

    def model(self, name: str, *, unsafe: bool = False) -> keras.Model:
        """Loads `<name>.h5`; with `unsafe`, code within the file may run."""
        path = self.file(f"{name}.h5")
        if not os.path.exists(path):
            raise ValueError(f"{path} is not there: the training has not finished; the command that began it goes on")
        return load(path, unsafe=unsafe)

    def encoder(self) -> keras.Model:
        """The trained encoder: `frame` float32 [N, h, w, 3] in [0, 1] -> {"mu", "logvar"} float32 [N, Z]."""
        return self.model("encoder")

    def decoder(self) -> keras.Model:
        """The trained decoder: `z` float32 [N, Z] -> image float32 [N, h, w, 3] in (0, 1)."""
        return self.model("decoder")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the folder for one process; it falls free with the process, however that ends."""
        if not self.chief:
            yield
            return
        try:
            with lock.exclusive(self.file(".lock")):
                yield
        except lock.Held as error:
            raise ValueError(f"{self.path} is being trained by another process; wait, or give another --out") from error


def load(path: str, *, unsafe: bool = False) -> keras.Model:
    """Loads any saved Keras model, not compiled; quantization-aware ones too, and those of Keras 3, rebuilt.

    Args:
      path: `.h5`, `.keras` or a SavedModel's folder.
      unsafe: whether code within the file (Lambda layers) may run.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _OTHERS:
        raise ValueError(f"{path} is no Keras model: {_OTHERS[suffix]}")
    if os.path.isfile(path) and rebuild.saved_by_keras3(path):
        return rebuild.load(path, unsafe=unsafe)
    try:
        with serialization_lib.SafeModeScope(not unsafe):
            return _load(path)
    except (OSError, ValueError, TypeError) as error:
        said = " ".join(str(error).split()) or repr(error)
        if "No model config" in said:
            raise ValueError(f"{path} holds weights alone; save the whole model, model.save('model.keras')") from error
        if "safe_mode" in said or "unsafe" in said.lower():
            raise ValueError(f"{path} holds code (a Lambda layer), which loading it would run; if you trust whoever "
                             "made it, give --unsafe") from error
        if "file signature not found" in said:
            raise ValueError(f"{path} is no saved Keras model, neither a .keras archive nor HDF5, or is cut off: copy "
                             "it anew, or save it again") from error
        raise ValueError(f"{path} could not be loaded as a Keras model: {said[:300]}") from error


def _load(path: str) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False)
    except ValueError as error:
        if "Quantize" not in str(error):  # the layers that quantization-aware training wraps others in
            raise
    import tensorflow_model_optimization as tfmot

    with tfmot.quantization.keras.quantize_scope():
        return keras.models.load_model(path, compile=False)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Dict[str, Any]:
    flat: Dict[str, Any] = {}
    for name, value in config.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _setting(name: str, config: Mapping[str, Any]) -> str:
    return f"{name}={json.dumps(config[name])}" if config.get(name) is not None else f"{name} unset"

