"""The test reconstruction loss of a deployed encoder with its run's decoder (needs TensorFlow)."""
from __future__ import annotations

import numpy as np

from leanood.data import dataset
from leanood.tflite import silence
from leanood.workflow import datasets, network, progress

_AT_MOST = 500  # test frames, evenly spread
_BATCH = 32


def loss(loaded: network.Network, data: dataset.Dataset, folder: str) -> float:
    """Returns the mean over test frames of the binary cross-entropy between frame and decoder(μ), summed over pixels.

    Args:
      loaded: gives μ as deployed, quantized or not.
      data: the data set.
      folder: the run that holds the decoder.
    """
    silence.tensorflow()
    from leanood.models import run

    decoder = run.Run(folder).decoder()
    images, _ = datasets.load_split(data, "test", loaded.size, _AT_MOST)
    total = 0.0
    for begin in progress.track(range(0, len(images), _BATCH), "reconstructing test frames"):
        batch = images[begin:begin + _BATCH]
        mu = loaded.runner.each(batch)["mu"]
        rebuilt = np.clip(decoder(mu, training=False).numpy(), 1e-7, 1 - 1e-7)
        real = batch.astype(np.float32) / 255
        total += float(-(real * np.log(rebuilt) + (1 - real) * np.log1p(-rebuilt)).sum(dtype=np.float64))
    return total / len(images)
