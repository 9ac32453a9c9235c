"""What the monitor shows in a terminal: a sparkline of the score, latencies, the alarm (Rich); or plain lines."""
from __future__ import annotations

import collections
import math
import sys
import time
from typing import Any, Deque, Dict, List, Optional

_BARS = "▁▂▃▄▅▆▇█"
_REFRESH_S = 0.1
_ORDINARY, _GLARING = 1.0, 8.0  # −ln p of a cell: the mean of ordinary frames, and the brightest
_STAGES = ("read", "preprocess", "invoke", "detect")


class Plain:
    """Tells on stderr when the alarm is raised or ends, and of each frame that has a problem (the first ten)."""

    def __init__(self) -> None:
        self._alarm = False
        self._problems = 0

    def show(self, record: Dict[str, Any], counts: Dict[str, int]) -> None:
        if record["problem"]:
            self._problems += 1
            if self._problems <= 10:
                self._say(f"invalid frame {record['frame']}: {record['problem']}")
            if self._problems == 10:
                self._say("further invalid frames are counted, not listed")
        if record["alarm"] != self._alarm:
            self._alarm = record["alarm"]
            self._say(f"{'ALARM' if self._alarm else 'alarm ends'} at frame {record['frame']} ({record['name']}): "
                      f"score {record['score']:.4g}, p {record['p_value']:.3g}, partition {record['partition']}")

    def _say(self, text: str) -> None:
        print("".join(c if c.isprintable() else "?" for c in text), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Silent(Plain):
    """Shows nothing."""

    def show(self, record: Dict[str, Any], counts: Dict[str, int]) -> None:
        pass


class Rich(Plain):
    """A view that redraws itself in place, at most ten times a second."""

    def __init__(self, title: str, threshold: Optional[float]) -> None:
        super().__init__()
        from rich import live

        self._title, self._threshold = title, threshold
        self._scores: Deque[float] = collections.deque(maxlen=60)
        self._drawn = 0.0
        self._live = live.Live(refresh_per_second=10, auto_refresh=False)
        self._live.start()

    def show(self, record: Dict[str, Any], counts: Dict[str, int]) -> None:
        self._scores.append(record["score"])
        now = time.monotonic()
        if now - self._drawn >= _REFRESH_S or record["raised"]:
            self._drawn = now
            self._live.update(self._panel(record, counts), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def _panel(self, record: Dict[str, Any], counts: Dict[str, int]) -> Any:
        from rich import panel, text

        state, style = ("INVALID FRAME", "bold yellow") if record["invalid"] else (
            ("ALARM", "bold white on red") if record["alarm"] else ("in-distribution", "bold green"))
        lines = text.Text()
        lines.append(f"{state}\n", style)
        threshold = "never" if self._threshold is None else f"{self._threshold:.4g}"
        lines.append(f"score      {record['score']:>10.4g}  alarm above {threshold}  {sparkline(self._scores)}\n")
        lines.append(f"p-value    {record['p_value']:>10.3g}  ln M {record['log_martingale']:.3g}  "
                     f"partition {record['partition']}\n")
        stages = "  ".join(f"{stage} {record[stage + '_ms']:.3g}" for stage in _STAGES)
        lines.append(f"latency ms {record['latency_ms']:>10.3g}  {stages}\n")
        lines.append("  ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items()))
        for row in heat(record.get("map") or []):
            lines.append("\n")
            for style in row:
                lines.append("   ", style)
        return panel.Panel(lines, title=text.Text(self._title), subtitle=text.Text(record["name"]))


def heat(cells: Any) -> List[List[str]]:
    """Returns each cell's style, red on black, of a map of −ln p [h][w]; from what is ordinary on it is darkest."""
    shades = [[min(max(value - _ORDINARY, 0.0) / (_GLARING - _ORDINARY), 1.0) for value in row] for row in cells]
    return [[f"on #{int(round(40 + 215 * shade)):02x}2828" for shade in row] for row in shades]


def sparkline(values: Any) -> str:
    """A bar a value, from the least to the greatest of them."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[int((value - low) / step)] if math.isfinite(value) else "!" for value in values)


def make(kind: str, title: str, threshold: Optional[float]) -> Plain:
    """The view: "rich", "plain", "none", or "auto": Rich where stdout is a terminal and it is installed.

    Raises:
      ValueError: if Rich was asked for and is not installed.
    """
    if kind == "none":
        return Silent()
    if kind == "plain" or (kind == "auto" and not sys.stdout.isatty()):
        return Plain()
    try:
        return Rich(title, threshold)
    except ImportError:
        if kind == "rich":
            raise ValueError("the terminal view needs Rich: pip install 'leanood[video]'") from None
        return Plain()
