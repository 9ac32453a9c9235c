"""The default nonconformity: two-sided typicality of early statistics, latents and change, fused by their p-values.

Four channels, each a squared distance to what training frames look like, so that too little counts like too much:
  early: Mahalanobis distance of the first layer's pooled statistics and their logarithms, since light multiplies, and,
    where the network has the output `features`, of these in the same Gaussian, since what is odd together is odd;
  latent: Mahalanobis distance of ln KL_i over the latents (two-sided typicality of the per-latent KL);
  change: how far the early statistics moved since the previous frame (a frozen camera moves too little);
  local: where the network has the output `local`, a map, the largest distance of its cells (something small is odd).
What benign variants of the training frames move (codecs, noise of a grey level, a shift by a pixel) widens the
Gaussians in that direction, so that it counts for little (`gaussian.Gaussian.fit`), of images the more the less
they differ by themselves (`gaussian.silencing`).
Each becomes evidence −ln p through its own in-distribution tail (`tail`), measured by cross-fitting. Evidence is fused
by the weighted minimum p-value, α = max_c(−ln p_c + ln w_c), Σ w_c ≤ 1, which is −ln of a valid p-value for whatever
dependence there is between the channels (weighted Bonferroni: Genovese, Roeder & Wasserman, Biometrika 93 (2006)
509-524). Typicality as the two-sided alternative to likelihood: Nalisnick et al., arXiv 1906.02994; KL as the latent
nonconformity: Ramakrishna et al., arXiv 2108.11800; early layers for OOD: Lee et al., arXiv 1807.03888, section 2.3.
"""
from __future__ import annotations

import math
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from leanood.ood import gaussian, kl, local, nonconformity, tail

EARLY, LATENT, CHANGE, LOCAL = "early", "latent", "change", "local"
WEIGHTS = {EARLY: 0.7, LATENT: 0.2, CHANGE: 0.1, LOCAL: 0.05}  # of latents and a map a network has one
CHANNELS = tuple(WEIGHTS)
FEATURES = "features"
_MAGNITUDES = 28  # leading columns of `early` that are magnitudes; what follows are logarithms and their deviations
_FLOOR = 1e-4  # a fortieth of a grey level: below it a statistic is zero but for rounding
_KL_FLOOR = 1e-3  # nats: below it a latent says nothing
_CHANGE_FLOOR = 1e-6  # of the mean change in ln: exactly equal frames are that far, not infinitely far
_FOLDS = 5


class _Fitted(NamedTuple):
    """Frames to fit on, or their variants."""

    features: Dict[str, np.ndarray]  # by channel
    first: np.ndarray  # bool: begins a sequence
    origin: np.ndarray  # int: which frame it is, or is a variant of
    partition: Optional[np.ndarray] = None  # str, where partitions have means of their own


class _Row:
    """What the Gaussians are of, of one frame, in memory that is used again: `values` float32 […] and views of it.

    Args:
      widths: columns of early, of features, of early's logarithms, of latents.
    """

    def __init__(self, widths: Tuple[int, int, int, int]):
        early, deep, magnitudes, latents = widths
        self.values, self.zeros = np.zeros(sum(widths), np.float32), np.zeros(magnitudes, np.float32)
        self.early, self.deep = self.values[:early], self.values[early:early + deep]
        self.magnitudes, self.logarithmic = self.values[:magnitudes], self.values[early + deep:]
        self.logarithms, self.latents = self.logarithmic[:magnitudes], self.logarithmic[magnitudes:]


