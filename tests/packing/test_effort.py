"""The same question, the same plan: under a budget of work, whatever the machine does meanwhile.

Covered: a cluster too hard to prove in that budget, asked twice in this process and once in the
worker, with different numbers of threads, one of them beside other load; what a plan says when the
window cut the search off. Not covered: equality over versions of the solver.
"""

import threading
import time

from benchmarks.paper_grid.instances import Cell, as_objects, instance
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.model import Decision, Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from fairstow.packing.worker import Worker
from tests.packing.clusters import snapshot

AMPLE = 300.0


def hard() -> Snapshot:
    return snapshot(list(as_objects(instance(Cell(16, 8, 4, 105), 0))))


def said(decision: Decision) -> tuple[object, ...]:
    return (decision.steps, decision.tiers, decision.cost, decision.proved_least_cost)


def test_equal_efforts_give_equal_plans() -> None:
    request = Request(hard(), window=AMPLE, effort=2)
    first = decide(request, inline(time.monotonic), time.monotonic, 1)
    assert any(tier.gap for tier in first.tiers) or not first.proved_least_cost
    stop = threading.Event()
    load = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    load.start()
    try:
        again = decide(request, inline(time.monotonic), time.monotonic, 3)
    finally:
        stop.set()
        load.join()
    with Worker() as worker:
        worker.ready(60)
        elsewhere = decide(request, worker, time.monotonic, 2)
    assert said(first) == said(again) == said(elsewhere)


def test_a_plan_says_when_the_window_cut_its_effort_short() -> None:
    with Worker() as worker:
        worker.ready(60)
        cut = decide(Request(hard(), window=1.0, effort=1000), worker, time.monotonic, 2)
    assert any("the window cut the search off" in said for said in cut.not_considered)


def test_a_plan_is_named_after_what_it_does() -> None:
    plans = [
        to_plan(
            decide(
                Request(hard(), effort=1, max_moves=moves), inline(time.monotonic), time.monotonic
            )
        )
        for moves in (0, 0, 3)
    ]
    first, again, other = (p.metadata.name for p in plans)
    assert first == again != other
