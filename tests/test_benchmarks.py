"""The benchmarks call what is there: they run for minutes or hours, so what they take of the library is looked up."""
import ast
import importlib.util
import pathlib
import types

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SCRIPTS = sorted((ROOT / "benchmarks").rglob("*.py"))


def _module(name):
    """The file of a module of ours, or None."""
    path = ROOT.joinpath(*name.split(".")[1:])
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _defined(path):
    """The names that a module defines or imports at its top level."""
    names = {"__file__", "__name__"}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT / "benchmarks")))
def test_what_a_benchmark_takes_of_the_library_is_there(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("leanood"):
            for alias in node.names:
                path = _module(f"{node.module}.{alias.name}")
                if path is None:  # a name of a package, as `leanood.tflite.benchmark.Setup`
                    assert alias.name in _defined(_module(node.module)), f"{node.module}.{alias.name}"
                else:
                    modules[alias.asname or alias.name] = path
        elif isinstance(node, ast.Import):  # a script beside it
            beside = [(alias.asname or alias.name, script.parent / f"{alias.name}.py") for alias in node.names]
            modules.update({name: path for name, path in beside if path.is_file()})
    stored = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored |= {argument.arg for argument in ast.walk(tree) if isinstance(argument, ast.arg)}
    missing = sorted({f"{node.value.id}.{node.attr} (line {node.lineno})" for node in ast.walk(tree)
                      if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
                      and node.value.id in modules and node.value.id not in stored
                      and node.attr not in _defined(modules[node.value.id])})
    assert missing == []


@pytest.mark.parametrize("script", [path for path in SCRIPTS if "__main__" in path.read_text(encoding="utf-8")
                                    and path.stem not in ("table", "student", "self_supervised")],
                         ids=lambda path: path.stem)
def test_each_benchmark_leaves_its_results(script):  # all but what writes the document, and what only trains
    assert "results.write(" in script.read_text(encoding="utf-8").replace("results_.", "results.")


def test_who_compares_with_litert_s_tool_is_told_that_it_times_no_gpu(monkeypatch, capsys):
    path = ROOT / "benchmarks" / "limits" / "tool_agreement.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    try:
        measured = types.SimpleNamespace(invoke=types.SimpleNamespace(median=1.02e-3))
        monkeypatch.setattr(script.benchmark, "measure", lambda *_, **__: measured)
        monkeypatch.setattr(script, "theirs", lambda *_: 1.0)
        figures = []
        monkeypatch.setattr(script.results, "write", lambda _, of, *__: figures.extend(of))
        script.flags.FLAGS.mark_as_parsed()  # not parsed: flags of other tests' scripts would be asked for
        script.main(["tool_agreement", "model.tflite"])
    finally:
        for name in ("rounds", "runs"):
            delattr(script.flags.FLAGS, name)
    told = capsys.readouterr().out
    assert "ours / theirs: 1.020" in told
    assert figures[0].met
    assert "on the CPU" in figures[0].what
    assert "on a GPU LiteRT's tool times how long it takes to submit an invocation, not to compute it" in told
