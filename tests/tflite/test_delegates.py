"""Accelerators: the GPU on a software Vulkan driver, and an external delegate in C, both really run."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from leanood.tflite import delegates, runtime

SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"  # Debian's package chromium; Vulkan's loader: libvulkan1


@pytest.fixture(scope="module")
def gpu(tmp_path_factory):
    """The environment in which LiteRT finds a Vulkan device: software, unless the machine names its own driver."""
    environment = dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path_factory.mktemp("run")))
    if "VK_ICD_FILENAMES" not in environment:
        if not os.path.exists(SWIFTSHADER):
            pytest.skip("no software Vulkan driver: apt-get install chromium libvulkan1")
        environment["VK_ICD_FILENAMES"] = SWIFTSHADER
    return environment


@pytest.fixture(scope="module")
def no_gpu():
    """An environment in which Vulkan has no device."""
    return dict(os.environ, VK_ICD_FILENAMES="/nonexistent.json", VK_DRIVER_FILES="/nonexistent.json")


_RUN = """
import json, sys, threading, warnings
import numpy as np
from leanood.tflite import runtime

arguments = json.loads(sys.argv[1])
announced = []
warnings.showwarning = lambda message, category, *rest: announced.append([category.__name__, str(message)])
try:
    runner = runtime.load(arguments.pop("model"), **arguments)
    random = np.random.default_rng(0)
    inputs = {name: random.integers(0, 256, tensor.shape).astype(np.uint8) if tensor.dtype is np.uint8
              else random.uniform(0, 1, tensor.shape).astype(np.float32) for name, tensor in runner.inputs.items()}
    outputs = {name: array.tolist() for name, array in runner(inputs).items()}
    foreign = []
    def call():
        try:
            runner(inputs)
        except ValueError as error:
            foreign.append(str(error))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    print(json.dumps({"accelerator": runner.accelerator, "placement": runner.placement, "runtime": runner.runtime,
                      "outputs": outputs, "foreign": foreign, "announced": announced}))
except ValueError as error:
    print(json.dumps({"error": str(error)}))
