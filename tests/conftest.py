"""What every test shares: legacy Keras, parsed flags, the real data's place, one tiny trained detector."""
import os
import pathlib
import sys

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
