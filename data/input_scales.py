"""What a network was trained to see: each scale takes a frame in [0, 1] to the network's input, x · factor + offset."""
from __future__ import annotations

from typing import Dict, Tuple

SCALES: Dict[str, Tuple[float, float]] = {"unit": (1.0, 0.0), "signed": (2.0, -1.0), "bytes": (255.0, 0.0)}


def of_bytes(scale: str) -> Tuple[float, float]:
    """Returns (factor, offset) from a uint8 frame to the input of a network of that scale, one of `SCALES`."""
    factor, offset = SCALES[scale]
    return factor / 255.0, offset
