"""Energy meters that boards have: RAPL counters on a PC, the INA3221's power rails on a Jetson.

Both measure the whole package or board, not this process alone.
"""
from __future__ import annotations

import glob
import os
import threading
import time
from typing import List, NamedTuple, Optional, Tuple

_SAMPLE_S = 0.02


class Reading(NamedTuple):
    """Energy over some time."""

    joules: float
    seconds: float
    source: str


class Rapl:
    """Intel's and AMD's running average power limit: counters of microjoules (Linux powercap)."""

    def __init__(self, zones: List[str]) -> None:
        self._zones = zones
        self._limits = [_number(os.path.join(zone, "max_energy_range_uj")) or 0.0 for zone in zones]
        self._before: List[float] = []
        self._start = 0.0

    def start(self) -> None:
        self._before = [_number(os.path.join(zone, "energy_uj")) or 0.0 for zone in self._zones]
        self._start = time.perf_counter()

    def stop(self) -> Reading:
        seconds = time.perf_counter() - self._start
        microjoules = 0.0
        for zone, before, limit in zip(self._zones, self._before, self._limits):
            spent = (_number(os.path.join(zone, "energy_uj")) or 0.0) - before
            microjoules += spent + limit if spent < 0 else spent  # the counter wrapped around
        return Reading(microjoules * 1e-6, seconds, "RAPL packages")


class Ina:
    """A Jetson's INA3221: the power of its input rail, sampled and integrated."""

    def __init__(self, power: List[Tuple[str, str]]) -> None:
        self._power = power  # files of (millivolts, milliamperes), or of (milliwatts, "")
        self._stop = threading.Event()
        self._thread: Optional[threading.Thread] = None
        self._joules = self._start = self._last = self._power_then = 0.0

    def start(self) -> None:
        self._stop.clear()
        self._joules, self._power_then = 0.0, self._watts()
        self._start = self._last = time.perf_counter()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> Reading:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return Reading(self._joules, self._last - self._start, "INA3221 input rail")

    def _sample(self) -> None:
        stopped = False
        while not stopped:
            stopped = self._stop.wait(_SAMPLE_S)
            watts, now = self._watts(), time.perf_counter()
            self._joules += 0.5 * (self._power_then + watts) * (now - self._last)  # trapezoids
            self._power_then, self._last = watts, now

    def _watts(self) -> float:
        total = 0.0
        for first, second in self._power:
            value = _number(first) or 0.0
            total += value * 1e-3 if not second else value * (_number(second) or 0.0) * 1e-6
        return total


def meter(root: str = "/") -> Optional[object]:
    """The board's meter (`start()`, `stop() -> Reading`), or None where it has none that may be read."""
    rails = _rails(root)
    if rails:
        return Ina(rails)
    zones = [zone for zone in sorted(glob.glob(os.path.join(root, "sys/class/powercap/intel-rapl:*")))
             if os.path.basename(zone).count(":") == 1  # packages; their parts would be counted twice
             and _number(os.path.join(zone, "energy_uj")) is not None]
    return Rapl(zones) if zones else None


def _rails(root: str) -> List[Tuple[str, str]]:
    """The input rail's files: JetPack 4's in_power (milliwatts), or JetPack 5's volts and amperes."""
    drivers = os.path.join(root, "sys/bus/i2c/drivers")
    for name in sorted(glob.glob(os.path.join(drivers, "ina3221x/*/iio:device*/rail_name_*"))):
        power = name.replace("rail_name_", "in_power") + "_input"
        if _is_input(name) and _number(power) is not None:
            return [(power, "")]
    for name in sorted(glob.glob(os.path.join(drivers, "ina3221/*/hwmon/hwmon*/in*_label"))):
        volts = name.replace("_label", "_input")
        amperes = os.path.join(os.path.dirname(name), os.path.basename(volts).replace("in", "curr", 1))
        if _is_input(name) and _number(volts) is not None and _number(amperes) is not None:
            return [(volts, amperes)]
    return []


def _is_input(name_file: str) -> bool:
    """True for the rail that feeds the board: POM_5V_IN on a Nano, VDD_IN on an Orin."""
    try:
        with open(name_file, encoding="ascii", errors="replace") as file:
            return file.read().strip().upper().endswith("_IN")
    except OSError:
        return False


def _number(path: str) -> Optional[float]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return float(file.read())
    except (OSError, ValueError):
        return None
