"""`leanood.train` … `leanood.load`: lazy, documented, and one name for a flag and an argument."""
import ast
import inspect
import json
import pathlib
import re
import subprocess
import sys

import pytest

import leanood
from leanood.tools import main as command_line
from leanood.workflow import datasets

ROOT = pathlib.Path(__file__).resolve().parent.parent
STEPS = ("train", "compress", "convert", "calibrate", "evaluate", "benchmark", "monitor", "info", "report", "study")


def _child(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_leanood_imports_nothing_heavy():
    loaded = _child("import sys, json; before = set(sys.modules); import leanood; leanood.__version__; dir(leanood)\n"
                    "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))")
    assert set(loaded) - set(sys.stdlib_module_names) <= {"leanood", "numpy"}


def test_a_name_is_loaded_when_it_is_used_and_is_no_module():
    kinds = _child("import json, leanood\nfrom leanood import load\nimport leanood.workflow.info\n"
                   "print(json.dumps([callable(load), callable(leanood.info), callable(leanood.monitor)]))")
    assert kinds == [True, True, True]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        leanood.trian  # noqa: B018


@pytest.mark.parametrize("name", leanood.__all__)
def test_each_name_is_listed_typed_and_explained(name):
    function = getattr(leanood, name)
    assert name in dir(leanood)
    text = inspect.getdoc(function)
    assert "Args:" in text
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    for argument in signature.parameters.values():
        assert argument.annotation is not inspect.Parameter.empty, argument
        assert argument.name in text, f"{name} says nothing of {argument.name}"


_FLAGS = """
import importlib, json, sys
module = importlib.import_module("leanood.tools." + sys.argv[1])
from leanood.tools import command
from absl import flags
flags.FLAGS.mark_as_parsed()
from leanood.tools.command import _flags
print(json.dumps({"flags": [flag.name for flag in _flags()],
                  "usage": command.usage(module.main, ""), "values": list(command.arguments())}))
"""


@pytest.mark.parametrize("verb", STEPS)
def test_a_flag_and_an_argument_have_one_name_and_help_lists_every_flag(verb):
    done = subprocess.run([sys.executable, "-c", _FLAGS, verb], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    parameters = inspect.signature(getattr(leanood, verb)).parameters
    taken = set(parameters) | (set(datasets.OPTIONS) if "data_options" in parameters else set())
    assert set(told["values"]) <= taken
    # What is no flag is the file that the verb works on, by position.
    assert taken - set(told["values"]) <= {"data_options", "model", "detector", "file", "files", "folder"}
    for flag in told["flags"]:
        assert f"  --{flag}  (" in told["usage"]
    if "data_options" in parameters:
        assert {"data", *datasets.OPTIONS} <= set(told["flags"])


@pytest.mark.parametrize("document", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))],
                         ids=lambda path: path.name)
def test_the_calls_that_a_document_shows_can_be_made(document):
    """Each leanood.NAME(…) in a document's Python takes the arguments that it is given."""
    text = document.read_text(encoding="utf-8")
    shown = []
    for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {f"leanood.{name}" for name in leanood.__all__}:
                shown.append(node.func.attr)
                inspect.signature(getattr(leanood, node.func.attr)).bind(
                    *node.args, **{keyword.arg: keyword.value for keyword in node.keywords})
    if document == ROOT / "README.md":
        assert shown[:5] == ["train", "convert", "calibrate", "evaluate", "load"]


@pytest.mark.parametrize("verb", sorted(set(command_line.VERBS) - {"demo"}))
def test_each_verb_is_a_function_of_the_library(verb):
    assert verb in leanood.__all__


def test_the_version_is_told():
    done = subprocess.run([sys.executable, "-m", "leanood.tools.main", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"leanood {leanood.__version__}\n")
