"""How long a folder of a million images takes to open: `python benchmarks/limits/million_names.py`.

The files are empty: opening a data set reads no image. Once as unordered images (partitions, splits by blocks), once as
recordings (natural order, splits by time). Processor time, the least of the rounds; exits with 1 at 10 s or more.
"""
from __future__ import annotations

import os
import sys
import tempfile
from typing import List

from absl import app, flags

from leanood.data import catalog
from leanood.tflite.timing import results, turns
from leanood.tools import command

_NAMES = flags.DEFINE_integer("names", 1_000_000, "files", lower_bound=10)
_ROUNDS = flags.DEFINE_integer("rounds", 2, "turns of each", lower_bound=1)
_FOLDERS = 10
_MOST_SECONDS = 10.0


def main(argv: List[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="leanood-") as folder:
        for number in range(_FOLDERS):
            inside = os.path.join(folder, f"drive{number}")
            os.mkdir(inside)
            for frame in range(_NAMES.value // _FOLDERS):
                os.close(os.open(os.path.join(inside, f"frame{frame}.jpg"), os.O_CREAT | os.O_WRONLY))
        taken = turns.seconds({"unordered images": lambda: catalog.open(folder),
                               "recordings": lambda: catalog.open(f"sequences:{folder}")}, _ROUNDS.value)
    least = {name: float(seconds.min()) for name, seconds in taken.items()}
    print(command.table(list(least.items()), [f"{_NAMES.value:,} names", "s"]))
    return results.write(__file__, [
        results.Figure(f"opening a folder of {_NAMES.value:,} images as {name}", f"{seconds:.1f} s",
                       f"< {_MOST_SECONDS:g} s", seconds < _MOST_SECONDS) for name, seconds in least.items()])


if __name__ == "__main__":
    app.run(lambda argv: sys.exit(main(argv)))