"""


def _run(environment, model, **arguments):
    command = [sys.executable, "-c", _RUN, json.dumps({"model": str(model), **arguments})]
    child = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert child.returncode == 0, child.stderr.decode()
    return json.loads(child.stdout.decode().splitlines()[-1])


@pytest.mark.parametrize(("name", "tolerance"), [
    ("latent_float32", 1e-5), ("latent_float16", 1e-4), ("latent_int8", 0.01), ("int8_ends", 0.01),
    ("classifier_float32", 1e-5), ("without_signature", 1e-5)])
def test_the_gpu_takes_the_whole_graph_and_agrees_with_the_cpu(gpu, tiny_models, name, tolerance):
    model = tiny_models / f"{name}.tflite"
    on_gpu, on_cpu = _run(gpu, model, accelerator="gpu"), _run(gpu, model)
    assert on_gpu["accelerator"] == "gpu"
    assert "the whole graph" in on_gpu["placement"]
    assert list(on_gpu["outputs"]) == list(on_cpu["outputs"])
    for output, values in on_gpu["outputs"].items():
        np.testing.assert_allclose(values, on_cpu["outputs"][output], atol=tolerance)
    assert on_gpu["announced"] == []


def test_a_part_on_the_cpu_must_be_allowed_and_is_told(gpu, tiny_models):
    model = tiny_models / "reverse.tflite"
    assert _run(gpu, model, accelerator="gpu")["error"] == (
        "the GPU cannot run the model: it does not compute REVERSE_SEQUENCE (to let the CPU take over, pass allow_cpu)")
    partly = _run(gpu, model, accelerator="gpu", allow_cpu=True)
    assert partly["placement"].endswith("2 of 3 operators, the CPU REVERSE_SEQUENCE")
    assert partly["accelerator"] == "gpu"
    assert partly["outputs"] == _run(gpu, model)["outputs"]


def test_what_the_gpu_would_compute_wrongly_is_refused(gpu, tiny_models):
    model = tiny_models / "strided_pointwise.tflite"
    told = _run(gpu, model, accelerator="gpu")
    assert told["error"].startswith("the GPU cannot run the model: LiteRT 2.3's GPU accelerator computes CONV_2D 1×1")
    assert _run(gpu, model, accelerator="gpu", allow_cpu=True)["accelerator"] == "cpu"


def test_the_gpu_runs_on_its_own_thread_only(gpu, tiny_models):
    told = _run(gpu, tiny_models / "latent_float32.tflite", accelerator="gpu")
    assert told["foreign"] == ["a model on gpu runs only on the thread that loaded it (its graphics context belongs to "
                               "that thread): load it there"]
    assert _run(gpu, tiny_models / "latent_float32.tflite")["foreign"] == []


def test_without_a_gpu_the_fallback_must_be_allowed_and_is_announced(no_gpu, tiny_models):
    model = tiny_models / "latent_float32.tflite"
    assert "the GPU cannot run the model: no GPU was found" in _run(no_gpu, model, accelerator="gpu")["error"]
    fallen = _run(no_gpu, model, accelerator="gpu", allow_cpu=True)
    assert fallen["accelerator"] == "cpu"
    assert "the accelerator could not: the GPU cannot run the model: no GPU was found" in fallen["placement"]
    assert [[kind, text[:41]] for kind, text in fallen["announced"]] == [
        ["RuntimeWarning", "running on the CPU: the GPU cannot run th"]]
    assert fallen["outputs"] == _run(no_gpu, model)["outputs"]


def test_tflite_runtime_needs_a_library_for_the_gpu(tiny_models):
    pytest.importorskip("tflite_runtime")
    told = _run(None, tiny_models / "latent_float32.tflite", accelerator="gpu", runtime="tflite-runtime")
    assert told["error"].startswith("tflite-runtime has no GPU accelerator of its own: pass the path of a delegate")


def test_scores_agree_across_cpu_int8_and_gpu(gpu, tiny_detector, tiny_int8_detector):
    script = ("import json, sys; import numpy as np; from leanood.tflite import bundle; "
              "d = bundle.load(sys.argv[1], accelerator=sys.argv[2]); "
              "r = np.random.default_rng(3).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8); "
              "print(json.dumps([[v.nonconformity, v.score] for v in map(d, r)]))")

    def scores(path, accelerator):
        child = subprocess.run([sys.executable, "-c", script, str(path), accelerator], env=gpu, capture_output=True,
                               check=True)
        return np.array(json.loads(child.stdout.decode().splitlines()[-1]))

    exact = scores(tiny_detector, "cpu")
    np.testing.assert_allclose(scores(tiny_detector, "gpu"), exact, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(scores(tiny_int8_detector, "gpu")[:, 0], scores(tiny_int8_detector, "cpu")[:, 0],
                               atol=0.05 * exact[:, 0].max())


# External delegates.


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A delegate that takes ADD."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: apt-get install gcc")
    source = pathlib.Path(__file__).with_name("delegate_add.c")
    built = tmp_path_factory.mktemp("delegate") / "libadd_delegate.so"
    subprocess.run([compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(built), str(source)], check=True)
    return str(built)


@pytest.mark.parametrize("name", ["litert", "tflite-runtime"])
def test_an_external_delegate_computes_its_part(library, tiny_models, name):
    if name == "tflite-runtime":
        pytest.importorskip("tflite_runtime")
    model = tiny_models / "two_inputs.tflite"
    told = _run(None, model, delegate=library, runtime=name, allow_cpu=True)
    assert told["accelerator"] == "delegate"
    assert told["placement"] == "libadd_delegate.so: 1 of 2 operators"
    assert told["outputs"] == _run(None, model, runtime=name)["outputs"]
    assert told["foreign"][0].startswith("a model on delegate runs only on the thread that loaded it")


def test_a_delegate_that_takes_too_little_is_refused_unless_allowed(library, tiny_models):
    with pytest.raises(ValueError, match="the delegate libadd_delegate.so took 1 of 2 operators .to let the CPU"):
        runtime.load(tiny_models / "two_inputs.tflite", delegate=library)
    with pytest.warns(RuntimeWarning, match="running on the CPU: the delegate libadd_delegate.so took 0 of 6"):
        runner = runtime.load(tiny_models / "latent_float32.tflite", delegate=library, allow_cpu=True)
    assert runner.accelerator == "cpu"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the runtime's half-made Delegate
def test_libraries_that_do_not_load_are_named(tiny_models, tmp_path):
    model = tiny_models / "two_inputs.tflite"
    with pytest.raises(ValueError, match="the delegate library /nowhere/lib.so does not exist"):
        runtime.load(model, delegate="/nowhere/lib.so")
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF no library")
    with pytest.raises(ValueError, match="the delegate library .*broken.so does not load: "):
        runtime.load(model, delegate=str(broken))
    if os.path.exists("/lib/x86_64-linux-gnu/libm.so.6"):
        with pytest.raises(ValueError, match="libm.so.6 does not load"):
            runtime.load(model, delegate="/lib/x86_64-linux-gnu/libm.so.6")


def test_the_log_is_read_for_refused_operators():
    log = ("INFO: x\nERROR: Following operations are not supported by GPU delegate:\nCONV_3D: Operation is not "
           "supported.\nRFFT2D: no.\nINFO: [a.cc:3] b\nWARNING: c\n")
    assert delegates._unsupported(log) == ["CONV_3D", "RFFT2D"]
    assert delegates._unsupported("INFO: x\nCONV_3D: y\n") == []
