"""What the paper reports for its grid, beside which our results are shown.

`published.csv`: the outcome tables of arXiv 2511.08373 (CP-SAT, 1 s and 10 s), in per cent of 100
instances a cell; their means over usage and priorities are the paper's figures. At 64 nodes its
authors report (nearly) only failures up to 20 s.
"""

import csv
from collections import Counter
from functools import cache
from pathlib import Path

from benchmarks.paper_grid.instances import Cell
from benchmarks.paper_grid.outcome import BETTER, BETTER_OPTIMAL, DEFAULT_OPTIMAL, FAILURE

_COLUMNS = {
    "failure": FAILURE,
    "default_optimal": DEFAULT_OPTIMAL,
    "better": BETTER,
    "better_optimal": BETTER_OPTIMAL,
}


@cache
def _rows() -> dict[tuple[int, Cell], Counter[str]]:
    with (Path(__file__).parent / "published.csv").open() as file:
        return {
            (
                int(row["window"]),
                Cell(*(int(row[c]) for c in ("nodes", "pods_per_node", "priorities", "usage"))),
            ): Counter({name: int(row[column]) for column, name in _COLUMNS.items()})
            for row in csv.DictReader(file)
        }


def published(cell: Cell, window: float) -> Counter[str] | None:
    """Return the paper's instances of a cell that call the optimiser by category, or None."""
    found = _rows().get((round(window), cell)) if window in (1, 10) else None
    return found if found and found.total() else None
