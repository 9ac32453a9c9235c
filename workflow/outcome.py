"""What a step of the journey made: a path to hand to the next step, and what there is to tell of it."""
from __future__ import annotations

import os
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence, Tuple

from leanood.workflow import tabular

Table = Tuple[Sequence[Sequence[Any]], Sequence[str]]


class Outcome:
    """A run's folder or a file. It is taken wherever a path is, and shows itself as a table.

    Attributes:
      path: of the folder or file.
      summary: what there is to tell, fit for JSON; also by name: `outcome["epochs"]`.
      tables: (rows, headers) of tables that are shown, that of the summary last.
    """

    def __init__(self, path: str, summary: Mapping[str, Any], tables: Sequence[Table] = (),
                 shown: Optional[Collection[str]] = None) -> None:
        """Keeps what there is to tell; of the summary the table shows the names in `shown`, None: all."""
        self.path = os.fspath(path)
        self.summary: Dict[str, Any] = dict(summary)
        self.tables = [*tables, (self._rows(shown), ["result", "value"])]

    def __fspath__(self) -> str:
        return self.path

    def __getitem__(self, name: str) -> Any:
        return self.summary[name]

    def __str__(self) -> str:
        return "\n\n".join(tabular.text(*table) for table in self.tables)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return "".join(tabular.html(*table) for table in self.tables)

    def _rows(self, shown: Optional[Collection[str]]) -> List[Tuple[str, Any]]:
        flat: List[Tuple[str, Any]] = []
        for name, value in self.summary.items():
            if shown is not None and name not in shown:
                continue
            if isinstance(value, dict):
                flat += [(f"{name} {key}".replace("_", " "), inner) for key, inner in value.items()]
            elif isinstance(value, (list, tuple)):
                flat += [(name.replace("_", " ") if i == 0 else "", inner) for i, inner in enumerate(value)]
            else:
                flat.append((name.replace("_", " "), value))
        return flat
