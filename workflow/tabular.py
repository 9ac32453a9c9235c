"""Tables as text for a terminal and as HTML for a notebook."""
from __future__ import annotations

import html as html_
from typing import Any, Sequence


def text(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    """An aligned text table: text to the left, numbers to the right, None as a dash.

    Args:
      rows: one sequence a row, as long as `headers`; floats are shown with four significant digits.
      headers: column titles.
    """
    cells = [[cell(value) for value in row] for row in rows]
    numeric = [bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows)
               for i in range(len(headers))]
    widths = [max([len(title)] + [len(row[i]) for row in cells]) for i, title in enumerate(headers)]

    def line(row: Sequence[str]) -> str:
        padded = (c.rjust(w) if right else c.ljust(w) for c, w, right in zip(row, widths, numeric))
        return "  ".join(padded).rstrip()

    return "\n".join([line(list(headers)), line(["-" * width for width in widths]), *map(line, cells)])


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
