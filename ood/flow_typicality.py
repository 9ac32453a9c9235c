"""The default nonconformity of motion: two-sided typicality of latents and of the flow's own statistics, fused.

Three channels, each a squared Mahalanobis distance to what training stacks look like:
  scene: latents (μ and ln σ² of both directions) and, of each cell of the picture (the output `motion`), mean flow,
    unevenness and change, in one Gaussian; logarithms, so that too little motion counts like too much;
  pace: mean flow, unevenness and change in three bands of the picture, and how much the whole jolts;
  course: the steps of the picture's median flow from each flow to the next, in their order. A car has inertia, so that
    one step foretells the next; a camera that shakes steps to and fro. What matters is which steps follow each other,
    not how far they go: a bump in the road goes further than a camera that shakes;
and a fourth, calm: −ln of the distance of `course`. Steps are centred at none at all, so that motion that is too even
(a slow playback, a camera that hangs) lies nearer to the mean than driving ever does.
The latents' signs matter: a road that comes and one that goes away have the same KL. Each channel becomes evidence
−ln p through its own in-distribution tail (`tail`), measured by cross-fitting; evidence is fused by the weighted
minimum p-value, as in `typicality`.
"""
from __future__ import annotations

import math
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np

from leanood.ood import flow_kl, gaussian, nonconformity, tail
from leanood.ood.nonconformity import Variants

SCENE, PACE, COURSE, CALM, LATENT, FIELD = "scene", "pace", "course", "calm", "latent", "field"
WEIGHTS = {SCENE: 0.4, PACE: 0.25, COURSE: 0.25, CALM: 0.1}
CHANNELS = tuple(WEIGHTS)
ABLATIONS = (LATENT, FIELD)  # the two halves of `scene`, each as a channel of its own
MOTION = "motion"
_GRID = (2, 6, 4)  # directions, rows and columns of cells in the output `motion`
_BANDS = 3
_CELLS = 48
_COURSES = 3 * _CELLS + 2  # where the single flows' means begin
_FLOOR = 1e-3  # of twice the flow's reach: below it nothing moves
_STEP = 0.01  # likewise: far larger steps of the median flow count by their logarithm
_NEAREST = 1e-9  # a squared distance; nearer to the mean is no calmer
_FOLDS = 5


