"""How the default detector is chosen: by a rule, on in-distribution frames and synthetic corruptions of them alone.

    python benchmarks/detection/search.py --data=$LEANOOD_TEST_DATA/data --runs=runs --out=docs/detection_search.md

Neither test frames nor real OOD frames are read. Train, calibration and validation are pooled and cut into stretches;
each stretch is judged by statistics of the others (and tails of the next one). Corruptions of it are OOD: all of
`data/corruptions.py` at three severities, of images a random colour cast too.

The rule. A candidate's merit on a set: its mean AUROC over the corruptions, less the mean shortfall against the best
trivial baseline of each. Three questions are answered one after the other, each by the greatest mean merit over the
sets. (1) Which nonconformity of single frames? Nearest neighbours are there for comparison only: with thousands of
frames to look through they miss the 25 µs that a frame may take. (2) How much weight do the latents get beside it? As
much as costs at most LATENT_COST, since corruptions can't show what only they may see, a change of content. (3) On
sequences, over how many frames is evidence gathered, and how is it bounded and tempered? There merit also counts the
share of stretches that are detected above the threshold that `leanood calibrate` would take from the stretches' own
in-distribution driving: the mean over the RATES of false alarms an hour, the default and a tenth of it.
"""
from __future__ import annotations

import os
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import sets
from absl import flags
from sklearn.neighbors import NearestNeighbors

from leanood.data import corruptions, dataset, frames, sequences
from leanood.models import filter_bank
from leanood.ood import baselines, gaussian, kl, martingale, metrics, sequence_threshold, tail, typicality
from leanood.tflite.timing import results
from leanood.tools import command
from leanood.workflow import progress

_OUT = flags.DEFINE_string("out", "docs/detection_search.md", "the tables, in Markdown")

CASTS = (0.1, 0.2, 0.4)  # strengths of a random colour cast: a gain of each channel around the hue circle
LATENT_COST = 0.002
LATENT_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.5)
CHANGE_WEIGHT = 0.1
RATES = (3.0, 0.3)  # false alarms an hour
WINDOWS = (3, 5, 10, 20)
TEMPERING = {"not tempered": (5.0, 0), "tempered": (5.0, 1), "tempered by the square": (5.0, 2),
             "tempered by the square below 3": (3.0, 2)}
CAUTION: Dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "at most 7 nats": lambda evidence: np.minimum(evidence, 7.0),
    "at most 10 nats": lambda evidence: np.minimum(evidence, 10.0),
    "logarithmic beyond 4 nats": lambda evidence: _logarithmic(evidence, 4.0),
    "logarithmic beyond 7 nats": lambda evidence: _logarithmic(evidence, 7.0)}
_FLOOR = 1e-4
_WIDE = "early, sampled half as densely"
_BASELINES = {"colour": baselines.Colour, "brightness": baselines.Brightness, "sharpness": baselines.Sharpness}

Outputs = Dict[str, np.ndarray]
Score = Callable[[Outputs], np.ndarray]


