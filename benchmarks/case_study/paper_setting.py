"""The paper's own setting on made-up lanes: brightness and rain as factors, beyond their ranges in parts of drives.

  python benchmarks/case_study/paper_setting.py OUT [--run=RUN] [--frames=6000] [--epochs=6]

A β-VAE is trained on lanes, whose drives vary in brightness (±0.5) and rain (0 to 0.003): the paper's in-distribution
ranges. Test drives leave them all the time, in their second half or in their middle half. Three detectors judge the
int8 file: the paper's with its published ranking of latents (by scenes), with ours (by the variance of KL), and the
two-sided one over all latents; and the paper's once more the float file, since the published result is about what
compression costs. A frame's score is S_t; frames before and after the OOD part, and the same drives untouched, are
in-distribution. Writes OUT/paper_setting.md; resumable.

After Ramakrishna et al., arXiv 2108.11800, and Bansal, Yuhas, Easwaran, "Compressing VAE-Based Out-of-Distribution
Detectors for Embedded Deployment".
"""
from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
from typing import Dict, List, Tuple

import numpy as np

from leanood.data import catalog, corruptions, dataset, frames, sequences
from leanood.ood import detector as detector_
from leanood.ood import events, metrics
from leanood.tflite.timing import results
from leanood.workflow import calibrate, datasets, network

LEVELS = (("darker", -0.6), ("darker", -0.75), ("darker", -0.9), ("brighter", 0.75), ("brighter", 1.0),
          ("rain", 0.004), ("rain", 0.006), ("rain", 0.01))
PUBLISHED, OURS, TWO_SIDED = "kl-topk, ranked by scenes", "kl-topk", "kl-typical"
DETECTORS: Dict[str, Tuple[str, calibrate.Settings]] = {  # name -> quantization, how to calibrate
    PUBLISHED: ("int8", calibrate.Settings(detector="kl-topk", rank_by="scenes")),
    OURS: ("int8", calibrate.Settings(detector="kl-topk")),
    TWO_SIDED: ("int8", calibrate.Settings(detector="kl-typical")),
    f"{OURS}, float32": ("float32", calibrate.Settings(detector="kl-topk")),
}
_ROWS = [*(f"{name} {level:g}" for name, level in LEVELS), "false alarms, untouched"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--run", help="a finished run on lanes; default: one is trained in OUT")
    parser.add_argument("--frames", type=int, default=6000, help="of the lanes to train on")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--drives", type=int, default=6, help="test drives")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of one")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    run = pathlib.Path(arguments.run or arguments.out / "run")
    if not arguments.run:
        _leanood("train", "--model=bvae", f"--data=lanes:frames={arguments.frames}", f"--epochs={arguments.epochs}",
                 "--batch_size=16", f"--out={run}")
    data = _data(run)
    lines: Dict[str, List[str]] = {}
    for name, (quantize, settings) in DETECTORS.items():
        path = arguments.out / f"{quantize}.tflite"
        if not path.exists():
            _leanood("convert", f"--model={run}", f"--quantize={quantize}", f"--out={path}")
        loaded = network.load(str(path))
        judge = calibrate.fit(loaded, data, settings).detector
        lines[name] = _judge(judge, loaded, data, arguments.drives, arguments.seconds)
        print(f"{name}: done", file=sys.stderr, flush=True)
        _write(arguments.out / "paper_setting.md", lines)
    results.write(__file__, [results.Figure(f"{row}, {name}", cells[i]) for name, cells in lines.items()
                             for i, row in enumerate(_ROWS)], lines)
    print((arguments.out / "paper_setting.md").read_text())


def _judge(judge: detector_.Detector, loaded: network.Network, data: dataset.Dataset, count: int,
           seconds: float) -> List[str]:
    """Returns a cell a level: AUROC all / second half / middle half, drives detected; and last the false alarms."""
    runner, size = loaded.runner, loaded.size
    ran = loaded.run(datasets.split(data, "test"), "running the network on test")
    untouched, test = ran.outputs, ran.frames
    calm = judge.run(untouched, test.starts)
    length = int(seconds * data.fps)
    drives = sequences.stretches(test, length, count)
    cells = []
    for name, level in LEVELS:
        corrupted = [runner.each(frames.resize(np.stack([
            corruptions.corrupt_level(name, test.read(int(i)), level, number, t) for t, i in enumerate(where)]), size))
            for number, where in enumerate(drives)]
        aurocs, hits = [], []
        for pattern in sequences.PATTERNS:
            inside = sequences.onset(pattern, length)
            normal, out = [], []
            for where, changed in zip(drives, corrupted):
                mixed = {key: np.where(inside.reshape(-1, *[1] * (array.ndim - 1)), changed[key], array[where])
                         for key, array in untouched.items()}
                judged = judge.run(mixed, np.arange(length) == 0)
                quiet = judge.run({key: array[where] for key, array in untouched.items()}, np.arange(length) == 0)
                normal += [judged["score"][~inside], quiet["score"]]
                out.append(judged["score"][inside])
                hits.append(judged["alarm"][inside].any())
            aurocs.append(metrics.evaluate(np.concatenate(normal), np.concatenate(out)).auroc)
        cells.append(" / ".join(f"{auroc:.3f}" for auroc in aurocs) + f"; {sum(hits)} of {len(hits)}")
    alarms = events.false_alarms(calm["alarm"], test.starts, data.fps)
    return [*cells, f"{alarms.count} in {alarms.hours * 60:.1f} minutes"]


def _data(run: pathlib.Path) -> dataset.Dataset:
    data = json.loads((run / "config.json").read_text())["data"]
    return catalog.open(data["spec"], **{key: value for key, value in data.items()
                                         if key not in ("spec", "description")})


def _write(path: pathlib.Path, lines: Dict[str, List[str]]) -> None:
    headers = ["out of range", *lines]
    text = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    text += ["| " + " | ".join([row, *(cells[i] for cells in lines.values())]) + " |" for i, row in enumerate(_ROWS)]
    path.write_text("\n".join(text) + "\n")


def _leanood(*arguments: str) -> None:
    if subprocess.run([sys.executable, "-m", "leanood.tools.main", *arguments], check=False).returncode:
        sys.exit(f"`leanood {' '.join(arguments)}` failed; run this command again to go on")


if __name__ == "__main__":
    main()
