"""Progress of a training on stderr: a live bar on a terminal, a line an epoch elsewhere."""
from __future__ import annotations

import sys
import time
from typing import Any, Mapping, Optional

import tf_keras as keras


class Progress(keras.callbacks.Callback):
    """Shows where a training is.

    Args:
      epochs: how many epochs there are to be.
      done: epochs that an earlier process had finished.
    """

    def __init__(self, epochs: int, done: int = 0) -> None:
        super().__init__()
        self._supports_tf_logs = True  # don't copy the metrics at each batch
        self._epochs, self._first, self._start = epochs, done, time.monotonic()
        self._bar, self._task = _bar(), None
        if self._bar is not None:
            self._task = self._bar.add_task(f"epoch {done + 1}/{epochs}", total=None)
            self._bar.start()

    def on_epoch_begin(self, epoch: int, logs: Optional[dict] = None) -> None:
        if self._bar is not None:
            self._bar.reset(self._task, total=None, description=f"epoch {epoch + 1}/{self._epochs}")

    def on_train_batch_end(self, batch: int, logs: Optional[dict] = None) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=batch + 1, total=self.params.get("steps"))

    def epoch(self, epoch: int, row: Mapping[str, Any], note: str = "") -> None:
        """Prints a finished epoch's figures.

        Args:
          epoch: its number, from 0.
          row: figures by name.
          note: a word on it, e.g. "best".
        """
        done = epoch + 1 - self._first
        left = (time.monotonic() - self._start) / done * (self._epochs - epoch - 1)
        figures = "  ".join(f"{name} {value:.6g}" for name, value in row.items() if isinstance(value, float))
        self.say(f"epoch {epoch + 1}/{self._epochs}  {figures}  {_clock(left)} left  {note}".rstrip())

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()


def _bar() -> Any:
    if not sys.stderr.isatty():
        return None
    try:
        from rich import console, progress
    except ImportError:
        return None
    return progress.Progress(*progress.Progress.get_default_columns(), console=console.Console(stderr=True),
                             transient=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
