"""The oracle: thresholds that know the test, to tell what a calibration that doesn't know it loses. Host only.

Of all thresholds that raise no more false alarms in the untouched test driving than were raised, the lowest. What share
of an oracle's hits a calibrated detector reaches says whether its thresholds or its ranking hold it back.
"""
from __future__ import annotations

import numpy as np

from leanood.ood import events


def thresholds(scaled: np.ndarray, starts: np.ndarray, allowed: int) -> np.ndarray:
    """Returns τ [S] just above what each scale reached, all lowered alike until more than `allowed` alarms are raised.

    Args:
      scaled: the evidence at each scale (or the score) on in-distribution test driving, [S, N], finite.
      starts: bool [N], true on the first frame of each sequence.
      allowed: false alarms that were raised there by the thresholds to compare with.
    """
    scaled = np.asarray(scaled, np.float64)
    if scaled.ndim != 2 or scaled.shape[1] != len(starts) or not scaled.size or not np.isfinite(scaled).all():
        raise ValueError(f"finite evidence [S, N] is needed, not {list(scaled.shape)} for {len(starts)} frames")
    highest = scaled.max(axis=1)
    low = scaled.min(axis=1)
    spread = np.maximum(highest - low, 1e-12)
    units = ((scaled - low[:, np.newaxis]) / spread[:, np.newaxis]).max(axis=0)  # in [0, 1]: 1 is the highest
    level = 1.0
    for lower in np.unique(units)[::-1]:
        if int(events.crossings(units > lower, starts).sum()) > allowed:
            break
        level = float(lower)
    return low + spread * level * (1 + 1e-9)  # above, whatever rounding does
