"""What a step tells: all of it by name and as JSON, in the table what matters."""
from leanood.workflow import outcome


def test_the_table_shows_what_it_is_told_to_show():
    summary = {"out": "a.tflite", "frames": {"train": 3}, "details": 7}
    brief, whole = outcome.Outcome("a.tflite", summary, shown=("out", "frames")), outcome.Outcome("a.tflite", summary)
    assert "frames train" in str(brief)
    assert "details" not in str(brief)
    assert "details" in str(whole)
    assert brief.summary == whole.summary == summary
    assert brief["details"] == 7
