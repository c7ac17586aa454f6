"""One instance decided, and where it falls in the paper's categories. Called by `run`."""

import os
import time
from dataclasses import asdict, dataclass

import msgspec

from benchmarks.paper_grid.instances import Cell, Instance, as_objects
from fairstow.cluster.items import item
from fairstow.cluster.project import build
from fairstow.packing.model import Order, Request, RuleSet
from fairstow.packing.planner import find
from fairstow.packing.worker import Worker

FAILURE, DEFAULT_OPTIMAL, BETTER, BETTER_OPTIMAL = CATEGORIES = (
    "failure",
    "default optimal",
    "better",
    "better, optimal",
)
"""Neither better nor proved; proved that the default placement can't be bettered; strictly better;
and proved optimal on every level too."""

_LOAD_SECONDS = 120


@dataclass(frozen=True)
class Outcome:
    """What became of an instance.

    Attributes:
        window: seconds allowed for the decision.
        pending: pods the default scheduler left.
        seconds: what the decision took.
        gaps: by level that isn't proved, as "place 2" or "disturb 2": value and bound.
    """

    cell: Cell
    window: float
    seed: int
    pending: int
    category: str
    seconds: float
    gaps: dict[str, tuple[int, int]]

    def as_json(self) -> dict[str, object]:
        """Return a line of the work file."""
        return asdict(self)

    @staticmethod
    def of_json(raw: dict[str, object]) -> "Outcome":
        """Read a line of the work file."""
        return msgspec.convert(raw, Outcome)


def decide(case: Instance, worker: Worker, window: float) -> Outcome:
    """Decide an instance in which pods are pending; the worker is warm when the clock starts."""
    snapshot = build(
        item("grid", i, msgspec.Raw(msgspec.json.encode(o))) for i, o in enumerate(as_objects(case))
    )
    request = Request(
        snapshot, rules=RuleSet.PAPER, order=Order.TIER_BY_TIER, window=window, seed=case.seed
    )
    if not worker.ready(_LOAD_SECONDS):
        raise RuntimeError(f"the solver was not loaded within {_LOAD_SECONDS} s")
    started = time.perf_counter()
    found = find(request, worker, time.monotonic, os.cpu_count() or 1)
    seconds = time.perf_counter() - started
    if found.gained:
        category = BETTER_OPTIMAL if found.proved else BETTER
    else:
        category = DEFAULT_OPTIMAL if found.proved else FAILURE
    gaps = {
        f"{'place' if level.places else 'disturb'} {level.priority}": (value, bound)
        for level, bound in found.bounds.items()
        if (value := found.layout.value(level)) != bound
    }
    return Outcome(case.cell, window, case.seed, case.pending, category, round(seconds, 3), gaps)
