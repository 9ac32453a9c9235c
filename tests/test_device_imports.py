"""What runs on the device imports nothing heavier than NumPy and a TFLite runtime, and is Python-3.8 clean."""
import json
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# All of `tflite` but what builds graphs, with TensorFlow: `convert` and `rewrite/`.
TFLITE = [path.relative_to(ROOT) for path in sorted((ROOT / "tflite").rglob("*.py"))
          if path.stem not in ("__init__", "convert") and path.parent.name != "rewrite"]
NAMED = {
    "data": ("chroma", "decoder", "flow", "frames", "inputs", "integrity", "live", "npy", "playback", "resizer",
             "stream", "streams"),
    "files": ("child", "regular"),
    "ood": ("classifier_score", "conformal", "cusum", "detector", "gaussian", "kl", "kl_topk", "kl_typical",
            "martingale", "nonconformity", "partitions", "ranking", "tail", "typicality", "validity"),
    "tools": ("benchmark", "info", "monitor", "command", "main"),
    "workflow": ("benchmark", "info", "journal", "monitor", "tabular", "view"),
}
DEVICE = TFLITE + [pathlib.Path(folder, f"{name}.py") for folder, names in NAMED.items() for name in names]
MODULES = [".".join(("leanood", *path.with_suffix("").parts)) for path in DEVICE]
FILES = [str(ROOT / path) for path in DEVICE]

_IMPORT = """
import importlib, json, sys
import numpy.random
known, foreign = {name.split(".")[0] for name in sys.modules} | set(sys.stdlib_module_names) | {"leanood"}, {}
for module in sys.argv[1:]:
    importlib.import_module(module)
    new = {name.split(".")[0] for name in sys.modules} - known - ({"absl"} if ".tools." in module else set())
    known |= new
    if new:
        foreign[module] = sorted(new)
print(json.dumps(foreign))
"""

_DETECT = """
import json, sys
import numpy as np
import numpy.random
sys.modules["cv2"] = None  # a base install has no OpenCV
before = {name.split(".")[0] for name in sys.modules}
from leanood.tflite import bundle
detector = bundle.load(sys.argv[1], runtime=sys.argv[2])
detector(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))
after = {name.split(".")[0] for name in sys.modules}
print(json.dumps(sorted(after - before - set(sys.stdlib_module_names))))
"""


def _child(*arguments):
    if not hasattr(sys, "stdlib_module_names"):
        pytest.skip("Python 3.10 and newer know the names of the standard library's modules")
    command = [sys.executable, "-c", *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


def test_device_modules_import_numpy_alone():
    assert _child(_IMPORT, *(module for module in MODULES if ".tools." not in module)) == {}


@pytest.mark.parametrize("path", DEVICE, ids=str)
def test_every_device_module_that_is_named_is_there(path):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("tool", NAMED["tools"])
def test_device_tools_import_numpy_and_absl_alone(tool):
    assert _child(_IMPORT, f"leanood.tools.{tool}") == {}


@pytest.mark.parametrize(("runtime", "package"), [("litert", "ai_edge_litert"), ("tflite-runtime", "tflite_runtime")])
def test_a_detector_at_work_adds_the_runtime_alone(tiny_detector, runtime, package):
    pytest.importorskip(package)
    assert set(_child(_DETECT, tiny_detector, runtime)) <= {"leanood", "numpy", package}


def test_device_modules_are_python_3_8_clean():
    vermin = shutil.which("vermin", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("vermin")
    if vermin is None:
        pytest.skip("vermin is not installed: pip install vermin")
    command = [vermin, "--target=3.8-", "--no-tips", "--violations", *FILES]
    child = subprocess.run(command, capture_output=True, text=True)
    assert child.returncode == 0, child.stdout


def test_no_eval_no_pickle_no_network():
    for path in FILES:
        text = pathlib.Path(path).read_text(encoding="utf-8")
        for word in ("eval(", "exec(", "import pickle", "allow_pickle=True", "import socket", "urllib", "shell=True"):
            assert word not in text, f"{path} has {word}"
