"""A classifier's score as a detector's nonconformity: single images, one column."""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional

import numpy as np

from leanood.ood import nonconformity, scores


def named(names: str) -> ClassifierScore:
    """Returns the unfitted nonconformity of a score, or of several fused.

    Args:
      names: of `scores.NAMES`, joined by "+".
    """
    members = [scores.by_name(name)() for name in names.split("+")]
    return ClassifierScore(members[0] if len(members) == 1 else scores.Fusion(members))


class ClassifierScore(nonconformity.Nonconformity):
    """α = what a score of `leanood.ood.scores` says of the frame.

    Args:
      score: any; `fit` fits it.

    Attributes:
      wrapped: that score.
    """

    name = "score"
    partitions = ("all",)

    def __init__(self, score: scores.Score):
        self.wrapped = score
        self.inputs, self.highest = score.reads(), score.HIGHEST

    def fit(self, outputs: Mapping[str, np.ndarray], partition: Optional[np.ndarray] = None,
            starts: Optional[np.ndarray] = None, variants: Optional[nonconformity.Variants] = None) -> ClassifierScore:
        """Fits the score and returns itself.

        Args:
          outputs: named arrays [N, D].
          partition: class names str [N], in whose alphabetical order the logits are; where there are not as many names
            as logits, the predicted classes stand in.
          starts, variants: not used.
        """
        labels = None
        if partition is not None and "logits" in outputs:
            names, indices = np.unique(np.asarray(partition).astype(str), return_inverse=True)
            if len(names) == np.asarray(outputs["logits"]).shape[1]:
                labels = indices.reshape(-1)
        self.wrapped.fit(outputs, labels)
        return self

    def score(self, outputs: Mapping[str, np.ndarray], starts: Optional[np.ndarray] = None) -> np.ndarray:
        """Float64 [N, 1]. Frame by frame: a matrix product's last digits depend on how many rows it has."""
        rows = {name: np.asarray(outputs[name]) for name in self.inputs}
        count = len(next(iter(rows.values())))
        result = np.empty((count, 1))
        for i in range(count):
            result[i] = self.score_frame({name: array[i] for name, array in rows.items()}, True)
        return result

    def score_frame(self, outputs: Mapping[str, np.ndarray], first: bool) -> List[float]:
        """One float, of one frame's outputs [1, D] or [D]; frames are judged by themselves, `first` or not."""
        return [float(self.wrapped.score({name: np.reshape(outputs[name], (1, -1)) for name in self.inputs})[0])]

    def to_arrays(self) -> Dict[str, np.ndarray]:
        """The score's name and its arrays."""
        return {"name": np.array(scores.name(self.wrapped)),
                **{f"score.{name}": array for name, array in self.wrapped.to_arrays().items()}}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ClassifierScore:
        """The nonconformity that `to_arrays` described."""
        prefix = len("score.")
        statistics = {name[prefix:]: array for name, array in arrays.items() if name.startswith("score.")}
        return cls(scores.by_name(str(arrays["name"])).from_arrays(statistics))
