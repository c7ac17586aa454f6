"""The rules between pods as CP-SAT reads them, against the same rules on a given layout.

Covered: random layouts of random tiny clusters, from a random incumbent, on all nodes or some: the
model allows one exactly if it fits and the ledger finds every rule kept. Not covered: that the
rules are the scheduler's (test_between, test_between_moves).
"""

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.cpsat import PlacementModel
from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.objective import Level
from fairstow.packing.problem import Problem, Site
from tests.packing.checker_clusters import pod
from tests.packing.clusters import snapshot
from tests.packing.test_between import spread, zoned
from tests.packing.test_between_moves import cluster


def _layout(rng: random.Random, problem: Problem, base: Incumbent, nodes: list[int]) -> Incumbent:
    """Each pod on the nodes, and some that wait, on a random one of them."""
    changes: dict[Site, int] = base.changes()
    for index, group in enumerate(problem.groups):
        pods = sum(base.count((index, n)) for n in nodes)
        pods += rng.randint(0, base.waiting(index))
        for n in nodes:
            changes[index, n] = 0
        for _ in range(pods):
            home = rng.choice([n for n in nodes if problem.ceiling(index, n)] or nodes)
            stays = [n for n in nodes if changes[index, n] < group.running.get(n, 0)]
            changes[index, rng.choice(stays) if stays and rng.random() < 0.6 else home] += 1
    return Incumbent(problem, changes)


def _kept(problem: Problem, layout: Incumbent) -> bool:
    fits = all(
        left >= 0 or r in problem.over[n]
        for n, room in enumerate(layout.room)
        for r, left in enumerate(room)
    )
    return (
        fits
        and all(layout.keeps_apart(i) for i in range(len(problem.groups)))
        and all(c <= problem.ceiling(i, n) for i, at in enumerate(layout.at) for n, c in at.items())
    )


@settings(deadline=None, max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 1_000_000))
def test_the_model_allows_what_the_ledger_finds_kept(seed: int) -> None:
    rng = random.Random(seed)
    problem, _ = formulate(snapshot(cluster(seed)))
    every = list(range(len(problem.nodes)))
    base = _layout(rng, problem, Incumbent(problem, {}), every)
    if not _kept(problem, base):
        base = Incumbent(problem, {})
    nodes = rng.choice((every, every, every[:2]))
    wanted = _layout(rng, problem, base, nodes)
    model = PlacementModel(base, nodes, Limits())
    for (index, n), count in model._x.items():
        model._model.add(count == wanted.count((index, n)))
    unstated = any(wanted.count((i, n)) and (i, n) not in model._x
                   for i in range(len(problem.groups)) for n in nodes)  # fmt: skip
    model.optimise(Level(places=True, priority=0))
    found = model.solve(seconds=10, workers=1, seed=0)
    assert (found.changes is not None and not unstated) == _kept(problem, wanted)


def test_nobody_leaves_the_emptiest_domain_to_one_who_arrived_outside_the_model() -> None:
    alike = {"app": "a"}
    objects = [
        *(zoned(name, "1") for name in "xyz"),
        pod("mover", "x", labels=alike),
        pod("other", "y", labels=alike, owner=""),
        pod("stays", "z", labels=alike, owner=""),
        pod("new", labels=alike, **spread("a", "host")),
    ]
    problem, _ = formulate(snapshot(objects))
    (new,) = [i for i, g in enumerate(problem.groups) if g.pending]
    (mover,) = [i for i, g in enumerate(problem.groups) if g.running]
    model = PlacementModel(Incumbent(problem, {(new, 2): 1}), [0, 1], Limits())
    model._model.add(model._x[mover, 0] == 0)
    model.optimise(Level(places=True, priority=0))
    assert model.solve(seconds=10, workers=1, seed=0).changes is None
