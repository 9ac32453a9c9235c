"""The test reconstruction loss of a deployed encoder with its run's decoder (needs TensorFlow)."""
from __future__ import annotations

import numpy as np

from leanood.data import dataset
from leanood.tflite import bundle
from leanood.workflow import loading, progress, quiet

_AT_MOST = 500  # test frames, evenly spread
_BATCH = 32


def loss(detector: bundle.BundledDetector, found: dataset.Dataset, folder: str) -> float:
    """Returns the mean over test frames of the binary cross-entropy between frame and decoder(μ), summed over pixels.

    Args:
      detector: gives μ as deployed, quantized or not.
      found: the data set.
      folder: the run that holds the decoder.
    """
    quiet.tensorflow()
    from leanood.models import run

    decoder = run.Run(folder).decoder()
    images, _ = loading.load_split(found, "test", detector.size, _AT_MOST)
    total = 0.0
    for begin in progress.track(range(0, len(images), _BATCH), "reconstructing test frames"):
        batch = images[begin:begin + _BATCH]
        mu = detector.runner.each(batch)["mu"]
        rebuilt = np.clip(decoder(mu, training=False).numpy(), 1e-7, 1 - 1e-7)
        real = batch.astype(np.float32) / 255
        total += float(-(real * np.log(rebuilt) + (1 - real) * np.log1p(-rebuilt)).sum(dtype=np.float64))
    return total / len(images)
