"""Several scores made comparable by how rare their values are in distribution, and added."""
from __future__ import annotations

from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np

from leanood.ood import tail
from leanood.ood.scores import inputs, names
from leanood.ood.scores.score import Score


class Fusion(Score):
    """Sum over scores of weight times -ln p, p the share of in-distribution frames at least as odd (Fisher 1932).

    Each score's p comes from its own table of in-distribution values; beyond the table's last tenth it goes on as the
    exponential tail with those values' mean excess, so that ever odder frames keep their order where counting would
    call them all 1/(n + 1).

    Args:
      members: scores, fitted along with the fusion.
      weights: one a member, >= 0; None is 1 each.
      held_out: share of the frames that the tables are made of; the members' statistics come from the others, since
        a frame looks too familiar to statistics that it took part in.
      seed: of the split.
    """

    def __init__(self, members: Sequence[Score], weights: Optional[Sequence[float]] = None, held_out: float = 0.3,
                 seed: int = 0):
        if not members:
            raise ValueError("members is empty; fuse at least one score")
        weights = [1.0] * len(members) if weights is None else list(weights)
        if len(weights) != len(members) or min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(f"weights is {weights}; {len(members)} members need as many, none negative, not all zero")
        if not 0 < held_out < 1:
            raise ValueError(f"held_out is {held_out}; it must be between 0 and 1")
        self.members, self.weights = list(members), np.asarray(weights, np.float64)
        self.held_out, self.seed = held_out, seed
        self.tables: List[tail.Counted] = []

    def fit(self, outputs: inputs.Outputs, labels: inputs.Array = None) -> Fusion:
        """Fits every member on one part of the frames and its table on the other."""
        count = len(next(iter(outputs.values())))
        if count < 2:
            raise ValueError(f"a fusion needs two frames at least, one for statistics and one for tables, not {count}")
        for name, value in outputs.items():
            if np.ndim(value) == 2:
                inputs.read(outputs, name)  # here, where a row's number is still the caller's
        order = np.random.RandomState(self.seed).permutation(count)
        held = min(max(int(round(count * self.held_out)), 1), count - 1)
        table, rest = np.sort(order[:held]), np.sort(order[held:])
        labels = None if labels is None else np.asarray(labels)
        for member in self.members:
            member.fit(_rows(outputs, rest), None if labels is None else labels[rest])
        held_outputs = _rows(outputs, table)
        self.tables = [tail.Counted(member.score(held_outputs)) for member in self.members]
        return self

    def tabulate(self, outputs: inputs.Outputs) -> Fusion:
        """This fitted fusion with its tables made anew, of in-distribution frames that the *network* never trained on.

        Of its own training images a network is surer than of any others; where some are to spare, tables of unseen ones
        weigh the members more fairly. Thresholds then need yet other frames.
        """
        self.require_fit()
        self.tables = [tail.Counted(member.score(outputs)) for member in self.members]
        return self

    def reads(self) -> Tuple[str, ...]:
        """Names of the outputs that the members read."""
        return tuple(sorted({name for member in self.members for name in member.reads()}))

    def score(self, outputs: inputs.Outputs) -> np.ndarray:
        """In nats, float64 [N], >= 0."""
        self.require_fit()
        parts = [weight * table.log_p(member.score(outputs))
                 for weight, table, member in zip(self.weights, self.tables, self.members)]
        return np.sum(parts, axis=0)

    def require_fit(self) -> None:
        """Raises if `fit` has not run."""
        if not self.tables:
            raise ValueError("Fusion has no statistics yet: call fit with in-distribution outputs")

    def to_arrays(self) -> Dict[str, np.ndarray]:
        """Every member's arrays under "<index>.", and the tables."""
        self.require_fit()
        arrays = {"members": np.asarray([names.of(member, _members()) for member in self.members]),
                  "weights": self.weights, "held_out": np.asarray(self.held_out), "seed": np.asarray(self.seed)}
        for i, (member, table) in enumerate(zip(self.members, self.tables)):
            arrays[f"{i}.table"] = table.values
            arrays.update({f"{i}.{name}": value for name, value in member.to_arrays().items()})
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Fusion:
        """The fusion that `to_arrays` described."""
        if "members" not in arrays:
            raise ValueError("Fusion needs the array members, which is not there")
        members, tables = [], []
        for i, name in enumerate(np.asarray(arrays["members"]).tolist()):
            member_arrays = {key[len(f"{i}."):]: value for key, value in arrays.items() if key.startswith(f"{i}.")}
            if "table" not in member_arrays:
                raise ValueError(f"Fusion needs the array {i}.table, which is not there")
            tables.append(tail.Counted(member_arrays.pop("table")))
            members.append(names.find(name, _members()).from_arrays(member_arrays))
        fusion = cls(members, np.asarray(arrays["weights"]).tolist(), float(arrays["held_out"]), int(arrays["seed"]))
        fusion.tables = tables
        return fusion


def _members() -> Dict[str, Type[Score]]:
    return {**names.SINGLE, "fusion": Fusion}


def _rows(outputs: inputs.Outputs, rows: np.ndarray) -> Dict[str, np.ndarray]:
    return {name: np.asarray(value)[rows] for name, value in outputs.items()}
