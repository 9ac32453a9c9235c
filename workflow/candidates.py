"""A study's candidates: made by a recipe, calibrated, judged and timed as files; none of that is done twice.

Everything lies in the study's folder under the hash of what it follows from: `candidates/KEY.tflite` under the recipe,
the network, the data and the training's settings; figures and scores under the file's own bytes.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from typing import Any, Dict, Mapping, NamedTuple, Sequence

import numpy as np

from leanood.data import dataset
from leanood.files import atomic, lock
from leanood.tflite import benchmark, bundle
from leanood.workflow import calibrate, compress, datasets, evaluate, evaluation, network, prepared

BASELINE = "float32"  # the recipe that leaves the network as it is
_RUNS, _ROUNDS = 60, 12  # of a timing


class Judged(NamedTuple):
    """How a detector file does on one split."""

    figures: Dict[str, Any]  # fit for JSON: auroc, hit_rate, benign, per_hour or flagged, rows
    scores: Dict[str, evaluation.Clustered]  # by set, of the sets that are truly OOD


class Timed(NamedTuple):
    """How fast a detector file is, beside the baseline in the same run; times in ms."""

    latency_ms: float  # frame to verdict
    ratio: float  # of the network's time to the baseline's
    ratio_low: float
    ratio_high: float
    memory: int  # bytes of tensors alive at once
    bytes: int
    where: str  # the runtime and its accelerator; or the file that the figures were read from


class Candidates:
    """What the candidates of one study have in common.

    Args:
      folder: the study's.
      run: the network's run folder.
      data: the data set.
      origin: how to open it again, for the files' provenance.
      calibration: how each file is calibrated.
      judging: how each is judged; `split` and `at_most` are set here.
      images, seed: of every fine-tuning.
      accelerator, runtime: what the files are timed on.
    """

    def __init__(self, folder: str, run: str, data: dataset.Dataset, origin: Mapping[str, Any],
                 calibration: calibrate.Settings, judging: evaluate.Settings, *, images: int, judged_images: int,
                 seed: int, accelerator: str, runtime: str) -> None:
        from leanood.models import run as runs

        self._folder, self._run, self._origin = folder, run, dict(origin)
        self._calibration, self._judging = calibration, judging
        self._images, self._seed = images, seed
        self._at_most = None if data.fps else judged_images  # of recordings, stretches are chosen
        self._accelerator, self._runtime = accelerator, runtime
        self._imported: Dict[str, Timed] = {}
        opened = runs.Run(run)
        self._motion = datasets.motion(opened.config)
        self._size = tuple(opened.model(opened.part).input_shape[1:3])
        self._network = _digest(*(_read(os.path.join(run, name)) for name in ("encoder.h5", "classifier.h5")
                                  if os.path.exists(os.path.join(run, name))))
        for name in ("candidates", "steps", "judged", "timed", "prepared"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        self._data = dataclasses.replace(data, kept=self._file("prepared"))

    def path(self, recipe: str) -> str:
        """Returns where the recipe's detector file lies, or will."""
        key = _digest(json.dumps([recipe, self._network, self._origin, self._images, self._seed,
                                  vars(self._calibration)], sort_keys=True, default=str).encode())[:16]
        return self._file("candidates", f"{key}.tflite")

    def make(self, recipe: str) -> str:
        """Returns the recipe's detector file, made if it isn't there; a killed making goes on where it was.

        Raises:
          ValueError, RuntimeError: if the recipe can't work on the network.
        """
        path = self.path(recipe)
        if os.path.exists(path):
            return path
        calibration = self._settled(recipe)
        work = self._file("steps", os.path.splitext(os.path.basename(path))[0])
        with lock.exclusive(f"{work}.lock", wait=True):  # another worker may have drawn the same recipe
            if os.path.exists(path):
                return path
            frames = self._data if self._motion else prepared.resized(
                self._data, self._size, self._file("prepared", "frames"))  # of motion, flows are kept
            compressed = compress.compress(self._run, recipe, work, data=frames, images=self._images, seed=self._seed,
                                           detector="none", sizes=False, keep=self._file("prepared", "taught"),
                                           early="early" in self._calibration.detector.split("+") or None)
            flatbuffer = bundle.flatbuffer(compressed["files"]["tflite"])
            loaded = network.load(flatbuffer, motion=self._motion, prepared=self._prepared("calibration"))
            result = calibrate.fit(loaded, self._data, calibration)
            converted = {**datasets.sidecar(compressed["files"]["tflite"]), "data": self._origin}
            calibrate.write(path, flatbuffer, result, loaded, self._data.fps, data=self._origin, converted=converted)
        return path

    def _settled(self, recipe: str) -> calibrate.Settings:
        """How a recipe's file is calibrated: a detector that is chosen is the baseline's, and all have that."""
        if recipe == BASELINE or self._calibration.detector != calibrate.AUTO:
            return self._calibration
        chosen = bundle.read(self.make(BASELINE)).detector["calibration"]["detector"]
        return dataclasses.replace(self._calibration, detector=chosen)

    def refuse_few(self, least: int) -> None:
        """Raises ValueError if the test split has too few stretches for a verdict; before anything is worked out."""
        test = self._data.where((self._data.split == "test") & ~self._data.ood)
        if self._calibration.window == 0 or not test.fps:
            return  # single images
        _, patterns = evaluate.stretches(test, self._judging)
        in_part = sum(pattern != "all" for pattern in patterns)
        if in_part < least:
            raise ValueError(
                f"the test split has {len(patterns)} stretches of {self._judging.stretch_s:g} s, too few for a verdict "
                f"(in {in_part} of them some driving is in distribution, {least} are needed); give more data, more "
                "--stretches, or a smaller --stretch_s")

    def judge(self, path: str, split: str) -> Judged:
        """Returns how a detector file does on a split's frames, from its file where it was judged before.

        Args:
          path: of the detector file.
          split: "validation", to choose by, or "test", for the verdict.
        """
        stem = self._judged(path, split)
        with lock.exclusive(f"{stem}.lock", wait=True):  # another worker may be at it
            if not os.path.exists(f"{stem}.json"):
                self._judge(path, split, stem)
        with open(f"{stem}.json", encoding="utf-8") as text, np.load(f"{stem}.npz", allow_pickle=False) as arrays:
            figures = json.load(text)
            return Judged(figures, {row["set"]: evaluation.Clustered(
                *(arrays[f"{part}:{row['set']}"] for part in evaluation.Clustered._fields)) for row in figures["rows"]})

    def _judge(self, path: str, split: str, stem: str) -> None:
        """Judges a detector file into STEM.json and STEM.npz; on the test split its tables and pictures into STEM."""
        loaded = network.load(path, trusted=True, motion=self._motion, prepared=self._prepared(split))
        settings = evaluate.Settings(**{**vars(self._judging), "split": split, "at_most": self._at_most,
                                        **({} if split == "test" else {"ood": ()})})
        report = evaluate.score(bundle.load(path), loaded, self._data, settings)
        rows = [row for row in report.rows if row["ood"]]
        with atomic.replacing(f"{stem}.npz") as stream:
            np.savez(stream, **{f"{part}:{row['set']}": value for row in rows
                                for part, value in report.clustered[row["set"]]._asdict().items()})
        if split == "test":
            os.makedirs(stem, exist_ok=True)
            report.write(stem)
        atomic.write_json(f"{stem}.json", _figures(report.summary, rows))

    def report(self, path: str, detector: str, out: str) -> None:
        """Copies a candidate's evaluation on the test split, tables and pictures, into a folder.

        Args:
          path: of the candidate that was judged.
          detector: the detector file that it has become.
          out: the folder.
        """
        shutil.copytree(self._judged(path, "test"), out, dirs_exist_ok=True)
        written = os.path.join(out, "evaluation.json")
        with open(written, encoding="utf-8") as stream:
            summary = json.load(stream)
        atomic.write_json(written, {"file": os.path.basename(detector), "bytes": os.path.getsize(detector), **summary})

    def time(self, path: str) -> Timed:
        """Returns how fast a detector file is beside the baseline: one file at a time, whoever asks."""
        if os.path.basename(path) in self._imported:
            return self._imported[os.path.basename(path)]
        kept = self._file("timed", f"{_digest(_read(path))[:16]}-{self._accelerator}-{self._runtime}.json")
        if not os.path.exists(kept):
            with lock.exclusive(self._file("timed", ".lock"), wait=True):  # two timings at once would time each other
                _, other, ratio = benchmark.compare(self._setup(self.path(BASELINE)), self._setup(path), runs=_RUNS,
                                                    rounds=_ROUNDS)
            verdict = other.verdict or other.invoke
            atomic.write_json(kept, Timed(verdict.median * 1e3, ratio.ratio, ratio.low, ratio.high, other.arena,
                                          other.file_size, f"{other.runtime}, {other.accelerator}")._asdict())
        with open(kept, encoding="utf-8") as stream:
            return Timed(**json.load(stream))

    def import_measurements(self, path: str) -> int:
        """Reads what `leanood benchmark --json` said of candidates on a board; returns how many were known.

        Args:
          path: its output: one JSON object, or several one after another.

        Raises:
          ValueError: if it is something else, or the baseline isn't among the files.
        """
        results = []
        with open(path, encoding="utf-8") as stream:
            text = stream.read().strip()
        try:
            while text:
                report, end = json.JSONDecoder().raw_decode(text)
                results += report["results"]
                text = text[end:].lstrip()
            times = {os.path.basename(entry["setup"]["model"]): entry for entry in results}
            baseline = times.get(os.path.basename(self.path(BASELINE)))
            if baseline is None:
                raise ValueError(f"the baseline {os.path.basename(self.path(BASELINE))} is not among its files; time "
                                 "it on the board too")
            for name, entry in times.items():
                if os.path.exists(self._file("candidates", name)):
                    ratio = entry["invoke"]["median"] / baseline["invoke"]["median"]
                    verdict = (entry.get("verdict") or entry["invoke"])["median"]
                    self._imported[name] = Timed(verdict * 1e3, ratio, ratio, ratio, int(entry["arena"]),
                                                 int(entry["file_size"]), os.path.basename(path))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} holds no measurements ({error}); write it on the board with: leanood benchmark "
                             "--json FILE.tflite >> FILE") from None
        return len(self._imported)

    def _judged(self, path: str, split: str) -> str:
        return self._file("judged", f"{_digest(_read(path), repr(self._judging).encode())[:16]}-{split}")

    def _prepared(self, what: str) -> prepared.Prepared:
        """Returns what was prepared for calibration or for a split's judging; other settings want other frames."""
        settings = self._calibration if what == "calibration" else (self._judging, self._at_most)
        key = _digest(json.dumps(self._origin, sort_keys=True).encode(), repr(settings).encode(),
                      repr((self._size, self._motion)).encode())[:8]
        return prepared.Prepared(self._file("prepared", f"{what}-{key}"))

    def _setup(self, path: str) -> benchmark.Setup:
        return benchmark.Setup(path, self._accelerator, self._runtime)

    def _file(self, *names: str) -> str:
        return os.path.join(self._folder, *names)


