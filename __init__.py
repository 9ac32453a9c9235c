"""leanood: out-of-distribution detectors compressed for the Jetson, judged by what they still detect.

    import leanood

    run      = leanood.train("IMAGES", "run")                     # or leanood.compress(run, "cut(block3)+int8")
    model    = leanood.convert(run, quantize="int8")
    detector = leanood.calibrate(model, "IMAGES", "detector.tflite")
    report   = leanood.evaluate("detector.tflite", "IMAGES")      # .rows, .table(), .plot()
    verdict  = leanood.load("detector.tflite")(frame)

Each name is loaded when it is first used: on a device `import leanood` imports nothing but the standard library.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from leanood.tflite.bundle import load
    from leanood.workflow.benchmark import benchmark
    from leanood.workflow.calibrate import calibrate
    from leanood.workflow.compress import compress
    from leanood.workflow.convert import convert
    from leanood.workflow.evaluate import evaluate
    from leanood.workflow.info import info
    from leanood.workflow.monitor import monitor
    from leanood.workflow.report import report
    from leanood.workflow.study import study
    from leanood.workflow.train import train

__version__ = "0.1.0"
__all__ = ["benchmark", "calibrate", "compress", "convert", "evaluate", "info", "load", "monitor", "report", "study",
           "train"]


def __getattr__(name: str) -> Any:
    """Loads a name of the public face (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'leanood' has no attribute {name!r}")
    module = "leanood.tflite.bundle" if name == "load" else f"leanood.workflow.{name}"
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> List[str]:
    return sorted([*globals(), *__all__])
