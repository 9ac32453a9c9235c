"""The house's table (docs/architecture.md): who may import whom, and no circles, lazy ones included."""
import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What a folder may import of ours besides itself; `files` is the leaf that all may import.
MAY_IMPORT = {
    "files": set(),
    "ood": set(),
    "data": set(),
    "models": set(),
    "compression": {"models"},
    "tflite": {"ood", "data"},
    "workflow": {"ood", "data", "models", "compression", "tflite"},
    "tools": {"ood", "data", "models", "compression", "tflite", "workflow"},
}
MODULES = {".".join(("leanood", *path.relative_to(ROOT).with_suffix("").parts)).replace(".__init__", ""): path
           for folder in MAY_IMPORT for path in sorted((ROOT / folder).rglob("*.py"))}


def _imports(module, path):
    """The modules of ours that a file imports, anywhere in it."""
    targets = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            targets |= {name if name in MODULES else node.module for name in whole}
    return {name for name in targets if name in MODULES and name != module}


GRAPH = {module: _imports(module, path) for module, path in MODULES.items()}


def _folder(module):
    return module.split(".")[1]


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_run_one_way(folder):
    allowed = MAY_IMPORT[folder] | {folder, "files"}
    wrong = sorted(f"{module} imports {target}" for module, targets in GRAPH.items() if _folder(module) == folder
                   for target in targets if _folder(target) not in allowed)
    assert not wrong


def test_no_import_leads_back():
    """Depth first: a module met again while it is still being left is a circle."""
    finished, circles = set(), []

    def visit(module, trail):
        if module in trail:
            circles.append(" -> ".join([*trail[trail.index(module):], module]))
        elif module not in finished:
            for target in sorted(GRAPH[module]):
                visit(target, [*trail, module])
            finished.add(module)

    for module in sorted(GRAPH):
        visit(module, [])
    assert not circles


@pytest.mark.parametrize("folder", sorted({path.relative_to(ROOT).parent for path in MODULES.values()}), ids=str)
def test_every_folder_is_shipped(folder):
    """setup.cfg lists packages one by one; one that is forgotten is missing from the wheel alone."""
    text = (ROOT / "setup.cfg").read_text(encoding="utf-8")
    packages = text.split("packages =")[1].split("install_requires")[0].split()
    assert ".".join(("leanood", *folder.parts)) in packages


@pytest.mark.parametrize("script", sorted((ROOT / "tools").glob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py")),
                         ids=lambda path: str(path.relative_to(ROOT)))
def test_no_script_bears_a_standard_modules_name(script):
    """A script's folder comes first on its path."""
    import sys

    assert script.stem not in getattr(sys, "stdlib_module_names", ())
