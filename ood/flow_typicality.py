"""The default nonconformity of motion: two-sided typicality of latents and of the flow's own statistics, fused.

Four channels, each a squared Mahalanobis distance to what training stacks look like, so that too little motion counts
like too much:
  horizontal, vertical: ln KL_i over the latents of one direction's encoder;
  field: mean flow, unevenness and change in each cell of the picture (the output `motion`);
  pace: the same in three bands of the picture, and how much the whole jolts.
Each becomes evidence −ln p through its own in-distribution tail (`tail`), measured by cross-fitting; evidence is fused
by the weighted minimum p-value, as in `typicality`.
"""
from __future__ import annotations

import math
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from leanood.ood import flow_kl, gaussian, kl, nonconformity, tail
from leanood.ood.nonconformity import Variants

HORIZONTAL, VERTICAL, FIELD, PACE = "horizontal", "vertical", "field", "pace"
WEIGHTS = {HORIZONTAL: 0.2, VERTICAL: 0.2, FIELD: 0.3, PACE: 0.3}
CHANNELS = tuple(WEIGHTS)
MOTION = "motion"
_GRID = (2, 6, 4)  # directions, rows and columns of cells in the output `motion`
_BANDS = 3
_CELLS = 48
_FLOOR = 1e-3  # of twice the flow's reach: below it nothing moves
_KL_FLOOR = 1e-3  # nats: below it a latent says nothing
_FOLDS = 5


class FlowTypicality(nonconformity.Nonconformity):
    """α = max over channels of −ln p + ln w, one column, on `flow_kl.OUTPUTS` [N, Z] and `motion` [N, 146].

    Args:
      channels: which of CHANNELS to use (for ablations).
    """

    name = "flow"
    partitions = ("all",)
    extrapolates = True

    def __init__(self, channels: Tuple[str, ...] = CHANNELS):
        unknown = [channel for channel in channels if channel not in CHANNELS]
        if unknown or not channels:
            raise ValueError(f"flow has the channels {', '.join(CHANNELS)}, not {', '.join(unknown) or 'none'}")
        self.channels = tuple(channel for channel in CHANNELS if channel in channels)
        self.inputs = tuple(name for channel, direction in zip((HORIZONTAL, VERTICAL), flow_kl.DIRECTIONS)
                            if channel in channels for name in (f"mu_{direction}", f"logvar_{direction}"))
        self.inputs += (MOTION,) if {FIELD, PACE} & set(channels) else ()
        self._gaussians: Dict[str, gaussian.Gaussian] = {}
        self._tails: Dict[str, tail.Tail] = {}

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[Variants] = None) -> FlowTypicality:
        missing = [name for name in self.inputs if name not in outputs]
        if missing:
            raise ValueError(f"the detector 'flow' reads the output {missing[0]!r}, which the network lacks; convert "
                             "a run of leanood train --model=flow_vae, or choose --detector=flow-kl")
        features = self._features(outputs)
        count = len(outputs[self.inputs[0]])
        held_out = {channel: np.empty(count) for channel in self.channels}
        # Whole stretches are held out: neighbouring stacks share flows.
        for fold in np.array_split(np.arange(count), min(_FOLDS, count)):
            rest = np.ones(count, bool)
            rest[fold] = False
            for channel in self.channels:
                held_out[channel][fold] = gaussian.Gaussian.fit(features[channel][rest]).distances(
                    features[channel][fold])
        self._tails = {channel: tail.Tail.fit(distances) for channel, distances in held_out.items()}
        self._gaussians = {channel: gaussian.Gaussian.fit(features[channel]) for channel in self.channels}
        return self

    def evidence(self, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns each channel's weighted evidence −ln p + ln w, float64 [N]: what α is the maximum of."""
        return {channel: self._tails[channel].log_p(self._gaussians[channel].distances(values)) + _LOG_WEIGHTS[channel]
                for channel, values in self._features(outputs).items()}

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        return np.max(list(self.evidence(outputs).values()), axis=0)[:, np.newaxis]

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        rows = {name: np.reshape(outputs[name], (1, -1)) for name in self.inputs}
        most = -math.inf
        for channel, values in self._features(rows).items():
            distance = float(self._gaussians[channel].distances(values)[0])
            most = max(most, self._tails[channel].log_p_one(distance) + _LOG_WEIGHTS[channel])
        return [most]

    def _features(self, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns each channel's features, float64 [N, F]."""
        found = {}
        for channel, direction in zip((HORIZONTAL, VERTICAL), flow_kl.DIRECTIONS):
            if channel in self.channels:
                found[channel] = np.log(kl.per_latent(outputs[f"mu_{direction}"], outputs[f"logvar_{direction}"])
                                        + _KL_FLOOR)
        if MOTION in self.inputs:
            motion = np.asarray(outputs[MOTION], np.float64)
            if FIELD in self.channels:
                logarithms = np.log(motion[:, _CELLS:3 * _CELLS] + _FLOOR)
                found[FIELD] = np.concatenate([motion[:, :_CELLS], logarithms], axis=1)
            if PACE in self.channels:
                found[PACE] = _pace(motion)
        return found

    def to_arrays(self) -> Dict[str, np.ndarray]:
        arrays = {"channels": np.array(self.channels)}
        for kind, parts in (("gaussian", self._gaussians), ("tail", self._tails)):
            for channel, part in parts.items():
                arrays.update({f"{kind}.{channel}.{name}": array for name, array in part.to_arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FlowTypicality:
        found = cls(tuple(np.asarray(arrays["channels"]).tolist()))

        def part(kind: str, channel: str) -> Dict[str, np.ndarray]:
            prefix = f"{kind}.{channel}."
            return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}

        found._gaussians = {channel: gaussian.Gaussian.from_arrays(part("gaussian", channel))
                            for channel in found.channels}
        found._tails = {channel: tail.Tail.from_arrays(part("tail", channel)) for channel in found.channels}
        return found


_LOG_WEIGHTS = {channel: math.log(weight) for channel, weight in WEIGHTS.items()}


def _pace(motion: np.ndarray) -> np.ndarray:
    """Mean flow, ln spread, ln change of each direction in three bands, ln jolt of each direction: float64 [N, 20]."""
    mean, spread, change = (
        motion[:, begin:begin + _CELLS].reshape(len(motion), _GRID[0] * _BANDS, -1)
        for begin in (0, _CELLS, 2 * _CELLS))
    average = mean.mean(axis=2)
    within = np.sqrt(np.maximum((spread * spread + mean * mean).mean(axis=2) - average * average, 0.0))
    logarithms = np.log(np.concatenate([within, change.mean(axis=2), motion[:, 3 * _CELLS:]], axis=1) + _FLOOR)
    return np.concatenate([average, logarithms], axis=1)
