"""What detects: real scenes, faint corruptions and changed content of a set's single images, by detector file.

    python benchmarks/detection/groups.py --data=$LEANOOD_TEST_DATA/data --runs=runs \
        --files=backbone=runs/backbone/encoder_int8.tflite,half=runs/half/encoder_int8.tflite

Each network is calibrated as `leanood calibrate` does it and judged on its own file, beside what is left of it without
its network, without its filter bank, and beside the trivial baselines. `--set=donkeycar` takes single frames of a drive
instead, beside those of another day's drive on the same track, which must not be flagged. Intervals: bootstrap over
blocks of ten neighbouring frames, all kinds of row drawn together. Times: frame to verdict, one thread, files taking
turns. Needs `pip install 'leanood[benchmarks]'`.
"""
from __future__ import annotations

import hashlib
import json
import os
import time
from typing import Any, Callable, Dict, List, Mapping, Sequence

import numpy as np
import sets
import unseen
from absl import flags

from leanood.data import benign, content_changes, corruptions, dataset, frames
from leanood.files import atomic
from leanood.ood import baselines, gaussian, image_threshold, typicality
from leanood.tflite import bundle
from leanood.tflite.timing import results
from leanood.tools import command
from leanood.workflow import calibrate, material, network, progress

_FILES = flags.DEFINE_list("files", None, "LABEL=FILE.tflite,…: converted networks", required=True)
_SET = flags.DEFINE_enum("set", "duckietown", ["duckietown", "donkeycar"], "whose single images")
_ROUNDS = flags.DEFINE_integer("rounds", 200, "runs of each file, to time it; 0: not timed")
_BY_PARTITION = flags.DEFINE_boolean("by_partition", False, "subsets have means of their own; give other labels then")
_BOOTSTRAP = flags.DEFINE_integer("bootstrap", 300, "draws for the intervals")

FAINT = (*((name, 1) for name in ("darker", "brighter", "rain", "fog", "glare", "motion_blur", "noise", "dead_pixels")),
         ("occlusion", 5))
UNSEEN = ("mud", "grid of holes", "hue turned", "JPEG at quality 10", "lens distortion", "turned by 45°")
OOD = ("dark", "red", "green")  # of Duckietown; of both sets there is another road, of donkeycar an office
GROUPS = ("real", "low", "content")
_BLOCK = 10
_ROAD = 500  # frames of another road
_TEST = 210  # frames of a drive that are judged

Rows = Dict[str, np.ndarray]  # by "group/kind", uint8 [N, h, w, 3]; "test" and "benign/…" beside them


def main(argv: Sequence[str]) -> int:
    files = dict(pair.split("=", 1) for pair in _FILES.value)
    data = sets.load_data(_SET.value)
    kinds = _kinds(data)
    judged = {label: _judged(label, path, data, kinds) for label, path in files.items()}
    took = _times(files, kinds["test"]()) if _ROUNDS.value else {}
    details = {"set": _SET.value, "files": judged, "baselines": _trivial(data, kinds), "milliseconds": took}
    print(table(details))
    return results.write(__file__, figures(details), details)


def _judged(label: str, path: str, data: dataset.Dataset, kinds: Mapping[str, Callable[[], np.ndarray]]) -> Dict:
    """Returns what became of a file, kept in --runs."""
    flatbuffer = bundle.flatbuffer(path)
    digest = hashlib.sha256(flatbuffer).hexdigest()[:12]
    kept = os.path.join(sets.RUNS.value, f"groups_{_SET.value}_{label}_{digest}.json")
    if not os.path.exists(kept):
        loaded = network.load(flatbuffer)
        scores, threshold, calibration = _scores(loaded, data, kinds)
        result = {"bytes": len(flatbuffer), "calibration": calibration,
                  **_summary(scores, threshold, np.random.default_rng(0))}
        sets.write(kept, json.dumps(result))
    with open(kept, encoding="utf-8") as stream:
        return json.load(stream)


