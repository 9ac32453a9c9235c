"""How the default detector was chosen: candidates on Duckietown's validation images and synthetic corruptions of them.

    python benchmarks/detection_search.py --images=DUCKIETOWN --split_table=duckietown_split.csv --network=FILE

No real OOD image is looked at: a candidate is fitted on train, its tails on calibration, and judged by its mean AUROC
over the corruptions of validation, and by how many of them a trivial baseline does better on by more than 0.01.
"""
from __future__ import annotations

from typing import Callable, Dict, Mapping, Sequence

import numpy as np
from absl import flags
from sklearn.neighbors import NearestNeighbors

from leanood.data import corruptions, dataset, frames
from leanood.ood import baselines, gaussian, kl, metrics, tail
from leanood.tflite import bundle, runtime
from leanood.tools import command, loading, progress

_IMAGES = flags.DEFINE_string("images", None, "the unpacked image folder", required=True)
_SPLIT = flags.DEFINE_string("split_table", None, "its table image,split", required=True)
_NETWORK = flags.DEFINE_string("network", None, "a converted encoder with early statistics", required=True)

Outputs = Mapping[str, np.ndarray]
Score = Callable[[Outputs], np.ndarray]
SEVERITIES = (1, 3, 5)
CASTS = (0.1, 0.2, 0.4)  # strengths of a random colour cast: a gain of each channel around the hue circle
_FLOOR = 1e-4


def main(argv: Sequence[str]) -> None:
    found = dataset.open(_IMAGES.value, split_csv=_SPLIT.value)
    runner = runtime.load(bundle.flatbuffer(_NETWORK.value))
    shape = next(iter(runner.inputs.values())).shape
    size = (int(shape[1]), int(shape[2]))
    images = {split: loading.load_split(found, split, size)[0] for split in ("train", "calibration", "validation")}
    outputs = {split: runner.each(frames_) for split, frames_ in images.items()}
    trivial = (baselines.Colour().fit(images["train"]), baselines.Brightness().fit(images["train"]),
               baselines.Sharpness().fit(images["train"]))
    own = [one.score(images["validation"]) for one in trivial]
    odd: Dict[str, Outputs] = {}
    best: Dict[str, float] = {}
    validation = found.where((found.split == "validation") & ~found.ood)
    for name, corrupt in progress.track(_corruptions().items(), "corrupting validation", len(_corruptions())):
        bad = np.stack([frames.resize(corrupt(validation.read(i), i), size) for i in range(len(validation))])
        odd[name] = runner.each(bad)
        best[name] = max(metrics.evaluate(a, one.score(bad)).auroc for a, one in zip(own, trivial))
    rows = []
    for name, score in _candidates(outputs["train"], outputs["calibration"]).items():
        usual = score(outputs["validation"])
        aurocs = {kind: metrics.evaluate(usual, score(bad)).auroc for kind, bad in odd.items()}
        lost = {kind: best[kind] - auroc for kind, auroc in aurocs.items()}
        worst = max(lost, key=lambda kind: lost[kind])
        rows.append([name, f"{np.mean(list(aurocs.values())):.4f}", sum(loss > 0.01 for loss in lost.values()),
                     f"{worst} {-lost[worst]:+.3f}"])
    print(command.table(rows, ["candidate", "mean AUROC", f"of {len(odd)} rows lost", "worst against a baseline"]))


def _corruptions() -> Dict[str, Callable[[np.ndarray, int], np.ndarray]]:
    made: Dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
        f"{name} {severity}": lambda frame, seed, name=name, severity=severity: corruptions.corrupt(
            name, frame, severity, seed=seed)
        for name in corruptions.NAMES if name != "frozen" for severity in SEVERITIES}
    made.update({f"cast {strength}": lambda frame, seed, strength=strength: _cast(frame, strength, seed)
                 for strength in CASTS})
    return made


def _cast(frame: np.ndarray, strength: float, seed: int) -> np.ndarray:
    hue = np.random.default_rng(seed).uniform(0, 2 * np.pi)
    gain = 1 + strength * np.cos(hue + np.array([0, 2, 4]) * np.pi / 3)
    return np.clip(frame * gain, 0, 255).astype(np.uint8)


