"""leanood: out-of-distribution detectors compressed for the Jetson, judged by what they still detect."""
from __future__ import annotations

__version__ = "0.1.0"
