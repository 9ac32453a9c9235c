"""A picture of images above their reconstructions."""
from __future__ import annotations

import numpy as np

from leanood.files import atomic


def picture(images: np.ndarray, reconstructions: np.ndarray, path: str, title: str) -> None:
    """Writes a PNG with the images in the upper row and what the model made of them in the lower.

    Args:
      images: uint8 or float in [0, 1], [N, h, w, 3].
      reconstructions: the same shape, float in [0, 1].
      path: the PNG file.
      title: a line above it.
    """
    from matplotlib import figure

    drawing = figure.Figure(figsize=(1.3 * len(images), 3.0), layout="constrained")
    axes = drawing.subplots(2, len(images), squeeze=False)
    for row, (name, batch) in enumerate((("image", images), ("reconstruction", reconstructions))):
        for column, image in enumerate(batch):
            axes[row, column].imshow(image)
            axes[row, column].set(xticks=[], yticks=[])
        axes[row, 0].set_ylabel(name)
    drawing.suptitle(title)
    atomic.write_figure(path, drawing, dpi=100)
