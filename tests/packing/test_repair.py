"""Greedy repair: what it places, what it leaves alone, and that each exchange is whole.

Covered: random small clusters (score never worse, room kept, limits kept), chains one and two
levels deep, waiting pods that give way. Not covered: how good it is on large clusters (benchmarks).
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.packing.formulate import formulate
from fairstow.packing.incumbent import Incumbent
from fairstow.packing.limits import Limits
from fairstow.packing.model import Order, RuleSet
from fairstow.packing.objective import levels
from fairstow.packing.repair import Repair
from tests.packing.checker_clusters import GPU, Json, beating, budget, node, pod
from tests.packing.clusters import clusters, snapshot


def repaired(
    objects: list[Json],
    *,
    order: Order = Order.PLACE_FIRST,
    limits: Limits | None = None,
    rules: RuleSet = RuleSet.PRODUCT,
    largest_first: bool = False,
) -> tuple[Incumbent, tuple[int, ...]]:
    """Return the repaired layout and what each level gained."""
    problem, _ = formulate(snapshot(objects), rules)
    layout, ranks = Incumbent(problem, {}), levels(order, problem.priorities)
    before = layout.score(ranks)
    Repair(layout, limits or Limits(), ranks).run(
        largest_first=largest_first, more_time=lambda: True
    )
    after = layout.score(ranks)
    return layout, tuple(a - b for a, b in zip(after, before, strict=True))


@settings(deadline=None)
@given(
    clusters(), st.sampled_from(Order), st.sampled_from(RuleSet), st.booleans(), st.integers(0, 3)
)
def test_a_repair_is_never_worse_and_keeps_room_and_limits(
    objects: list[Json], order: Order, rules: RuleSet, largest_first: bool, moves: int
) -> None:
    problem, _ = formulate(snapshot(objects), rules)
    evictable = frozenset(i for i, g in enumerate(problem.groups) if g.placed)
    paper = rules is RuleSet.PAPER
    limits = Limits(moves, 8 if paper else 0, evictable if paper else frozenset())
    layout, gained = repaired(
        objects, order=order, limits=limits, rules=rules, largest_first=largest_first
    )
    assert gained >= (0,) * len(gained)
    again = Incumbent(problem, layout.changes())
    assert again.room == layout.room
    assert all(left >= 0 for room in again.room for left in room)
    everyone = range(len(problem.groups))
    assert sum(layout.left) - sum(map(layout.evictions, everyone)) <= moves
    if not paper:
        assert all(layout.placed[i] >= problem.groups[i].placed for i in everyone)


FULL = [node(name, gpu=4) for name in "abc"]


@pytest.mark.parametrize(
    ("running", "moved"),
    [
        pytest.param({"a": [1], "b": [3], "c": [3]}, 1, id="one level"),
        # The pod of 2 on a fits nowhere until one of 1 leaves b for c.
        pytest.param({"a": [2], "b": [1, 2], "c": [3]}, 2, id="two levels"),
    ],
)
def test_pods_make_room_for_one_another(running: dict[str, list[int]], moved: int) -> None:
    objects = [
        *FULL,
        *(
            pod(f"{on}-{i}", on, gpu=gpu, owner="ReplicaSet/web")
            for on, sizes in running.items()
            for i, gpu in enumerate(sizes)
        ),
        pod("big", "", gpu=4),
    ]
    layout, gained = repaired(objects)
    assert gained == (1, -moved)
    assert sum(layout.left) == moved


def test_a_waiting_pod_gives_way_to_one_of_higher_priority_even_deep_in_a_chain() -> None:
    objects = [
        node("a", gpu=4),
        node("b", gpu=2),
        pod("here", "a", gpu=2, owner="ReplicaSet/web", priority=1000),
        pod("small", "", gpu=2, priority=0),
        pod("big", "", gpu=4, priority=100),
    ]
    assert repaired(objects)[1] == (0, 1, 0, -1)


def test_no_more_pods_of_a_budget_lose_their_place_than_it_allows() -> None:
    objects = [
        *(node(name, gpu=1) for name in "ab"),
        *(pod(f"on-{name}", name, labels={"app": "x"}) for name in "ab"),
        *(pod(f"w{i}", priority=100) for i in range(2)),
        budget("one", {"app": "x"}, 1),
    ]
    problem, _ = formulate(snapshot(objects))
    running = frozenset(i for i, g in enumerate(problem.groups) if g.placed)
    limits = Limits(evictions=2, evictable=running)
    layout, gained = repaired(objects, limits=limits)
    assert limits.allow(layout, layout.changes())
    assert gained[0] == 1


def test_amounts_near_what_kubernetes_can_store_do_no_harm() -> None:
    most = str(2**63 - 1)
    objects = [node(name, gpu=1) for name in "ab"]
    objects += [pod(f"on-{i}", "a", gpu=0) for i in range(3)]
    objects += [pod("wait")]
    for each in objects[:-1]:
        if each["kind"] == "Node":
            each["status"]["allocatable"]["memory"] = most
        else:
            each["spec"]["containers"][0]["resources"]["requests"]["memory"] = most
    objects[-1]["spec"]["containers"][0]["resources"]["requests"]["memory"] = "1"
    layout, gained = repaired(objects)
    assert (gained[0], layout.problem.nodes[layout.touched()[0]]) == (1, "b")


def test_nobody_of_higher_priority_moves_tier_by_tier() -> None:
    objects = [
        node("a", gpu=4),
        node("b", gpu=4),
        pod("here", "a", gpu=2, owner="ReplicaSet/web", priority=1000),
        pod("there", "b", gpu=2, owner="ReplicaSet/web", priority=0),
        pod("big", "", gpu=4, priority=100),
    ]
    layout, gained = repaired(objects, order=Order.TIER_BY_TIER)
    assert gained[:4] == (0, 0, 1, 0)
    assert layout.touched() == [0, 1]
    assert layout.problem.nodes[0] == "a"
    assert layout.room[0][layout.problem.resources.index(GPU)] == 0


@pytest.mark.parametrize("busy", ["a", "b"])
def test_of_two_pods_the_one_that_loses_less_moves(busy: str) -> None:
    objects: list[Json] = [beating(node(name, gpu=2)) for name in "ab"]
    for name in "ab":
        hours = 8 if name == busy else 1
        objects.append(pod(f"on-{name}", name, owner="StatefulSet/train", hours=hours))
    _, gained = repaired([*objects, pod("large", gpu=2)])
    assert gained == (1, -2)
