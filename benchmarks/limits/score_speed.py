"""Times fit + score of every score beside pytorch-ood's and oodeel's, and its memory; then one frame on a device.

    python benchmarks/limits/score_speed.py            # pip install 'leanood[test-extra]' for the other two libraries

50,000 × 512 features are fitted and 10,000 scored, with 10 logits, the same arrays for all. Each library and score has
a child process of one thread; they take turns. Memory is what the process's peak grows by during the two. ReAct is
timed twice: all fit their clip, and those that can be handed it (`react-given`).
"""
from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # before a BLAS is loaded

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from leanood.ood import scores  # noqa: E402
from leanood.tflite.timing import memory, results, turns  # noqa: E402
from leanood.tools import command  # noqa: E402

_FIT = flags.DEFINE_integer("fit", 50_000, "frames to fit", lower_bound=100)
_SCORE = flags.DEFINE_integer("score", 10_000, "frames to score", lower_bound=1)
_WIDTH = flags.DEFINE_integer("width", 512, "features", lower_bound=2)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "turns; the median counts", lower_bound=1)
_ONLY = flags.DEFINE_list("only", [], "scores to time; all by default")
_CHILD = flags.DEFINE_string("child", None, "used by the benchmark itself: library:score:folder")

CLASSES = 10
GIVEN = "react-given"
NEIGHBOURS = 50
LIBRARIES = ("leanood", "pytorch-ood", "oodeel")
Arrays = Dict[str, np.ndarray]
Run = Callable[[Arrays], Any]


def main(argv: Sequence[str]) -> None:
    if _CHILD.value:
        _serve(*_CHILD.value.split(":", 2))
        return
    names = _ONLY.value or [*(name for name in scores.NAMES if name not in ("fusion", "early", "residual")), GIVEN]
    with tempfile.TemporaryDirectory() as folder:
        _write(folder)
        rows = [_race(name, folder) for name in names]
    headers = ["score", *(f"{library} {what}" for library in LIBRARIES for what in ("s", "MB"))]
    print(command.table(rows, headers))
    frame = _single_frame()
    print("", command.table(frame, ["one frame", "µs", "stored kB"]), sep="\n")
    slowest = max(frame, key=lambda row: row[1])
    results.write(__file__, [
        *(results.Figure(f"`{row[0]}`: fit of {_FIT.value:,} × {_WIDTH.value} features and score of {_SCORE.value:,}",
                         _words(row)) for row in rows),
        results.Figure(f"the slowest score of one frame, `{slowest[0]}`", f"{slowest[1]:.0f} µs")],
        {"headers": headers, "rows": rows, "one frame": frame})


def _words(row: Sequence[Any]) -> str:
    return "; ".join(f"{library} {row[1 + 2 * i]:.3g} s, {row[2 + 2 * i]:.0f} MB"
                     for i, library in enumerate(LIBRARIES) if row[1 + 2 * i] is not None)


def _write(folder: str) -> None:
    rng = np.random.RandomState(0)
    centres = 2 * rng.randn(CLASSES, _WIDTH.value)
    weight, bias = rng.randn(_WIDTH.value, CLASSES) / 10, rng.randn(CLASSES)
    for part, count in (("fit", _FIT.value), ("score", _SCORE.value)):
        labels = np.arange(count) % CLASSES
        features = np.maximum(rng.randn(count, _WIDTH.value).astype(np.float32) + centres[labels], 0).astype(np.float32)
        np.savez(os.path.join(folder, f"{part}.npz"), features=features, labels=labels,
                 logits=(features @ weight + bias).astype(np.float32))
    np.savez(os.path.join(folder, "head.npz"), weight=weight.astype(np.float32), bias=bias.astype(np.float32))


