"""This process's memory, as Linux tells it."""
from __future__ import annotations

from typing import Optional


def taken_bytes(which: str = "VmRSS") -> Optional[int]:
    """Resident memory now ("VmRSS") or at its peak ("VmHWM"), or all address space ("VmSize"); None without /proc."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(which + ":"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def forget_peak() -> None:
    """Lets the peak begin anew, at what is resident now, where the kernel allows it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass
