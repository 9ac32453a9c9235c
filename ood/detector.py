"""The arithmetic after the network: one frame's outputs in; score, p-value and alarm out. NumPy only, for the device.

Per partition (column): nonconformity → smoothed conformal p-value (`conformal`) → mixture martingale over a window
(`martingale`; where p-values are extrapolated, tempered by the present frame's own) → of the columns' ln M the deciding
one (`partitions`) → CUSUM with decay (`cusum`). One CUSUM, because of several, those of the other subsets would climb
without end in a long drive through one of them, and a lawful change from bright to medium would raise the alarm.

With `scales` the evidence −ln p of the frames is compared at several scales instead (`evidence`); ln M is then for the
record only. With window 0 frames are single images: the score is their nonconformity.
"""
from __future__ import annotations

import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from leanood.ood import (
    classifier_score,
    conformal,
    cusum,
    evidence,
    flow_kl,
    flow_typicality,
    kl_topk,
    kl_typical,
    martingale,
    nonconformity,
    partitions,
    tail,
    typicality,
    validity,
)

_NONCONFORMITIES = (kl_topk.KlTopK, kl_typical.KlTypical, typicality.Typicality, classifier_score.ClassifierScore,
                    flow_kl.FlowKl, flow_typicality.FlowTypicality)
_FRAMES, _BEYOND = 1e6, 1e4  # see `Detector.highest_score`
_SHARE_OF_SCHEMA_2 = 8  # of a window's frames the latest eighth had to agree
_RAREST = 1e-9  # a p-value's smoothing is less once in so many frames
_TABLE, _NONCONFORMITY = "calibration.", "nonconformity."  # prefixes of the arrays' names


class Step(NamedTuple):
    """What the detector says of one frame."""
    score: float  # S_t; with scales max S_s / τ_s; of single images (window 0) the nonconformity. Higher = more OOD
    p_value: float  # of this frame alone, in (0, 1]
    log_martingale: float  # ln M over the window (tempered, where p-values are extrapolated), of the deciding partition
    nonconformity: float  # of this frame alone; +inf where it is invalid
    alarm: bool  # score > threshold, or invalid
    partition: int  # index of the deciding partition in `Detector.partitions`
    invalid: bool  # the network's outputs, or the nonconformity, are NaN or infinite: never in-distribution


