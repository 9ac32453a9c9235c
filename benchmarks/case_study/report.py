"""The paper's case study on a trained β-VAE: loss, AUROC, size, memory and latency of every way to compress it.

  leanood train --model=bvae --data=DUCKIETOWN --split_csv=SPLIT.csv --out=RUN
  python benchmarks/case_study/report.py RUN OUT [--epochs=20] [--only=baseline,pruned,dynamic]

One command, resumable: what OUT holds already is not done again, and a training that was killed goes on. Every file is
calibrated by itself, for the default detector, the paper's (kl-topk) and the two-sided one of all its latents
(kl-typical), and measured as it would be deployed. Writes OUT/table.md (after each row), OUT/figure4.png
and OUT/rows.json.

After Bansal, Yuhas, Easwaran, "Compressing VAE-Based Out-of-Distribution Detectors for Embedded Deployment".
"""
from __future__ import annotations

import argparse
import json
import math
import pathlib
import subprocess
import sys
from typing import Any

from leanood.tflite.timing import results
from leanood.tools import command

DETECTORS = ("typicality", "kl-topk", "kl-typical")
RUNTIMES = ("litert", "tflite-runtime")
PRUNED = tuple(tenth / 10 for tenth in range(1, 10))


def variants(config: dict, epochs: int, tolerance: float) -> dict[str, str]:
    """Name -> recipe. The paper's students lack fully connected layers; where a run has none, they are narrower."""
    dense = [f"dense{i}" for i in range(1, len(config.get("dense", ())) + 1)]
    if dense:
        layers = [[name, f"{name}_act"] for name in dense]
        small = f"student(shallow, drop='{','.join(layers[0])}')"
        smaller = f"student(shallow, drop='{','.join(sum(layers, []))}')"
    else:
        small, smaller = "student(narrow, 0.25)", "student(narrow, 0.5)"
    distill, quarter = f"distill({epochs})", max(1, epochs // 4)
    informed = f"student(informed, tolerance={tolerance:g}, epochs=0)+student(strided, epochs=0)"
    if dense:
        informed += f"+{smaller[:-1]}, epochs=0)"
    # As many halvings as leave the heads a few places to read; of a large frame the first layer takes two at once.
    halvings, stem = max(2, int(math.log2(max(config["size"]))) - 2), 2
    if max(config["size"]) > 128:
        halvings, stem = halvings - 1, 4
    plain = f"student(plain, widths='{','.join(['16', *['32'] * (halvings - 1)])}', stem={stem})"
    return {
        "baseline": "float32",
        **{f"pruned {sparsity:g}": f"prune({sparsity:g}, method=model, epochs=0)+float32" for sparsity in PRUNED},
        "fine-tuned, pruned 0.8": f"prune(0.8, method=model, epochs={epochs})+float32",
        "dynamic range": "dynamic",
        "static int8": "int8",
        "QAT": f"qat(epochs={quarter})",
        "student 1": f"{small}+distill({epochs}, reconstruct=True)+float32",
        "student 2": f"{smaller}+distill({epochs}, reconstruct=True)+float32",
        "informed student": f"{informed}+{distill}+float32",
        "plain student": f"{plain}+{distill}+float32",
        "combined": f"{informed}+{distill}+qat(epochs={quarter})",
        "combined plain": f"{plain}+{distill}+qat(epochs={quarter})",
        "combined pruned": f"{informed}+{distill}+prune(0.5, epochs={quarter})+pqat(epochs={quarter})+huffman",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=20, help="of each distillation; a quarter for QAT and pruning")
    parser.add_argument("--images", type=int, default=4000, help="training images at most")
    parser.add_argument("--tolerance", type=float, default=1.0, help="of the informed student, nats a layer")
    parser.add_argument("--only", default="", help="variants whose names begin with one of these, with commas between")
    arguments = parser.parse_args()
    config = json.loads((pathlib.Path(arguments.run) / "config.json").read_text())
    chosen = {name: recipe for name, recipe in variants(config, arguments.epochs, arguments.tolerance).items()
              if name.startswith(tuple(arguments.only.split(",")))}
    rows = {}
    for name, recipe in chosen.items():
        print(f"{name}: {recipe}", file=sys.stderr, flush=True)
        rows[name] = _row(arguments, arguments.out / name.replace(" ", "_").replace(",", ""), recipe)
        _write(arguments.out, rows)
    _figure(arguments.out, rows)
    results.write(__file__, [], rows)
    print((arguments.out / "table.md").read_text())


def _row(arguments: argparse.Namespace, folder: pathlib.Path, recipe: str) -> dict[str, Any]:
    """Everything that is measured of one variant; what is on disk is read from there."""
    if not (folder / "report.json").exists():
        _leanood("compress", f"--run={arguments.run}", f"--recipe={recipe}", f"--out={folder}", "--detector=none",
                 f"--images={arguments.images}")
    report = json.loads((folder / "report.json").read_text())
    file = report["files"]["tflite"]
    row: dict[str, Any] = {"recipe": recipe, **{key: value for key, value in report["sizes"][-1].items()
                                                if key != "model"}}
    for detector in DETECTORS:
        path = folder / f"{detector}.tflite"
        if not path.exists():
            _leanood("calibrate", file, f"--detector={detector}", f"--out={path}")
        evaluation = _kept(folder / f"{detector}.json", "evaluate", str(path), "--corruptions=", "--json")
        row["loss"] = evaluation["reconstruction_loss"]
        row[detector] = {entry["set"]: [entry["auroc"], entry["auroc_low"], entry["auroc_high"]]
                         for entry in evaluation["rows"]}
    for runtime in RUNTIMES:
        timed = _kept(folder / f"{runtime}.json", "benchmark", file, f"--runtime={runtime}", "--runs=200", "--json")
        result = timed["results"][0]
        row[f"{runtime}_ms"] = result["invoke"]["median"] * 1e3
        if runtime == RUNTIMES[0]:
            row["peak_memory"] = result["peak_memory"]
    return row


def _kept(path: pathlib.Path, *arguments: str) -> dict[str, Any]:
    if not path.exists():
        text = _leanood(*arguments)
        path.write_text(text)
    return dict(json.loads(path.read_text()))


def _leanood(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "leanood.tools.main", *arguments], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f"`leanood {' '.join(arguments)}` failed; run this command again to go on")
    return done.stdout