def figures(details: Mapping[str, Any]) -> List[results.Figure]:
    """Returns the lines of docs/benchmarks.md: each file's groups, and what its network adds."""
    lines = []
    for label, result in details["files"].items():
        whole, without = result["detectors"]["whole"], result["detectors"]["without the network"]
        means = ", ".join(f"{group} {whole[group]:.3f}" for group in (*GROUPS, "all"))
        lost, low, high = (100 * value for value in without["all_lost"])
        lines.append(results.Figure(f"single images of {details['set']}, `{label}`: mean AUROC", means))
        lines.append(results.Figure("… taking its network away costs, points", f"{lost:.1f} ({low:.1f} to {high:.1f})"))
    return lines


def _kinds(data: dataset.Dataset) -> Dict[str, Callable[[], np.ndarray]]:
    """Returns what makes each kind of frame, kept as .npy in --runs once made."""
    drive = _SET.value == "donkeycar"
    folder = os.path.join(sets.RUNS.value, "rows_donkeycar" if drive else "rows")
    os.makedirs(folder, exist_ok=True)
    test = data.where((data.split == "test") & ~data.ood)
    albumentations = unseen.transforms()

    def some(data: dataset.Dataset, count: int = _ROAD) -> dataset.Dataset:
        return data.where(np.linspace(0, len(data) - 1, count).astype(int))

    if drive:
        test = some(test, _TEST)

    def road() -> dataset.Dataset:
        other = sets.load_data("duckietown" if drive else "donkeycar")
        return some(other.where(~other.ood))

    def every(change: Callable[[np.ndarray, int], np.ndarray]) -> np.ndarray:
        return np.stack([frames.resize(change(test.read(i), i), sets.SIZE) for i in range(len(test))])

    def content(name: str) -> np.ndarray:
        other = road() if name == "pasted object" else None
        rng = np.random.default_rng(1000)

        def change(frame: np.ndarray, i: int) -> np.ndarray:
            where = int(rng.integers(len(other or test)))
            return content_changes.change(name, frame, 1000 + i, (other or test).read(where))

        return every(change)

    makers: Dict[str, Callable[[], np.ndarray]] = {"test": lambda: every(lambda frame, i: frame)}
    for name in OOD if not drive else ():
        makers[f"real/{name}"] = lambda name=name: data.where(data.partition == name).load(sets.SIZE)[0]
    if drive:
        later = sets.load_data("donkeycar2")
        makers["real/office"] = lambda: later.where(later.ood).load(sets.SIZE)[0]
        makers["ordinary/another day"] = lambda: some(later.where(~later.ood)).load(sets.SIZE)[0]
    makers["real/another road"] = lambda: road().load(sets.SIZE)[0]
    for name, severity in FAINT:
        makers[f"low/{name} {severity}"] = lambda name=name, severity=severity: every(
            lambda frame, i: corruptions.corrupt(name, frame, severity, seed=1000 + i))
    for name in UNSEEN:
        makers[f"low/{name}"] = lambda name=name: every(
            lambda frame, i: unseen.apply(albumentations[name], frame, 1000 + i))
    for name in content_changes.NAMES:
        makers[f"content/{name}"] = lambda name=name: content(name)
    for name in benign.available():
        makers[f"benign/{name}"] = lambda name=name: np.stack(
            [benign.change(name, frame, i, i) for i, frame in enumerate(kept("test"))])

    def kept(kind: str) -> np.ndarray:
        path = os.path.join(folder, kind.replace("/", "_").replace(" ", "-") + ".npy")
        if not os.path.exists(path):
            array = makers[kind]()
            with atomic.replacing(path) as stream:
                np.save(stream, array)
        return np.load(path)

    return {kind: lambda kind=kind: kept(kind) for kind in makers}


