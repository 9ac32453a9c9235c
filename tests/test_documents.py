"""Every path that a document names is there, and every document can be reached."""
import importlib.util
import json
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
FOLDERS = "benchmarks|colab|compression|data|docs|examples|files|models|ood|tests|tflite|tools|workflow"
_PATH = re.compile(rf"(?<![\w/.$}}-])((?:{FOLDERS})/(?:[\w./-]*\w(?:\.\w+)?/?)?)")
_LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def _paths(text):
    """Paths with an ending of ours, or of a folder, that a document names as code or in a command."""
    code = " ".join(re.findall(r"`[^`\n]+`|```.*?```", text, flags=re.DOTALL))
    return sorted(path for path in set(_PATH.findall(code))
                  if path.endswith("/") or pathlib.PurePath(path).suffix in (".py", ".md", ".sh"))


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_of_the_map_exists(name):
    paths = _paths((ROOT / name).read_text(encoding="utf-8"))
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_script_and_link_of_a_document_exists(document):
    text = document.read_text(encoding="utf-8")
    scripts = [path for path in _paths(text) if path.startswith(("benchmarks/", "tools/")) and path.endswith(".py")]
    real = [path for path in scripts if not pathlib.PurePath(path).stem.isupper()]  # tools/VERB.py is any of them
    if document.name != "CHANGELOG.md":  # which names what has gone
        assert [path for path in real if not (ROOT / path).exists()] == []
    assert [link for link in _LINK.findall(text) if not (document.parent / link).exists()] == []


def test_the_reading_order_leaves_no_document_out():
    order = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    missing = [path.name for path in DOCUMENTS if path.parent.name == "docs" and path.name != "README.md"
               and f"({path.name})" not in order]
    assert missing == []


def test_the_map_names_constants_that_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, path in re.findall(r"`([A-Za-z_.]+)` in `([\w/]+\.py)`", text) + re.findall(
            r"`([\w/]+\.py)` \(`(\w+)`\)", text):
        name, path = (path, name) if name.endswith(".py") else (name, path)
        assert re.search(rf"\b{name.split('.')[-1]}\b", (ROOT / path).read_text(encoding="utf-8")), (name, path)


def test_the_reference_has_a_page_for_every_package():
    """pdoc takes a package's own submodules, but none of one that lists names in `__all__`, as leanood does."""
    target = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ndocs:")[2].partition("\n\n")[0]
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tools"}
    assert packages <= set(re.findall(r"\w+", target))


def test_the_table_of_networks_is_that_of_the_results():
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    results = json.loads((ROOT / "benchmarks" / "results" / "limits-keras_applications.json").read_text("utf-8"))
    text = (ROOT / "docs" / "models.md").read_text("utf-8")
    assert table.document(text, table.networks(results["details"])) == text
    for name, cells in results["details"].items():
        for step, cell in cells.items():
            pattern = r"\d+ layers|[\d.]+ MB(\*: without .+)?|(refused|skipped): .+"
            assert re.fullmatch(pattern, cell), (name, step, cell)
