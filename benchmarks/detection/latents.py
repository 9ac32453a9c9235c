"""What a β-VAE's latents see of a camera's faults, over architectures, β and numbers of latents.

    python benchmarks/detection/latents.py --data=$LEANOOD_TEST_DATA/data --runs=runs --out=docs/latent_search.md

Trains one β-VAE a row on Duckietown's training images and judges scores of its latents as `search.py` does:
on in-distribution images that the statistics haven't seen, and synthetic corruptions of them.
"""
from __future__ import annotations

from typing import Dict, List, Sequence

import numpy as np
import search
import sets
from absl import flags

from leanood.ood import kl
from leanood.tflite.timing import results
from leanood.tools import command

VARIANTS: Dict[str, List[str]] = {
    "default (β 20, 30 latents, strides, no batch normalisation, BCE)": [],
    "β 0.3": ["--beta=0.3"], "β 5": ["--beta=5"], "β 80": ["--beta=80"], "no warm-up of β": ["--warm_up=0"],
    "light and colour vary": ["--augment=light,colour"],
    "8 latents": ["--latents=8"], "100 latents": ["--latents=100"],
    "batch normalisation": ["--batch_norm"],
    "squared error": ["--reconstruction=mse"],
    "max pooling, leaky ReLU": ["--pool=max", "--activation=leaky_relu"],
    "twice as wide": ["--widths=32,64,64,64"],
}


def _log_kl(outputs: search.Outputs) -> np.ndarray:
    return np.log(kl.per_latent(outputs["mu"], outputs["logvar"]).astype(np.float64) + 1e-3)


def _posterior(outputs: search.Outputs) -> np.ndarray:
    return np.hstack([outputs["mu"], outputs["logvar"]]).astype(np.float64)


SCORES: Dict[str, search.Candidate] = {
    "ΣKL, one-sided": lambda _: lambda outputs: kl.per_latent(outputs["mu"], outputs["logvar"]).sum(axis=1),
    "ln KL, two-sided": search.mahalanobis(_log_kl),
    "ln ΣKL, two-sided": search.mahalanobis(
        lambda outputs: np.log(np.exp(_log_kl(outputs)).sum(axis=1, keepdims=True))),
    "μ, log σ²": search.mahalanobis(_posterior),
    "μ, log σ², 5 neighbours": search.neighbours(_posterior),
}


def main(argv: Sequence[str]) -> None:
    lines = ["# What a β-VAE's latents see of a camera's faults", "",
             "Written by `python benchmarks/detection/latents.py`: mean AUROC over the corruptions of Duckietown's",
             "in-distribution frames (as in `search.py`), by how the β-VAE was trained and what is asked",
             "of its latents.", "",
             "| network | " + " | ".join(SCORES) + " |", "|" + " --- |" * (1 + len(SCORES))]
    aurocs: Dict[str, Dict[str, float]] = {}
    for i, (name, extra) in enumerate(VARIANTS.items()):
        material = search.Material("duckietown", extra, "" if not extra else f"latents_{i}")
        aurocs[name] = {title: float(material.frames(material.fitted(score))[0]) for title, score in SCORES.items()}
        lines.append("| " + " | ".join([name, *(f"{auroc:.3f}" for auroc in aurocs[name].values())]) + " |")
        sets.write(flags.FLAGS.out, "\n".join(lines) + "\n")
    results.write(__file__, [], aurocs)
    print("\n".join(lines))


if __name__ == "__main__":
    command.run(main, example="python benchmarks/detection/latents.py --data=$LEANOOD_TEST_DATA/data --out=FILE.md")
