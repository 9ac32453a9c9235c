"""KL-matching: how far the softmax is from every class's typical softmax."""
from __future__ import annotations

import numpy as np

from leanood.ood.scores import inputs, softmax
from leanood.ood.scores.score import Score

_TINY = np.finfo(np.float64).tiny


class KLMatching(Score):
    """min_k KL(p || d_k), d_k the mean softmax of frames predicted as k (Hendrycks et al., arXiv 1911.11132, sec. 4).

    Classes that no frame of the fit is predicted as have no d_k. No labels are used.
    """

    LEARNED = ("log_typical",)
    log_typical: np.ndarray  # ln d_k, float64 [K, C]

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> KLMatching:
        """Learns the typical softmax of each predicted class from `logits` [N, C]."""
        p = softmax.probabilities(inputs.fitting(outputs, "logits"))
        predicted = p.argmax(axis=0)
        typical = [p[:, predicted == k].mean(axis=1) for k in np.unique(predicted)]
        self.log_typical = np.log(np.maximum(typical, _TINY))
        return self

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In nats, float64 [N]."""
        self.require_fit()
        parts = softmax.softmax(inputs.read(outputs, "logits", self.log_typical.shape[1]))
        likeness = (self.log_typical @ parts.powers).max(axis=0) / parts.total
        return np.maximum(-softmax.entropy(parts) - likeness, 0.0)
