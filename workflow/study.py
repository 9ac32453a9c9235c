"""A study: searches compressions of a network for detection quality against latency, and gives a verdict with proof.

    baseline -> sensitivity of the layers -> recipes by Optuna, each trained, converted, calibrated and measured as a
    file -> the fastest whose AUROC is non-inferior on untouched test data -> a detector file with its certificate

Candidates are chosen on validation data and in-distribution corruptions of it. The verdict is taken on the test split,
one-sided, at a confidence that is corrected for the number of finalists (Bonferroni); frames that come from one stretch
or one image count as one cluster (Obuchowski's variance of the paired difference). Killed at any moment, the same call
goes on: candidates, scores and timings are kept under the hash of what they follow from, the search in its storage.
"""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
import platform
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from leanood.compression import search
from leanood.data import sequences
from leanood.files import atomic
from leanood.ood import statistics
from leanood.tflite import bundle, silence
from leanood.workflow import (
    calibrate,
    candidates,
    cluster,
    compress,
    datasets,
    evaluate,
    outcome,
    pareto,
    progress,
    search_space,
    study_page,
)
from leanood.workflow import sensitivity as sensitivity_

DETECTOR = "detector.tflite"
ORIGINAL = "original"  # the run's folder that a saved model is made into
# Weather, light, optics, sensor and content, none of them only codec or noise.
CORRUPTIONS = ("darker", "brighter", "rain", "fog", "night", "motion_blur", "occlusion", "dead_columns")
# One of each sort that a camera or its codec makes.
BENIGN = ("yuv420", "jpeg_85", "noise_1", "right_1", "exposure_1.03", "warmer_3_percent")
# What the search weighs.
OBJECTIVES = (search.Objective("auroc", True, 0.5), search.Objective("ratio", False, 1.5),
              search.Objective("kilobytes", False, 1e6))
_WITHIN = 3.0  # margins: a candidate that falls so far behind the baseline at first is trained longer after the others
_Again = Callable[[], Tuple[candidates.Candidates, Dict[str, Any]]]  # `_open` once more, in another process
_LEAST_CLUSTERS = 4  # stretches, or images, that a paired difference's spread is taken from


class Study(outcome.Outcome):
    """A study's folder; it shows itself as a table of candidates and the verdict.

    Attributes:
      path: the folder; `detector` in it is the recommended file.
      rows: one mapping a candidate, fastest first: recipe, epochs, auroc, hit_rate, benign, latency_ms, ratio,
        kilobytes, memory_kb, on the `front`, `failure`.
      verdict: which was recommended and why, one mapping a finalist under `finalists`.
    """

    @property
    def rows(self) -> List[Dict[str, Any]]:
        return self.summary["candidates"]

    @property
    def verdict(self) -> Dict[str, Any]:
        return self.summary["verdict"]

    @property
    def detector(self) -> str:
        """The recommended detector file."""
        return os.path.join(self.path, DETECTOR)

    def plot(self) -> Any:
        """AUROC against latency of every candidate, the Pareto front drawn, as a Matplotlib figure."""
        return pareto.figure(self.rows, self.summary["baseline"], self.verdict)

    def report(self, out: Optional[str] = None, **options: Any) -> outcome.Outcome:
        """Writes the study's page, see `leanood.report`."""
        from leanood.workflow import report

        return report.report(self.path, out, **options)


def study(run: Optional[Union[str, os.PathLike]] = None, data: Optional[datasets.Data] = None,
          out: Optional[Union[str, os.PathLike]] = None, *, model: Optional[Union[str, os.PathLike]] = None,
          outputs: Optional[Mapping[str, str]] = None, size: Optional[Tuple[int, int]] = None,
          input_scale: Optional[str] = None, ood: Sequence[Union[str, os.PathLike]] = (),
          trials: int = 30, rungs: Sequence[int] = (2, 10), refine_epochs: int = 20, sampler: str = "tpe",
          margin: float = 0.01, confidence: float = 0.95, finalists: int = 3, deadline_ms: Optional[float] = None,
          max_kb: Optional[float] = None, detector: Optional[str] = None, window: Optional[int] = None,
          sensitivity: str = "normal", corruptions: Optional[Sequence[str]] = None, severities: Sequence[int] = (3,),
          benign: Sequence[str] = BENIGN, stretch_s: float = 10.0, stretches: int = 12, images: int = 4000,
          judged_images: int = 1000, accelerator: str = "cpu", runtime: str = "auto", seed: int = 0,
          storage: Optional[str] = None, ray_address: Optional[str] = None, workers: int = 1,
          import_measurements: Optional[Union[str, os.PathLike]] = None, **data_options: Any) -> Study:
    """Searches compressions of a run's network; returns the study with its recommended detector file.

    Args:
      run: the run's folder, as `leanood.train` makes it, or
      model: any saved Functional Keras model (.h5, .keras); exactly one of the two.
      data: a folder, a video, "lanes" or "tfds:NAME", or an opened data set; None: what the run was trained on.
      out: the study's folder; None: the run's (or model's) name and "-study". A study in it goes on.
      outputs, size, input_scale: of a model, as of `leanood.compress`: {"features": LAYER, "logits": LAYER}.
      ood: real OOD recordings or folders beside the corruptions, as of `leanood.evaluate`; used in the verdict alone.
      trials: candidates of the first rung.
      rungs: epochs of each fine-tuning, rung by rung; a third of one rung's candidates goes on to the next.
      refine_epochs: epochs of the finalists, who are trained anew; 0: as the last rung left them.
      sampler: "tpe" or "random".
      margin: of AUROC, that the recommended detector may lose at most.
      confidence: of the verdict, one-sided, over all finalists together.
      finalists: so many are judged on the test split at most.
      deadline_ms: from frame to verdict; slower candidates are not recommended.
      max_kb: of the detector file; larger ones are not recommended.
      detector, window, sensitivity: as of `leanood.calibrate`; a score that is chosen is the baseline's, and all
        candidates have that.
      corruptions: what candidates are judged on; None: CORRUPTIONS, of networks of motion its changes.
      severities, benign, stretch_s, stretches: likewise, as of `leanood.evaluate`.
      images: training images of each fine-tuning.
      judged_images: validation and test images, where frames are no sequences.
      accelerator, runtime: what is timed, see `leanood.benchmark`.
      seed: of the search and the trainings.
      storage: an SQLAlchemy URL; None: an SQLite file in the folder. PostgreSQL where workers are on many machines.
      ray_address: "auto" or "ray://HOST:PORT", a Ray cluster that shares the folder; None: this process alone, or with
        `workers` a Ray of this machine's own.
      workers: processes that try candidates side by side.
      import_measurements: a file of `leanood benchmark --json` of the study's candidates, measured on the board; its
        figures replace this machine's.
      **data_options: split_csv, times_csv, ood_partitions, fps, data_seed, limit, as of `leanood.data.catalog.open`.

    Raises:
      ValueError, OSError: in one line that says what is wrong and what to do.
    """
    if (run is None) == (model is None):
        raise ValueError("give one of --run=FOLDER and --model=FILE")
    source = os.path.abspath(os.fspath(run if run is not None else model))  # type: ignore[arg-type]
    folder = os.path.abspath(os.fspath(out)) if out else (
        f"{source.rstrip(os.sep) if model is None else os.path.splitext(source)[0]}-study")
    settings = _Settings(
        run=source if model is None else os.path.join(folder, ORIGINAL),
        ood=tuple(os.fspath(spec) for spec in ood), trials=trials,
        rungs=tuple(rungs), refine_epochs=refine_epochs, sampler=sampler, margin=margin, confidence=confidence,
        finalists=finalists,
        deadline_ms=deadline_ms, max_kb=max_kb, detector=detector, window=window, sensitivity=sensitivity,
        corruptions=None if corruptions is None else tuple(name for name in corruptions if name),
        severities=tuple(severities), benign=tuple(name for name in benign if name), stretch_s=stretch_s,
        stretches=stretches, images=images,
        judged_images=judged_images, accelerator=accelerator, runtime=runtime, seed=seed, storage=storage,
        workers=workers, ray_address=ray_address)
    os.makedirs(folder, exist_ok=True)
    with contextlib.ExitStack() as stack:
        if settings.fans_out:
            stack.enter_context(cluster.connected(settings.workers, settings.ray_address, silence.tensorflow))
        silence.tensorflow()
        if model is not None:
            compress.compress(
                model=source, recipe=candidates.BASELINE, out=settings.run, data=data, images=1, outputs=outputs,
                part="classifier" if outputs is None or "logits" in outputs else "encoder", size=size,
                input_scale=input_scale, detector="none", sizes=False, **data_options)
        bench, opened = _open(folder, settings, data, data_options)
        bench.refuse_few(_LEAST_CLUSTERS)
        again = functools.partial(_open, folder, settings, data, data_options)
        rows = _search(folder, settings, bench, again)
        baseline = bench.path(candidates.BASELINE)
        if import_measurements is not None:
            known = bench.import_measurements(os.fspath(import_measurements))
            progress.say(f"{known} candidates' times taken from {import_measurements}")
        base = candidates.figures_of(bench.judge(baseline, "validation"), bench.time(baseline))
        table = list({row.get("file", row["recipe"]): row
                      for row in (_row(candidate, bench) for candidate in rows)}.values())
        _mark_front(table)
        verdict = _verdict(folder, settings, table, base, bench, opened, again)
    summary = {"out": folder, "run": settings.run, "data": opened["description"], "baseline": base,
               "candidates": sorted(table, key=lambda row: (row["failure"] != "", row.get("ratio") or np.inf)),
               "verdict": verdict, "settings": dataclasses.asdict(settings)}
    atomic.write_json(os.path.join(folder, study_page.FILE), summary)
    done = Study(folder, {"out": folder, "recommended": verdict["recipe"], **verdict["said"]},
                 tables=[_table(summary["candidates"])])
    done.summary.update(summary)
    atomic.write_figure(os.path.join(folder, "pareto.png"), done.plot())
    return done


