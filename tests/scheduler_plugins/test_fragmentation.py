"""The scores of a request against the measure they compute, and the state kept for them.

Covered: costs and gradients by numpy equal `fairstow.packing.fragmentation`'s on random rooms and
typical pods; points; rooms and typical pods after random events equal those read afresh. Not
covered: how well placing by it works (the openb benchmark); shared GPUs, which Kubernetes' rooms
don't have.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cluster.kinds import NODE, POD
from fairstow.cluster.live import LiveCluster
from fairstow.packing.fragmentation import (
    GPU as MILLI,
)
from fairstow.packing.fragmentation import (
    Demand,
    Room,
    Typical,
    cost,
    cost_gradient,
)
from scheduler_plugins.plugins.fragmentation import BEST, Profile, Rooms, costs, scores
from tests.cluster.objects import GPU, Object, node, pod

DEMANDS = st.builds(
    lambda cpu, gpus, memory: Demand(1000 * cpu, MILLI, gpus, memory),
    st.integers(0, 8), st.integers(1, 8), st.integers(0, 2),
)  # fmt: skip
TYPICAL = st.dictionaries(DEMANDS, st.integers(1, 50), min_size=1, max_size=6).map(
    lambda counts: Typical(tuple(counts.items()))
)
ROOMS = st.builds(
    lambda cpu, memory, gpus: Room(1000 * cpu, memory, (MILLI,) * gpus),
    st.integers(0, 64), st.integers(0, 4), st.integers(0, 8),
)  # fmt: skip


def rows(rooms: list[Room]) -> Any:
    return np.array([(r.cpu, r.memory, len(r.gpus)) for r in rooms], dtype=float)


@given(TYPICAL, st.lists(ROOMS, min_size=1, max_size=5))
def test_costs_are_those_of_the_measure(typical: Typical, rooms: list[Room]) -> None:
    found = costs(Profile.of(typical), rows(rooms))
    for each, room in zip(found, rooms, strict=True):
        # The measure counts in whole weighted milli-GPUs, rounded down twice.
        assert abs(each - cost(room, typical) / typical.total) <= 2 / typical.total + 1e-6


@given(TYPICAL, ROOMS, DEMANDS)
def test_gradients_are_those_of_the_measure(typical: Typical, room: Room, demand: Demand) -> None:
    expected = cost_gradient(room, demand, typical)
    if expected is None:
        return
    left = Room(room.cpu - demand.cpu, room.memory - demand.memory, room.gpus[demand.gpus :])
    before, after = costs(Profile.of(typical), rows([room, left]))
    assert abs((after - before) - expected / typical.total) <= 4 / typical.total + 1e-6


@given(st.lists(st.integers(-8000, 8000), min_size=1, max_size=20))
def test_the_least_gradient_gets_the_most_points(gradients: list[int]) -> None:
    points = scores([float(gradient) for gradient in gradients])
    assert all(0 <= p <= BEST for p in points)
    if len(set(gradients)) == 1:
        assert set(points) == {0}
    else:
        assert points[gradients.index(min(gradients))] == BEST
        assert points[gradients.index(max(gradients))] == 0
        by_gradient = [p for _, p in sorted(zip(gradients, points, strict=True))]
        assert by_gradient == sorted(by_gradient, reverse=True)


# An event is a node or a pod that appears, changes or goes.
NAMES = [f"n{i}" for i in range(4)]
NODE_EVENTS = st.tuples(
    st.just("node"), st.sampled_from(NAMES), st.sampled_from([None, 0, 4, 8]),
    st.sampled_from(["A100", "H100"]),
)  # fmt: skip
POD_EVENTS = st.tuples(
    st.just("pod"), st.sampled_from([f"p{i}" for i in range(6)]),
    st.sampled_from([None, "", *NAMES]), st.integers(0, 4),
)  # fmt: skip


def apply(live: LiveCluster, event: tuple[str, str, Any, Any]) -> None:
    what, name, value, more = event
    kind, obj = (NODE, machine(name, value, more)) if what == "node" else (
        POD, asking(name, value, more)
    )  # fmt: skip
    if value is None:
        live.delete(kind, obj)
    else:
        live.upsert(kind, obj)


def machine(name: str, gpus: int | None, product: str) -> Object:
    room = {"cpu": "8", "memory": "32Gi", "pods": "110", GPU: str(gpus or 0)}
    return node(name, labels={"nvidia.com/gpu.product": product}, allocatable=room)


def asking(name: str, home: str | None, gpus: int) -> Object:
    return pod(name, nodeName=home or None, requests={"cpu": "2", GPU: str(gpus)})


def listening(live: LiveCluster) -> Rooms:
    rooms = Rooms(live)

    def hear(kind: Any, name: str) -> None:
        if kind == NODE:
            rooms.node_changed(name)
        else:
            rooms.pod_changed(name)

    live.listeners.append(hear)
    return rooms


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(NODE_EVENTS, POD_EVENTS), max_size=20), st.integers(0, 2))
def test_kept_state_is_what_reading_afresh_gives(
    events: list[tuple[str, str, Any, Any]], gpus: int
) -> None:
    live = LiveCluster()
    kept = listening(live)
    asked = (("cpu", 1000), (GPU, gpus))
    for event in events:
        apply(live, event)
        kept.scores(asked, NAMES)  # what was read before must not stick
    kept.learn()
    fresh_live = LiveCluster()
    fresh = listening(fresh_live)
    last = {event[:2]: event for event in events}
    for event in sorted(last.values(), key=lambda event: event[:2]):  # nodes first
        apply(fresh_live, event)
    fresh.learn()
    assert kept.typical == fresh.typical
    assert kept.scores(asked, NAMES) == fresh.scores(asked, NAMES)
