"""The page of a study in headless Chromium: 500 candidates at desktop and phone width, light and dark, by keyboard."""
import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest

from leanood.workflow import report

pytest.importorskip("jinja2")
CANDIDATES = 500


def _chromium():
    path = pathlib.Path(__file__).resolve().parents[1] / "examples" / "chromium.py"
    spec = importlib.util.spec_from_file_location("chromium", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def random_study(candidates):
    """A study's summary with so many candidates."""
    rng = np.random.default_rng(0)

    def figures():
        return {"auroc": float(rng.uniform(0.8, 1)), "hit_rate": float(rng.uniform(0.5, 1)), "benign": 0.01,
                "latency_ms": float(rng.uniform(0.1, 2)), "ratio": 0.5, "kilobytes": float(rng.uniform(50, 900)),
                "memory_kb": 100.0}

    rows = [{"recipe": f"shrink(0.{i})+qat", "epochs": 10, "failure": "", "file": f"{i}.tflite", "front": i % 9 == 0,
             **figures()} for i in range(candidates)]
    rows.append({"recipe": "student(<b>)", "epochs": 2, "failure": "no layer has channels"})
    finalist = {"recipe": "int8", "file": "a.tflite", **figures(), "delta": -0.001, "delta_low": -0.004,
                "accepted": True, "rows": []}
    return {"run": "runs/road", "data": "lanes", "baseline": figures(), "candidates": rows, "settings": {"run": "road"},
            "verdict": {"recipe": "int8", "finalists": [finalist], "confidence": 0.983,
                        "said": {"verdict": "non-inferior at 0.01", "AUROC": 0.97},
                        "certificate": {"margin": 0.01, "sha256": {"network": "0" * 64}}}}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    if shutil.which("bash") is None or _chromium().program() is None:
        pytest.skip("no Chromium here")
    folder = tmp_path_factory.mktemp("study")
    (folder / "study.json").write_text(json.dumps(random_study(CANDIDATES)))
    written = report.report(folder)
    page = _chromium().Page(tmp_path_factory.mktemp("profile"), "", pathlib.Path(written.path).as_uri())
    page.wait("document.readyState === 'complete' && document.querySelectorAll('#front .point').length > 0")
    yield page
    page.close()


def test_every_candidate_is_a_point_that_can_be_focused_and_is_described(page):
    assert page.run("document.querySelectorAll('#front .point').length") == CANDIDATES + 2
    assert page.run("[...document.querySelectorAll('#front .point')].every(p => p.tabIndex === 0 && "
                    "p.getAttribute('aria-label').includes('AUROC'))")
    page.run("document.querySelectorAll('#front .point')[3].focus()")
    assert page.run("document.getElementById('chosen').textContent").startswith("shrink(0.2)+qat: AUROC 0.")
    assert page.run("document.querySelectorAll('.accepted').length") == 1


def test_other_axes_move_the_points(page):
    def places():
        return page.run("[...document.querySelectorAll('#front .point')].map(p => p.getAttribute('transform'))")

    before = places()
    page.run("(() => { const s = document.getElementById('across'); s.value = 'kilobytes'; "
             "s.dispatchEvent(new Event('change')); })()")
    after = places()
    assert len(after) == len(before)
    assert sum(a != b for a, b in zip(before, after)) > CANDIDATES / 2
    assert "file, kB →" in page.run("document.getElementById('front').textContent")


def test_the_table_sorts_by_a_column_and_back(page):
    def column():
        return page.run("[...document.querySelectorAll('table.sortable')[0].tBodies[0].rows]"
                        ".map(r => Number(r.cells[1].dataset.key)).filter(x => x > -1e299)")

    click = "document.querySelectorAll('table.sortable')[0].querySelectorAll('th button')[1].click()"
    page.run(click)
    assert column() == sorted(column())
    page.run(click)
    assert column() == sorted(column(), reverse=True)
    assert page.run("document.querySelectorAll('table.sortable')[0].querySelectorAll('th')[1].ariaSort") == "descending"


@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_text_can_be_read(page, width, scheme):
    page.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500)
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    assert page.run("document.documentElement.scrollWidth") <= width
    colours = page.run("['color', 'backgroundColor'].map(n => getComputedStyle(document.body)[n].match(/\\d+/g)"
                       ".slice(0, 3).map(Number))")
    bright = sorted(_luminance(np.array(colour) / 255) for colour in colours)
    assert (bright[1] + 0.05) / (bright[0] + 0.05) >= 4.5  # WCAG 2.2, 1.4.3
    assert (bright[1] == _luminance(np.array(colours[1]) / 255)) == (scheme == "light")


def _luminance(rgb):
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
