"""Which instances belong to the grid, and running those that are still missing.

Instances of a cell are the first `seeds` seeds for which the default scheduler leaves pods pending,
as the authors chose theirs where usage is below 100 %; cells in which that (almost) never happens
stay empty, as theirs did.

The full grid comes in parts that take three quarters of an hour at most: the window of 1 s by
number of priorities, that of 10 s by nodes × pods per node.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.paper_grid.instances import Cell, instance
from benchmarks.paper_grid.outcome import Outcome, decide
from benchmarks.paper_grid.work import WorkFile
from fairstow.packing.worker import Worker

NODES, PODS, PRIORITIES, USAGE = (4, 8, 16, 32, 64), (4, 8), (1, 2, 4), (90, 95, 100, 105)
SEEDS = 20
_TRIED_PER_SEED = 5
"""Seeds tried for each that is wanted before a cell is left as it is."""


@dataclass(frozen=True)
class Part:
    """Some cells of the grid at one window."""

    name: str
    window: float
    cells: tuple[Cell, ...]
    seeds: int


def cells(
    nodes: Iterable[int] = NODES,
    pods: Iterable[int] = PODS,
    priorities: Iterable[int] = PRIORITIES,
    usage: Iterable[int] = USAGE,
) -> tuple[Cell, ...]:
    """Return the cells of some rows and columns of the grid."""
    return tuple(Cell(*c) for c in itertools.product(nodes, pods, priorities, usage))


def full() -> tuple[Part, ...]:
    """Return the parts of the full grid."""
    tens = (
        Part(f"10s-{n}x{p}", 10.0, cells((n,), (p,)), SEEDS)
        for n, p in itertools.product(NODES, PODS)
    )
    ones = (Part(f"1s-k{k}", 1.0, cells(priorities=(k,)), SEEDS) for k in reversed(PRIORITIES))
    return (*ones, *tens)


@cache
def calling(cell: Cell, seeds: int) -> tuple[tuple[int, ...], int]:
    """Return the first seeds of a cell with pending pods, and how many seeds were tried."""
    found: list[int] = []
    for seed in range(seeds * _TRIED_PER_SEED):
        if instance(cell, seed).pending:
            found.append(seed)
            if len(found) == seeds:
                return tuple(found), seed + 1
    return tuple(found), seeds * _TRIED_PER_SEED


def missing(part: Part, work: WorkFile) -> Iterator[tuple[Cell, int]]:
    """Yield what is still to be run, all cells in turn, so that any prefix is a fair sample."""
    for i in range(part.seeds):
        for cell in part.cells:
            seeds, _ = calling(cell, part.seeds)
            if i < len(seeds) and (cell, part.window, seeds[i]) not in work.outcomes:
                yield cell, seeds[i]


def run(part: Part, work: WorkFile, console: Console, *, most: int | None = None) -> list[Outcome]:
    """Run what is missing of a part, or the first `most` of it; return what was run."""
    with console.status(f"{part.name}: looking for seeds"):
        todo = list(missing(part, work))[:most]
    done: list[Outcome] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Worker() as worker, Progress(*columns, console=console) as progress:
        task = progress.add_task(part.name, total=len(todo))
        for cell, seed in todo:
            outcome = decide(instance(cell, seed), worker, part.window)
            work.add(outcome)
            done.append(outcome)
            progress.advance(task)
    return done
