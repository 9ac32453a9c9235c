"""The TFLite interpreters that may be installed: which one to take, and one model inside it."""
from __future__ import annotations

import importlib
import re
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Tuple, Union

import numpy as np

from leanood.tflite import tensors


class _Kind(NamedTuple):
    title: str
    package: str  # what to install
    module: str


KINDS = {
    "litert": _Kind("LiteRT", "ai-edge-litert", "ai_edge_litert.interpreter"),
    "tflite-runtime": _Kind("tflite-runtime", "tflite-runtime", "tflite_runtime.interpreter"),
    "tf.lite": _Kind("tf.lite", "tensorflow", "tensorflow"),
}


def choose(runtime: str) -> str:
    """The name of the runtime to use: `runtime` itself, or for "auto" the first of KINDS that loads.

    Raises:
      ValueError: if it is unknown or not installed, or is tflite-runtime where TensorFlow is already loaded.
    """
    if runtime != "auto":
        if runtime not in KINDS:
            raise ValueError(f"runtime is {runtime!r}, it can be auto, {', '.join(KINDS)}")
        _module(runtime)
        return runtime
    reasons = []
    for name in KINDS:
        try:
            _module(name)
            return name
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError("no TFLite runtime loads here: " + "; ".join(reasons))


def describe(name: str) -> str:
    """Title and version, e.g. "LiteRT 2.3.0"."""
    package = importlib.import_module(KINDS[name].module.split(".")[0])
    version = getattr(package, "__version__", "")
    if not version:
        from importlib import metadata

        try:
            version = metadata.version(KINDS[name].package)
        except metadata.PackageNotFoundError:
            version = "(unknown version)"
    return f"{KINDS[name].title} {version}"


