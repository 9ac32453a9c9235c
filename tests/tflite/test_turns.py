"""Jobs take turns; results say where and when."""
import datetime
import importlib.util
import json
import pathlib
import re

import pytest

from leanood.tflite.timing import results, turns

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_jobs_take_turns_and_change_their_order():
    order = []
    taken = turns.seconds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3, calls=2, warmup=1,
                          clock=iter(range(100)).__next__)
    assert "".join(order) == "bbaa" + "aabb" + "bbaa" + "aabb"  # the first round is the warm-up
    assert {name: times.tolist() for name, times in taken.items()} == {"a": [0.5] * 3, "b": [0.5] * 3}


def test_nothing_to_time_is_refused():
    with pytest.raises(ValueError, match="rounds, calls, warmup are 0, 1, 0; at least 1, 1, 0"):
        turns.seconds({}, 0)


def test_results_hold_figures_machine_versions_and_date(tmp_path, capsys, monkeypatch):
    script = tmp_path / "benchmarks" / "limits" / "speed.py"
    script.parent.mkdir(parents=True)
    monkeypatch.setattr("sys.argv", [str(script), "--runs=5", "--model=/home/me/a/m.tflite", "/tmp/x.npy"])
    status = results.write(str(script), [results.Figure("a job", "3 µs", "≤ 4 µs", True),
                                         results.Figure("another", "9 µs", "≤ 4 µs", False)], details=[[1, 2]])
    assert status == 1
    assert capsys.readouterr().err == "missed: another: 9 µs (target ≤ 4 µs)\n"
    kept = json.loads((tmp_path / "benchmarks" / "results" / "limits-speed.json").read_text(encoding="utf-8"))
    assert kept["name"] == "speed"
    assert kept["command"] == "python benchmarks/limits/speed.py --runs=5 --model=m.tflite x.npy"
    assert kept["figures"][0] == {"what": "a job", "measured": "3 µs", "target": "≤ 4 µs", "met": True}
    assert kept["details"] == [[1, 2]]
    assert kept["machine"]["cores"] >= 1
    assert re.match(r"\d+\.\d+", kept["versions"]["numpy"])
    assert datetime.date.fromisoformat(kept["date"]) <= datetime.datetime.now(datetime.timezone.utc).date()


def test_the_documents_table_holds_the_figures_and_where_they_are_from():
    specification = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    table = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(table)
    text = table.markdown([{
        "name": "speed", "command": "python speed.py", "date": "2030-01-02", "versions": {"numpy": "1.2"},
        "machine": {"processor": "P", "cores": 2, "system": "Linux"},
        "figures": [{"what": "a", "measured": "3 µs", "target": "≤ 4", "met": True},
                    {"what": "b", "measured": "9 µs", "target": "≤ 4", "met": False}]}])
    assert text.splitlines()[2:] == [
        "| a | 3 µs | ≤ 4 | `python speed.py` |", "| b | 9 µs | ≤ 4: **missed** | the same |", "",
        "`speed` (2030-01-02): P, 2 cores, Linux; numpy 1.2."]
    with pytest.raises(ValueError, match="lacks the lines"):
        table.document("no marks", text)
    # The document is what the script writes of the results that are kept.
    whole = table.DOCUMENT.read_text(encoding="utf-8")
    assert whole == table.document(whole, table.markdown(table.read(ROOT / "benchmarks" / "results")))


def test_no_missed_target_is_status_0(tmp_path):
    assert results.write(str(tmp_path / "benchmarks" / "limits" / "x.py"), [results.Figure("a", "1")]) == 0
