"""What every test shares: legacy Keras, parsed flags, the real data's place, one tiny trained detector."""
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

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
    convert = script.parent.parent / "tflite" / "convert.py"
    version = hashlib.sha256(script.read_bytes() + convert.read_bytes()).hexdigest()[:16]
    folder = pathlib.Path(tempfile.gettempdir()) / f"leanood-tiny-models-{os.getuid()}-{version}"
    if not folder.exists():
        work = tempfile.mkdtemp(dir=folder.parent)
        subprocess.run([sys.executable, str(script), work], check=True, capture_output=True, timeout=300)
        try:
            os.rename(work, folder)  # whole or not at all; another worker may have been first
        except OSError:
            shutil.rmtree(work)
    return folder
