"""Reports: a page that needs nothing else, its table complete and escaped, Markdown, damaged folders named."""
import html.parser
import json
import subprocess
import sys

import pytest

from leanood.workflow import report

pytest.importorskip("jinja2")
ROWS = [{"set": "rain 3", "ood": True, "auroc": 0.93, "auroc_low": 0.9, "auroc_high": 0.96, "hit_rate": 0.75,
         "baselines": {"sharpness": 0.95}, "best_baseline": "sharpness", "non_inferior": False},
        {"set": "<b>dark|1</b>", "ood": False, "auroc": 0.41, "auroc_low": None, "auroc_high": None, "hit_rate": 0.0,
         "baselines": {"sharpness": 0.2}, "best_baseline": "sharpness", "non_inferior": None}]
SUMMARY = {"rows": ROWS, "detector": "typicality", "data": "lanes", "runtime": "LiteRT 2.3", "accelerator": "cpu",
           "bytes": 1_234_000, "out_of_range_mean_auroc": 0.93, "unreadable": 2,
           "false_alarms": {"count": 1, "hours": 0.5, "per_hour": 2.0, "low": 0.1, "high": 11.1},
           "benign": [{"set": "jpeg 90", "alarm_rate": 0.01, "silent": True},
                      {"set": "noise 1", "alarm_rate": 0.4, "silent": False}]}
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


class _Page(html.parser.HTMLParser):
    """The page's tables as text, and everything that it would load from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.loaded, self._inside, self.labels = [], [], None, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.loaded += [value for name, value in attributes.items() if name in ("src", "href", "xlink:href")]
        if "alt" in attributes:
            self.labels.append(attributes["alt"])
        if tag == "tr":
            self.rows.append([])
        self._inside = tag

    def handle_data(self, data):
        if self._inside in ("td", "button") and data.strip():
            self.rows[-1].append(data.strip())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "evaluation.json").write_text(json.dumps(SUMMARY))
    (tmp_path / "roc.png").write_bytes(PNG)
    return tmp_path


def test_the_page_holds_everything_and_loads_nothing(folder):
    written = report.report(folder)
    text = (folder / "report.html").read_text()
    page = _Page(text)
    assert all(value.startswith("data:image/png;base64,") for value in page.loaded)
    assert len(page.loaded) == 1
    assert page.labels == ["ROC of the sets"]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # a name, no address
    assert ["rain 3", "0.930", "0.900", "0.960", "0.750", "sharpness", "0.950", "no"] in page.rows
    assert ["noise 1", "0.400", "no"] in page.rows
    assert "<b>dark" not in text  # a set's name may hold anything
    assert "&lt;b&gt;dark|1&lt;/b&gt; (in range)" in text
    for words in ("1 false alarms in 30.0 minutes", "not shown to be as good as a trivial baseline on: rain 3",
                  "2 unreadable test images", "1 of 2", "1.234 MB"):
        assert words in text
    assert written["sets"] == 2
    assert written["bytes"] == (folder / "report.html").stat().st_size


def test_markdown_is_a_table_of_the_same_figures(folder):
    report.report(folder, str(folder / "card.md"), format="markdown")
    lines = (folder / "card.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert table[2].startswith("| rain 3 | 0.930 | 0.900 |")
    assert "dark\\|1" in table[3]


def test_dots_stand_where_the_scale_says():
    chart = report._chart(ROWS)
    assert [row["name"] for row in chart["rows"]] == ["<b>dark|1</b>", "rain 3"]  # the worst first
    left, right = chart["ticks"][0], chart["ticks"][-1]
    assert (left["label"], right["label"]) == ("0.4", "1")
    for row, value in zip(chart["rows"], (0.41, 0.93)):
        assert (row["x"] - left["x"]) / (right["x"] - left["x"]) == pytest.approx((value - 0.4) / 0.6, abs=1e-3)
    assert chart["rows"][0]["low"] is None
    assert report._chart([]) is None


@pytest.mark.parametrize(("content", "text"), [(None, "holds no evaluation.json; make one with"), ("{", "is damaged"),
                                               ('{"rows": [{"set": 3}]}', "is damaged"), ("[]", "is damaged")])
def test_folders_without_an_evaluation_are_named(tmp_path, content, text):
    if content is not None:
        (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(ValueError, match=text):
        report.report(tmp_path)


def test_the_verb_and_its_mistakes(folder):
    def leanood(*words):
        return subprocess.run([sys.executable, "-m", "leanood.tools.main", "report", *words], capture_output=True,
                              text=True)

    done = leanood(str(folder), "--format=markdown", "--json")
    assert json.loads(done.stdout)["report"] == str(folder / "report.md")
    for words, text in (((), "name one folder"), ((str(folder), "--format=pdf"), "format"), (("/none",), "holds no")):
        failed = leanood(*words)
        assert failed.returncode == 2
        assert text in failed.stderr
        assert failed.stderr.count("\n") == 1