def reopened(folder: Union[str, os.PathLike]) -> candidates.Candidates:
    """Returns what made and measured a finished study's candidates, to ask it about other recipes.

    Args:
      folder: the study's; its run and data are where they were.
    """
    folder = os.path.abspath(os.fspath(folder))
    kept: Dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                            for name, value in study_page.read(folder)["settings"].items()}
    return _open(folder, _Settings(**kept), None, {})[0]


@dataclasses.dataclass(frozen=True)
class _Settings:
    """A study's arguments, checked."""

    run: str
    ood: Tuple[str, ...]
    trials: int
    rungs: Tuple[int, ...]
    refine_epochs: int
    sampler: str
    margin: float
    confidence: float
    finalists: int
    deadline_ms: Optional[float]
    max_kb: Optional[float]
    detector: Optional[str]
    window: Optional[int]
    sensitivity: str
    corruptions: Optional[Tuple[str, ...]]
    severities: Tuple[int, ...]
    benign: Tuple[str, ...]
    stretch_s: float
    stretches: int
    images: int
    judged_images: int
    accelerator: str
    runtime: str
    seed: int
    storage: Optional[str]
    workers: int
    ray_address: Optional[str]

    @property
    def fans_out(self) -> bool:
        """Whether candidates are tried in Ray's workers."""
        return self.workers > 1 or self.ray_address is not None

    def __post_init__(self) -> None:
        for name, low in (("finalists", 1), ("workers", 1), ("images", 1), ("judged_images", 2), ("refine_epochs", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}, but should be {low} or more")
        if not 0 < self.margin < 0.5:
            raise ValueError(f"margin is {self.margin}, but should be a loss of AUROC between 0 and 0.5")
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}, but should lie between 0.5 and 1")
        evaluate.Settings(severities=self.severities, corruptions=self.corruptions or (), benign=self.benign)


