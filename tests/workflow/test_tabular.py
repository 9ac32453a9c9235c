"""Tables for terminals: as wide as they are, or in blocks that fit."""
import pytest

from leanood.workflow import progress, tabular

HEADERS = ["set", "AUROC", "FPR95", "delay", "best baseline"]
ROWS = [["darker 3", 0.98765, 0.25, 1, "sharpness"], ["rain", None, 0.5, 12, "six colour numbers"]]


def test_a_table_lies_in_one_line_a_row_where_there_is_room():
    assert tabular.text(ROWS, HEADERS, 200).splitlines()[2] == "darker 3  0.9877   0.25      1  sharpness"
    assert tabular.text(ROWS, HEADERS) == tabular.text(ROWS, HEADERS, 200)  # stdout is no terminal


@pytest.mark.parametrize("width", [24, 30, 40, 60])
def test_every_line_fits_and_nothing_is_lost(width):
    table = tabular.text(ROWS, HEADERS, width)
    assert max(map(len, table.splitlines())) <= max(width, len("darker 3  six colour numbers"))
    for block in table.split("\n\n"):
        assert block.splitlines()[2].startswith("darker 3")
    words = table.replace("\n", " ")
    for cell in ("0.9877", "0.25", "12", "sharpness", "six", "colour", "numbers", *HEADERS[1:]):
        assert cell in words


def test_a_long_text_is_wrapped_in_its_column():
    table = tabular.text([["promise", "asked 3 an hour; by 18 groups left out in turn none in two hours"]],
                         ["result", "value"], 40).splitlines()
    assert max(map(len, table)) <= 40
    assert all(line.startswith(" " * 9) for line in table[3:])
    assert len(table) > 3


def test_what_is_said_of_a_file_s_name_is_one_plain_line(capsys):
    progress.say("unreadable, left out: a\x1b[31m\nb\udcff.jpg")
    assert capsys.readouterr().err == "unreadable, left out: a?[31m?b?.jpg\n"
