"""Models on a GPU: an external delegate library in either interpreter, or LiteRT's own accelerator (`CompiledModel`).

Both are bound to the thread that loads them (OpenGL ES contexts are), and both tell how much of the graph they took.
"""
from __future__ import annotations

import collections
import os
import re
import warnings
from typing import Any, Dict, List, Optional, Set, Tuple, Union

import numpy as np

from leanood.tflite import compat, flatbuffer, interpreters, operators, silence, tensors

Source = Union[str, bytes]


def backend(source: Source, name: str, num_threads: int, library: Optional[str], allow_cpu: bool) -> Any:
    """The model on an accelerator; on the CPU, with a RuntimeWarning, if that is allowed and the accelerator fails.

    Args:
      source: path or bytes of the model.
      name: the runtime, one of `interpreters.KINDS`.
      num_threads: CPU threads for what the accelerator leaves.
      library: path of an external delegate; None: LiteRT's own GPU accelerator.
      allow_cpu: whether the CPU may take a part, or all, of the graph.

    Raises:
      ValueError: saying why the accelerator cannot run the model.
    """
    try:
        if library is not None:
            return ExternalBackend(source, name, num_threads, library, allow_cpu)
        return GpuBackend(source, name, allow_cpu)
    except ValueError as error:
        if not allow_cpu:
            raise ValueError(f"{error} (to let the CPU take over, pass allow_cpu)") from None
        warnings.warn(f"running on the CPU: {error}", RuntimeWarning, stacklevel=3)
        fallback = interpreters.Backend(source, name, num_threads)
        fallback.placement += f" (the accelerator could not: {error})"
        return fallback


class ExternalBackend(interpreters.Backend):
    """A model in an interpreter with an external delegate."""

    thread_bound = True

    def __init__(self, source: Source, name: str, num_threads: int, library: str, allow_cpu: bool) -> None:
        if not os.path.exists(library):
            raise ValueError(f"the delegate library {library} does not exist")
        try:
            # No options: upstream parsed the Python ones wrongly for years (an inverted strcmp).
            loaded = interpreters.delegate(name, library)
        except (ValueError, OSError, RuntimeError, AttributeError) as error:
            reason = interpreters.single_line(error)
            raise ValueError(f"the delegate library {library} does not load: {reason}") from None
        super().__init__(source, name, num_threads, (loaded,))
        taken, total = self._taken(_graph(source))
        self.accelerator = "delegate"
        self.placement = f"{os.path.basename(library)}: {taken} of {total} operators"
        if taken == 0 or (taken < total and not allow_cpu):
            raise ValueError(f"the delegate {os.path.basename(library)} took {taken} of {total} operators")

    def _begin(self) -> None:
        # Explicit delegates have taken their parts by now; the CPU's own (XNNPACK) follows with the allocation, and
        # its parts look the same.
        self._nodes = self._interpreter._get_ops_details()

    def _taken(self, graph: flatbuffer.Graph) -> Tuple[int, int]:
        """(operators that the delegate computes, operators of the graph)."""
        total = len(graph.operators)
        producer = {output: i for i, operator in enumerate(graph.operators) for output in operator.outputs}
        taken: Set[int] = set()
        # The interpreter lists the graph's operators, then one for each part that was replaced. What a part computes
        # is found backwards from its outputs to its inputs.
        for part in self._nodes[total:]:
            inputs = {int(i) for i in part["inputs"]}
            wanted = [int(i) for i in part["outputs"]]
            while wanted:
                tensor = wanted.pop()
                operator = producer.get(tensor)
                if tensor not in inputs and operator is not None and operator not in taken:
                    taken.add(operator)
                    wanted.extend(graph.operators[operator].inputs)
        return len(taken), total


