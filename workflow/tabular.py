"""Tables as text for a terminal and as HTML for a notebook.

Not Rich's: a device that has none prints tables too (info, benchmark), and where one is too wide Rich squeezes its
columns, which tears numbers; here it is cut between columns.
"""
from __future__ import annotations

import html as html_
import shutil
import sys
import textwrap
from typing import Any, List, NamedTuple, Optional, Sequence

_LEAST = 24  # characters that a wrapped column has at least


class Cell(NamedTuple):
    """A cell of a page's table that can be sorted."""

    text: str
    key: Any  # what its column is sorted by
    kind: str  # "good", "bad" or ""


def text(rows: Sequence[Sequence[Any]], headers: Sequence[str], width: Optional[int] = None) -> str:
    """An aligned text table: text to the left, numbers to the right, None as a dash.

    Args:
      rows: one sequence a row, as long as `headers`; floats are shown with four significant digits.
      headers: column titles.
      width: characters that a line may have: a wider table is cut into several under one another, each with the first
        column, and a last column of texts is wrapped; None: the terminal's, or any where stdout is none.
    """
    if width is None:
        width = shutil.get_terminal_size().columns if sys.stdout is not None and sys.stdout.isatty() else sys.maxsize
    cells = [[cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows)
               for i in range(len(headers))]
    widths = [max([len(title)] + [len(row[i]) for row in cells]) for i, title in enumerate(headers)]

    room = width - sum(widths[:-1]) - 2 * (len(widths) - 1)
    if len(widths) > 1 and _LEAST <= room < widths[-1] and not numeric[-1]:
        widths[-1] = room
        cells = [line for row in cells for line in _wrapped(row, room)]

    def lines(columns: Sequence[int]) -> List[str]:
        def line(row: Sequence[str]) -> str:
            return "  ".join(row[i].rjust(widths[i]) if numeric[i] else row[i].ljust(widths[i])
                             for i in columns).rstrip()

        return [line(headers), line(["-" * size for size in widths]), *map(line, cells)]

    return "\n\n".join("\n".join(lines(columns)) for columns in _blocks(widths, width))


def _wrapped(row: Sequence[str], room: int) -> List[List[str]]:
    first, *more = textwrap.wrap(row[-1], room) or [""]
    return [[*row[:-1], first], *([*[""] * (len(row) - 1), other] for other in more)]


def _blocks(widths: Sequence[int], width: int) -> List[List[int]]:
    """Columns that fit beside the first one, block by block."""
    blocks: List[List[int]] = [[0]]
    for column in range(1, len(widths)):
        if len(blocks[-1]) > 1 and sum(widths[i] + 2 for i in (*blocks[-1], column)) - 2 > width:
            blocks.append([0])
        blocks[-1].append(column)
    return blocks


def html(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    """The same as an HTML table, its texts escaped."""
    def line(row: Sequence[Any], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escaped(cell(value))}</{tag}>" for value in row) + "</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(headers, 'th')}</thead><tbody>{body}</tbody></table>"


def escaped(words: str) -> str:
    """Text as HTML shows it."""
    return html_.escape(words)


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value)).replace("\n", "?")


def printable(words: str) -> str:
    """Text with "?" for what a terminal would obey: a file's name, or a file, may hold anything."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in words)