def _write(out: pathlib.Path, rows: dict[str, dict[str, Any]]) -> None:
    (out / "rows.json").write_text(json.dumps(rows, indent=1))
    first = next(iter(rows.values()))
    sets = list(first[DETECTORS[0]])
    headers = ["", "recipe", "test loss", *(f"{detector}: {name}" for detector in DETECTORS for name in sets), "bytes",
               "gzipped", "peak memory, MB", *(f"{runtime}, ms" for runtime in RUNTIMES), "multiply-adds"]
    lines = ["| " + " | ".join(headers) + " |", "|" + " --- |" * len(headers)]
    for name, row in rows.items():
        cells = [name, f"`{row['recipe']}`", "-" if row["loss"] is None else f"{row['loss']:.0f}"]
        for detector in DETECTORS:
            cells += ["{:.3f} ({:.3f}–{:.3f})".format(*row[detector][set_name]) for set_name in sets]
        memory = "-" if row["peak_memory"] is None else f"{row['peak_memory'] / 1e6:.2f}"
        cells += [f"{row['bytes']:,}", f"{row['gzipped_bytes']:,}", memory,
                  *(f"{row[f'{runtime}_ms']:.3f}" for runtime in RUNTIMES), f"{row['multiply_adds']:,}"]
        lines.append("| " + " | ".join(cells) + " |")
    for name in ("combined", "combined plain"):
        if "baseline" in rows and name in rows:
            lines += ["", _ratios(rows["baseline"], rows[name], name, sets)]
    (out / "table.md").write_text("\n".join(lines) + "\n")


def _ratios(base: dict[str, Any], lean: dict[str, Any], name: str, sets: list[str]) -> str:
    lost = {detector: 100 * max(base[detector][set_name][0] - lean[detector][set_name][0] for set_name in sets)
            for detector in DETECTORS}
    return command.table([
        ["LiteRT latency", base["litert_ms"] / lean["litert_ms"], 75],
        ["tflite-runtime latency", base["tflite-runtime_ms"] / lean["tflite-runtime_ms"], "-"],
        ["file", base["bytes"] / lean["bytes"], 80],
        ["peak memory", (base["peak_memory"] or 0) / (lean["peak_memory"] or 1), 10],
        *([f"largest loss of AUROC, points, {detector}", value, 1] for detector, value in lost.items())],
        [f"baseline / {name}", "measured", "target"])


def _figure(out: pathlib.Path, rows: dict[str, dict[str, Any]]) -> None:
    """The paper's Figure 4: test loss and AUROC against sparsity."""
    from matplotlib import figure as figures

    points = [(sparsity, rows[name]) for sparsity, name in [(0.0, "baseline"), *((s, f"pruned {s:g}") for s in PRUNED)]
              if name in rows]
    if len(points) < 2:
        return
    figure = figures.Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.add_subplot()
    right = left.twinx()
    sparsities = [sparsity for sparsity, _ in points]
    left.plot(sparsities, [row["loss"] for _, row in points], "k--", label="test loss")
    for detector, style in zip(DETECTORS, ("-", ":", "-.")):
        for name in points[0][1][detector]:
            right.plot(sparsities, [row[detector][name][0] for _, row in points], style, label=f"{detector}: {name}")
    left.set(xlabel="share of weights pruned", ylabel="test loss, nats an image")
    right.set(ylabel="AUROC")
    right.legend(fontsize="small")
    figure.savefig(out / "figure4.png")


if __name__ == "__main__":
    main()
