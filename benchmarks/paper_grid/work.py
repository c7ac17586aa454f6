"""Results as they come, one line of JSON each, so that an interrupted run goes on where it stopped.

The first line says of which commit and machine the results are; a file of another one is refused,
since one table must not mix two programs.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.paper_grid.instances import Cell
from benchmarks.paper_grid.outcome import Outcome

Json = dict[str, Any]
_SAME = ("commit", "cores", "python", "ortools")


class MixedError(Exception):
    """Results of different programs or machines; the message says what to do."""


class WorkFile:
    """The results of one part of the grid."""

    def __init__(self, path: Path, about: Json) -> None:
        self.path = path
        self.outcomes: dict[tuple[Cell, float, int], Outcome] = {}
        if path.exists():
            whole = path.read_text()
            path.write_text(whole[: whole.rfind("\n") + 1])  # a line may have been cut off
            head, outcomes = read(path)
            require_same(path, head, about)
            for outcome in outcomes:
                self.outcomes[outcome.cell, outcome.window, outcome.seed] = outcome
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(about) + "\n")

    def add(self, outcome: Outcome) -> None:
        """Append a result."""
        self.outcomes[outcome.cell, outcome.window, outcome.seed] = outcome
        with self.path.open("a") as file:
            file.write(json.dumps(outcome.as_json()) + "\n")


def read(path: Path) -> tuple[Json, list[Outcome]]:
    """Return the first line and the results."""
    head, *lines = path.read_text().splitlines()
    return json.loads(head), [Outcome.of_json(json.loads(line)) for line in lines]


def require_same(path: Path, head: Json, about: Json) -> None:
    """Refuse a file of another program or machine."""
    other = [name for name in _SAME if head.get(name) != about.get(name)]
    if other:
        name = other[0]
        raise MixedError(
            f"{path} holds results of {name} {head.get(name)}, not {about.get(name)}: results of "
            "both in one table would mislead. Move the file away to start anew."
        )