class Detector:
    """A calibrated detector: feed it a sequence by `step`, or whole sequences by `run`, with the same numbers.

    Identical ones but for `typicality`, of which `step` computes in float32: within 1e-4 nats, or 1e-4 of α.

    An invalid frame (NaN or infinite outputs) is beyond every calibration frame, in every column: p = u / (n + 1),
    so S rises as long as such frames last; besides, it raises the alarm by itself, whatever S is. The nonconformity
    doesn't see it: the next valid frame is compared with the last valid one.

    Attributes:
      decay: δ of the CUSUM, nats a frame; set it, like the threshold, by `tuning` on validation sequences.
      threshold: the alarm's; infinite until it is set.
      scales: the evidence at several scales, or None: S is the CUSUM of ln M. Set by `use_scales`.
    """

    def __init__(self, nonconformity: nonconformity.Nonconformity, tables: List[np.ndarray], *, partition_kind: str,
                 window: int, seed: int):
        if window < 0:
            raise ValueError(f"window must be at least 1, or 0 for single images, not {window}")
        if not tables or len(tables) != len(nonconformity.partitions):
            raise ValueError(f"{len(tables)} calibration tables don't fit the {len(nonconformity.partitions)} "
                             "partitions")
        self.nonconformity = nonconformity
        self.partitions = nonconformity.partitions
        self.partition_kind = partitions.check_kind(partition_kind)
        self.window = window
        self.seed = seed
        self.decay = 0.0
        self.threshold = math.inf
        self.scales: Optional[evidence.Scales] = None
        self._tables = tables
        self._tails = [tail.Tail.fit(table) if nonconformity.extrapolates and len(table) >= tail.FEWEST else None
                       for table in tables]
        self._lists = [table.tolist() for table in tables]  # bisecting a list is faster than searching an array
        self._uniform = conformal.Uniform(seed)
        self._windows = [martingale.Window(max(window, 1)) for _ in tables]
        self._score = 0.0
        self._first = True

    @classmethod
    def calibrate(cls, nonconformity: nonconformity.Nonconformity, outputs: Mapping[str, np.ndarray], *,
                  partition: Optional[np.ndarray] = None, starts: Optional[np.ndarray] = None,
                  partition_kind: str = "subset", window: int = 20, seed: int = 0) -> Detector:
        """Returns the detector with its calibration tables; decay and threshold are still to be tuned.

        Args:
          nonconformity: fitted on *other* in-distribution frames (training): p-values are valid only then.
          outputs: of the calibration frames, named arrays [N, …].
          partition: each frame's partition, str [N]; may be left out where the nonconformity has one partition.
          starts: bool [N], true on the first frame of each sequence; None for unordered images.
          partition_kind: "subset": a column is calibrated on its own partition's frames; "factor": on all frames.
          window: number of p-values in the martingale; 0 for single images.
          seed: of the p-values' smoothing.
        """
        finite = validity.frames(outputs, nonconformity.inputs)
        if not finite.all():
            raise ValueError(f"the network's outputs are NaN or infinite on {np.count_nonzero(~finite)} of "
                             f"{len(finite)} calibration frames; leave those frames out or convert the model again")
        scores = nonconformity.score(outputs, starts if window else None)
        return cls.from_scores(nonconformity, scores, partition=partition, partition_kind=partition_kind,
                               window=window, seed=seed)

    @classmethod
    def from_scores(cls, nonconformity: nonconformity.Nonconformity, scores: np.ndarray, *,
                    partition: Optional[np.ndarray] = None, partition_kind: str = "subset", window: int = 20,
                    seed: int = 0) -> Detector:
        """Returns the detector whose calibration tables are made of nonconformities; arguments as of `calibrate`.

        Args:
          scores: of frames that the nonconformity that scored them was not fitted on, finite, [N, P].
        """
        if nonconformity.partition_kind is not None:  # its columns are its own: every frame is of all of them
            return cls(nonconformity, [conformal.table(column) for column in scores.T],
                       partition_kind=nonconformity.partition_kind, window=window, seed=seed)
        label = _labels(nonconformity, partition, len(scores))
        tables = []
        for column, name in enumerate(nonconformity.partitions):
            factor = partitions.check_kind(partition_kind) == "factor"
            members = np.ones(len(scores), bool) if factor else label == name
            if not members.any():
                raise ValueError(f"no calibration frame is of partition {name!r}; give some, or fit without it")
            tables.append(conformal.table(scores[members, column]))
        return cls(nonconformity, tables, partition_kind=partition_kind, window=window, seed=seed)

    def use_scales(self, windows: Sequence[int], thresholds: Sequence[float],
                   latest: Optional[Sequence[int]] = None) -> None:
        """Compares the evidence at several scales from now on; a new sequence begins. The alarm is on above 1.

        Args:
          windows, thresholds: as of `evidence.Scales`.
          latest: likewise; None: as the nonconformity's `share` has it.
        """
        if not self.window:
            raise ValueError("single images (window 0) have no scales: their score is of one frame")
        if latest is None:
            latest = [evidence.latest_of(window, self.nonconformity.share) for window in windows]
        self.scales = evidence.Scales(windows, thresholds, latest)
        self.decay, self.threshold = math.inf, 1.0
        self.reset()

    @property
    def memory(self) -> int:
        """Frames that the score looks back on where nothing is carried over (infinite decay); 1 of single images."""
        return max(1, self.window, self.scales.memory if self.scales else 0)

    def highest_score(self) -> float:
        """Returns what the score doesn't exceed, so that a threshold beyond it is no threshold.

        Of sequences within a million frames (fourteen hours), were all of them as odd as can be. Of single images what
        their nonconformity can't exceed; where that has no bound, 10⁴ times the calibration frames' range beyond them.
        """
        if not self.window:
            low, high = (reduce(reduce(table) for table in self._lists) for reduce in (min, max))
            return min(self.nonconformity.highest, high + _BEYOND * max(high - low, abs(high), 1e-6))
        most = max(tail.cautious(math.inf) if beyond is not None else math.log((len(table) + 1) / _RAREST)
                   for beyond, table in zip(self._tails, self._lists))
        if self.scales:
            return most / min(self.scales.thresholds)
        highest = martingale.log_mixture(self.window, self.window * most)
        return highest if self.decay == math.inf else max(0.0, _FRAMES * (highest - self.decay))

    def unreachable(self) -> str:
        """Returns why no score raises the alarm, in words; empty where one does."""
        highest = self.highest_score()
        if self.threshold < highest:
            return ""
        return f"its threshold is {self.threshold:g}, its score stays below {highest:.4g}"

    def reset(self) -> None:
        """Begins a new sequence: S, the window and the nonconformity's memory start afresh; the smoothing runs on."""
        for window in self._windows:
            window.reset()
        if self.scales:
            self.scales.reset()
        self._score = 0.0
        self._first = True

    def skip(self, count: int) -> None:
        """Lets the smoothing run on as if `count` frames had been judged, for who resumes a sequence later."""
        for _ in range(count * len(self._lists)):
            self._uniform.next()

    def resume(self, score: float) -> None:
        """Goes on from S = `score`, once a window's worth of the frames before was stepped through again."""
        self._score = score

    def step(self, outputs: Mapping[str, np.ndarray]) -> Step:
        """Returns what the detector says of the sequence's next frame.

        Args:
          outputs: of the network on that frame, named arrays [1, …] or […].
        """
        alphas: List[float] = []
        invalid = not validity.frame(outputs, self.nonconformity.inputs)
        if not invalid:
            alphas = self.nonconformity.score_frame(outputs, self._first)
            for alpha in alphas:
                invalid = invalid or alpha != alpha
            self._first = not self.window
        if invalid:
            alphas = [math.inf] * len(self._lists)
        p, logs = [], []
        for column, alpha in enumerate(alphas):
            value = conformal.p_value(self._lists[column], alpha, self._uniform.next())
            beyond = self._tails[column]
            if beyond is not None and beyond.start < alpha < math.inf:
                value = math.exp(-tail.cautious(beyond.log_p_scalar(alpha)))
            p.append(value)
            log = self._windows[column].push(value)
            logs.append(log if beyond is None else martingale.tempered(log, -math.log(value)))
        columns = logs if self.window else alphas
        if self.partition_kind == "subset":
            column, p_value, combined = columns.index(min(columns)), max(p), min(alphas)
        else:
            column, p_value, combined = columns.index(max(columns)), min(min(p) * len(p), 1.0), max(alphas)
        if self.scales:
            score = self.scales.push(-math.log(p_value))
        elif self.window:
            score = self._score = cusum.update(self._score, logs[column], self.decay)
        else:
            score = combined
        return Step(score, p_value, logs[column], combined, invalid or score > self.threshold, column, invalid)

    def run(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray]) -> Dict[str, np.ndarray]:
        """Returns what a fresh detector's steps would say of whole sequences: `Step`'s fields as arrays [N].

        The detector's own sequence isn't touched.

        Args:
          outputs: of the network, named arrays [N, …].
          starts: bool [N], true on the first frame of each sequence; None: every frame is a sequence of its own.
        """
        alphas, invalid, begins = self._scores(outputs, starts)
        u = conformal.Uniform(self.seed).many(alphas.size).reshape(alphas.shape)
        p = np.stack([conformal.p_values(table, alphas[:, column], u[:, column])
                      for column, table in enumerate(self._tables)], axis=1)
        for column, beyond in enumerate(self._tails):
            if beyond is not None:
                far = (alphas[:, column] > beyond.start) & (alphas[:, column] < np.inf)
                p[far, column] = [math.exp(-tail.cautious(value))  # as in step: NumPy's exp rounds otherwise
                                  for value in beyond.log_p(alphas[far, column]).tolist()]
        logs = np.stack([martingale.windowed(p[:, column], begins, max(self.window, 1))
                         for column in range(p.shape[1])], axis=1)
        for column, beyond in enumerate(self._tails):
            if beyond is not None:
                logs[:, column] = [martingale.tempered(log, -math.log(value))
                                   for log, value in zip(logs[:, column].tolist(), p[:, column].tolist())]
        decides = partitions.deciding(logs if self.window else alphas, self.partition_kind)
        log_martingale = logs[np.arange(len(logs)), decides]
        combined = partitions.combine(alphas, self.partition_kind)
        p_value = partitions.combine_p_values(p, self.partition_kind)
        if self.scales:
            score = evidence.scores(evidence.of(p_value), begins, self.scales.windows, self.scales.thresholds,
                                    self.scales.latest)
        else:
            score = cusum.scores(log_martingale, begins, [self.decay])[0] if self.window else combined
        return {"score": score, "p_value": p_value,
                "log_martingale": log_martingale, "nonconformity": combined,
                "alarm": invalid | (score > self.threshold), "partition": decides, "invalid": invalid}

    def _scores(self, outputs: Mapping[str, np.ndarray],
                starts: Optional[np.ndarray]) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns nonconformities [N, P], +inf on invalid frames; which are invalid [N]; which begin a sequence [N]."""
        invalid = ~validity.frames(outputs, self.nonconformity.inputs)
        begins = np.ones(len(invalid), dtype=bool)
        if starts is not None and self.window:
            begins = np.asarray(starts, dtype=bool)
        if begins.shape != invalid.shape:
            raise ValueError(f"starts must hold one flag a frame: {begins.shape} for {len(invalid)} frames")
        valid = ~invalid
        alphas = np.full((len(invalid), len(self.partitions)), np.inf)
        if valid.any():
            # A sequence that begins with invalid frames begins, for the nonconformity, with its first valid one.
            sequence = np.cumsum(begins)[valid]
            first = np.append(True, sequence[1:] != sequence[:-1])
            alphas[valid] = self.nonconformity.score({name: np.asarray(outputs[name])[valid]
                                                      for name in self.nonconformity.inputs}, first)
        invalid = invalid | np.isnan(alphas).any(axis=1)
        alphas[invalid] = np.inf
        return alphas, invalid, begins

    def config(self) -> Dict[str, Any]:
        """Returns the settings for `from_arrays`, fit for JSON."""
        return {"detector": self.nonconformity.name, "partitions": list(self.partitions),
                "partition_kind": self.partition_kind, "window": self.window, "seed": self.seed,
                "decay": _finite(self.decay), "threshold": _finite(self.threshold),
                "scales": self.scales and {"windows": self.scales.windows, "latest": self.scales.latest,
                                           "thresholds": [_finite(threshold) for threshold in self.scales.thresholds]}}

    def to_arrays(self) -> Dict[str, np.ndarray]:
        """Returns the calibration tables and the nonconformity's arrays."""
        arrays = {f"{_TABLE}{column}": table for column, table in enumerate(self._tables)}
        arrays.update({_NONCONFORMITY + name: array for name, array in self.nonconformity.to_arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Detector:
        """Returns the detector that `config` and `to_arrays` described.

        Args:
          config: as `config` returns it; other keys are left alone.
          arrays: as `to_arrays` returns them; other names are left alone.
        """
        try:
            kinds = {kind.name: kind for kind in _NONCONFORMITIES}
            if config["detector"] not in kinds:
                raise ValueError(f"unknown detector {config['detector']!r}; this version knows {', '.join(kinds)}")
            prefix = len(_NONCONFORMITY)
            for name, array in arrays.items():
                if name.startswith(_NONCONFORMITY) and array.dtype.kind == "f" and np.isinf(array).any():
                    raise ValueError(f"the statistics {name!r} hold infinity")
            nonconformity = kinds[config["detector"]].from_arrays(
                {name[prefix:]: arrays[name] for name in arrays if name.startswith(_NONCONFORMITY)})
            if list(nonconformity.partitions) != list(config["partitions"]):
                raise ValueError(f"partitions {list(nonconformity.partitions)} were calibrated, "
                                 f"the configuration names {list(config['partitions'])}")
            tables = [conformal.table(arrays[f"{_TABLE}{column}"]) for column in range(len(nonconformity.partitions))]
            detector = cls(nonconformity, tables, partition_kind=config["partition_kind"],
                           window=int(config["window"]), seed=int(config["seed"]))
            scales = config.get("scales")  # files of schema 1 have none
            if scales:
                latest = scales.get("latest")
                if latest is None:  # files of schema 2
                    latest = [evidence.latest_of(window, _SHARE_OF_SCHEMA_2) for window in scales["windows"]]
                detector.use_scales(scales["windows"], [_infinite(threshold) for threshold in scales["thresholds"]],
                                    latest)
            detector.decay, detector.threshold = _infinite(config["decay"]), _infinite(config["threshold"])
        except KeyError as error:
            raise ValueError(f"the detector lacks {error}: calibrate it again with this version") from error
        return detector


def _finite(value: float) -> Optional[float]:
    return value if math.isfinite(value) else None  # JSON has no infinity


def _infinite(value: Optional[float]) -> float:
    return math.inf if value is None else float(value)


def _labels(nonconformity: nonconformity.Nonconformity, partition: Optional[np.ndarray], count: int) -> np.ndarray:
    """Returns each calibration frame's partition, str [N], one of the nonconformity's."""
    if partition is None:
        if len(nonconformity.partitions) > 1:
            raise ValueError(f"calibration needs each frame's partition: one of {', '.join(nonconformity.partitions)}")
        return np.full(count, nonconformity.partitions[0])
    label = np.asarray(partition).astype(str)
    if label.shape != (count,):
        raise ValueError(f"partition must hold one name a frame: {label.shape} for {count} frames")
    unknown = sorted(set(label.tolist()) - set(nonconformity.partitions))
    if unknown:
        raise ValueError(f"calibration frames are of partitions {', '.join(unknown)}, which the nonconformity was not "
                         f"fitted on; it knows {', '.join(nonconformity.partitions)}")
    return label