def _race(name: str, folder: str) -> List[Any]:
    """One row: seconds and MB of each library, which take turns."""
    children: Dict[str, subprocess.Popen] = {}
    for library in LIBRARIES:
        child = subprocess.Popen([sys.executable, __file__, f"--child={library}:{name}:{folder}"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert child.stdout
        if child.stdout.readline().strip() == "ready":
            children[library] = child
    runs: Dict[str, List[Dict[str, float]]] = {library: [] for library in children}
    for _ in range(_ROUNDS.value):
        for library, child in children.items():
            assert child.stdin
            assert child.stdout
            child.stdin.write("go\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line:
                raise ValueError(f"{library} failed at {name}; run {__file__} --child={library}:{name}:DIR to see why")
            runs[library].append(json.loads(line))
    for child in children.values():
        child.kill()
        child.communicate()
    row: List[Any] = [name]
    for library in LIBRARIES:
        done = runs.get(library)
        row += [float(np.median([turn["s"] for turn in done])), done[0]["mb"]] if done else [None, None]
    print(name, *(f"{value:.3g}" if value is not None else "-" for value in row[1:]), file=sys.stderr)
    return row


def _serve(library: str, name: str, folder: str) -> None:
    """Runs fit + score once for each line on stdin and prints seconds and the peak's growth."""
    parts = {}
    for part in ("fit", "score", "head"):
        with np.load(os.path.join(folder, f"{part}.npz")) as file:
            parts[part] = dict(file)
    run = _runner(library, name, parts)
    if run is None:
        return
    print("ready", flush=True)
    for _ in sys.stdin:
        memory.forget_peak()
        before = memory.taken_bytes() or 0
        seconds = float(turns.seconds({name: run}, 1, clock=time.perf_counter)[name][0])
        print(json.dumps({"s": seconds, "mb": ((memory.taken_bytes("VmHWM") or 0) - before) / 1e6}), flush=True)


def _runner(library: str, name: str, parts: Dict[str, Arrays]) -> Optional[Callable[[], Any]]:
    fit, score, head = parts["fit"], parts["score"], parts["head"]
    if library == "leanood":
        return _leanood(name, fit, score, head)
    try:
        import torch

        torch.set_num_threads(1)
        return (_pytorch_ood if library == "pytorch-ood" else _oodeel)(torch, name, fit, score, head)
    except ImportError:
        return None


def _leanood(name: str, fit: Arrays, score: Arrays, head: Arrays) -> Callable[[], Any]:
    options: Dict[str, Dict[str, Any]] = {name: head for name in ("vim", "react", "ash", "dice")}
    options["knn"] = {"neighbours": NEIGHBOURS, "rows": None}
    labels = None if name == "she" else fit["labels"]
    if name == GIVEN:
        known = scores.ReAct(limit=_limit(fit), **head)
        return lambda: known.score(score)
    return lambda: scores.by_name(name)(**options.get(name, {})).fit(fit, labels).score(score)


def _pytorch_ood(torch: Any, name: str, fit: Arrays, score: Arrays, head: Arrays) -> Optional[Callable[[], Any]]:
    from pytorch_ood import detector as d

    z, y, zs = torch.from_numpy(fit["features"]), torch.from_numpy(fit["labels"]), torch.from_numpy(score["features"])
    logits, logits_fit = torch.from_numpy(score["logits"]), torch.from_numpy(fit["logits"])
    w, b = torch.from_numpy(head["weight"].T.copy()), torch.from_numpy(head["bias"])

    def last(features: Any) -> Any:
        return features.flatten(1) @ w.T + b

    predicted = logits_fit.argmax(dim=1)
    known = d.ReAct(None, last, threshold=_limit(fit)) if name == GIVEN else None
    runs: Dict[str, Callable[[], Any]] = {
        "msp": lambda: d.MaxSoftmax.score(logits), "max_logit": lambda: d.MaxLogit.score(logits),
        "energy": lambda: d.EnergyBased.score(logits), "entropy": lambda: d.Entropy.score(logits),
        "gen": lambda: d.GEN.score(logits), "odin": lambda: d.MaxSoftmax.score(logits, t=1000.0),
        "kl_matching": lambda: d.KLMatching(None).fit_logits(logits_fit).predict_logits(logits),
        "mahalanobis": lambda: d.Mahalanobis(None).fit_features(z, y).predict_features(zs),
        "relative_mahalanobis": lambda: d.RMD(None).fit_features(z, y).predict_features(zs),
        "knn": lambda: d.KNN(None, k=NEIGHBOURS).fit_features(z, y).predict_features(zs),
        "vim": lambda: d.ViM(None, d=z.shape[1] // 2, w=w, b=b).fit_features(z, y).predict_features(zs),
        "react": lambda: d.ReAct(None, last).fit_feature_maps(z, y).predict_feature_maps(zs),
        GIVEN: lambda: known.predict_feature_maps(zs) if known else None,
        "ash": lambda: d.ASH(None, last, "ash-s", 0.65).predict_feature_maps(zs[:, :, None, None].clone()),
        "dice": lambda: d.DICE(None, w=w, b=b, p=0.9).fit_features(z, y).predict_features(zs),
        "she": lambda: d.SHE(None, last).fit_features(z, predicted).predict_features(zs),
    }
    return runs.get(name)


def _oodeel(torch: Any, name: str, fit: Arrays, score: Arrays, head: Arrays) -> Optional[Callable[[], Any]]:
    from oodeel import methods as m

    model = torch.nn.Sequential()
    model.add_module("features", torch.nn.Identity())
    model.add_module("fc", torch.nn.Linear(*head["weight"].shape))
    model.fc.weight.data, model.fc.bias.data = torch.from_numpy(head["weight"].T.copy()), torch.from_numpy(head["bias"])
    model.eval()

    def loader(part: Arrays) -> Any:
        tensors = torch.from_numpy(part["features"]), torch.from_numpy(part["labels"])
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=1000)

    deep = {"feature_layers_id": ["features"]}
    makers: Dict[str, Tuple[Callable[[], Any], Dict[str, Any]]] = {
        "msp": (lambda: m.MLS(output_activation="softmax"), {}), "max_logit": (lambda: m.MLS(), {}),
        "energy": (lambda: m.Energy(), {}), "entropy": (lambda: m.Entropy(), {}), "gen": (lambda: m.GEN(), {}),
        "mahalanobis": (lambda: m.Mahalanobis(eps=0), deep), "relative_mahalanobis": (lambda: m.RMDS(eps=0), deep),
        "knn": (lambda: m.DKNN(nearest=NEIGHBOURS), deep), "she": (lambda: m.SHE(), deep),
        "vim": (lambda: m.VIM(princ_dims=fit["features"].shape[1] // 2), deep),
        "react": (lambda: m.Energy(use_react=True, react_quantile=0.9), {}),
        "ash": (lambda: m.Energy(use_ash=True, ash_percentile=0.65), {}),
    }
    if name not in makers:
        return None
    make, options = makers[name]

    def run() -> Any:
        detector = make()
        detector.fit(model, fit_dataset=loader(fit), **options)
        return detector.score(loader(score))

    return run


def _limit(fit: Arrays) -> float:
    return float(np.percentile(fit["features"], 90))


def _single_frame() -> List[List[Any]]:
    rng = np.random.RandomState(0)
    features = np.maximum(rng.randn(8000, _WIDTH.value), 0).astype(np.float32)
    outputs = {"features": features, "logits": features[:, :CLASSES] * 5, "early": features[:, :64] + 1}
    frame = {name: value[:1] for name, value in outputs.items()}
    rows = []
    for name, kind in scores.NAMES.items():
        score = kind() if name != "fusion" else scores.Fusion(
            [scores.Energy(), scores.EarlyStatistics(), scores.RelativeMahalanobis()])
        score.fit(outputs)
        times = turns.seconds({name: functools.partial(score.score, frame)}, 2000, clock=time.perf_counter)[name]
        rows.append([name, 1e6 * float(np.median(times)), sum(a.nbytes for a in score.to_arrays().values()) / 1000])
    return rows


if __name__ == "__main__":
    app.run(main)