class Material:
    """One set's pooled in-distribution frames, cut into stretches, and their corruptions: outputs, baselines' scores.

    Attributes:
      normal: outputs [N, …]; starts: bool [N]; folds: indices by stretch.
      corrupted: by corruption, outputs of the corrupted frames by stretch.
      ood: by corruption, which of these frames are corrupted, by stretch.
    """

    def __init__(self, name: str, extra: Sequence[str] = (), run: str = "") -> None:
        """Of a set's β-VAE; `extra` and `run`: further training flags and the folder of another one."""
        self.name = name
        data, self._runner = sets.load(name, [*sets.bvae_flags(name), *extra], run or sets.bvae(name))
        pool = data.where(np.isin(data.split, ["train", "calibration", "validation"]) & ~data.ood)
        images, pool, _ = pool.load(sets.SIZE)
        self.fps = data.fps
        self.ordered, self.starts = sets.STRETCH_S[name] > 0, pool.starts
        count = 10 if self.ordered else 5
        if self.ordered:
            self.folds = np.array_split(np.arange(len(pool)), count)
        else:  # of each lighting a stretch
            parts = [np.array_split(np.flatnonzero(pool.partition == part), count)
                     for part in np.unique(pool.partition)]
            self.folds = [np.concatenate(part) for part in zip(*parts)]
        self.normal = self._outputs(images)
        self.corrupted: Dict[str, List[Outputs]] = {}
        self.ood: Dict[str, List[np.ndarray]] = {}
        self._baselines = [{key: baseline().fit(images[_thin(self.rest(i)[0])]) for key, baseline in _BASELINES.items()}
                           for i in range(count)]
        self.trivial: Dict[str, List[Dict[str, np.ndarray]]] = {
            "": [self._trivial(i, images[fold]) for i, fold in enumerate(self.folds)]}
        for kind, make in progress.track(list(self._kinds(data, pool).items()), f"{name}: corruptions"):
            corrupted = [make(i) for i in range(count)]
            self.corrupted[kind] = [self._outputs(bad) for bad, _ in corrupted]
            self.ood[kind] = [ood for _, ood in corrupted]
            self.trivial[kind] = [self._trivial(i, bad) for i, (bad, _) in enumerate(corrupted)]

    def rest(self, i: int) -> Tuple[np.ndarray, np.ndarray]:
        """The frames that stretch `i` is judged by (in order), and the stretch whose frames give the tails."""
        table = self.folds[(i + 1) % len(self.folds)]
        used = np.concatenate([self.folds[i], table])
        return np.setdiff1d(np.concatenate(self.folds), used), table

    def starts_of(self, where: np.ndarray) -> np.ndarray:
        begins = self.starts[where].copy()
        begins[0] = True
        begins[1:] |= np.diff(where) != 1
        return begins

    def _kinds(self, data: dataset.Dataset, pool: dataset.Dataset) -> Dict[str, Callable[[int], Any]]:
        kinds: Dict[str, Callable[[int], Any]] = {}
        if not self.ordered:
            for name in corruptions.NAMES:
                for severity in sets.SEVERITIES if name != "frozen" else ():
                    kinds[f"{name} {severity}"] = lambda i, name=name, severity=severity: self._bad(
                        pool, i, lambda frame, seed: corruptions.corrupt(name, frame, severity, seed=seed))
            for strength in CASTS:
                kinds[f"cast {strength}"] = lambda i, strength=strength: self._bad(
                    pool, i, lambda frame, seed: _cast(frame, strength, seed))
            return kinds
        length = int(sets.STRETCH_S[self.name] * data.fps)
        middle = []
        for fold in self.folds:
            whole = sequences.stretches(pool.where(np.isin(np.arange(len(pool)), fold)), length)
            middle.append(fold[whole[len(whole) // 2]])
        for name in corruptions.NAMES:
            for severity in sets.SEVERITIES:
                if corruptions.outside_id(name, severity, data.partition_kind):
                    kinds[f"{name} {severity}"] = lambda i, name=name, severity=severity: sequences.corrupted(
                        pool, middle[i], name, severity, sequences.PATTERNS[i % 3], i, sets.SIZE)
        return kinds

    def _bad(self, pool: dataset.Dataset, i: int, corrupt: Callable[[np.ndarray, int], np.ndarray]) -> Any:
        bad = [frames.resize(corrupt(pool.read(int(j)), int(j)), sets.SIZE) for j in self.folds[i]]
        return np.stack(bad), np.ones(len(bad), bool)

    def _outputs(self, images: np.ndarray) -> Outputs:
        wide = [filter_bank.statistics(images[begin:begin + 100].astype(np.float32) / 255,
                                 strides=tuple(2 * stride for stride in filter_bank.STRIDES)).numpy()
                for begin in range(0, len(images), 100)]
        return {**self._runner.each(images), _WIDE: np.concatenate(wide)}

    def _trivial(self, i: int, images: np.ndarray) -> Dict[str, np.ndarray]:
        return {key: baseline.score(images) for key, baseline in self._baselines[i].items()}

    # Judging single frames and sequences.

    def fitted(self, candidate: Candidate) -> List[Score]:
        """By stretch, the candidate's evidence −ln p."""
        evidence = []
        for i in range(len(self.folds)):
            rest, table = self.rest(i)
            score = candidate(_at(self.normal, rest))
            beyond = tail.Tail.fit(score(_at(self.normal, table)))
            evidence.append(lambda outputs, score=score, beyond=beyond: beyond.log_p(score(outputs)))
        return evidence

    def frames(self, scores: Sequence[Score]) -> Tuple[float, float, int]:
        """Returns mean AUROC over the corruptions of single frames, mean shortfall, rows lost by over 0.01."""
        id_scores = [score(_at(self.normal, fold)) for score, fold in zip(scores, self.folds)]
        mine, best = [], []
        for kind, corrupted in self.corrupted.items():
            if kind.startswith("frozen"):  # single frames can't show it
                continue
            mine.append(np.mean([_auroc(a, score(outputs)[ood]) for a, score, outputs, ood
                                 in zip(id_scores, scores, corrupted, self.ood[kind])]))
            best.append(max(np.mean([_auroc(a[key], b[key][ood]) for a, b, ood
                                     in zip(self.trivial[""], self.trivial[kind], self.ood[kind])])
                            for key in _BASELINES))
        return _summary(mine, best)

    def channels(self) -> Tuple[List[Outputs], Dict[str, List[Outputs]]]:
        """By stretch, the shipped measure's evidence by channel on its own frames, and on each corruption's."""
        normal, corrupted = [], {kind: [] for kind in self.corrupted}  # type: ignore[var-annotated]
        for i, fold in enumerate(self.folds):
            rest, table = self.rest(i)
            fit = typicality.Typicality().fit(_at(self.normal, rest),
                                              starts=self.starts_of(rest) if self.ordered else None)

            def evidence(outputs: Outputs, starts: Optional[np.ndarray],
                         fit: typicality.Typicality = fit) -> Outputs:
                return {name: values - np.log(typicality.WEIGHTS[name])
                        for name, values in fit.evidence(outputs, starts).items()}

            normal.append({**evidence(_at(self.normal, fold), self.starts_of(fold)),
                           **{f"table {name}": values for name, values in
                              evidence(_at(self.normal, table), self.starts_of(table)).items()}})
            for kind, outputs in self.corrupted.items():
                begin = np.arange(len(self.ood[kind][i])) == 0
                corrupted[kind].append(evidence(outputs[i], begin))
        return normal, corrupted


Candidate = Callable[[Outputs], Score]


def main(argv: Sequence[str]) -> None:
    os.makedirs(sets.RUNS.value, exist_ok=True)
    material = [Material(name) for name in sets.SETS.value]
    text = [_HEAD, "## Nonconformity of a single frame", ""]
    by_candidate = {name: [set_.frames(set_.fitted(candidate)) for set_ in material]
                    for name, candidate in progress.track(list(_candidates().items()), "nonconformities")}
    text += [_table(by_candidate),
             _chosen({name: rows for name, rows in by_candidate.items() if "neighbours" not in name}, _merit), ""]
    channels = {set_.name: set_.channels() for set_ in material}
    by_weight = {}
    for weight in LATENT_WEIGHTS:
        by_weight[f"{weight:g}"] = [_fused(set_, *channels[set_.name], {"early": 1 - weight, "latent": weight})
                                    for set_ in material]
    most = max(_merit(row) for row in by_weight.values())
    kept = [name for name, row in by_weight.items() if _merit(row) >= most - LATENT_COST][-1]
    text += ["## Weight of the latents", "", _table(by_weight),
             f"Most that costs at most {LATENT_COST}: **{kept}**.", ""]
    ordered = [set_ for set_ in material if set_.ordered]
    weights = {"early": 1 - float(kept) - CHANGE_WEIGHT, "latent": float(kept), "change": CHANGE_WEIGHT}
    grid = [(window, tempering, caution) for window in WINDOWS for tempering in TEMPERING for caution in CAUTION]
    timed = {f"{window} frames, {tempering}, {caution}": [
        _sequences(set_, *channels[set_.name], weights, window, TEMPERING[tempering], CAUTION[caution])
        for set_ in ordered] for window, tempering, caution in progress.track(grid, "windows")}
    if ordered:
        text += ["## Time", "", _table(timed, [set_.name for set_ in ordered], "detected"),
                 _chosen(timed, _merit_in_time)]
    sets.write(_OUT.value, "\n".join(text) + "\n")
    results.write(__file__, [], {"frames": by_candidate, "weights": by_weight, "time": timed})
    print("\n".join(text))


def _merit(rows: Sequence[Tuple[float, ...]]) -> float:
    return float(np.mean([auroc - shortfall for auroc, shortfall, *_ in rows]))


def _merit_in_time(rows: Sequence[Tuple[float, ...]]) -> float:
    return float(np.mean([auroc - shortfall + detected for auroc, shortfall, detected in rows]))


def _fused(material: Material, normal: List[Outputs], corrupted: Mapping[str, List[Outputs]],
           weights: Mapping[str, float]) -> Tuple[float, float, int]:
    alpha = [_alpha(evidence, weights) for evidence in normal]
    mine, best = [], []
    for kind, parts in corrupted.items():
        if kind.startswith("frozen"):
            continue
        mine.append(np.mean([_auroc(a, _alpha(b, weights)[ood])
                             for a, b, ood in zip(alpha, parts, material.ood[kind])]))
        best.append(max(np.mean([_auroc(a[key], b[key][ood]) for a, b, ood
                                 in zip(material.trivial[""], material.trivial[kind], material.ood[kind])])
                        for key in _BASELINES))
    return _summary(mine, best)


def _sequences(material: Material, normal: List[Outputs], corrupted: Mapping[str, List[Outputs]],
               weights: Mapping[str, float], window: int, tempering: Tuple[float, int],
               caution: Callable[[np.ndarray], np.ndarray]) -> Tuple[float, float, float]:
    """Returns mean AUROC over corrupted sequences, mean shortfall, share detected above the alarm threshold."""
    def score(alpha: np.ndarray, beyond: tail.Tail, starts: np.ndarray) -> np.ndarray:
        evidence = caution(beyond.log_p(alpha))
        log = martingale.windowed(np.exp(-evidence), starts, window)
        below, power = tempering
        return np.where(log > 0, log * np.minimum(1.0, evidence / below) ** power, log)

    tails = [tail.Tail.fit(_alpha(evidence, weights, "table ")) for evidence in normal]
    driving = np.concatenate([score(_alpha(evidence, weights), beyond, material.starts_of(fold))
                              for evidence, beyond, fold in zip(normal, tails, material.folds)])
    starts = np.concatenate([material.starts_of(fold) for fold in material.folds])
    thresholds = [sequence_threshold.choose(driving, starts, material.fps, rate).value for rate in RATES]
    mine, best, detected = [], [], []
    for kind, parts in corrupted.items():
        begin = np.arange(len(material.ood[kind][0])) == 0
        scores = [score(_alpha(evidence, weights), beyond, begin) for evidence, beyond in zip(parts, tails)]
        detected += [bool((values[ood] > threshold).any()) for threshold in thresholds
                     for values, ood in zip(scores, material.ood[kind])]
        ood = np.concatenate(material.ood[kind])
        mine.append(_auroc(np.concatenate(scores)[~ood], np.concatenate(scores)[ood]))
        looked_back = [np.concatenate([baselines.windowed(values[key], begin, length)
                                       for values in material.trivial[kind]])
                       for key in _BASELINES for length in (1, 3, 10)]
        best.append(max(_auroc(values[~ood], values[ood]) for values in looked_back))
    auroc, shortfall, _ = _summary(mine, best)
    return auroc, shortfall, float(np.mean(detected))


def _alpha(evidence: Outputs, weights: Mapping[str, float], prefix: str = "") -> np.ndarray:
    return np.max([evidence[prefix + name] + np.log(weight) for name, weight in weights.items() if weight], axis=0)


def _summary(mine: Sequence[float], best: Sequence[float]) -> Tuple[float, float, int]:
    short = np.maximum(np.subtract(best, mine), 0)
    return float(np.mean(mine)), float(short.mean()), int((short > 0.01).sum())


def _auroc(id_scores: np.ndarray, ood_scores: np.ndarray) -> float:
    return metrics.evaluate(id_scores, ood_scores).auroc


def _at(outputs: Outputs, where: np.ndarray) -> Outputs:
    return {name: array[where] for name, array in outputs.items()}


def _thin(where: np.ndarray) -> np.ndarray:
    return where[np.unique(np.linspace(0, len(where) - 1, 2000).round().astype(int))]


def _logarithmic(evidence: np.ndarray, beyond: float) -> np.ndarray:
    return np.where(evidence <= beyond, evidence, beyond * (1 + np.log(np.maximum(evidence, beyond) / beyond)))


def _cast(frame: np.ndarray, strength: float, seed: int) -> np.ndarray:
    hue = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    gain = 1 + strength * np.cos(hue + np.array([0, 2, 4]) * np.pi / 3)
    return np.clip(frame * gain, 0, 255).astype(np.uint8)


def _candidates() -> Dict[str, Candidate]:
    """Returns the candidates by name: from outputs [N, …] to a score, fitted."""
    def logs(columns: Any = slice(0, filter_bank.FRAME), output: str = filter_bank.NAME) -> Score:
        return lambda outputs: np.log(np.maximum(outputs[output][:, columns], 0).astype(np.float64) + _FLOOR)

    def both(*parts: Score) -> Score:
        return lambda outputs: np.concatenate([part(outputs) for part in parts], axis=1)

    def log_kl(outputs: Outputs) -> np.ndarray:
        return np.log(kl.per_latent(outputs["mu"], outputs["logvar"]).astype(np.float64) + 1e-3)

    def linear(outputs: Outputs) -> np.ndarray:
        return outputs[filter_bank.NAME][:, :filter_bank.FRAME].astype(np.float64)

    def sharpness(outputs: Outputs) -> np.ndarray:
        return logs([8, 17])(outputs)

    luma_alone = [i for i in range(filter_bank.FRAME) if i not in (18, 19, 21, 22, 24, 25)]
    everything = logs()
    gaussians: Dict[str, Score] = {
        "six colour numbers": lambda outputs: linear(outputs)[:, :6], "six colour logarithms": logs(slice(0, 6)),
        "early": everything, "early, linear": linear, "early, linear and logarithmic": both(linear, everything),
        _WIDE: logs(output=_WIDE), "early without chroma's 4th powers": logs(luma_alone),
        "early without colour (filters alone)": logs(slice(8, None)), "sharpness": sharpness,
        "latents: ln KL, two-sided": log_kl, "latents: μ": lambda outputs: outputs["mu"].astype(np.float64),
        "latents: μ and log σ²": lambda outputs: np.hstack([outputs["mu"], outputs["logvar"]]).astype(np.float64),
        "latents: ln ΣKL, two-sided": lambda outputs: np.log(np.exp(log_kl(outputs)).sum(axis=1, keepdims=True)),
        "early and ln KL in one Gaussian": both(everything, log_kl)}
    candidates: Dict[str, Candidate] = {name: mahalanobis(feature) for name, feature in gaussians.items()}
    candidates["early, 5 nearest neighbours"] = neighbours(everything)
    candidates["latents: ΣKL, one-sided"] = lambda _: lambda outputs: kl.per_latent(
        outputs["mu"], outputs["logvar"]).sum(axis=1)
    candidates["min-p: early .8, sharpness .2"] = _pair(everything, sharpness, lambda a, b: np.maximum(
        a + np.log(0.8), b + np.log(0.2)))
    candidates["Fisher: early, sharpness"] = _pair(everything, sharpness, np.add)
    candidates["Fisher: early, ln KL"] = _pair(everything, log_kl, np.add)
    candidates["harmonic mean p: early, ln KL"] = _pair(everything, log_kl, np.logaddexp)
    return candidates


def mahalanobis(feature: Score) -> Candidate:
    """The squared Mahalanobis distance of a feature."""
    def fit(train: Outputs) -> Score:
        fitted = gaussian.Gaussian.fit(feature(train))
        return lambda outputs: fitted.distances(feature(outputs))
    return fit


def neighbours(feature: Score) -> Candidate:
    """The mean distance to the five nearest training frames, after whitening."""
    def fit(train: Outputs) -> Score:
        known = feature(train)[_thin(np.arange(len(feature(train))))]
        fitted = gaussian.Gaussian.fit(known)
        index = NearestNeighbors(n_neighbors=5).fit(known @ fitted.whitening)
        return lambda outputs: index.kneighbors(feature(outputs) @ fitted.whitening)[0].mean(axis=1)
    return fit


def _pair(left: Score, right: Score, join: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Candidate:
    """Two distances, each turned into −ln p by its own tail, measured by cross-fitting, and joined."""
    def evidence(train: Outputs, feature: Score) -> Score:
        fit, count = mahalanobis(feature), len(next(iter(train.values())))
        held_out = np.empty(count)
        for fold in np.array_split(np.arange(count), 5):
            held_out[fold] = fit(_at(train, np.setdiff1d(np.arange(count), fold)))(_at(train, fold))
        beyond, score = tail.Tail.fit(held_out), fit(train)
        return lambda outputs: beyond.log_p(score(outputs))

    def fit(train: Outputs) -> Score:
        first, second = evidence(train, left), evidence(train, right)
        return lambda outputs: join(first(outputs), second(outputs))
    return fit


def _table(by_name: Mapping[str, Sequence[Tuple[float, ...]]], names: Sequence[str] = (), last: str = "lost") -> str:
    names = names or sets.SETS.value
    header = ["candidate", *[f"{name}: {column}" for name in names for column in ("AUROC", "shortfall", last)]]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for name, rows in by_name.items():
        cells = [cell for auroc, short, third in rows for cell in (
            f"{auroc:.4f}", f"{short:.4f}", f"{third}" if isinstance(third, int) else f"{third:.3f}")]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join([*lines, ""])


def _chosen(by_name: Mapping[str, Any], merit: Callable[[Any], float]) -> str:
    best = max(by_name, key=lambda name: merit(by_name[name]))
    return f"Greatest merit: **{best}** ({merit(by_name[best]):.4f})."


_HEAD = """# How the default detector was chosen

Written by `python benchmarks/detection/search.py`, which states the rule. AUROC: mean over the corruptions of frames
that the statistics haven't seen; shortfall: by how much the best trivial baseline of each corruption does better, on
average; lost: corruptions where it does so by more than 0.01; detected: share of corrupted stretches above the alarm
threshold, mean of the ones for three false alarms an hour and for a tenth of that.
"""


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/search.py --data=$LEANOOD_TEST_DATA/data")
