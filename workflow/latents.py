"""What the latents of a trained run carry, on in-distribution frames of its data: `latents.json` in its folder."""
from __future__ import annotations

import json

import numpy as np

from leanood.data import dataset, spread
from leanood.models import latents, run
from leanood.ood import baselines, kl

_AT_MOST = 1000  # frames, evenly spread
_BATCH = 64


def report(folder: run.Run, data: dataset.Dataset) -> latents.Latents:
    """Returns nats, activity and correlations of the run's latents; the chief writes them into its folder too.

    Args:
      folder: a finished β-VAE's run.
      data: in-distribution frames, best ones that weren't trained on.
    """
    encoder = folder.encoder()
    chosen = data.where(spread.evenly(len(data), _AT_MOST))
    images, readable, _ = chosen.load((int(encoder.input_shape[1]), int(encoder.input_shape[2])))
    outputs = [encoder(images[begin:begin + _BATCH] / np.float32(255), training=False)
               for begin in range(0, len(images), _BATCH)]
    mu, logvar = (np.concatenate([batch[name].numpy() for batch in outputs]) for name in ("mu", "logvar"))
    known = {"brightness": baselines.Brightness(direction=1).fit(images).score(images),
             "sharpness": baselines.Sharpness(direction=1).fit(images).score(images), **readable.factors}
    result = latents.describe(mu, kl.per_latent(mu, logvar), known)
    folder.write("latents.json", json.dumps(
        {"frames": len(images), "nats": result.nats.tolist(), "active": result.active.tolist(),
         "correlations": {name: r.tolist() for name, r in result.correlations.items()},
         "warning": result.warning}, indent=1) + "\n")
    return result