class FlowTypicality(nonconformity.Nonconformity):
    """α = max over channels of −ln p + ln w, one column, on `flow_kl.OUTPUTS` [N, Z] and `motion` [N, 146 + 48·n].

    Args:
      channels: which of CHANNELS and ABLATIONS to use.
    """

    name = "flow"
    partitions = ("all",)
    extrapolates = True
    share = 8  # with a sixteenth, a shaking camera alarms less often

    def __init__(self, channels: Tuple[str, ...] = CHANNELS):
        known = CHANNELS + ABLATIONS
        unknown = [channel for channel in channels if channel not in known]
        if unknown or not channels:
            raise ValueError(f"flow has the channels {', '.join(known)}, not {', '.join(unknown) or 'none'}")
        self.channels = tuple(channel for channel in known if channel in channels)
        self.inputs = flow_kl.OUTPUTS if {SCENE, LATENT} & set(channels) else ()
        self.inputs += (MOTION,) if set(channels) != {LATENT} else ()
        self._gaussians: Dict[str, gaussian.Gaussian] = {}
        self._tails: Dict[str, tail.Tail] = {}

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[Variants] = None) -> FlowTypicality:
        missing = [name for name in self.inputs if name not in outputs]
        if missing:
            raise ValueError(f"the detector 'flow' reads the output {missing[0]!r}, which the network lacks; convert "
                             "a run of leanood train --model=flow_vae, or choose --detector=flow-kl")
        features, origin = self._features(outputs), np.arange(len(outputs[self.inputs[0]]))
        varied = {} if variants is None else self._features(variants.outputs)
        held_out: Dict[str, List[np.ndarray]] = {channel: [] for channel in self.channels}
        # Whole stretches are held out, with their variants: neighbouring stacks share flows.
        for fold in np.array_split(origin, min(_FOLDS, len(origin))):
            rest = np.ones(len(origin), bool)
            rest[fold] = False
            for channel, values in features.items():
                fitted = _fit(values, varied.get(channel), variants, rest)
                held_out[channel].append(_distances(channel, fitted, values[fold]))
                if variants is not None:
                    held_out[channel].append(_distances(channel, fitted, varied[channel][~rest[variants.origin]]))
        self._tails = {channel: tail.Tail.fit(np.concatenate(distances)) for channel, distances in held_out.items()}
        everything = np.ones(len(origin), bool)
        self._gaussians = {channel: _fit(values, varied.get(channel), variants, everything)
                           for channel, values in features.items()}
        return self

    def evidence(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> Dict[str, np.ndarray]:
        """Returns each channel's weighted evidence −ln p + ln w, float64 [N]: what α is the maximum of."""
        return {channel: (self._tails[channel].log_p(_distances(channel, self._gaussians[channel], values))
                          + _LOG_WEIGHTS[channel])
                for channel, values in self._features(outputs).items()}

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        return np.max(list(self.evidence(outputs).values()), axis=0)[:, np.newaxis]

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        rows = {name: np.reshape(outputs[name], (1, -1)) for name in self.inputs}
        most = -math.inf
        for channel, values in self._features(rows).items():
            distance = float(_distances(channel, self._gaussians[channel], values)[0])
            most = max(most, self._tails[channel].log_p_scalar(distance) + _LOG_WEIGHTS[channel])
        return [most]

    def _features(self, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns each channel's features, float64 [N, F]."""
        latent = field = np.empty((len(outputs[self.inputs[0]]), 0))
        features: Dict[str, np.ndarray] = {}
        if flow_kl.OUTPUTS[0] in self.inputs:
            latent = np.concatenate([np.asarray(outputs[name], np.float64) for name in flow_kl.OUTPUTS], axis=1)
        if MOTION in self.inputs:
            motion = np.asarray(outputs[MOTION], np.float64)
            features[PACE] = _pace(motion)
            features[COURSE] = features[CALM] = _steps(motion)
            spread = np.log(np.maximum(motion[:, _CELLS:3 * _CELLS], 0.0) + _FLOOR)
            field = np.concatenate([motion[:, :_CELLS], spread, features[PACE][:, 2 * _BANDS:]], axis=1)
        features.update({SCENE: np.concatenate([field, latent], axis=1), LATENT: latent, FIELD: field})
        return {channel: features[channel] for channel in self.channels}

    def to_arrays(self) -> Dict[str, np.ndarray]:
        arrays = {"channels": np.array(self.channels)}
        for kind, parts in (("gaussian", self._gaussians), ("tail", self._tails)):
            for channel, part in parts.items():
                arrays.update({f"{kind}.{channel}.{name}": array for name, array in part.to_arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> FlowTypicality:
        channels = tuple(np.asarray(arrays["channels"]).tolist())
        if not set(channels) <= {*CHANNELS, *ABLATIONS}:
            raise ValueError(f"the detector was calibrated with the channels {', '.join(channels)}, this version has "
                             f"{', '.join(CHANNELS)}: calibrate it again")
        measure = cls(channels)

        def part(kind: str, channel: str) -> Dict[str, np.ndarray]:
            prefix = f"{kind}.{channel}."
            return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}

        measure._gaussians = {channel: gaussian.Gaussian.from_arrays(part("gaussian", channel))
                              for channel in measure.channels}
        measure._tails = {channel: tail.Tail.from_arrays(part("tail", channel)) for channel in measure.channels}
        return measure


_LOG_WEIGHTS = {channel: math.log(WEIGHTS.get(channel, WEIGHTS[SCENE])) for channel in CHANNELS + ABLATIONS}


def _fit(values: np.ndarray, varied: Optional[np.ndarray], variants: Optional[Variants],
         chosen: np.ndarray) -> gaussian.Gaussian:
    """Returns the Gaussian of the chosen stacks' features, widened by what their benign variants change."""
    if varied is None or variants is None:
        return gaussian.Gaussian.fit(values[chosen])
    of_chosen = chosen[variants.origin]
    return gaussian.Gaussian.fit(values[chosen], varied[of_chosen] - values[variants.origin[of_chosen]],
                                 lasting=True)


def _distances(channel: str, fitted: gaussian.Gaussian, values: np.ndarray) -> np.ndarray:
    """Returns how far a channel's features lie from typical, float64 [N]; of CALM how near they lie to the mean."""
    distances = fitted.distances(values)
    return -np.log(np.maximum(distances, _NEAREST)) if channel == CALM else distances


def _pace(motion: np.ndarray) -> np.ndarray:
    """Mean flow, ln spread, ln change of each direction in three bands, ln jolt of each direction: float64 [N, 20]."""
    mean, spread, change = (
        motion[:, begin:begin + _CELLS].reshape(len(motion), _GRID[0] * _BANDS, -1)
        for begin in (0, _CELLS, 2 * _CELLS))
    average = mean.mean(axis=2)
    within = np.sqrt(np.maximum((spread * spread + mean * mean).mean(axis=2) - average * average, 0.0))
    jolt = motion[:, 3 * _CELLS:_COURSES]
    logarithms = np.log(np.maximum(np.concatenate([within, change.mean(axis=2), jolt], axis=1), 0.0) + _FLOOR)
    return np.concatenate([average, logarithms], axis=1)


def _steps(motion: np.ndarray) -> np.ndarray:
    """Steps of each direction's median flow from each flow to the next, large ones compressed: float64 [N, 2 (n − 1)].

    arsinh(step / _STEP): of the order of a flow's error as it is, beyond that its logarithm, so that the few great
    jolts of a rough road don't make the covariance theirs.
    """
    courses = motion[:, _COURSES:].reshape(len(motion), _GRID[0], _CELLS // _GRID[0], -1)
    return np.arcsinh(np.diff(np.median(courses, axis=2), axis=2) / _STEP).reshape(len(motion), -1)