def _scores(loaded: network.Network, data: dataset.Dataset, kinds: Mapping[str, Callable[[], np.ndarray]]) -> tuple:
    """Returns scores by detector and kind, thresholds by detector, and what calibration saw."""
    settings = calibrate.Settings(window=0, by_partition=_BY_PARTITION.value)
    gathered = material.gather(loaded, data, ordered=False)
    judges: Dict[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {}
    thresholds: Dict[str, float] = {}
    whole = calibrate._left_out(gathered, data.partition_kind, settings)
    judges["whole"] = lambda outputs: whole.detector.run(outputs, None)["score"]
    thresholds["whole"] = image_threshold.grouped(whole.nonconformity, gathered.group, 0.05, gathered.partition).value
    outputs, train = gathered.outputs, gathered.split == "train"
    subsets = gathered.partition if settings.by_partition and data.partition_kind == "subset" else None
    parts: Dict[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {
        "without the network": lambda outputs: typicality.joined(outputs["early"])}
    if "features" in outputs:
        parts["without the filter bank"] = lambda outputs: np.asarray(outputs["features"], np.float64)
    elif "mu" in outputs:
        parts["without the filter bank"] = lambda outputs: np.concatenate(
            [outputs["mu"], outputs["logvar"]], axis=1).astype(float)
    for name, columns in parts.items():
        features = columns(outputs)
        original, varied = train & (gathered.variant == 0), train & (gathered.variant > 0)
        fitted = gaussian.Gaussian.fit(features[original], features[varied] - features[gathered.origin[varied]],
                                       None if subsets is None else subsets[original])
        judges[name] = lambda outputs, columns=columns, fitted=fitted: fitted.distances(columns(outputs))
        held = fitted.distances(features[~train])
        thresholds[name] = image_threshold.conformal(held, 0.05).value
    scores: Dict[str, Dict[str, np.ndarray]] = {name: {} for name in judges}
    for kind, images in progress.track(list(kinds.items()), "scoring"):
        said = loaded.runner.each(images())
        for name, judge in judges.items():
            scores[name][kind] = judge(said)
    return scores, thresholds, {"frames": gathered.count()}


def _summary(scores: Mapping[str, Mapping[str, np.ndarray]], thresholds: Mapping[str, float],
             rng: np.random.Generator) -> Dict[str, Any]:
    detectors: Dict[str, Any] = {}
    for name, kinds in scores.items():
        rows = {kind: _auroc(kinds["test"], values) for kind, values in kinds.items() if kind.split("/")[0] in GROUPS}
        above = {kind: float((values > thresholds[name]).mean()) for kind, values in kinds.items()}
        detectors[name] = {**_means(rows), "hits": float(np.mean([above[kind] for kind in rows])),
                           "flagged": above["test"], "another_day": above.get("ordinary/another day"),
                           "benign": float(np.mean([above[kind] for kind in kinds if kind.startswith("benign/")])),
                           "worst_benign": max(above[kind] for kind in kinds if kind.startswith("benign/")),
                           "aurocs": _rounded(rows), "alarmed": _rounded(above)}
    count = len(scores["whole"]["test"])
    draws: Dict[str, List[Dict[str, float]]] = {name: [] for name in scores}
    for _ in range(_BOOTSTRAP.value):
        where = _blocks(rng, count)
        reals = {kind: _blocks(rng, len(values)) for kind, values in scores["whole"].items()
                 if kind.startswith("real/")}
        for name, kinds in scores.items():
            test = kinds["test"][where]
            draws[name].append(_means({kind: _auroc(test, values[reals.get(kind, where)])
                                       for kind, values in kinds.items() if kind.split("/")[0] in GROUPS}))
    for name, drawn in draws.items():
        for group in (*GROUPS, "all") if drawn else ():
            detectors[name][f"{group}_interval"] = np.quantile([draw[group] for draw in drawn], [0.025, 0.975]).tolist()
            lost = [a[group] - b[group] for a, b in zip(draws["whole"], drawn)]
            detectors[name][f"{group}_lost"] = [detectors["whole"][group] - detectors[name][group],
                                                *np.quantile(lost, [0.025, 0.975]).tolist()]
    return {"detectors": detectors}


def _trivial(data: dataset.Dataset, kinds: Mapping[str, Callable[[], np.ndarray]]) -> Dict[str, Any]:
    images = data.where((data.split == "train") & ~data.ood).load(sets.SIZE)[0]
    fitted = {"six colour numbers": baselines.Colour().fit(images), "sharpness": baselines.Sharpness().fit(images),
              "mean brightness": baselines.Brightness().fit(images)}
    scored = {kind: {name: baseline.score(make()) for name, baseline in fitted.items()} for kind, make in kinds.items()
              if not kind.startswith("benign/")}
    rows = {kind: {name: _auroc(scored["test"][name], values) for name, values in by_name.items()}
            for kind, by_name in scored.items() if kind != "test"}
    best = {kind: max(by_name.values()) for kind, by_name in rows.items()}
    return {"best of three on each row": {**_means(best), "aurocs": _rounded(best)},
            **{name: _means({kind: by_name[name] for kind, by_name in rows.items()}) for name in fitted}}


def _times(files: Mapping[str, str], images: np.ndarray) -> Dict[str, Any]:
    """Returns the least and the median time of a run of each file, in milliseconds, taking turns."""
    loaded = {label: network.load(bundle.flatbuffer(path), num_threads=1).runner for label, path in files.items()}
    taken: Dict[str, List[float]] = {label: [] for label in files}
    for turn in range(_ROUNDS.value + 10):
        for label, runner in loaded.items():
            begin = time.perf_counter()
            runner(images[turn % len(images)])
            if turn >= 10:
                taken[label].append(1e3 * (time.perf_counter() - begin))
    return {label: {"least": min(times), "median": float(np.median(times))} for label, times in taken.items()}


def _rounded(values: Mapping[str, float]) -> Dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def _auroc(id_scores: np.ndarray, ood_scores: np.ndarray) -> float:
    ranks = np.sort(id_scores)
    below, upto = np.searchsorted(ranks, ood_scores, "left"), np.searchsorted(ranks, ood_scores, "right")
    return float((below + upto).mean() / 2 / len(id_scores))


def _means(rows: Mapping[str, float]) -> Dict[str, float]:
    return {**{group: float(np.mean([value for kind, value in rows.items() if kind.startswith(f"{group}/")]))
               for group in GROUPS}, "all": float(np.mean(list(rows.values())))}


def _blocks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Indices [count] of randomly drawn blocks of neighbours."""
    begins = rng.integers(0, max(1, count - _BLOCK + 1), -(-count // _BLOCK))
    return np.minimum((begins[:, np.newaxis] + np.arange(_BLOCK)).ravel()[:count], count - 1)


def table(details: Mapping[str, Any]) -> str:
    """Returns the figures as a Markdown table."""
    lines = ["| network | detector | real | low | content | all | costs, points | hits | flagged at 5% (another "
             "day's) | benign, mean (worst) | KiB | ms, least (median) |", "|" + " --- |" * 12]
    for label, result in details["files"].items():
        took = details["milliseconds"].get(label)
        for name, row in result["detectors"].items():
            means = [f"{row[group]:.3f}" for group in (*GROUPS, "all")]
            lost = row.get("all_lost")
            points = [100 * value for value in lost or ()]
            cost = "" if name == "whole" or not lost else f"{points[0]:.1f} ({points[1]:.1f}–{points[2]:.1f})"
            size = [f"{result['bytes'] / 1024:.0f}", _taken(took)]
            lines.append("| " + " | ".join([
                label if name == "whole" else "", name, *means, cost, f"{row['hits']:.3f}",
                f"{row['flagged']:.3f}" + (f" ({day:.3f})" if (day := row.get("another_day")) is not None else ""),
                f"{row['benign']:.3f} ({row['worst_benign']:.3f})", *(size if name == "whole" else ["", ""])]) + " |")
    for name, row in details["baselines"].items():
        means = [f"{row[group]:.3f}" for group in (*GROUPS, "all")]
        lines.append("| " + " | ".join(["", name, *means, *[""] * 6]) + " |")
    return "\n".join(lines)


def _taken(took: Any) -> str:
    return f"{took['least']:.2f} ({took['median']:.2f})" if took else "–"


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/groups.py --data=$LEANOOD_TEST_DATA/data --runs=runs "
                "--files=full=runs/full/encoder_int8.tflite")
