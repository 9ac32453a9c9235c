"""Simplified Hopfield energy: likeness to the predicted class's mean features."""
from __future__ import annotations

from typing import Tuple

import numpy as np

from leanood.ood.scores import covariance, inputs
from leanood.ood.scores.score import Score


class SHE(Score):
    """Minus the inner product with the predicted class's mean feature (Zhang et al., ICLR 2023, eq. 8).

    The mean is taken over frames whose predicted class is their label, as in the paper; without labels over all
    frames predicted so. A frame predicted as a class that the fit never met scores 0, the score of no likeness; where
    several logits tie for the largest, as quantized ones do, the mean over those classes counts.
    """

    LEARNED = ("patterns",)
    patterns: np.ndarray  # float32 [C, D]

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> SHE:
        """Learns the patterns; `labels` int [N] are indices of logits."""
        features, logits = inputs.fitting(outputs, "features"), inputs.fitting(outputs, "logits")
        predicted = logits.argmax(axis=1)
        if labels is not None:
            labels = np.asarray(labels)
            if labels.shape != predicted.shape or labels.dtype.kind not in "iu":
                raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}; SHE needs the index of a logit "
                                 f"for each of {len(predicted)} frames")
            right = predicted == labels
            if not right.any():
                raise ValueError("no frame's predicted class is its label: labels must be indices of logits")
            features, predicted = features[right], predicted[right]
        counts = np.bincount(predicted, minlength=logits.shape[1])
        self.patterns = covariance.class_means(features, predicted, np.maximum(counts, 1)).astype(np.float32)
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that `score` reads."""
        return ("features", "logits")

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In squared feature units, float64 [N]."""
        self.require_fit()
        features = inputs.read(outputs, "features", self.patterns.shape[1])
        logits = inputs.read(outputs, "logits", len(self.patterns))
        largest = logits == logits.max(axis=1, keepdims=True)
        # All classes' products cost one small matrix product and no copy of a pattern for every frame.
        likeness = (features @ self.patterns.T).astype(np.float64)
        return -(likeness * largest).sum(axis=1) / largest.sum(axis=1)
