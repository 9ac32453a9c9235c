"""A study in small, from the run to the certificate: resumed without work, judged on the test split, reported."""
import html.parser
import json
import os

import numpy as np
import pytest

import leanood
from leanood.ood import metrics
from leanood.tflite import bundle
from leanood.workflow import candidates, compress, datasets, evaluation, study, study_page

pytest.importorskip("optuna")
pytestmark = pytest.mark.xdist_group("study")  # one study, made once
SMALL = {"trials": 2, "rungs": (1,), "refine_epochs": 0, "images": 120, "corruptions": ("darker", "rain"),
         "severities": (4,), "benign": ("yuv420",), "stretch_s": 1.0, "stretches": 8, "margin": 0.3,
         "data": "lanes:frames=900,scene=30", "detector": "kl-typical"}


@pytest.fixture(scope="module")
def done(tiny_run, tmp_path_factory):
    return leanood.study(tiny_run, out=tmp_path_factory.mktemp("study"), **SMALL)


def test_candidates_are_files_with_figures_and_the_recommended_one_opens(done):
    assert len(done.rows) == 2
    for row in done.rows:
        assert not row["failure"]
        assert os.path.getsize(os.path.join(done.path, "candidates", row["file"])) == row["kilobytes"] * 1e3
        assert 0 <= row["auroc"] <= 1
        assert row["latency_ms"] > 0
    assert any(row["front"] for row in done.rows)
    verdict = leanood.load(done.detector)(np.zeros((32, 32, 3), np.uint8))
    assert np.isfinite(verdict.score)
    assert "recommended" in str(done)
    assert done.plot().axes


def test_the_verdict_is_of_the_test_split_and_recomputes(done):
    file = done.verdict["finalists"][0]["file"] if done.verdict["finalists"] else None
    assert file is not None
    path = os.path.join(done.path, "candidates", file)
    again = leanood.evaluate(path, corruptions=("darker", "rain"), severities=(4,), benign=(), stretch_s=1.0,
                             stretches=8)
    finalist = done.verdict["finalists"][0]
    assert finalist["auroc"] == pytest.approx(np.mean([row["auroc"] for row in again.rows]), abs=1e-9)
    assert finalist["delta_low"] <= finalist["delta"]
    assert finalist["non_inferior"] == (finalist["delta_low"] > -SMALL["margin"])
    assert done.verdict["confidence"] == pytest.approx(1 - 0.05 / len(done.verdict["finalists"]))


def test_the_certificate_is_in_the_detector_file(done):
    certificate = bundle.read(done.detector).detector["certificate"]
    assert certificate["recipe"] == done.verdict["recipe"]
    assert certificate["margin"] == SMALL["margin"]
    assert set(certificate["versions"]) >= {"leanood", "tensorflow", "numpy"}
    assert len(certificate["sha256"]["network"]) == 64
    # No machine's places, yet evaluate finds the network's decoder and the data again.
    for path in (done.detector, os.path.join(done.path, "candidates", done.rows[0]["file"])):
        detector = bundle.read(path).detector
        assert done.path not in json.dumps(detector)
        model = datasets.seen_from(detector["provenance"], os.path.dirname(path))["network"]["model"]
        assert os.path.isdir(model)


def test_the_same_call_again_trains_nothing_and_says_the_same(done, tiny_run, monkeypatch):
    monkeypatch.setattr(compress, "compress", lambda *_, **__: pytest.fail("was made before"))
    again = leanood.study(tiny_run, out=done.path, **SMALL)
    assert again.summary["candidates"] == done.summary["candidates"]
    assert again.verdict == done.verdict


