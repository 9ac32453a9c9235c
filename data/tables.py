"""CSV tables beside the images: columns by name, and their rows matched to the images' names."""
from __future__ import annotations

import csv
import os
import posixpath
from typing import Dict, List, Sequence, Tuple

import numpy as np


def read(path: str, columns: Sequence[str]) -> Tuple[List[str], ...]:
    """The named columns of a CSV file with a header line, each a list of stripped strings.

    Raises:
      ValueError: in one line, if a column is missing, a row is short, or the first column names something twice.
      OSError: if the file cannot be read.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.reader(file))
        except (csv.Error, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a CSV table ({error})") from None
    header = [title.strip() for title in rows[0]] if rows else []
    for column in columns:
        if column not in header:
            raise ValueError(f"{path}: it has no column {column!r}; its first line must name {','.join(columns)}")
    places = [header.index(column) for column in columns]
    result: Tuple[List[str], ...] = tuple([] for _ in columns)
    lines: Dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(places):
            raise ValueError(f"{path}: line {number} has {len(row)} columns, the header has {len(header)}")
        values = [row[place].strip() for place in places]
        if values[0] in lines:
            raise ValueError(f"{path}: line {number} names {values[0]!r} again, after line {lines[values[0]]}")
        lines[values[0]] = number
        for column_values, value in zip(result, values):
            column_values.append(value)
    return result


def truths(path: str, listed: Sequence[str], words: Sequence[str], column: str) -> np.ndarray:
    """bool [M]: a column of 0 and 1 (or false and true, no and yes); raises ValueError for any other word."""
    known = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    for name, word in zip(listed, words):
        if word.lower() not in known:
            raise ValueError(f"{path}: {name!r} has {column} {word!r}; allowed are 0 and 1 (or false and true)")
    return np.array([known[word.lower()] for word in words], bool)


def has(path: str, column: str) -> bool:
    """True if the table's first line names the column; raises OSError if the file cannot be read."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        return column in [title.strip() for title in next(csv.reader(file), [])]


def match(path: str, listed: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """int64 [N]: for each of `names` the row of `listed` that speaks of it.

    A row names an image by its path within the folder, or by its file name alone where that is unique.

    Raises:
      ValueError: in one line, if a row names an image that is not there, or an image has no row.
    """
    places = {name: i for i, name in enumerate(names)}
    short: Dict[str, int] = {}
    for i, name in enumerate(names):
        base = posixpath.basename(name)
        short[base] = -1 if base in short else i
    rows = np.full(len(names), -1, np.int64)
    missing = []
    for row, name in enumerate(listed):
        clean = posixpath.normpath(name.replace("\\", "/"))
        place = places.get(clean, places.get(name, short.get(clean, -1)))
        if place < 0:
            missing.append(name)
        elif rows[place] >= 0:
            raise ValueError(f"{path}: {listed[rows[place]]!r} and {name!r} are the same image")
        else:
            rows[place] = row
    if missing:
        raise ValueError(f"{path}: {_several(missing)} not in the image folder")
    unlisted = [names[i] for i in np.flatnonzero(rows < 0)]
    if unlisted:
        raise ValueError(f"{path}: {_several(unlisted)} not listed in it")
    return rows


def _several(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]!r} is"
    return f"{len(names)} images, {names[0]!r} first, are"
