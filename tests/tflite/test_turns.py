"""Jobs take turns; results say where and when."""
import datetime
import json
import re

import pytest

from leanood.tflite.timing import results, turns


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
    monkeypatch.setattr("sys.argv", [str(script), "--runs=5"])
    status = results.write(str(script), [results.Figure("a job", "3 µs", "≤ 4 µs", True),
                                         results.Figure("another", "9 µs", "≤ 4 µs", False)], details=[[1, 2]])
    assert status == 1
    assert capsys.readouterr().err == "missed: another: 9 µs (target ≤ 4 µs)\n"
    kept = json.loads((tmp_path / "benchmarks" / "results" / "limits-speed.json").read_text(encoding="utf-8"))
    assert kept["command"] == "python benchmarks/limits/speed.py --runs=5"
    assert kept["figures"][0] == {"what": "a job", "measured": "3 µs", "target": "≤ 4 µs", "met": True}
    assert kept["details"] == [[1, 2]]
    assert kept["machine"]["cores"] >= 1
    assert re.match(r"\d+\.\d+", kept["versions"]["numpy"])
    assert datetime.date.fromisoformat(kept["date"]) <= datetime.datetime.now(datetime.timezone.utc).date()


def test_no_missed_target_is_status_0(tmp_path):
    assert results.write(str(tmp_path / "benchmarks" / "limits" / "x.py"), [results.Figure("a", "1")]) == 0