def test_times_from_a_board_replace_this_machines(done, tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr(compress, "compress", lambda *_, **__: pytest.fail("was made before"))
    folder = os.path.join(done.path, "candidates")
    entries = [{"setup": {"model": f"/board/{name}"}, "invoke": {"median": 0.5 * (i + 1)}, "arena": 1000,
                "verdict": {"median": 7.0 + i}, "file_size": os.path.getsize(os.path.join(folder, name))}
               for i, name in enumerate(sorted(os.listdir(folder)))]
    figures = tmp_path / "board.json"
    figures.write_text("\n".join(json.dumps({"results": [entry]}) for entry in entries))
    again = leanood.study(tiny_run, out=done.path, import_measurements=figures, **SMALL)
    expected = {os.path.basename(entry["setup"]["model"]): 1e3 * entry["verdict"]["median"] for entry in entries}
    assert {row["file"]: row["latency_ms"] for row in again.rows}.items() <= expected.items()
    figures.write_text('{"results": []}')
    with pytest.raises(ValueError, match="holds no measurements .*the baseline .* is not among its files"):
        leanood.study(tiny_run, out=done.path, import_measurements=figures, **SMALL)
    leanood.study(tiny_run, out=done.path, **SMALL)  # as it was


def test_the_page_shows_candidates_verdict_and_certificate_and_loads_nothing(done):
    pytest.importorskip("jinja2")
    written = done.report()
    with open(written.path, encoding="utf-8") as stream:
        text = stream.read()

    class Page(html.parser.HTMLParser):
        loaded, points, inside = [], None, ""

        def handle_starttag(self, tag, attributes):
            attributes = dict(attributes)
            self.loaded += [attributes[name] for name in ("src", "href") if name in attributes]
            self.inside = attributes.get("id", "")

        def handle_data(self, data):
            if self.inside == "points" and self.points is None:
                self.points = json.loads(data)

    page = Page()
    page.feed(text)
    assert all(link.startswith("data:image/png;base64,") for link in page.loaded)
    assert len(page.points) == 1 + len(done.rows) + len(done.verdict["finalists"])
    for row in done.rows:
        assert row["recipe"].replace("'", "&#39;") in text
    assert "sha256 network" in text
    card = done.report(format="markdown")
    with open(card.path, encoding="utf-8") as stream:
        assert f"Recommended: {done.verdict['recipe']}" in stream.read()


def test_the_pooled_sets_are_the_concatenation():
    rng = np.random.default_rng(0)
    sets = {name: evaluation.Clustered(rng.normal(size=5), rng.normal(1, size=4), np.arange(5), np.arange(4))
            for name in ("a", "b")}
    whole = candidates.pooled(sets, ["b", "a"])
    np.testing.assert_array_equal(whole.id_scores, np.r_[sets["b"].id_scores, sets["a"].id_scores])
    by_hand = np.mean([[x < y for x in whole.id_scores] for y in whole.ood_scores])
    assert metrics.evaluate(whole.id_scores, whole.ood_scores).auroc == pytest.approx(by_hand)


@pytest.mark.parametrize(("change", "message"), [
    ({"model": "resnet.h5"}, "give one of --run=FOLDER and --model=FILE"),
    ({"margin": 0.0}, "margin is 0.0, but should be a loss of AUROC between 0 and 0.5"),
    ({"confidence": 1.0}, "confidence is 1.0, but should lie between 0.5 and 1"),
    ({"workers": 0}, "workers is 0, but should be 1 or more"),
    ({"corruptions": ("dark",)}, "corruption 'dark' is unknown")])
def test_wrong_arguments_are_named_before_anything_is_made(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        leanood.study(tmp_path / "run", out=tmp_path / "study", **change)
    assert not (tmp_path / "study").exists()


def test_finalists_hold_margin_deadline_and_size_and_the_fastest_come_first():
    def row(file, auroc, ratio, latency, kilobytes, epochs=10):
        return {"file": file, "recipe": file, "failure": "", "epochs": epochs, "auroc": auroc, "ratio": ratio,
                "latency_ms": latency, "kilobytes": kilobytes}

    settings = study._Settings("run", (), 1, (2, 10), 0, "tpe", 0.01, 0.95, 2, 1.0, 500.0, None, None, "normal", (),
                               (3,), (), 10.0, 12, 1, 2, "cpu", "auto", 0, None, 1, None)
    table = [row("slow", 0.95, 0.9, 0.9, 100), row("fast", 0.945, 0.1, 0.1, 100), row("blind", 0.93, 0.05, 0.1, 100),
             row("late", 0.95, 0.2, 1.5, 100), row("large", 0.95, 0.3, 0.3, 900), row("middle", 0.95, 0.5, 0.5, 100),
             row("early", 0.95, 0.1, 0.1, 100, epochs=2), {"failure": "why", "recipe": "x", "epochs": 10}]
    chosen = study._finalists(settings, table, {"auroc": 0.95})
    assert [finalist["file"] for finalist in chosen] == ["fast", "middle"]


def test_a_damaged_study_is_named(tmp_path):
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ValueError, match=r"study.json is damaged .*; run the study again, what it measured is kept"):
        study_page.read(str(tmp_path))


def test_too_few_stretches_are_told_before_anything_is_made(tiny_run, tmp_path):
    message = r"the test split has \d stretches of 2 s, too few for a verdict .*give more data"
    with pytest.raises(ValueError, match=message):
        leanood.study(tiny_run, out=tmp_path / "few", **{**SMALL, "stretch_s": 2.0, "stretches": 3})
    assert not os.listdir(tmp_path / "few" / "candidates")
