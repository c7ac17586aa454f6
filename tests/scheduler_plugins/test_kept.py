"""What `Kept` remembers against what the reservations say, event by event.

Covered: after any mix of nodes, pods, arrivals and pods on their way, a pod that no plan awaits
gets the same answer from memory as from `Reservations.verdict`. Not covered: whether that answer is
right (tests/packing), and those who are awaited (test_verbs.py).
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from fairstow.cluster.model import Pod
from fairstow.packing.reservations import Reservations
from scheduler_plugins.index import LEASE, PLAN, Index
from tests.cluster.objects import GPU, node, pod
from tests.scheduler_plugins.plans import Arrival, Plan, lease

NODES = ["a", "b", "c"]
PODS = [f"p{i}" for i in range(5)]
AMOUNTS = st.sampled_from([{"cpu": "1"}, {"cpu": "3", GPU: "1"}, {"cpu": "5", GPU: "3"}])
OWNERS = st.sampled_from([("ReplicaSet", "big"), ("ReplicaSet", "other"), None])

ARRIVALS = st.builds(
    lambda name, where, requests, moved: Arrival(
        "team", name, f"uid-team-{name}", where, requests, "ReplicaSet/big", "a" if moved else ""
    ),
    st.sampled_from(PODS), st.sampled_from(NODES), AMOUNTS, st.booleans(),
)  # fmt: skip
STEPS = st.lists(
    st.lists(ARRIVALS, min_size=1, max_size=2, unique_by=lambda a: a.uid).map(tuple),
    min_size=1, max_size=2,
).filter(lambda steps: len({a.uid for s in steps for a in s}) == sum(map(len, steps)))  # fmt: skip
EVENTS = st.one_of(
    st.tuples(st.just("pod"), st.sampled_from(PODS), st.sampled_from([None, "", *NODES]), AMOUNTS,
              OWNERS),
    st.tuples(st.just("nominate"), st.sampled_from(PODS), st.sampled_from(NODES), AMOUNTS, OWNERS),
    st.tuples(st.just("take"), st.sampled_from(PODS), st.sampled_from(NODES), AMOUNTS,
              st.booleans()),
    st.tuples(st.just("node"), st.sampled_from(NODES), st.booleans(), st.none(), st.none()),
    st.tuples(st.just("plan"), STEPS, st.none(), st.none(), st.none()),
    st.tuples(st.just("expire"), st.none(), st.none(), st.none(), st.none()),
)  # fmt: skip


def happen(index: Index, clock: list[float], event: Any) -> None:
    what, who, where, requests, more = event
    live = index.live
    match what:
        case "pod" if where is None:
            live.delete(POD, pod(who))
        case "pod":
            live.upsert(POD, pod(who, nodeName=where or None, requests=requests, owner=more))
        case "nominate":
            status = {"nominatedNodeName": where}
            live.upsert(POD, pod(who, requests=requests, owner=more, status=status))
        case "take":
            index.assumed.take(read(pod(who, requests=requests)), [where], steered=more)
        case "node":
            room = {"cpu": "8" if where else "4", "memory": "32Gi", "pods": "110", GPU: "4"}
            live.upsert(NODE, node(who, allocatable=room))
        case "plan":
            index.plans.upsert(PLAN, Plan("p", tuple(who)).to_object())
        case _:
            clock[0] += 20
            index.assumed.expire()


def read(obj: Any) -> Pod:
    elsewhere = LiveCluster()
    elsewhere.upsert(POD, obj)
    found = elsewhere.pod(obj["metadata"]["uid"])
    assert found is not None
    return found


@settings(max_examples=300, deadline=None)
@given(STEPS, st.lists(EVENTS, max_size=12), AMOUNTS)
def test_what_is_remembered_is_what_is_said(steps: Any, events: Any, requests: Any) -> None:
    clock = [0.0]
    index = Index("ns/op", clock=lambda: clock[0], wall=lambda: 0.0)
    happen(index, clock, ("plan", steps, None, None, None))
    for name in NODES:
        happen(index, clock, ("node", name, True, None, None))
    asking = read(pod("asking", requests=requests, owner=("ReplicaSet", "third")))
    for event in [None, *events]:
        if event:
            happen(index, clock, event)
        reservations: Reservations = index.plans.reservations
        assert not reservations.serves(asking)
        remembered = index.kept.verdict(reservations, asking, NODES)
        assert remembered == reservations.verdict(asking, NODES, index.assumed)


def test_plans_and_leases_of_tests_are_what_the_index_reads() -> None:
    index = Index("fairstow-system/fairstow-operator", clock=lambda: 0.0, wall=lambda: 0.0)
    index.operator.upsert(LEASE, lease())
    assert index.operator.alive
