"""The files of the EdgeML comparison: one network, quantized in every way, and a distilled student; made once, kept."""
from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, NamedTuple

import image_sets
import numpy as np

from leanood.files import atomic

# After which block an inner layer is averaged over the image: blocks 4 and 7 of 8. `early` is a fixed first layer.
TEACHER_POOLED = {"middle": "re_lu_25", "late": "re_lu_31"}
STUDENT_POOLED = {"middle": "block4", "late": "block7"}
_FINETUNED_ON = 2000  # training images of the short quantization-aware fine-tuning
_SPARSITY = 0.5


class File(NamedTuple):
    """A converted file, how it came about, and its network's parameters (of which not zero)."""

    path: str
    title: str
    parameters: int
    nonzero: int


def make(root: str, model: str, work: str) -> Dict[str, File]:
    """All files by name, float32 first; those that are there already are not made again.

    Args:
      root: the images' folder.
      model: the given Keras model.
      work: where the files are kept; `student_0.25/classifier.h5` of student.py joins if it is there.
    """
    os.makedirs(work, exist_ok=True)
    titles = {"float32": "float32", "float16": "float16 weights", "dynamic": "dynamic range", "int8": "int8 static",
              "qat": "int8 quantization-aware", "pqat": f"int8 pruned {_SPARSITY:.0%}, quantization-aware"}
    student = os.path.join(work, "student_0.25", "classifier.h5")
    if os.path.exists(student):
        titles["student"] = "int8 distilled student, width 1/4"
    maker = _Maker(root, model, student)
    files = {}
    for name, title in titles.items():
        path, counts = os.path.join(work, f"{name}.tflite"), os.path.join(work, f"{name}.txt")
        if not (os.path.exists(path) and os.path.exists(counts)):
            print(f"making {path}", file=sys.stderr)
            flatbuffer, parameters, nonzero = maker(name)
            for target, content in ((path, flatbuffer), (counts, f"{parameters} {nonzero}".encode())):
                atomic.write_bytes(target, content)
        with open(counts) as stream:
            files[name] = File(path, title, *map(int, stream.read().split()))
    return files


def _with_early(network: Any, scale: str) -> Any:
    """The network with the output `early`, the fixed first layer's statistics of the frame in [0, 1]."""
    import tf_keras as keras

    from leanood.models import filter_bank
    from leanood.tflite import convert

    frame = network.input if scale == "unit" else network.input * 0.5 + 0.5
    outputs = {**convert.named(network, network.output), filter_bank.NAME: filter_bank.statistics(frame)}
    return keras.Model(network.input, outputs, name=network.name)


class _Maker:
    def __init__(self, root: str, model: str, student: str) -> None:
        self.root, self.model, self.student = root, model, student
        self._images: Any = None

    def __call__(self, name: str) -> tuple:
        from leanood.models import classifier
        from leanood.tflite import convert

        if name == "student":
            network = classifier.load(self.student, size=image_sets.SIZE, pooled=STUDENT_POOLED)
            scale = "unit"
        else:
            network = classifier.load(self.model, size=image_sets.SIZE, pooled=TEACHER_POOLED)
            scale = "signed"
        trained = network
        if name in ("qat", "pqat"):
            trained, network = self._aware(network, name == "pqat")
        quantize = name if name in ("float32", "float16", "dynamic") else "int8"
        representative = self.images[::20] if quantize == "int8" else None
        flatbuffer = convert.convert(_with_early(network, scale), quantize=quantize, representative=representative,
                                     input_scale=scale)
        weights = [np.asarray(weight) for weight in trained.get_weights()]
        return flatbuffer, sum(w.size for w in weights), sum(int(np.count_nonzero(w)) for w in weights)

    @property
    def images(self) -> np.ndarray:
        if self._images is None:
            self._images = image_sets.training(self.root, 1000).frames
        return self._images

    def _aware(self, network: Any, pruned: bool) -> tuple:
        from leanood.compression import distill, prune, quantize

        order = np.random.RandomState(0).permutation(len(self.images))[:_FINETUNED_ON]
        finetune: Callable[..., None] = distill.Finetune(
            self.images[order], epochs=1, batch_size=32, learning_rate=1e-5, scale=(2 / 255, -1.0))
        ranges = self.images[order[:64]].astype(np.float32) / 127.5 - 1
        base = network
        if pruned:
            base = prune.prune(network, _SPARSITY, method="model", finetune=None)
        aware = quantize.qat(base, preserve="sparsity" if pruned else "", images=ranges, finetune=finetune,
                             teacher=network)
        return base, aware
