"""Progress on stderr for whatever takes more than two seconds: a bar on a terminal, sparse lines elsewhere."""
from __future__ import annotations

import sys
import time
from typing import Any, Iterable, Iterator, Optional, TypeVar

from leanood.workflow import tabular

T = TypeVar("T")
_QUIET_S = 2.0  # nothing is shown before
_EVERY_S = 15.0  # between lines where there is no terminal


def say(line: str) -> None:
    """Prints a line on stderr: stdout is for results. What a terminal would obey, as in a file's name, is a "?"."""
    print(tabular.printable(line.replace("\n", "?")), file=sys.stderr, flush=True)


def track(items: Iterable[T], what: str, total: Optional[int] = None) -> Iterator[T]:
    """Yields the items, showing how far it is.

    Args:
      items: anything to go through.
      what: a few words, e.g. "scoring test frames".
      total: their number, where `items` has no length.
    """
    count = total if total is not None else len(items)  # type: ignore[arg-type]
    bar = _bar() if sys.stderr.isatty() else None
    begin = said = time.monotonic()
    task = None
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if bar is not None and now - begin > _QUIET_S:
                if task is None:
                    task = bar.add_task(what, total=count)
                    bar.start()
                bar.update(task, completed=done)
            elif bar is None and now - begin > _QUIET_S and now - said > (_EVERY_S if said > begin else 0.0):
                said = now
                print(f"{what}: {done}/{count}, about {(now - begin) / max(done, 1) * (count - done):.0f} s left",
                      file=sys.stderr, flush=True)
            yield item
    finally:
        if bar is not None and task is not None:
            bar.stop()


def _bar() -> Any:
    try:
        from rich import progress
        from rich.console import Console
    except ImportError:  # the base install has no Rich
        return None
    return progress.Progress(progress.TextColumn("{task.description}"), progress.BarColumn(),
                             progress.MofNCompleteColumn(), progress.TimeRemainingColumn(),
                             console=Console(stderr=True), transient=True)