def _candidates(train: Outputs, calibration: Outputs) -> Dict[str, Score]:
    """Returns the candidates by name, fitted."""
    def early(columns: slice = slice(None)) -> Score:
        return lambda outputs: np.log(outputs["early"][:, columns].astype(np.float64) + _FLOOR)

    def both(*parts: Score) -> Score:
        return lambda outputs: np.concatenate([part(outputs) for part in parts], axis=1)

    def linear(outputs: Outputs) -> np.ndarray:
        return outputs["early"][:, :6].astype(np.float64)

    def log_kl(outputs: Outputs) -> np.ndarray:
        return np.log(kl.per_latent(outputs["mu"], outputs["logvar"]).astype(np.float64) + 1e-3)

    features: Dict[str, Score] = {
        "six numbers": linear, "six logarithms": early(slice(0, 6)), "all logarithms": early(),
        "early: six numbers and all logarithms": both(linear, early()), "texture: filters alone": early(slice(8, None)),
        "sharpness: mean": early(slice(8, 9)), "sharpness: 4th power": early(slice(17, 18)),
        "latents: μ": lambda outputs: outputs["mu"], "latents: ln KL, two-sided": log_kl,
        "latents: μ and log σ²": lambda outputs: np.concatenate([outputs["mu"], outputs["logvar"]], axis=1),
        "latents: ln ΣKL, two-sided": lambda outputs: np.log(np.exp(log_kl(outputs)).sum(axis=1, keepdims=True)),
        "early and ln KL in one Gaussian": both(linear, early(), log_kl)}
    scores: Dict[str, Score] = {name: _mahalanobis(feature, train) for name, feature in features.items()}
    evidence = {name: _evidence(score, calibration) for name, score in scores.items()}
    e, t = "early: six numbers and all logarithms", "texture: filters alone"
    mean, fourth, latent = "sharpness: mean", "sharpness: 4th power", "latents: ln KL, two-sided"
    scores["early, 5 nearest neighbours"] = _neighbours(features[e], train)
    scores["ΣKL, one-sided"] = lambda outputs: kl.per_latent(outputs["mu"], outputs["logvar"]).sum(axis=1)
    for label, weights in (
            ("early .8, sharpness (mean) .2", {e: .8, mean: .2}), ("early .5, sharpness (mean) .5", {e: .5, mean: .5}),
            ("early .6, texture .15, sharpness (mean) .1", {e: .6, t: .15, mean: .1}),
            ("early .6, texture .1, sharpness (4th) .15", {e: .6, t: .1, fourth: .15}),
            ("the same and ln KL .05: the default", {e: .6, t: .1, fourth: .15, latent: .05}),
            ("the same with ln KL .5", {e: .3, t: .1, fourth: .1, latent: .5}),
            ("early .5, sharpness (4th) .3", {e: .5, fourth: .3})):
        scores[f"min-p: {label}"] = _minimum_p(evidence, weights)
    scores["Fisher: early, texture, sharpness (4th)"] = lambda outputs: evidence[e](outputs) + evidence[t](
        outputs) + evidence[fourth](outputs)
    scores["Fisher: early, ln KL"] = lambda outputs: evidence[e](outputs) + evidence[latent](outputs)
    scores["harmonic mean p: early, ln KL"] = lambda outputs: np.logaddexp(evidence[e](outputs),
                                                                           evidence[latent](outputs))
    return scores


def _mahalanobis(feature: Score, train: Outputs) -> Score:
    fitted = gaussian.Gaussian.fit(feature(train))
    return lambda outputs: fitted.distances(feature(outputs))


def _evidence(score: Score, calibration: Outputs) -> Score:
    fitted = tail.Tail.fit(score(calibration))
    return lambda outputs: fitted.log_p(score(outputs))


def _minimum_p(evidence: Mapping[str, Score], weights: Mapping[str, float]) -> Score:
    return lambda outputs: np.max([evidence[name](outputs) + np.log(weight) for name, weight in weights.items()],
                                  axis=0)


def _neighbours(feature: Score, train: Outputs) -> Score:
    fitted = gaussian.Gaussian.fit(feature(train))
    index = NearestNeighbors(n_neighbors=5).fit(feature(train) @ fitted.whitening)
    return lambda outputs: index.kneighbors(feature(outputs) @ fitted.whitening)[0].mean(axis=1)


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection_search.py --images=DIR --split_table=CSV --network=FILE")