def _open(folder: str, settings: _Settings, data: Optional[datasets.Data],
          options: Mapping[str, Any]) -> Tuple[candidates.Candidates, Dict[str, Any]]:
    """Returns what makes and measures candidates, and how to open the data again."""
    from leanood.models import run as runs

    run = runs.Run(settings.run)
    frames, opened = datasets.open(data, options, run.config.get("data", {}))
    motion = datasets.motion(run.config)
    # Filter bank or motion statistics join an encoder's outputs when it is converted.
    default = calibrate.AUTO if run.part == "classifier" else calibrate.default_detector(
        ("mu_h",) if motion else ("early",))
    per_hour, share = sensitivity_.rates(settings.sensitivity)
    calibration = calibrate.Settings(detector=settings.detector or default, window=settings.window,
                                     seed=settings.seed, false_alarms_per_hour=per_hour, false_positive_rate=share)
    chosen = settings.corruptions or (sequences.OF_MOTION if motion else CORRUPTIONS)
    judging = evaluate.Settings(severities=settings.severities, corruptions=chosen,
                                benign=settings.benign, stretch_s=settings.stretch_s, stretches=settings.stretches,
                                ood=settings.ood)
    return candidates.Candidates(
        folder, settings.run, frames, opened, calibration, judging, images=settings.images,
        judged_images=settings.judged_images, seed=settings.seed, accelerator=settings.accelerator,
        runtime=settings.runtime), opened


def _search(folder: str, settings: _Settings, bench: candidates.Candidates,
            again: _Again) -> List[search.Candidate]:
    """Returns the candidates of all rungs that the search came upon, here or in Ray's workers."""
    searched = search.Settings(trials=settings.trials, rungs=settings.rungs, sampler=settings.sampler,
                               seed=settings.seed, storage=settings.storage or f"sqlite:///{folder}/study.db")
    known = search.candidates(OBJECTIVES, searched)  # the storage's tables are made once, before the workers come
    progress.say(f"the search goes on after {len(known)} candidates") if known else None
    if settings.fans_out:
        cluster.run(lambda number: _try(folder, settings, searched, again()[0], number), settings.workers,
                    settings.ray_address)
    else:
        _try(folder, settings, searched, bench, 0)
    return search.candidates(OBJECTIVES, searched)


def _try(folder: str, settings: _Settings, searched: search.Settings, bench: candidates.Candidates,
         number: int) -> None:
    """Tries candidates until there are enough; workers share storage and folder, and what one makes is all's.

    Args:
      number: the worker's. The first judges the baseline, while another measures the layers' sensitivities.
    """
    baseline = bench.make(candidates.BASELINE)
    if number == 0:
        base = candidates.figures_of(bench.judge(baseline, "validation"), bench.time(baseline))
        progress.say(f"baseline: AUROC {base['auroc']:.4f}, {base['latency_ms']:.3g} ms, {base['kilobytes']:.0f} kB")
    space = search_space.of(settings.run, folder)
    least = bench.judge(baseline, "validation").figures["auroc"] - _WITHIN * settings.margin
    search.search(space, evaluator(bench), (OBJECTIVES[0]._replace(worst=least), *OBJECTIVES[1:]),
                  dataclasses.replace(searched, seed=searched.seed + 100 * number),
                  always=search_space.first(space) if number == 0 else (), progress=progress.say)
    bench.judge(baseline, "test")  # which the verdict wants, while others are at their last candidates


def evaluator(bench: candidates.Candidates) -> Callable[[str], search.Evaluation]:
    """Returns recipe -> what its file is worth on validation data."""
    def evaluated(recipe: str) -> search.Evaluation:
        import tf_keras

        tf_keras.backend.clear_session()  # graphs of earlier candidates
        path = bench.make(recipe)
        figures = candidates.figures_of(bench.judge(path, "validation"), bench.time(path))
        return search.Evaluation(figures, {"file": os.path.basename(path)})

    return evaluated


