"""The notebook runs top to bottom, each cell's last expression shown as a notebook shows it."""
import ast
import json
import os
import pathlib
import subprocess
import sys

import pytest

NOTEBOOK = pathlib.Path(__file__).resolve().parent.parent / "colab" / "quickstart.ipynb"


def _script():
    """The code cells as one script; what ends a cell is asked for its HTML, or its picture, or its text."""
    lines = ["def show(value):",
             "    if hasattr(value, 'savefig'):", "        value.savefig('shown.png')",
             "    elif hasattr(value, '_repr_html_'):", "        print(value._repr_html_())",
             "    else:", "        print(repr(value))"]
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))  # plain Python: no line begins with ! or %
        if isinstance(tree.body[-1], ast.Expr) and "print" not in ast.dump(tree.body[-1]):
            call = ast.Call(ast.Name("show", ast.Load()), [tree.body[-1].value], [])
            tree.body[-1] = ast.Expr(call)
        lines.append(ast.unparse(ast.fix_missing_locations(tree)))
    return "\n".join(lines)


@pytest.mark.xdist_group("notebook")
def test_the_notebook_runs_top_to_bottom(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run([sys.executable, "-c", _script()], cwd=tmp_path, env=environment, capture_output=True,
                          text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "<table" in done.stdout
    assert "mean score before and in the fog" in done.stdout
    assert (tmp_path / "shown.png").stat().st_size > 10_000
    assert (tmp_path / "quickstart" / "detector.tflite").is_file()


def test_the_notebook_speaks_the_public_face():
    source = _script()
    for name in ("train", "convert", "calibrate", "evaluate", "load"):
        assert f"leanood.{name}(" in source
    assert "leanood.tools" not in source
