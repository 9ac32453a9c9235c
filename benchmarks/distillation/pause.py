"""Ends a long command after so many minutes, just when a checkpoint has been written; the same command goes on."""
from __future__ import annotations

import glob
import os
import signal
import time
from typing import Any

STATUS = 75  # of a process that stopped to go on later


class Paused(Exception):
    """The minutes are over, and nothing is lost."""


class Clock:
    """Raises `Paused` once the minutes are over: at the next checkpoint below `folder`, or at the next `check`.

    Args:
      minutes: 0 never ends.
      folder: of the runs.
    """

    def __init__(self, minutes: float, folder: str) -> None:
        self._folder = folder
        self._deadline = time.time() + 60 * minutes if minutes else float("inf")
        if minutes:
            signal.signal(signal.SIGALRM, self._look)
            signal.setitimer(signal.ITIMER_REAL, 60 * minutes, 1)

    def check(self) -> None:
        """Raises if the minutes are over: between two pieces of work."""
        if time.time() > self._deadline:
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise Paused

    def _look(self, *_: Any) -> None:
        written = glob.glob(os.path.join(self._folder, "**", "checkpoints", "checkpoint"), recursive=True)
        if any(os.path.getmtime(path) > self._deadline for path in written):
            self.check()
