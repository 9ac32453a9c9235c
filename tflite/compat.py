"""Which runtimes and accelerators can run a file, judged from its operators without loading it, and what to change."""
from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple

from leanood.tflite import flatbuffer, operators

# What must be able to load a file that is made for a target.
TARGETS: Dict[str, Tuple[str, ...]] = {
    "generic": ("tflite-runtime-2.14",),  # LiteRT knows all that it knows
    "jetson-nano": ("tflite-runtime-2.13",),  # the newest with wheels for its Python and glibc
    "gpu": ("litert-2.3", "gpu"),
}
TITLES = {"tflite-runtime-2.13": "tflite-runtime 2.13", "tflite-runtime-2.14": "tflite-runtime 2.14",
          "litert-2.3": "LiteRT 2.3", "gpu": "the GPU delegate"}
_ADVICE = {
    "FULLY_CONNECTED": "quantize dense layers per tensor "
                       "(converter._experimental_disable_per_channel_quantization_for_dense_layers = True)",
    "CONV_2D": "convert without hybrid per-channel or int4 weights",
    "STRIDED_SLICE": "slice with constant bounds of int32, or crop with Cropping2D",
    "SLICE": "slice with int32 bounds",
    "RANGE": "compute constant ranges before conversion",
    "TOPK_V2": "leave sorting to NumPy after the network",
}
_SHAPE = "give every layer a fixed shape: build the model for one image size and batch 1"


class Use(NamedTuple):
    """An operator in a version, and how often the main graph has it."""

    name: str
    version: int
    times: int


def uses(model: bytes) -> List[Use]:
    """The operators of a model's main graph, the most frequent first."""
    counts: Dict[Tuple[str, int], int] = {}
    for operator in flatbuffer.read(model).operators:
        key = (operator.name, operator.version)
        counts[key] = counts.get(key, 0) + 1
    return [Use(name, version, count) for (name, version), count in sorted(counts.items(), key=lambda i: (-i[1], i[0]))]


def check(model: bytes, target: str) -> List[str]:
    """What keeps the model from running on a target, one sentence each with what to change; empty if nothing does.

    Args:
      model: a flatbuffer (a calibration behind it doesn't matter).
      target: "generic", "jetson-nano" or "gpu".

    Raises:
      ValueError: if the target is unknown or the model is corrupt.
    """
    if target not in TARGETS:
        raise ValueError(f"target is {target!r}, it can be {', '.join(TARGETS)}")
    return [problem for runtime in TARGETS[target] for problem in problems_of(model, runtime)]


def problems_of(model: bytes, runtime: str) -> List[str]:
    """The same for one of `TITLES`."""
    graph = flatbuffer.read(model)
    lacking: Dict[Tuple[str, int], int] = {}
    for operator in graph.operators:
        if not _runs(operator, runtime):
            key = (operator.name, operator.version)
            lacking[key] = lacking.get(key, 0) + 1
    custom = {operator.name for operator in graph.operators if operator.custom}
    problems = [_problem(name, version, count, runtime) for (name, version), count in sorted(lacking.items())
                if name not in custom]
    unknown = [f"{name}{_times(count)}" for (name, _), count in sorted(lacking.items()) if name in custom]
    if unknown:
        problems.append(f"{TITLES[runtime]} lacks {', '.join(unknown)}, which the model's maker has added to "
                        "TensorFlow Lite: replace the layers by built-in ones, or name the library that computes them "
                        "(--delegate)")
    if runtime == "gpu":
        problems += _gpu_problems(graph)
    return problems


def summary(model: bytes) -> Dict[str, List[str]]:
    """Title of each runtime and accelerator -> its problems, empty where it can run the model."""
    return {title: problems_of(model, runtime) for runtime, title in TITLES.items()}


def _runs(operator: flatbuffer.Operator, runtime: str) -> bool:
    if operator.custom:
        return operator.name in operators.CUSTOM_KNOWN.get(runtime, ())
    if runtime == "gpu":
        return operator.name in operators.GPU
    return operator.version <= operators.VERSIONS[runtime].get(operator.name, 0)


def _problem(name: str, version: int, count: int, runtime: str) -> str:
    advice = _ADVICE.get(name, "")
    if runtime == "gpu":
        text = f"{TITLES[runtime]} does not compute {name}{_times(count)}"
        return f"{text}: {advice or 'replace it by layers that it does, or let the CPU take a part (--allow_cpu)'}"
    known = operators.VERSIONS[runtime].get(name, 0)
    knows = f"knows versions up to {known}" if known else "does not know it at all"
    return (f"{name} version {version}{_times(count)}: {TITLES[runtime]} {knows}; "
            f"{advice or 'use other layers or another quantization'}")


def _times(count: int) -> str:
    return f" (×{count})" if count > 1 else ""


def _gpu_problems(graph: flatbuffer.Graph) -> List[str]:
    """What the GPU asks beyond its operators: fixed shapes, batch 1, known types."""
    problems = []
    if any(-1 in graph.tensors[i].shape or 0 in graph.tensors[i].shape for i in (*graph.inputs, *graph.outputs)):
        problems.append(f"the GPU delegate needs fixed shapes: {_SHAPE}")
    for i in graph.inputs:
        tensor = graph.tensors[i]
        if tensor.shape and tensor.shape[0] > 1:
            problems.append(f"input {tensor.name} has batch {tensor.shape[0]}, the GPU delegate takes 1: convert for 1")
        if tensor.type in ("int64", "string", "complex64", "float64"):
            problems.append(f"input {tensor.name} is {tensor.type}, which the GPU delegate does not take: use float32")
    wrong = computed_wrongly(graph)
    if wrong:
        problems.append(wrong)
    if graph.subgraphs > 1:
        problems.append("the GPU delegate takes no control flow (IF, WHILE): unroll it before conversion")
    return problems


def computed_wrongly(graph: flatbuffer.Graph) -> str:
    """What LiteRT 2.3's GPU accelerator takes without complaint and computes wrongly, with what to change; or ""."""
    strided = sum(is_strided_pointwise(operator, graph) for operator in graph.operators)
    if not strided:
        return ""
    return ("LiteRT 2.3's GPU accelerator computes CONV_2D 1×1 with a stride and int8 weights wrongly, and says "
            f"nothing (×{strided}): pool over 1×1 with that stride before it, or keep it in float")


def is_strided_pointwise(operator: flatbuffer.Operator, graph: flatbuffer.Graph) -> bool:
    """True for a 1×1 convolution with a stride and int8 weights."""
    if operator.name != "CONV_2D" or max(operator.strides) < 2 or len(operator.inputs) < 2:
        return False
    weights = graph.tensors[operator.inputs[1]]
    return weights.type == "int8" and tuple(weights.shape[1:3]) == (1, 1)
