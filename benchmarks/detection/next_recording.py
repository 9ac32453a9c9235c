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
        results[key] = _splits(name, images, key)
    results_.write(__file__, [_figure(key, splits) for key, splits in results.items()], results)
    text = "\n".join(_text(results)) + "\n"
    sets.write(_OUT.value, text)
    print(text)


def _gather(name: str, images: bool) -> material.Material:
    """Returns the network's outputs on all in-distribution frames of a set and on one variant of each."""
    sets.load(name)
    data = catalog.open(LANES) if name == "lanes" else sets.load_data(name)
    data = data.where(~data.ood)
    split = np.where(data.split == "test", "validation", data.split)  # all groups are alike here
    loaded = network.load(bundle.flatbuffer(sets.file(name)))
    return material.gather(loaded, dataclasses.replace(data, split=split), None, 1, ordered=not images)


def _splits(name: str, images: bool, what: str) -> List[Dict[str, Any]]:
    """Returns what was seen on the groups left for judging, split by split; those that lie in --runs are not redone."""
    path = os.path.join(sets.RUNS.value, f"next_{name}_{'images' if images else 'driving'}.json")
    rows: List[Dict[str, Any]] = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as stream:
            rows = json.load(stream)[:_SPLITS.value]
    gathered = _gather(name, images) if len(rows) < _SPLITS.value else None
    for seed in progress.track(list(range(len(rows), _SPLITS.value)), what):
        rows.append(_split(gathered, images, seed))
        sets.write(path, json.dumps(rows))
    return rows


def _split(gathered: material.Material, images: bool, seed: int) -> Dict[str, Any]:
    """Returns what was seen on the groups left for judging in one split."""
    names = np.unique(gathered.group)
    drawn = np.random.default_rng(seed).permutation(names)
    groups = drawn[:round(CALIBRATED * len(names))]
    where = np.flatnonzero(np.isin(gathered.group, groups))
    fitted = np.isin(gathered.group[where], groups[:round(FITTED * len(groups))])
    outputs = {name: array[where] for name, array in gathered.outputs.items()}
    judged = left_out.judge(
        lambda chosen: gathered.fit(where[chosen], typicality.Typicality), outputs, fitted,
        gathered.group[where], starts=None if images else gathered.starts[where],
        window=0 if images else calibrate.WINDOWS["typicality"])
    new = np.flatnonzero(~np.isin(gathered.group, groups) & (gathered.variant == 0))
    outputs = {name: array[new] for name, array in gathered.outputs.items()}
    if images:
        threshold = image_threshold.grouped(judged.nonconformity, gathered.group[where], RATE,
                                            gathered.partition[where], gathered.variant[where])
        judged.detector.threshold = threshold.value
        alarm = judged.detector.run(outputs, None)["alarm"]
        part = gathered.partition[new]
        return {"said": threshold.left_out_rate, "flagged": float(alarm.mean()),
                **{str(partition): float(alarm[part == partition].mean()) for partition in np.unique(part)}}
    chosen = scale_thresholds.choose(left_out.scaled(judged, recorded=gathered.variant[where] == 0), judged.starts,
                                     gathered.group[where], 20.0, PER_HOUR, gathered.variant[where])
    judged.detector.use_scales(evidence.WINDOWS, list(chosen.values))
    alarm = judged.detector.run(outputs, gathered.starts[new])["alarm"]
    alarms = events.false_alarms(alarm, gathered.starts[new], 20.0)
    return {"said": chosen.left_out.per_hour, "alarms": alarms.count, "hours": alarms.hours}


def _figure(key: str, splits: List[Dict[str, Any]]) -> results_.Figure:
    """Returns what was asked for and what was seen, on the mean of the splits."""
    if "flagged" in splits[0]:
        flagged = float(np.mean([split["flagged"] for split in splits]))
        return results_.Figure(f"images of the next groups flagged where 5% was asked, {key.split(',')[0]}",
                                     f"{flagged:.1%}", "3–7%", abs(flagged - RATE) <= TOLERANCE)
    alarms, hours = (sum(split[name] for split in splits) for name in ("alarms", "hours"))
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
    for key, splits in results.items():
        if "flagged" not in splits[0]:
            continue
        for part in [column for column in splits[0] if column != "said"]:
            flagged = np.array([split[part] for split in splits])
            low, high = np.quantile(flagged, (0.05, 0.95))
            inside = float((np.abs(flagged - RATE) <= TOLERANCE + 1e-9).mean())
            said = f"{np.mean([split['said'] for split in splits]):.1%}" if part == "flagged" else ""
            lines.append(f"| {key.split(',')[0]}{'' if part == 'flagged' else ', ' + part} | {len(splits)} | "
                         f"{flagged.mean():.1%} | {low:.1%}–{high:.1%} | {inside:.0%} | {said} |")
    lines += ["", f"## Driving: {PER_HOUR:g} false alarms an hour asked", "",
              "| set | splits | alarms an hour on the groups judged | in hours, all splits | own estimate |",
              "| --- | --- | --- | --- | --- |"]
    for key, splits in results.items():
        if "alarms" in splits[0]:
            alarms, hours = (sum(split[name] for split in splits) for name in ("alarms", "hours"))
            lines.append(f"| {key.split(',')[0]} | {len(splits)} | {alarms / hours:.1f} | {hours:.1f} | "
                         f"{np.mean([split['said'] for split in splits]):.1f} |")
    return lines


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/next_recording.py --data=$LEANOOD_TEST_DATA/data")