class GpuBackend:
    """A model on LiteRT's GPU accelerator (WebGPU over Vulkan or Metal, OpenCL)."""

    thread_bound = True

    def __init__(self, source: Source, name: str, allow_cpu: bool) -> None:
        if name != "litert":
            raise ValueError(f"{interpreters.KINDS[name].title} has no GPU accelerator of its own: pass the path of a "
                             "delegate library, or install ai-edge-litert")
        try:
            from ai_edge_litert import compiled_model as litert
        except (ImportError, OSError) as error:
            raise ValueError(f"LiteRT's GPU accelerator does not load: {interpreters.single_line(error)}") from None
        graph = _graph(source)
        wrong = compat.computed_wrongly(graph)
        if wrong:
            raise ValueError(f"the GPU cannot run the model: {wrong}")
        wanted = litert.HardwareAccelerator.GPU
        if allow_cpu:
            wanted |= litert.HardwareAccelerator.CPU
        make = litert.CompiledModel.from_file if isinstance(source, str) else litert.CompiledModel.from_buffer
        with silence.silence() as log:  # it logs forty lines
            try:
                self._model = make(source, hardware_accel=wanted)
                self._bind(graph)
                reason = ""
            except (ValueError, RuntimeError) as error:
                reason = interpreters.single_line(error).rpartition("└")[2].strip()
            log.seek(0)
            said = log.read().decode(errors="replace")
        if reason:
            raise ValueError(f"the GPU cannot run the model: {_why(said) or reason}")
        self._source = source
        self.runtime = interpreters.describe("litert")
        self.accelerator = "gpu"
        self.placement = f"{_adapter(said)}: {self._taken(said, graph)}"

    def _bind(self, graph: flatbuffer.Graph) -> None:
        """Makes a buffer for each input and output, and an array in front of each input."""
        signatures = list(self._model.get_signature_list())
        self._signature = "serving_default" if "serving_default" in signatures else signatures[0]
        ins = self._model.get_input_tensor_details(self._signature)
        outs = self._model.get_output_tensor_details(self._signature)
        self.inputs = {key: _tensor(key, detail, graph) for key, detail in sorted(ins.items())}
        self.outputs = {key: _tensor(key, detail, graph) for key, detail in sorted(outs.items())}
        self._in = {key: self._model.create_input_buffer_by_name(self._signature, key) for key in self.inputs}
        self._out = {key: self._model.create_output_buffer_by_name(self._signature, key) for key in self.outputs}
        self._staged = {key: np.zeros(tensor.shape, tensor.dtype) for key, tensor in self.inputs.items()}

    def _taken(self, said: str, graph: flatbuffer.Graph) -> str:
        if self._model.is_fully_accelerated():
            return f"the whole graph, {len(graph.operators)} operators"
        counts = collections.Counter(operator.name for operator in graph.operators)
        left = sorted(set(_unsupported(said)) & set(counts))
        if not left:
            return f"a part of {len(graph.operators)} operators, the CPU the rest"
        count = sum(counts[operator] for operator in left)
        return f"{len(graph.operators) - count} of {len(graph.operators)} operators, the CPU {', '.join(left)}"

    def write(self, writer: tensors.Input, array: np.ndarray) -> None:
        staged = self._staged[writer.tensor.name]
        writer.write(staged, array)
        self._in[writer.tensor.name].write(staged)

    def invoke(self) -> None:
        try:
            self._model.run_by_name(self._signature, self._in, self._out)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"the GPU failed to run the model: {interpreters.single_line(error)}") from None

    def wait(self) -> None:
        """Returns when the GPU has computed: `invoke` only submits, a read of the smallest output tells."""
        self.read(min(self.outputs, key=lambda name: int(np.prod(self.outputs[name].shape))))

    def read(self, name: str) -> np.ndarray:
        tensor = self.outputs[name]
        return self._out[name].read(int(np.prod(tensor.shape)), tensor.dtype).reshape(tensor.shape)


def _graph(source: Source) -> flatbuffer.Graph:
    if isinstance(source, bytes):
        return flatbuffer.read(source)
    with open(source, "rb") as file:
        return flatbuffer.read(file.read())


def _tensor(name: str, detail: Dict[str, Any], graph: flatbuffer.Graph) -> tensors.Tensor:
    # A compiled model doesn't tell the quantization, the file does.
    stored = graph.tensors[int(detail["index"])]
    scale, zero_point = (stored.scales[0], stored.zero_points[0]) if len(stored.scales) == 1 else (0.0, 0)
    return tensors.Tensor(name, int(detail["index"]), tuple(int(n) for n in detail["shape"]),
                          np.dtype(detail["dtype"]).type, scale, zero_point)


def _unsupported(said: str) -> List[str]:
    """The operators that the GPU accelerator's log refuses, lines like "CONV_3D: Operation is not supported."."""
    refused = said.partition("operations are not supported by GPU")[2]
    return [name for name in re.findall(r"^([A-Z][A-Z0-9_]*): ", refused, re.MULTILINE) if name in operators.NAMES]


def _adapter(said: str) -> str:
    match = re.search(r"Selected adapter: ([^\n,]*)", said)
    return f"gpu ({match.group(1).strip()})" if match else "gpu"


def _why(said: str) -> str:
    """What the log says in one clause, or nothing."""
    left = _unsupported(said)
    if left:
        return f"it does not compute {', '.join(sorted(set(left)))}"
    if "No adapters found" in said or "No accelerator" in said:
        return "no GPU was found (LiteRT looks for Vulkan, OpenCL or Metal)"
    if "dynamic-sized" in said:
        return "it has tensors without a fixed size"
    return ""
