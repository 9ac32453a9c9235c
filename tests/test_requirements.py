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


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_the_known_versions_are_those_that_are_asked_for(python):
    """One version a package and a Python, within what setup.cfg allows there: NumPy 1 has no wheels for 3.13."""
    told = {"platform_system": "Linux", "platform_machine": "x86_64", "python_version": python}

    def asked(text):
        for line in text.splitlines():
            requirement = requirements.Requirement(line) if line.strip() and not line.startswith("#") else None
            if requirement and (not requirement.marker or requirement.marker.evaluate(told)):
                yield requirement

    pins = [(pin.name, next(iter(pin.specifier)).version) for pin in asked((ROOT / "constraints.txt").read_text())]
    known = dict(pins)
    assert len(known) == len(pins)
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    unfit = [str(need) for text in wanted for need in asked(text)
             if need.name in known and not need.specifier.contains(known[need.name])]
    assert unfit == []
    assert (known["numpy"] < "2") == (python < "3.13")
