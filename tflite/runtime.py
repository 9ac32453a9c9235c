"""Loads a .tflite file into a runner: frames in, named arrays out, whichever runtime is installed.

LiteRT (`ai-edge-litert`), tflite-runtime and TensorFlow's own interpreter serve alike. Nothing heavier than NumPy is
imported until `load` picks one of them.
"""
from __future__ import annotations

import os
import threading
from typing import Any, Callable, Dict, Mapping, Optional, Sequence, Union

import numpy as np

from leanood.files import regular
from leanood.tflite import interpreters, probe, tensors

Model = Union[str, "os.PathLike[str]", bytes]
ACCELERATORS = ("cpu", "gpu")
STATE = "state"  # the input and output that carry a sequence from frame to frame, where the graph is a whole detector


def load(
    model: Model,
    accelerator: str = "cpu",
    num_threads: int = 1,
    runtime: str = "auto",
    *,
    delegate: Optional[str] = None,
    allow_cpu: bool = False,
    trusted: bool = False,
) -> Runner:
    """Returns a runner for the model.

    Args:
      model: a path (mapped into memory by the runtime) or the flatbuffer's bytes.
      accelerator: "cpu", or "gpu" (LiteRT's own GPU accelerator, or the library in `delegate`).
      num_threads: CPU threads, ≥ 1.
      runtime: "litert", "tflite-runtime", "tf.lite" or "auto": the first of them that loads.
      delegate: path of an external delegate library, e.g. libtensorflowlite_gpu_delegate.so.
      allow_cpu: run on the CPU, with a RuntimeWarning, where the accelerator cannot; otherwise that is an error.
      trusted: skip opening the file in a child process first (its hash was checked, or it was just converted).
        The interpreters do not verify flatbuffers: a corrupt one can crash the process.

    Raises:
      OSError: if the file cannot be read.
      ValueError: if it is no TFLite model, or this runtime, machine or process cannot run it.
    """
    if accelerator not in ACCELERATORS:
        raise ValueError(f"accelerator is {accelerator!r}, it can be {' or '.join(ACCELERATORS)}")
    if not isinstance(num_threads, int) or num_threads < 1:
        raise ValueError(f"num_threads is {num_threads!r}, it must be an integer of at least 1")
    name = interpreters.choose(runtime)
    source = _source(model)
    if not trusted:
        probe.check(source, name)
    if accelerator == "cpu" and delegate is None:
        return Runner(interpreters.Backend(source, name, num_threads))
    from leanood.tflite import delegates

    return Runner(delegates.backend(source, name, num_threads, delegate, allow_cpu))


class Runner:
    """A loaded model. `runner(inputs)` returns its outputs by name, float32 where they are quantized.

    Attributes:
      inputs, outputs: name in the signature, sorted (or the tensor's own, where a file has no signature) -> Tensor.
      runtime: name and version of what runs it, e.g. "LiteRT 2.3.0".
      accelerator: "cpu", "gpu" or "delegate": what does run it.
      placement: how much of the graph the accelerator took, in words.
    """

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        # The state of a whole detector in the graph comes last: who wants the frame takes the first.
        self.inputs: Dict[str, tensors.Tensor] = {
            name: backend.inputs[name] for name in sorted(backend.inputs, key=lambda name: (name == STATE, name))}
        self.outputs: Dict[str, tensors.Tensor] = backend.outputs
        self.runtime: str = backend.runtime
        self.accelerator: str = backend.accelerator
        self.placement: str = backend.placement
        self._writers = {name: tensors.Input(tensor) for name, tensor in self.inputs.items()}
        single = [name for name in self.inputs if name != STATE] or list(self.inputs)
        self._single = single[0] if len(single) == 1 else None
        self._begin = {STATE: np.zeros(self.inputs[STATE].shape, np.float32)} if len(single) < len(self.inputs) else {}
        self._lock = threading.Lock()
        self._thread = threading.get_ident() if backend.thread_bound else None

    def __call__(self, inputs: Any) -> Dict[str, np.ndarray]:
        """The outputs for one frame, fresh arrays [1, ...].

        Args:
          inputs: the one input's array (uint8 frames mean frame / 255; floats are real values; the batch dimension may
            be missing), or a mapping of input names to arrays. Beside the frame, an input `state` (of a graph that
            holds the whole detector) may be left out: zeros, which begin a sequence.
        """
        fitted = self._fit(inputs)
        with self._lock:
            self._write(fitted)
            self._backend.invoke()
            return {name: tensors.dequantize(self._backend.read(name), tensor) if tensor.quantized
                    else self._backend.read(name) for name, tensor in self.outputs.items()}

    def each(self, frames: Union[Sequence[Any], np.ndarray],
             progress: Optional[Callable[[int], None]] = None) -> Dict[str, np.ndarray]:
        """The outputs for many frames, one after the other, arrays [N, ...].

        Args:
          frames: N arrays, such as uint8 [N, H, W, 3].
          progress: called with the number of frames done.
        """
        results: Dict[str, np.ndarray] = {}
        for name, tensor in self.outputs.items():
            dtype = np.float32 if tensor.quantized else tensor.dtype
            results[name] = np.empty((len(frames),) + tensor.shape[1:], dtype)
        for i in range(len(frames)):
            for name, array in self(frames[i]).items():
                results[name][i] = array[0]
            if progress is not None:
                progress(i + 1)
        return results

    def feed(self, inputs: Any) -> None:
        """Puts the inputs in place without running; with `invoke`, for benchmarks."""
        fitted = self._fit(inputs)
        with self._lock:
            self._write(fitted)

    def invoke(self) -> None:
        """Runs the network on the inputs that are in place, and returns once it has computed."""
        self._backend.invoke()
        self._backend.wait()

    def close(self) -> None:
        """Frees the runtime's memory; the runner can't be used afterwards."""
        self._backend = None

    def _fit(self, inputs: Any) -> Dict[str, np.ndarray]:
        if self._single is not None and (type(inputs) is np.ndarray or not isinstance(inputs, Mapping)):
            return {self._single: self._writers[self._single].fit(inputs), **self._begin}
        if not isinstance(inputs, Mapping):
            raise ValueError(f"the model has {len(self._writers)} inputs ({', '.join(self._writers)}): "
                             "pass a mapping of their names to arrays")
        if set(inputs) != set(self._writers):
            raise ValueError(f"inputs are {', '.join(sorted(map(str, inputs))) or 'none'}, "
                             f"the model's are {', '.join(self._writers)}")
        return {name: self._writers[name].fit(array) for name, array in inputs.items()}

    def _write(self, fitted: Mapping[str, np.ndarray]) -> None:
        if self._backend is None:
            raise ValueError("the runner was closed")
        if self._thread is not None and self._thread != threading.get_ident():
            raise ValueError(f"a model on {self.accelerator} runs only on the thread that loaded it "
                             "(its graphics context belongs to that thread): load it there")
        for name, array in fitted.items():
            self._backend.write(self._writers[name], array)


def _source(model: Model) -> Union[str, bytes]:
    """The path as text, or the bytes, once they look like a TFLite file."""
    if isinstance(model, (bytes, bytearray, memoryview)):
        data: Union[str, bytes] = bytes(model)
        head, name = data[:8], "the model"
    else:
        data = name = os.fspath(model)
        with regular.open(name) as file:
            head = file.read(8)
    if len(head) < 8 or head[4:8] != b"TFL3":
        raise ValueError(f"{name} is not a TFLite file (it does not bear the mark TFL3)")
    return data