class Typicality(nonconformity.Nonconformity):
    """α = max over channels of −ln p + ln w, one column, on `early` [N, E], `features` [N, F], `mu`, `logvar` [N, Z]
    and `local` [N, h, w, C].

    Args:
      channels: which of CHANNELS to use (for ablations); "change" needs sequences, "latent" a network with latents,
        "local" one with a map; they are left out without them.
      features: whether to read the network's `features` where it has them (for ablations).
      bank: whether to read the filter bank's statistics, `early` (for ablations); without, "change" is left out.
      by_partition: whether partitions, subsets of the frames, have means of their own; their covariance is one.
    """

    name = "typicality"
    extrapolates = True

    def __init__(self, channels: Tuple[str, ...] = CHANNELS, *, features: bool = True, bank: bool = True,
                 by_partition: bool = False):
        unknown = [channel for channel in channels if channel not in CHANNELS]
        if unknown or not channels:
            raise ValueError(f"typicality has the channels {', '.join(CHANNELS)}, not {', '.join(unknown) or 'none'}")
        self._reads_features, self._reads_bank, self._by_partition = features, bank, by_partition
        self._use(tuple(channel for channel in CHANNELS if channel in channels and (bank or channel != CHANGE)))
        self.partitions = ("all",)
        self._gaussians: Dict[str, gaussian.Gaussian] = {}
        self._local: Optional[local.LocalGaussian] = None
        self._cells = np.zeros(0)  # the last frame's distances, by cell
        self._tails: Dict[str, tail.Tail] = {}
        self._widths = (0, 0, 0, 0)  # columns of early, of features, of early's logarithms, of latents
        self._pace = (0.0, 1.0)  # mean and standard deviation of the ln of the change between consecutive frames

    def _use(self, channels: Tuple[str, ...], features: bool = False) -> None:
        self.channels = channels
        self.inputs = (((EARLY,) if self._reads_bank and set(channels) - {LATENT, LOCAL} else ())
                       + ((FEATURES,) if EARLY in channels and features else ())
                       + (("mu", "logvar") if LATENT in channels else ()) + ((LOCAL,) if LOCAL in channels else ()))

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None,
            variants: Optional[nonconformity.Variants] = None) -> Typicality:
        channels, self.warnings = self.channels, ()
        for channel, output in ((LATENT, "mu"), (LOCAL, LOCAL)):
            if output not in outputs and len(channels) > 1:  # a network without latents, or a map
                channels = tuple(other for other in channels if other != channel)
        self._use(channels, self._reads_features and FEATURES in outputs)
        missing = [name for name in self.inputs if name not in outputs]
        if missing:
            raise ValueError(f"the detector 'typicality' reads the output {missing[0]!r}, which the network lacks; "
                             "convert it with leanood convert, or choose --detector=kl-topk")
        first = np.ones(len(outputs[self.inputs[0]]), bool) if starts is None else np.asarray(starts, bool)
        if first.all() and CHANGE in self.channels:
            self._use(tuple(channel for channel in self.channels if channel != CHANGE), FEATURES in self.inputs)
            self.warnings += ("unordered images: nothing is known of the change from frame to frame",)
        if not self.channels:
            raise ValueError("the channel 'change' needs sequences, and the training frames are unordered images")
        early, deep, latents = (np.shape(outputs[name])[1] if name in self.inputs else 0
                                for name in (EARLY, FEATURES, "mu"))
        self._widths = (early, deep, min(early, _MAGNITUDES), latents)
        frames = _Fitted(self._columns(outputs), first, np.arange(len(first)),
                         partition if self._by_partition else None)
        varied = None if variants is None else _Fitted(
            self._columns(variants.outputs), np.ones(len(variants.origin), bool) if variants.starts is None
            else np.asarray(variants.starts, bool), np.asarray(variants.origin))
        judged = [part for part in (frames, varied) if part is not None]
        held_out: Dict[str, List[np.ndarray]] = {channel: [] for channel in self.channels}
        # Whole stretches are held out, with their variants: neighbouring frames look alike, random folds would flatter.
        folds = np.array_split(np.arange(len(first)), min(_FOLDS, len(first)))
        rests = [np.isin(np.arange(len(first)), fold, invert=True) for fold in folds]
        fits = [self._unwidened(frames, varied, rest) for rest in rests]
        strength = {channel: self._strength(channel, fits, frames, varied, rests) for channel in fits[0]}
        for rest, fit in zip(rests, fits):
            self._fit(frames, varied, rest, fit, strength)
            for part in judged:
                for channel, distance in self._distances(part.features, part.first).items():
                    unseen = ~rest[part.origin] & (~part.first if channel == CHANGE else True)
                    held_out[channel].append(distance[unseen])
        self._tails = {channel: tail.Tail.fit(np.concatenate(distances)) for channel, distances in held_out.items()}
        everything = np.ones(len(first), bool)
        self._fit(frames, varied, everything, self._unwidened(frames, varied, everything), strength)
        most = max(strength.values(), default=1.0)
        if most > 1:
            self.warnings += ("training frames differ less than a codec or a little noise would change them: what "
                              f"these move is overlooked {most:g} times as much as usual, and faint OOD with it",)
        self._compile()
        return self

    def _unwidened(self, frames: _Fitted, varied: Optional[_Fitted],
                   chosen: np.ndarray) -> Dict[str, gaussian.Unwidened]:
        """Returns the channels' Gaussians of the chosen frames, bool [N], and what their variants change."""
        partition = None if frames.partition is None else np.asarray(frames.partition)[chosen]
        return {channel: gaussian.Unwidened.fit(frames.features[channel][chosen],
                                                _spread(frames, varied, chosen, channel), partition,
                                                lasting=not frames.first.all())
                for channel in self.channels if channel not in (CHANGE, LOCAL)}

    def _strength(self, channel: str, fits: List[Dict[str, gaussian.Unwidened]], frames: _Fitted,
                  varied: Optional[_Fitted], rests: List[np.ndarray]) -> float:
        """Returns how many times the usual a channel's Gaussian is widened: `gaussian.silencing`.

        Of driving once: there variants have their say in the thresholds (`scale_thresholds`), of images not.
        """
        if varied is None or not frames.first.all():
            return 1.0
        return gaussian.silencing([fit[channel] for fit in fits], [frames.features[channel][~rest] for rest in rests],
                                  [varied.features[channel][~rest[varied.origin]] for rest in rests])

    def _fit(self, frames: _Fitted, varied: Optional[_Fitted], chosen: np.ndarray,
             fits: Dict[str, gaussian.Unwidened], strength: Dict[str, float]) -> None:
        """Fits the chosen frames, bool [N], and what their variants change; `fits`: of `_unwidened`."""
        self._gaussians = {channel: fit.widened(strength[channel]) for channel, fit in fits.items()}
        if LOCAL in self.channels:
            maps = frames.features[LOCAL]
            self._local = local.LocalGaussian.fit(
                maps[local.some(np.flatnonzero(chosen))], _spread(frames, varied, chosen, LOCAL, local.some),
                lasting=not frames.first.all())
        if CHANGE in self.channels:
            paces = [self._moved(frames.features[EARLY], frames.first)[chosen & ~frames.first]]
            if varied is not None:
                paces.append(self._moved(varied.features[EARLY], varied.first)[chosen[varied.origin] & ~varied.first])
            pace = np.concatenate(paces)
            if len(pace) < 2:
                raise ValueError("too few consecutive training frames to tell the change between them; give more")
            self._pace = (float(pace.mean()), max(float(pace.std()), 1e-3))

    def _compile(self) -> None:
        """Lays the channels' Gaussians side by side in one matrix, for `score_frame`.

        It multiplies what is left of a frame once a mean is subtracted, and a last column of ones what that leaves of
        the offsets: so float32 is enough, at half the time. α agrees with `score`'s to 1e-4 nats, or 1e-4 of itself.
        """
        early, deep, magnitudes, latents = self._widths
        self._row, self._before = _Row(self._widths), _Row(self._widths)
        width = len(self._row.values)
        begins = {EARLY: 0, LATENT: early + deep + magnitudes}
        ends = np.cumsum([0] + [fitted.offset.shape[-1] for fitted in self._gaussians.values()])
        matrix, self._centre = np.zeros((width + 1, ends[-1])), np.zeros(width, np.float32)
        further = [np.empty((1, 0))]  # by how much the partitions' offsets are further than the first's, [K, …]
        for begin, (channel, fitted) in zip(ends, self._gaussians.items()):
            row, count = begins[channel], fitted.offset.shape[-1]
            offsets = np.atleast_2d(fitted.offset)
            self._centre[row:row + count] = centre = fitted.centre().astype(np.float32)
            matrix[row:row + count, begin:begin + count] = fitted.whitening
            matrix[-1, begin:begin + count] = centre.astype(np.float64) @ fitted.whitening - offsets[0]
            further.append(offsets - offsets[0])
        self._matrix, self._rest = matrix.astype(np.float32), np.ones(width + 1, np.float32)
        self._left = self._rest[:-1]
        apart = np.concatenate(further[1:] or further, axis=1)
        self._white = np.empty(ends[-1], np.float32)
        self._moves = np.empty(magnitudes, np.float32)
        self._share = np.full(magnitudes, 1 / max(1, magnitudes), np.float32)
        self._floors = np.repeat(np.array([_FLOOR, _KL_FLOOR], np.float32), [magnitudes, latents])
        self._parts = [(self._white[begin:end], apart[:, begin:end], self._tails[channel], _LOG_WEIGHTS[channel])
                       for begin, end, channel in zip(ends, ends[1:], self._gaussians)]

    def _columns(self, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns what the Gaussians are of, [N, …]: early, features and early's logarithms; latents; the map."""
        columns = {}
        if EARLY in self.inputs:
            columns[EARLY] = joined(outputs[EARLY], outputs[FEATURES] if FEATURES in self.inputs else None)
        elif FEATURES in self.inputs:
            columns[EARLY] = np.asarray(outputs[FEATURES], np.float64)
        if LATENT in self.channels:
            columns[LATENT] = np.log(kl.per_latent(outputs["mu"], outputs["logvar"]) + _KL_FLOOR)
        if LOCAL in self.channels:
            columns[LOCAL] = np.asarray(outputs[LOCAL])
        return columns

    def _moved(self, early: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Returns ln of the mean absolute change of early's logarithms from the frame before, float64 [N]."""
        moved = np.zeros(len(early))
        moved[1:] = np.abs(np.diff(early[:, early.shape[1] - self._widths[2]:], axis=0)).mean(axis=1)
        return np.log(moved + _CHANGE_FLOOR)

    def _distances(self, features: Dict[str, np.ndarray], first: np.ndarray) -> Dict[str, np.ndarray]:
        """Returns each channel's squared distance, float64 [N]; where a sequence begins, the change's is 0."""
        distances = {channel: fitted.distances(features[channel]) for channel, fitted in self._gaussians.items()}
        if CHANGE in self.channels:
            mean, deviation = self._pace
            distances[CHANGE] = np.where(first, 0.0, ((self._moved(features[EARLY], first) - mean) / deviation) ** 2)
        if self._local is not None:
            distances[LOCAL] = self._local.largest(features[LOCAL])
        return distances

    def evidence(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> Dict[str, np.ndarray]:
        """Returns each channel's weighted evidence −ln p + ln w, float64 [N]: what α is the maximum of."""
        first = np.ones(len(outputs[self.inputs[0]]), bool) if starts is None else np.asarray(starts, bool)
        return {channel: self._tails[channel].log_p(distance) + math.log(WEIGHTS[channel])
                for channel, distance in self._distances(self._columns(outputs), first).items()}

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        return np.max(list(self.evidence(outputs, starts).values()), axis=0)[:, np.newaxis]

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        row, before = self._before, self._row  # the buffers take turns: what was new is now old
        self._row, self._before = row, before
        if self._widths[0]:
            row.early[...] = outputs[EARLY]
            np.maximum(row.magnitudes, row.zeros, out=row.magnitudes)
            row.logarithms[...] = row.magnitudes
        if self._widths[1]:
            row.deep[...] = outputs[FEATURES]
        if self._widths[3]:
            row.latents[...] = kl.per_latent(outputs["mu"], outputs["logvar"])
        row.logarithmic += self._floors
        np.log(row.logarithmic, out=row.logarithmic)
        most = -math.inf
        if self._parts:
            np.subtract(row.values, self._centre, out=self._left)
            np.dot(self._rest, self._matrix, out=self._white)
            for white, apart, evidence, weight in self._parts:
                most = max(most, evidence.log_p_scalar(_nearest(white, apart)) + weight)
        if CHANGE in self.channels:
            distance = 0.0
            if not first:
                moves = np.abs(np.subtract(row.logarithms, before.logarithms, out=self._moves), out=self._moves)
                mean, deviation = self._pace
                distance = ((math.log(float(np.dot(moves, self._share)) + _CHANGE_FLOOR) - mean) / deviation) ** 2
            most = max(most, self._tails[CHANGE].log_p_scalar(distance) + _LOG_WEIGHTS[CHANGE])
        if self._local is not None:
            self._cells = self._local.distances(outputs[LOCAL])[0]
            most = max(most, self._tails[LOCAL].log_p_scalar(float(self._cells.max())) + _LOG_WEIGHTS[LOCAL])
        return [most]

    @property
    def cells(self) -> Optional[Tuple[int, int]]:
        return None if self._local is None else self._local.cells

    def map(self) -> Optional[np.ndarray]:
        if self._local is None or not len(self._cells):
            return None
        return self._tails[LOCAL].log_p(self._cells).reshape(self._local.cells)

    def maps(self, outputs: Mapping[str, np.ndarray]) -> Optional[np.ndarray]:
        if self._local is None:
            return None
        distances = self._local.distances(outputs[LOCAL])
        return self._tails[LOCAL].log_p(distances.ravel()).reshape(len(distances), *self._local.cells)

    def to_arrays(self) -> Dict[str, np.ndarray]:
        arrays = {"channels": np.array(self.channels), "pace": np.array(self._pace),
                  "widths": np.array(self._widths)}
        if self._local is not None:
            arrays.update({f"gaussian.{LOCAL}.{name}": array for name, array in self._local.to_arrays().items()})
        for kind, parts in (("gaussian", self._gaussians), ("tail", self._tails)):
            for channel, part in parts.items():
                arrays.update({f"{kind}.{channel}.{name}": array for name, array in part.to_arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Typicality:
        typicality = cls(tuple(np.asarray(arrays["channels"]).tolist()))
        mean, deviation = np.asarray(arrays["pace"], np.float64).tolist()
        if not deviation > 0:
            raise ValueError("typicality: the pace of change is no positive number; calibrate the detector again")
        typicality._pace = (mean, deviation)

        def part(kind: str, channel: str) -> Dict[str, np.ndarray]:
            prefix = f"{kind}.{channel}."
            return {name[len(prefix):]: array for name, array in arrays.items() if name.startswith(prefix)}

        typicality._gaussians = {channel: gaussian.Gaussian.from_arrays(part("gaussian", channel))
                                 for channel in typicality.channels if channel not in (CHANGE, LOCAL)}
        if LOCAL in typicality.channels:
            typicality._local = local.LocalGaussian.from_arrays(part("gaussian", LOCAL))
        typicality._tails = {channel: tail.Tail.from_arrays(part("tail", channel)) for channel in typicality.channels}
        widths = [int(width) for width in np.asarray(arrays["widths"]).tolist()]
        if len(widths) == 2:  # files of version 0.1: magnitudes and their logarithms counted together, no features
            widths = [widths[0] // 2, 0, widths[0] // 2, widths[1]]
        typicality._widths = (widths[0], widths[1], widths[2], widths[3])
        typicality._reads_bank = widths[0] > 0 or not widths[1]
        typicality._use(typicality.channels, widths[1] > 0)
        typicality._compile()
        return typicality


def _spread(frames: _Fitted, varied: Optional[_Fitted], chosen: np.ndarray, channel: str,
            some: Callable[[np.ndarray], np.ndarray] = lambda where: where) -> Optional[np.ndarray]:
    """Returns by how much the variants of the chosen frames, bool [N], move a channel's features, or some of them."""
    if varied is None:
        return None
    where = some(np.flatnonzero(chosen[varied.origin]))
    moved = varied.features[channel][where]
    moved -= frames.features[channel][varied.origin[where]]
    return moved


def joined(early: np.ndarray, features: Optional[np.ndarray] = None) -> np.ndarray:
    """Returns what one Gaussian is of, float64 [N, …]: `early` [N, E], `features` [N, F], early's logarithms."""
    early = np.array(early, np.float64)
    np.maximum(early[:, :_MAGNITUDES], 0.0, out=early[:, :_MAGNITUDES])
    deep = [] if features is None else [np.asarray(features, np.float64)]
    return np.concatenate([early, *deep, np.log(early[:, :_MAGNITUDES] + _FLOOR)], axis=1)


def _nearest(white: np.ndarray, apart: np.ndarray) -> float:
    """Returns the squared distance to the nearest mean, of a whitened frame [D] less the first mean.

    Args:
      apart: what is to be subtracted besides for each mean, [K, D]; nothing for the first.
    """
    if len(apart) == 1:
        return float(np.dot(white, white))
    rest = white - apart
    return float(np.einsum("kd,kd->k", rest, rest).min())


_LOG_WEIGHTS = {channel: math.log(weight) for channel, weight in WEIGHTS.items()}