def figures_of(judged: Judged, timed: Timed) -> Dict[str, float]:
    """Returns a candidate's figures: auroc, hit_rate, benign, latency_ms, ratio, kilobytes, memory_kb."""
    return {"auroc": judged.figures["auroc"], "hit_rate": judged.figures["hit_rate"],
            "benign": judged.figures["benign"], "latency_ms": timed.latency_ms, "ratio": timed.ratio,
            "kilobytes": timed.bytes / 1e3, "memory_kb": timed.memory / 1e3}


def pooled(scores: Mapping[str, evaluation.Clustered], sets: Sequence[str]) -> evaluation.Clustered:
    """Returns the scores of several sets as one: every set's in-distribution frames, every set's OOD frames."""
    parts = [scores[name] for name in sets]
    return evaluation.Clustered(*(np.concatenate(arrays) for arrays in zip(*parts)))


def _figures(summary: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Dict[str, Any]:
    """What a study keeps of a report's summary."""
    if not rows:
        raise ValueError("none of the corruptions is out of distribution, and the data set has no OOD frames; give "
                         "others: --corruptions")
    benign = summary.get("benign") or []
    hits = [row.get("hit_rate", row["true_positive_rate"]) for row in rows]
    alarms = summary.get("false_alarms")
    return {"auroc": float(np.mean([row["auroc"] for row in rows])), "hit_rate": float(np.mean(hits)),
            "benign": float(np.mean([row["alarmed"] for row in benign])) if benign else 0.0,
            "silent": [sum(bool(row["silent"]) for row in benign), len(benign)],
            "false_alarms_per_hour": alarms["per_hour"] if isinstance(alarms, Mapping) else None,
            "false_positive_rate": summary.get("false_positive_rate"),
            "rows": [{name: row.get(name) for name in ("set", "auroc", "auroc_low", "auroc_high", "hit_rate",
                                                      "true_positive_rate", "best_baseline")} |
                     {"best_baseline_auroc": row["baselines"][row["best_baseline"]]} for row in rows]}


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _digest(*parts: bytes) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()
