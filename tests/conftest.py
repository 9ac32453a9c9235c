"""What every test shares: legacy Keras, parsed flags, the real data's place, one tiny trained detector."""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402


def pytest_configure(config):
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["pytest"])  # absl flags raise until they are parsed


@pytest.fixture(scope="session")
def real_data():
    """The folder with `data/` and `models/`; tests on real data skip where it is not given."""
    root = os.environ.get("LEANOOD_TEST_DATA")
    if not root:
        pytest.skip("LEANOOD_TEST_DATA is not set: no real data to test on")
    return pathlib.Path(root)


@pytest.fixture(scope="session")
def python():
    """The interpreter for child processes (command-line tests, tflite-runtime)."""
    return sys.executable


@pytest.fixture(scope="session")
def tiny_models():
    """The folder of the device tests' .tflite files, written once a version of their script by a child process."""
    script = pathlib.Path(__file__).with_name("tiny_models.py")
    version = hashlib.sha256(script.read_bytes()).hexdigest()[:16]
    folder = pathlib.Path(tempfile.gettempdir()) / f"leanood-tiny-models-{os.getuid()}-{version}"
    if not folder.exists():
        work = tempfile.mkdtemp(dir=folder.parent)
        subprocess.run([sys.executable, str(script), work], check=True, capture_output=True, timeout=300)
        try:
            os.rename(work, folder)  # whole or not at all; another worker may have been first
        except OSError:
            shutil.rmtree(work)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """The folder of a β-VAE (32×32, six latents) that `leanood train` trained on 600 lane frames for three epochs."""
    return _once(tmp_path_factory, "run", lambda folder: _leanood(
        "train", "--model=bvae", "--data=lanes:frames=600", "--size=32x32", "--widths=8,16", "--latents=6",
        "--epochs=3", "--beta=1.4", f"--out={folder}"))


@pytest.fixture(scope="session")
def tiny_tflite(tiny_run, tmp_path_factory):
    """{"float32": path, "int8": path}: that run's encoder as `leanood convert` makes it."""
    def make(folder):
        folder.mkdir()
        for quantize in ("float32", "int8"):
            _leanood("convert", f"--model={tiny_run}", f"--quantize={quantize}", f"--out={folder / quantize}.tflite")

    folder = _once(tmp_path_factory, "tflite", make)
    return {quantize: folder / f"{quantize}.tflite" for quantize in ("float32", "int8")}


def _once(tmp_path_factory, name, make):
    """A folder that is made once a test run, by whichever of pytest-xdist's workers comes first."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = base / f"tiny_{name}"
    with open(base / f"tiny_{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            make(base / f"tiny_{name}_unfinished")
            os.rename(base / f"tiny_{name}_unfinished", folder)
    return folder


def _leanood(*arguments):
    done = subprocess.run([sys.executable, "-m", "leanood.tools.main", *arguments], capture_output=True, text=True,
                          timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def tiny_detector(tiny_models, tmp_path_factory):
    """A detector file around the tiny float32 encoder, calibrated on 60 random frames."""
    return _calibrated(tiny_models, tmp_path_factory, "latent_float32")


@pytest.fixture(scope="session")
def tiny_int8_detector(tiny_models, tmp_path_factory):
    """The same around the int8 encoder."""
    return _calibrated(tiny_models, tmp_path_factory, "latent_int8")


def _calibrated(tiny_models, tmp_path_factory, name):
    from leanood.ood import detector, kl_topk
    from leanood.tflite import bundle, runtime

    random = np.random.default_rng(5)
    frames = random.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    outputs = runtime.load(tiny_models / f"{name}.tflite", trusted=True).each(frames)
    label = np.array(["bright", "medium"] * 30)
    fitted = kl_topk.KlTopK(k=2).fit(outputs, partition=label)
    calibrated = detector.Detector.calibrate(fitted, outputs, partition=label, window=5)
    calibrated.decay, calibrated.threshold = 1.0, 3.0
    path = tmp_path_factory.mktemp("detector") / f"{name}.tflite"
    fields = {**calibrated.config(), "kind": "latent", "outputs": ["logvar", "mu"], "fps": 20.0,
              "input": {"name": "frame", "size": [32, 32], "dtype": "uint8", "scale": 1 / 255}}
    bundle.write(path, bundle.flatbuffer(tiny_models / f"{name}.tflite"), fields, calibrated.to_arrays())
    return path


@pytest.fixture(scope="session")
def duckietown(real_data, tmp_path_factory):
    """The folder of Duckietown's images, one sub-folder a lighting."""
    folder = tmp_path_factory.mktemp("duckietown")
    with zipfile.ZipFile(real_data / "data" / "duckietown.zip") as archive:
        archive.extractall(folder)
    return folder
