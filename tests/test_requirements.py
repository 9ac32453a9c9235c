"""`pip install leanood` brings a runtime on every board and PC that it names."""
import configparser
import pathlib

import pytest
from packaging import requirements

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("system", "machine", "python", "expected"), [
    ("Linux", "x86_64", "3.8", {"tflite-runtime"}), ("Linux", "x86_64", "3.11", {"tflite-runtime", "ai-edge-litert"}),
    ("Linux", "x86_64", "3.13", {"ai-edge-litert"}), ("Linux", "aarch64", "3.8", {"tflite-runtime"}),
    ("Linux", "aarch64", "3.10", {"tflite-runtime", "ai-edge-litert"}),
    ("Linux", "aarch64", "3.12", {"ai-edge-litert"}),
    ("Linux", "aarch64", "3.13", {"ai-edge-litert"}), ("Darwin", "arm64", "3.12", {"ai-edge-litert"}),
    ("Windows", "AMD64", "3.12", {"ai-edge-litert"})])
def test_a_runtime_comes_with_the_base_install(system, machine, python, expected):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = [line for line in config["options"]["install_requires"].splitlines() if line and not line.startswith("#")]
    told = {"platform_system": system, "platform_machine": machine, "python_version": python}
    brought = {requirement.name for requirement in map(requirements.Requirement, lines)
               if not requirement.marker or requirement.marker.evaluate(told)}
    assert brought - {"absl-py", "numpy"} == expected
    assert "numpy" in brought