def _row(candidate: search.Candidate, bench: candidates.Candidates) -> Dict[str, Any]:
    """Returns a candidate's row; its figures are those of its file as it was judged and timed."""
    row: Dict[str, Any] = {"recipe": candidate.recipe, "epochs": candidate.epochs, "failure": candidate.failure}
    if candidate.figures is None:
        return row
    path = bench.path(candidate.recipe)
    return {**row, "file": os.path.basename(path),
            **candidates.figures_of(bench.judge(path, "validation"), bench.time(path))}


def _mark_front(table: List[Dict[str, Any]]) -> None:
    """Marks the rows that no other dominates in AUROC, hits, benign alarms, latency, bytes and memory together."""
    objectives = [search.Objective(name, up, 0.0) for name, up in pareto.AXES]
    known = [row for row in table if not row["failure"]]
    front = search.front([search.Candidate(str(i), 0, {o.name: row[o.name] for o in objectives}, {}, "")
                          for i, row in enumerate(known)], objectives)
    chosen = {int(candidate.recipe) for candidate in front}
    for i, row in enumerate(known):
        row["front"] = i in chosen


def _verdict(folder: str, settings: _Settings, table: Sequence[Mapping[str, Any]], base: Mapping[str, float],
             bench: candidates.Candidates, opened: Mapping[str, Any], again: _Again) -> Dict[str, Any]:
    """Returns which candidate is recommended, judged on the test split, and writes its detector file."""
    baseline = bench.path(candidates.BASELINE)
    chosen = _finalists(settings, table, base)
    reference = bench.judge(baseline, "test")
    confidence = 1 - (1 - settings.confidence) / max(1, len(chosen))
    recipes = [row["recipe"].replace(f"epochs={row['epochs']}", f"epochs={settings.refine_epochs}")
               if settings.refine_epochs else row["recipe"] for row in chosen]
    if settings.fans_out and recipes:
        cluster.run(lambda number: _finish(recipes[number::settings.workers], again()[0]), settings.workers,
                    settings.ray_address)
    _finish(recipes, bench)
    judged = []
    for recipe in recipes:
        path = bench.path(recipe)
        judged.append({"recipe": recipe, "file": os.path.basename(path),
                       **_tested(settings, reference, bench.judge(path, "test"), bench.time(path), confidence)})
    passed = sorted((row for row in judged if row["accepted"]), key=lambda row: (row["ratio"], row["kilobytes"]))
    best = passed[0] if passed else None
    path = bench.path(best["recipe"]) if best else baseline
    verdict = {
        "recipe": best["recipe"] if best else candidates.BASELINE, "finalists": judged, "confidence": confidence,
        "said": _said(best, base, settings),
        "baseline_test": {**reference.figures, **candidates.figures_of(reference, bench.time(baseline))}}
    certificate = {
        "statement": verdict["said"], "margin": settings.margin, "confidence": confidence,
        "finalists": len(judged), "recipe": verdict["recipe"], "chosen": best,
        "data": datasets.relative(dict(opened), folder),
        "seeds": {"study": settings.seed}, "sets": [row["set"] for row in reference.figures["rows"]],
        "sha256": {"baseline": _hash(baseline), "network": hashlib.sha256(bundle.flatbuffer(path)).hexdigest()},
        "versions": _versions(), "run": os.path.basename(settings.run)}
    parts = bundle.read(path)
    fields = {name: value for name, value in parts.detector.items() if name not in ("schema", "sha256")}
    # Its paths were seen from the candidates' folder.
    provenance = datasets.seen_from(fields["provenance"], os.path.dirname(path))
    fields["provenance"] = datasets.relative(provenance, folder)
    bundle.write(os.path.join(folder, DETECTOR), parts.model, {**fields, "certificate": certificate}, parts.arrays)
    bench.report(path, os.path.join(folder, DETECTOR), os.path.join(folder, study_page.EVALUATION))
    return {**verdict, "certificate": certificate}


def _finish(recipes: Sequence[str], bench: candidates.Candidates) -> None:
    """Trains finalists anew, and judges and times them on the test split."""
    for recipe in recipes:
        progress.say(f"finalist {recipe}")
        path = bench.make(recipe)
        bench.judge(path, "test")
        bench.time(path)


