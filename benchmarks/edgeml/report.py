"""Writes docs/edgeml.md: the EdgeML document's tables, redone, with what it and OpenOOD published beside them."""
from __future__ import annotations

import gzip
import os
from typing import Any, List, Mapping, Sequence, Tuple

import image_sets
import networks
import scoring

_TITLES = {"tinyimagenet": "TinyImageNet (resized)", "mnist": "MNIST"}
_MAIN = ("msp", "energy", "relative_mahalanobis", "chosen")

_HEAD = """# The EdgeML tables, redone

What quantization costs the out-of-distribution (OOD) detection of a ResNet-18 trained on CIFAR-10. Made by

    python benchmarks/edgeml/student.py --data=DIR --model=resnet18_cifar10.h5 --work=DIR  # half an hour
    python benchmarks/edgeml/tables.py --data=DIR --model=resnet18_cifar10.h5 --work=DIR --out=FILE.md

Every number is of the converted file: its outputs on one CPU thread, with statistics (10,000 training images) and
thresholds (1,000 test images, conformal, false-positive rate at most 5%) fitted on that file's own outputs. In
distribution are 8,000 other test images; OOD are 5,000 TinyImageNet images at 32×32 and 8,000 MNIST digits. Δ is
the AUROC minus the float32 file's on the same images, with its 95% interval by paired DeLong; *flips* is the share of
decisions (test and OOD images) that differ from the float32 file's. Metrics are defined in `ood/metrics.py`. Times are
of one thread; the files take turns in child processes, and each one's best turn (median of 10 frames) counts.
"""

_TAIL = """
## On the GPU accelerator

float32, float16 and int8 run fully on LiteRT 2.3's GPU accelerator (on a software Vulkan driver, which says nothing
of speed) and agree with the CPU: logits of up to 5.7 differ by at most 6e-6, 4e-6 and 0.14. int8 needs `--target=gpu`:
that accelerator computes strided 1×1 convolutions with int8 weights wrongly, and `tflite/rewrite/strides.py` takes
their strides out.

## Published beside it

| source | | size MB | CPU ms | detection error | AUROC | AUPR-In | AUPR-Out |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| EdgeML document, CIFAR-10 against ImageNet | float32 | 44.8 | 7.91 | 10.0 | 95.3 | 96.4 | 93.8 |
| | int8 | 12.4 | 2.87 | 12.5 | 89.1 | 93.0 | 81.4 |

OpenOOD v1.5 (arXiv 2306.09301), ResNet-18 at 95.06% accuracy, AUROC near (CIFAR-100, TinyImageNet) / far: MSP
88.0 / 90.7, energy 87.6 / 91.2, GEN 88.2 / 91.4, k-NN 90.6 / 93.0, relative Mahalanobis 89.8 / 92.2, ViM 88.7 / 93.5,
Mahalanobis 84.2 / 89.7. The network here has an accuracy of about 89%, after 15 epochs.
"""


def write(files: Mapping[str, networks.File], accuracy: Mapping[str, float],
          results: Mapping[str, Mapping[Tuple[str, str], scoring.Row]],
          times: Mapping[Tuple[str, str], float], chosen: scoring.Chosen) -> str:
    """The page.

    Args:
      files: by name, float32 first.
      accuracy, results: by the files' names.
      times: milliseconds by path and runtime.
      chosen: the chosen score.
    """
    text = [_HEAD, "## Files\n", _files(files, accuracy, times), _choice(chosen)]
    for ood, title in _TITLES.items():
        text += [f"## Against {title}\n", _main(files, results, ood), f"### AUROC of every score against {title}\n",
                 _aurocs(files, results, ood)]
    return "\n".join([*text, _TAIL])


def _files(files: Mapping[str, networks.File], accuracy: Mapping[str, float],
           times: Mapping[Tuple[str, str], float]) -> str:
    runtimes = sorted({runtime for _, runtime in times})
    base = files["float32"]
    rows: List[List[Any]] = []
    for name, file in files.items():
        size, first = os.path.getsize(file.path), os.path.getsize(base.path)
        with open(file.path, "rb") as stream:
            packed = len(gzip.compress(stream.read(), 6))
        row = [file.title, f"{file.parameters / 1e6:.2f} M", f"{file.nonzero / 1e6:.2f} M", f"{size / 1e6:.2f}",
               f"{first / size:.2f}×", f"{packed / 1e6:.2f}"]
        for runtime in runtimes:
            time, before = times[file.path, runtime], times[base.path, runtime]
            row += [f"{time:.2f}", f"{before / time:.1f}×"]
        rows.append([*row, f"{100 * accuracy[name]:.2f}"])
    heads = ["file", "parameters", "not zero", "MB", "smaller", "gzip MB"]
    for runtime in runtimes:
        heads += [f"ms, {runtime}", "faster"]
    return _table([*heads, "accuracy %"], rows)


def _choice(chosen: scoring.Chosen) -> str:
    alone = sorted(chosen.candidates.items(), key=lambda item: -item[1])
    views = "; ".join(f"{question}? ({', '.join(view.candidates)})" for question, view in scoring.VIEWS.items())
    return (f"## The chosen score\n\n**{chosen.words()}** (fused: weighted sum of −ln p-values). The rule and its "
            "reasons are in [score_selection.md](score_selection.md), with the data that they rest on: TinyImageNet is "
            "not among it. One score answers each of three questions, the one with the highest AUROC by the int8 file "
            "between 1,000 calibration images and as many others upside down, "
            "with quadrants that change places, made of two images' halves, and blended in pairs (mean of the four): "
            f"{views}. Fused, they reach {chosen.new_content:.3f} there, and {chosen.unlike:.3f} on MNIST digits that "
            "are in no test and under the corruptions of `data/corruptions.py` at severity "
            f"{image_sets.SELECTION_SEVERITY}, which choose nothing here. *early* is the fixed first layer of "
            "`models/filter_bank.py`; *late* is the activation after residual block 7, averaged over the image. "
            "Alone the candidates reach: " + ", ".join(f"{name} {value:.3f}" for name, value in alone) + ".\n")



def _main(files: Mapping[str, networks.File], results: Mapping[str, Any], ood: str) -> str:
    rows = []
    for score in _MAIN:
        for name, file in files.items():
            row = results[name][score, ood]
            m, d = row.metrics, row.delta
            delta = "" if name == "float32" else f"{100 * d.delta:+.2f} ({100 * d.low:+.2f} … {100 * d.high:+.2f})"
            rows.append([score, file.title, *(f"{100 * value:.2f}" for value in (
                m.detection_error, m.auroc)), delta, *(f"{100 * value:.2f}" for value in (
                    m.aupr_in, m.aupr_out, m.fpr95, m.fpr95_ood_positive, row.flips, row.false_positives))])
    return _table(["score", "file", "detection error", "AUROC", "Δ AUROC", "AUPR-In", "AUPR-Out", "FPR95",
                   "FPR95 (OOD positive)", "flips", "false positives"], rows) + "All in percent.\n"


def _aurocs(files: Mapping[str, networks.File], results: Mapping[str, Any], ood: str) -> str:
    rows = []
    for score in dict.fromkeys(score for score, _ in results["float32"]):
        row: List[Any] = [score]
        for name in files:
            measured = results[name][score, ood]
            row.append(f"{100 * measured.metrics.auroc:.2f}" + (
                "" if name == "float32" else f" ({100 * measured.delta.delta:+.2f}, flips {100 * measured.flips:.1f})"))
        rows.append(row)
    return _table(["score", *(file.title for file in files.values())], rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in (heads, ["---"] * len(heads), *rows)]
    return "\n".join(lines) + "\n"