def _module(name: str) -> Any:
    kind = KINDS[name]
    if name == "tflite-runtime" and "tensorflow" in sys.modules:
        # Its interpreter's constructor would die in `vector::reserve`: both define the same symbols.
        raise ValueError("tflite-runtime cannot run in a process that has TensorFlow loaded: "
                         "use runtime='litert', or a process of its own")
    try:
        return importlib.import_module(kind.module)
    except (ImportError, OSError, AttributeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{kind.title} does not load ({reason}): pip install {kind.package}") from None


def build(source: Union[str, bytes], name: str, num_threads: int, load: Tuple[Any, ...] = ()) -> Any:
    """An interpreter, its tensors not yet allocated.

    Args:
      source: a path or a flatbuffer's bytes.
      name: one of KINDS.
      num_threads: CPU threads.
      load: delegates that `load_delegate` returned.
    """
    module = _module(name)
    interpreter_class = module.lite.Interpreter if name == "tf.lite" else module.Interpreter
    where: Dict[str, Any] = {"model_path": source} if isinstance(source, str) else {"model_content": source}
    try:
        return interpreter_class(num_threads=num_threads, experimental_delegates=list(load) or None, **where)
    except (ValueError, RuntimeError) as error:
        raise ValueError(_refused(describe(name), source, error)) from None


def delegate(name: str, library: str, options: Optional[Dict[str, str]] = None) -> Any:
    """The external delegate in `library`, loaded for the runtime `name`."""
    module = _module(name)
    loader = module.lite.experimental.load_delegate if name == "tf.lite" else module.load_delegate
    return loader(library, options)


class Backend:
    """One model in an interpreter. Frames are written straight into the interpreter's own input memory."""

    thread_bound = False

    def __init__(self, source: Union[str, bytes], name: str, num_threads: int, load: Tuple[Any, ...] = ()) -> None:
        self._source = source  # an interpreter built from bytes does not keep them alive
        self._delegates = load
        self._interpreter = build(source, name, num_threads, load)
        self.runtime = describe(name)
        self._begin()
        _check_sizes(self._interpreter, source)
        try:
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ValueError(_refused(self.runtime, source, error)) from None
        self.accelerator = "cpu"
        self.placement = f"cpu: the whole graph, {num_threads} thread{'s' if num_threads > 1 else ''}"
        self.inputs, self.outputs = named_tensors(self._interpreter)
        # `tensor` gives a function that makes the view: a view held during invoke() is refused.
        self._views = {key: self._interpreter.tensor(tensor.index) for key, tensor in self.inputs.items()}

    def _begin(self) -> None:
        """Called between the interpreter's construction and the allocation of its tensors."""

    def write(self, writer: tensors.Input, array: np.ndarray) -> None:
        writer.write(self._views[writer.tensor.name](), array)

    def invoke(self) -> None:
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{self.runtime} failed to run the model: {single_line(error)}") from None

    def wait(self) -> None:
        """Returns when the outputs are there: here, `invoke` has waited for them."""

    def read(self, name: str) -> np.ndarray:
        """A copy: the interpreter's memory is overwritten by the next frame."""
        return self._interpreter.get_tensor(self.outputs[name].index)


def _check_sizes(interpreter: Any, source: Union[str, bytes]) -> None:
    """Raises ValueError if an input leaves more open than how many there are: the interpreter would take 1 for it."""
    for detail in interpreter.get_input_details():
        shape = [int(n) for n in detail.get("shape_signature", ())]
        if -1 in shape[1:]:
            raise ValueError(f"{_called(source)}: its input {detail['name']!r} is {shape}, of no fixed size; convert "
                             "it again with one, e.g. [1, 224, 224, 3]")


def named_tensors(interpreter: Any) -> Tuple[Dict[str, tensors.Tensor], Dict[str, tensors.Tensor]]:
    """(inputs, outputs) by the signature's names; where a file has no signature, by their tensors' names."""
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    graph = {int(d["index"]) for d in inputs}, {int(d["index"]) for d in outputs}
    signatures = sorted(interpreter.get_signature_list(), key=lambda key: (key != "serving_default", key))
    for key in signatures:
        signature = interpreter.get_signature_runner(key)
        ins, outs = signature.get_input_details(), signature.get_output_details()
        # invoke() runs the main graph, so only a signature of that graph names its tensors.
        if {int(d["index"]) for d in ins.values()} == graph[0] and {int(d["index"]) for d in outs.values()} <= graph[1]:
            return ({name: _tensor(name, d) for name, d in sorted(ins.items())},
                    {name: _tensor(name, d) for name, d in sorted(outs.items())})
    return _by_tensor_name(inputs, "input"), _by_tensor_name(outputs, "output")


def _by_tensor_name(details: List[Dict[str, Any]], word: str) -> Dict[str, tensors.Tensor]:
    named: Dict[str, tensors.Tensor] = {}
    for position, detail in enumerate(details):
        name = detail["name"] or f"{word}_{position}"
        if name in named:
            name = f"{name}_{position}"
        named[name] = _tensor(name, detail)
    return dict(sorted(named.items()))


def _tensor(name: str, detail: Dict[str, Any]) -> tensors.Tensor:
    scale, zero_point = detail["quantization"]
    return tensors.Tensor(name, int(detail["index"]), tuple(int(n) for n in detail["shape"]), detail["dtype"],
                          float(scale), int(zero_point))


def single_line(error: BaseException) -> str:
    """The error's message without its line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def _refused(runtime: str, source: Union[str, bytes], error: BaseException) -> str:
    """Why a runtime does not load a model; of operators that it lacks, with what to do in place of a link."""
    said = single_line(error)
    custom = re.search(r"unresolved custom op: (\S+?)\.? ", f"{said} ")
    if custom:
        said = (f"it lacks {custom[1]}, which the model's maker has added to TensorFlow Lite: replace that layer by "
                "built-in ones, or name the library that computes it (--delegate)")
    elif "Select TensorFlow op" in said:
        said = "it holds operators of TensorFlow itself: convert it again with TensorFlow Lite's built-in ones alone"
    return f"{runtime} cannot load {_called(source)}: {said}"


def _called(source: Union[str, bytes]) -> str:
    return source if isinstance(source, str) else "the model"