def _finalists(settings: _Settings, table: Sequence[Mapping[str, Any]],
               base: Mapping[str, float]) -> List[Mapping[str, Any]]:
    """Returns the fastest of the last rung that hold the margin on validation data, and deadline and size."""
    held = [row for row in table if not row["failure"] and row["epochs"] == settings.rungs[-1]
            and row["auroc"] > base["auroc"] - settings.margin
            and (settings.deadline_ms is None or row["latency_ms"] <= settings.deadline_ms)
            and (settings.max_kb is None or row["kilobytes"] <= settings.max_kb)]
    unique = {row["file"]: row for row in held}
    return sorted(unique.values(), key=lambda row: (row["ratio"], row["kilobytes"]))[:settings.finalists]


def _tested(settings: _Settings, reference: candidates.Judged, judged: candidates.Judged, timed: candidates.Timed,
            confidence: float) -> Dict[str, Any]:
    """Returns a finalist's figures on the test split, the paired difference to the baseline, whether it is accepted."""
    sets = list(reference.scores)
    base, candidate = candidates.pooled(reference.scores, sets), candidates.pooled(judged.scores, sets)
    pair = (base.id_scores, base.ood_scores, candidate.id_scores, candidate.ood_scores)
    groups = {"id_groups": base.id_groups, "ood_groups": base.ood_groups}
    clusters = min(len(np.unique(base.id_groups)), len(np.unique(base.ood_groups)))
    if clusters < _LEAST_CLUSTERS:
        raise ValueError(f"the test split has {clusters} stretches of {settings.stretch_s:g} s, too few for a verdict "
                         f"({_LEAST_CLUSTERS} are needed); give more data, or a smaller --stretch_s")
    # The two-sided interval whose lower bound is the one-sided bound at `confidence`.
    difference = statistics.auroc_difference(*pair, confidence=2 * confidence - 1, **groups)
    accepted = statistics.non_inferior(*pair, margin=settings.margin, confidence=confidence, **groups)
    figures = candidates.figures_of(judged, timed)
    met = (settings.deadline_ms is None or figures["latency_ms"] <= settings.deadline_ms) and (
        settings.max_kb is None or figures["kilobytes"] <= settings.max_kb)
    return {**figures, "delta": difference.delta, "delta_low": difference.low, "delta_high": difference.high,
            "ratio_low": timed.ratio_low, "ratio_high": timed.ratio_high, "measured_on": timed.where,
            "rows": judged.figures["rows"], "non_inferior": bool(accepted), "accepted": bool(accepted and met)}


def _said(best: Optional[Mapping[str, Any]], base: Mapping[str, float], settings: _Settings) -> Dict[str, Any]:
    """Returns the verdict in a few words and figures, for the table and the certificate."""
    if best is None:
        return {"verdict": "no candidate was shown to be as good: the detector file is the baseline's; give more "
                           "trials, longer rungs or a wider margin"}
    return {"verdict": f"non-inferior at {settings.margin:g} of AUROC on the test split",
            "AUROC": best["auroc"], "pooled difference": best["delta"], "its lower bound": best["delta_low"],
            "times faster": 1 / best["ratio"], "times smaller": base["kilobytes"] / best["kilobytes"],
            "frame to verdict, ms": best["latency_ms"], "file, kB": best["kilobytes"]}


def _versions() -> Dict[str, str]:
    import tensorflow as tf

    import leanood

    return {"leanood": leanood.__version__, "tensorflow": tf.__version__, "numpy": np.__version__,
            "python": platform.python_version(), "machine": platform.machine()}


def _hash(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def _table(rows: Sequence[Mapping[str, Any]]) -> outcome.Table:
    columns = ("recipe", "auroc", "hit_rate", "benign", "latency_ms", "kilobytes")
    cells = [[row.get(name) for name in columns] + ["failed" if row["failure"] else "yes" if row.get("front") else ""]
             for row in rows]
    return cells, ["recipe", "AUROC", "hits", "benign alarms", "ms", "kB", "front"]


