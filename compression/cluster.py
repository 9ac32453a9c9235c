"""Weight sharing: each kernel keeps a few distinct values (Han et al., "Deep Compression", ICLR 2016), on tfmot."""
from __future__ import annotations

from typing import Any, Callable, Sequence

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.clustering.keras import cluster_wrapper

from leanood.compression import rebuild

INITIALISATIONS = {
    "linear": tfmot.clustering.keras.CentroidInitialization.LINEAR,
    "density": tfmot.clustering.keras.CentroidInitialization.DENSITY_BASED,
    "kmeans": tfmot.clustering.keras.CentroidInitialization.KMEANS_PLUS_PLUS,
}
_CLUSTERABLE = (tf_keras.layers.Conv2D, tf_keras.layers.Conv1D, tf_keras.layers.Dense)


def cluster(model: tf_keras.Model, clusters: int = 16, *, per_channel: bool = False, initialisation: str = "kmeans",
            preserve_sparsity: bool = True, exclude: Sequence[str] | None = None,
            finetune: Callable[..., None] | None = None, teacher: tf_keras.Model | None = None) -> tf_keras.Model:
    """A copy of the model whose kernels have at most `clusters` distinct values each.

    Args:
      model: Functional; depthwise convolutions and biases are never clustered.
      clusters: distinct values a kernel (zero counts as one of them where sparsity is preserved), at least 2.
      per_channel: that many for each filter of a Conv2D instead, which survives per-channel quantization.
      initialisation: where the centroids start: "linear", "density" or "kmeans" (k-means++).
      preserve_sparsity: zeros stay zeros, so that clustering may follow pruning.
      exclude: layers to leave alone; None leaves the heads that make the outputs.
      finetune: `finetune(model, teacher)` trains the centroids in place; None keeps them where they start.
      teacher: what to distil from; None takes `model`.
    """
    rebuild.check(model)
    if clusters < 2:
        raise ValueError(f"cluster: {clusters} clusters are too few; at least 2 are needed")
    if initialisation not in INITIALISATIONS:
        raise ValueError(f"cluster: initialisation {initialisation!r} is unknown; it may be "
                         f"{', '.join(INITIALISATIONS)}")
    left_out = rebuild.heads(model) if exclude is None else exclude
    copy = rebuild.clone(model)

    def wrap(layer: Any) -> Any:
        if not isinstance(layer, _CLUSTERABLE) or isinstance(layer, tf_keras.layers.DepthwiseConv2D):
            return layer
        kernel = layer.kernel.numpy()
        sparse = preserve_sparsity and bool(np.any(kernel == 0))
        by_filter = per_channel and isinstance(layer, tf_keras.layers.Conv2D)
        if layer.name in left_out or not _has_enough(kernel, clusters, sparse, by_filter):
            layer.trainable = not sparse  # what isn't clustered would lose its zeros in fine-tuning
            return layer
        # Not tfmot's cluster_weights: it counts a filter's weights by its bias, and takes none where there is none.
        return cluster_wrapper.ClusterWeights(layer, clusters, INITIALISATIONS[initialisation], sparse, by_filter)

    wrapped = tf_keras.models.clone_model(copy, clone_function=wrap)
    if finetune is not None:
        finetune(wrapped, model if teacher is None else teacher)
    stripped = tfmot.clustering.keras.strip_clustering(wrapped)
    clustered = rebuild.clone(model)
    for layer in stripped.layers:
        clustered.get_layer(layer.name).set_weights(layer.get_weights())
    return clustered


def _has_enough(kernel: np.ndarray, clusters: int, sparse: bool, by_filter: bool) -> bool:
    """True if the kernel (or each of its filters) has more weights than clusters, so that there is a point to it."""
    parts = kernel.reshape(-1, kernel.shape[-1] if by_filter else 1)
    if sparse:  # tfmot seeds the positive and the negative weights by themselves
        return int(min((parts > 0).sum(axis=0).min(), (parts < 0).sum(axis=0).min())) >= clusters
    return len(parts) > clusters
