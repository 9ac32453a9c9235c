"""What a promise is worth on the next group: random splits of a set's groups, calibrated on some, judged on the others.

    python benchmarks/detection/next_recording.py --data=$LEANOOD_TEST_DATA/data --runs=runs

Each of 200 times three fifths of the groups (lane scenes; blocks of Duckietown's images) are drawn; statistics, tables
and thresholds come from them as `leanood calibrate` has it, groups left out in turn, benign variants too. The others
are the next recordings. It writes docs/next_recording.md and
benchmarks/results/detection-next_recording.json.
"""
from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Dict, List, Mapping

import numpy as np
import sets
from absl import flags

from leanood.data import catalog
from leanood.ood import events, evidence, image_threshold, left_out, scale_thresholds, typicality
from leanood.tflite import bundle
from leanood.tflite.timing import results as results_
from leanood.tools import command
from leanood.workflow import calibrate, material, network, progress

_OUT = flags.DEFINE_string("out", "docs/next_recording.md", "the table, in Markdown")
_SPLITS = flags.DEFINE_integer("splits", 200, "random splits")

LANES = "lanes:frames=3000,scene=100,seed=31"
CALIBRATED, FITTED = 0.6, 0.7  # of the groups; of those calibrated on, the share that statistics are fitted on
RATE, PER_HOUR = 0.05, 3.0
TOLERANCE = 0.02  # of the share of images: five in a hundred asked, three to seven seen


def main(argv: List[str]) -> None:
    os.makedirs(sets.RUNS.value, exist_ok=True)
    results: Dict[str, Any] = {}
    for name, images in (("lanes", True), ("duckietown", True), ("lanes", False)):
        key = f"{name}, {'images' if images else 'driving'}"
        path = os.path.join(sets.RUNS.value, f"next_{name}_{'images' if images else 'driving'}.json")
        if not os.path.exists(path):
            sets.write(path, json.dumps(_splits(key, _gather(name, images), images)))
        with open(path, encoding="utf-8") as stream:
            results[key] = json.load(stream)
    results_.write(__file__, [_figure(key, found) for key, found in results.items()], results)
    text = "\n".join(_text(results)) + "\n"
    sets.write(_OUT.value, text)
    print(text)


def _gather(name: str, images: bool) -> material.Material:
    """Returns the network's outputs on all in-distribution frames of a set and on one variant of each."""
    sets.load(name)
    found = catalog.open(LANES) if name == "lanes" else sets.load_data(name)
    found = found.where(~found.ood)
    split = np.where(found.split == "test", "validation", found.split)  # all groups are alike here
    loaded = network.load(bundle.flatbuffer(sets.file(name)))
    return material.gather(loaded, dataclasses.replace(found, split=split), None, 1, ordered=not images)


def _splits(what: str, made: material.Material, images: bool) -> List[Dict[str, Any]]:
    """Returns what was seen on the groups left for judging, split by split."""
    names = np.unique(made.group)
    found = []
    for seed in progress.track(list(range(_SPLITS.value)), what):
        drawn = np.random.default_rng(seed).permutation(names)
        own = drawn[:round(CALIBRATED * len(names))]
        where = np.flatnonzero(np.isin(made.group, own))
        fitted = np.isin(made.group[where], own[:round(FITTED * len(own))])
        outputs = {name: array[where] for name, array in made.outputs.items()}
        judged = left_out.judge(
            lambda chosen, where=where: made.fit(where[chosen], typicality.Typicality), outputs, fitted,
            made.group[where], starts=None if images else made.starts[where],
            window=0 if images else calibrate.WINDOWS["typicality"])
        new = np.flatnonzero(~np.isin(made.group, own) & (made.variant == 0))
        outputs = {name: array[new] for name, array in made.outputs.items()}
        if images:
            threshold = image_threshold.grouped(judged.nonconformity, made.group[where], RATE, made.partition[where])
            judged.detector.threshold = threshold.value
            alarm = judged.detector.run(outputs, None)["alarm"]
            part = made.partition[new]
            found.append({"said": threshold.seen, "flagged": float(alarm.mean()),
                          **{str(one): float(alarm[part == one].mean()) for one in np.unique(part)}})
        else:
            chosen = scale_thresholds.choose(left_out.scaled(judged), judged.starts, made.group[where], 20.0, PER_HOUR,
                                             made.variant[where])
            judged.detector.use_scales(evidence.WINDOWS, list(chosen.values))
            alarm = judged.detector.run(outputs, made.starts[new])["alarm"]
            alarms = events.false_alarms(alarm, made.starts[new], 20.0)
            found.append({"said": chosen.left_out.per_hour, "alarms": alarms.count, "hours": alarms.hours})
    return found


def _figure(key: str, found: List[Dict[str, Any]]) -> results_.Figure:
    """Returns what was asked for and what was seen, on the mean of the splits."""
    if "flagged" in found[0]:
        seen = float(np.mean([one["flagged"] for one in found]))
        return results_.Figure(f"images of the next groups flagged where 5% was asked, {key.split(',')[0]}",
                                     f"{seen:.1%}", "3–7%", abs(seen - RATE) <= TOLERANCE)
    alarms, hours = (sum(one[name] for one in found) for name in ("alarms", "hours"))
    return results_.Figure(f"false alarms an hour of the next groups, {key.split(',')[0]}",
                                 f"{alarms / hours:.1f}", f"≤ {PER_HOUR:g}", alarms <= PER_HOUR * hours)


def _text(results: Mapping[str, List[Dict[str, Any]]]) -> List[str]:
    lines = ["# Promises on the next recording", "",
             "Written by `benchmarks/detection/next_recording.py`. Of each set's groups (a five-second lane scene; a",
             "block of Duckietown's images) three fifths, drawn at random, are calibrated on, groups left out in turn;",
             "the others are judged. *Own estimate* is what `leanood calibrate` prints.", "",
             f"## Images: {RATE:.0%} asked", "",
             "| set | splits | flagged, mean | 5th to 95th percentile of splits | splits within "
             f"{RATE - TOLERANCE:.0%}–{RATE + TOLERANCE:.0%} | own estimate |",
             "| --- | --- | --- | --- | --- | --- |"]
    for key, found in results.items():
        if "flagged" not in found[0]:
            continue
        for part in [one for one in found[0] if one != "said"]:
            seen = np.array([one[part] for one in found])
            low, high = np.quantile(seen, (0.05, 0.95))
            inside = float((np.abs(seen - RATE) <= TOLERANCE + 1e-9).mean())
            said = f"{np.mean([one['said'] for one in found]):.1%}" if part == "flagged" else ""
            lines.append(f"| {key.split(',')[0]}{'' if part == 'flagged' else ', ' + part} | {len(found)} | "
                         f"{seen.mean():.1%} | {low:.1%}–{high:.1%} | {inside:.0%} | {said} |")
    lines += ["", f"## Driving: {PER_HOUR:g} false alarms an hour asked", "",
              "| set | splits | alarms an hour on the groups judged | in hours, all splits | own estimate |",
              "| --- | --- | --- | --- | --- |"]
    for key, found in results.items():
        if "alarms" in found[0]:
            alarms, hours = (sum(one[name] for one in found) for name in ("alarms", "hours"))
            lines.append(f"| {key.split(',')[0]} | {len(found)} | {alarms / hours:.1f} | {hours:.1f} | "
                         f"{np.mean([one['said'] for one in found]):.1f} |")
    return lines


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/next_recording.py --data=$LEANOOD_TEST_DATA/data")
