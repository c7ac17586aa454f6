"""Rules between pods: apart, together, spread, host ports, against the whole truth and the checker.

Covered: random small clusters in which nothing moves, where every order of every assignment is
tried with the scheduler's own rules; legality of every plan by the independent checker; each rule
once by hand. Not covered: moving pods that have such rules (test_between_moves), claims, gangs.
"""

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.cluster.model import Pod
from fairstow.cluster.snapshot import Snapshot
from fairstow.cluster.state import State
from fairstow.packing.model import Decision
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import never_contradicted, snapshot
from tests.packing.test_planner import plan

ZONE = "zone"
APPS = "ab"


def apart(app: str, key: str = "host") -> Json:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    }


def near(app: str, key: str = ZONE) -> Json:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


def spread(app: str, key: str = ZONE, skew: int = 1, **more: Any) -> Json:
    rule = {
        "topologyKey": key,
        "maxSkew": skew,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    return {"topologySpreadConstraints": [rule | more]}


def port(number: int) -> Json:
    wants = {"requests": {"cpu": "1", "nvidia.com/gpu": "1"}}
    ports = [{"containerPort": number, "hostPort": number, "protocol": "TCP"}]
    return {"containers": [{"name": "main", "resources": wants, "ports": ports}]}


def zoned(name: str, zone: str, gpu: int = 4) -> Json:
    made = node(name, gpu=gpu)
    made["metadata"]["labels"][ZONE] = zone
    return made


@st.composite
def clusters(draw: st.DrawFn) -> list[Json]:
    """Two or three nodes in one or two zones, a few pods that stay, up to four waiting."""
    nodes = [
        zoned(f"n{i}", draw(st.sampled_from("xy")), draw(st.integers(1, 3)))
        for i in range(draw(st.integers(2, 3)))
    ]
    objects: list[Json] = list(nodes)
    for i in range(draw(st.integers(0, 3))):
        on, app = draw(st.sampled_from(nodes))["metadata"]["name"], draw(st.sampled_from(APPS))
        objects.append(pod(f"run-{i}", on, gpu=0, labels={"app": app}, owner="", **_rule(draw)))
    for i in range(draw(st.integers(1, 4))):
        app, priority = draw(st.sampled_from(APPS)), draw(st.sampled_from((0, 100)))
        rule = _rule(draw)
        objects.append(pod(f"wait-{i}", gpu=1, labels={"app": app}, priority=priority, **rule))
    return objects


def _rule(draw: st.DrawFn) -> Json:
    app, key = draw(st.sampled_from(APPS)), draw(st.sampled_from((ZONE, "host")))
    return draw(
        st.sampled_from(
            (
                {},
                apart(app, key),
                near(app, key),
                spread(app, key, draw(st.integers(1, 2))),
                spread(app, key, 1, minDomains=2),
            )
        )
    )


def best(cluster: Snapshot) -> tuple[int, ...]:
    """Most pods by tier over every order and assignment of arrivals, nothing moving."""
    waiting = list(cluster.pending)
    tiers = sorted({p.shape.priority for p in cluster.pods}, reverse=True)
    before = [p for p in cluster.pods if p.node]
    found: set[tuple[int, ...]] = set()

    def go_on(state: State, left: list[Pod], placed: list[Pod]) -> None:
        found.add(
            tuple(
                sum(p.shape.priority == t for p in itertools.chain(before, placed)) for t in tiers
            )
        )
        for wanted in left:
            for on in cluster.nodes:
                if state.refusal(wanted, on) is None:
                    state.add(wanted, on)
                    go_on(state, [p for p in left if p is not wanted], [*placed, wanted])
                    state.remove(wanted)

    go_on(State(cluster), waiting, [])
    return max(found)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(clusters())
def test_a_proof_is_never_contradicted_and_every_step_is_legal(objects: list[Json]) -> None:
    never_contradicted(plan(objects), best(snapshot(objects)))


def names(decision: Decision) -> list[str]:
    return sorted(f"{p.pod.name} {p.node}" for p in decision.placements)


def test_pods_apart_get_a_node_each() -> None:
    three = [pod(f"p{i}", labels={"app": "a"}, **apart("a")) for i in range(3)]
    decision = plan([node("x"), node("y"), *three])
    assert len({p.node for p in decision.placements}) == len(decision.placements) == 2


def test_pods_apart_share_a_node_outside_of_all_domains() -> None:
    three = [pod(f"p{i}", labels={"app": "a"}, **apart("a", ZONE)) for i in range(3)]
    decision = plan([node("x", gpu=2), zoned("y", "1"), *three])
    assert sorted(p.node for p in decision.placements) == ["x", "x", "y"]


def test_pods_spread_over_zones() -> None:
    four = [pod(f"p{i}", labels={"app": "a"}, **spread("a")) for i in range(4)]
    decision = plan([zoned("x", "1"), zoned("y", "2", gpu=1), *four])
    assert sorted(p.node for p in decision.placements) == ["x", "x", "y"]


def test_the_first_of_a_kind_settles_where_the_others_go() -> None:
    three = [pod(f"p{i}", labels={"app": "a"}, **near("a")) for i in range(3)]
    decision = plan([zoned("x", "1", gpu=2), zoned("y", "2", gpu=3), *three])
    assert [p.node for p in decision.placements] == ["y", "y", "y"]


def test_a_pod_goes_near_one_that_runs() -> None:
    runs = pod("there", "y", gpu=0, labels={"app": "b"}, owner="")
    decision = plan([zoned("x", "1"), zoned("y", "2"), runs, pod("p", **near("b"))])
    assert names(decision) == ["p y"]


def test_a_host_port_is_taken_once_a_node() -> None:
    two = [pod(f"p{i}", **port(8080)) for i in range(3)]
    decision = plan([node("x"), node("y"), *two])
    assert sorted(p.node for p in decision.placements) == ["x", "y"]


@pytest.mark.parametrize("rule", [apart("a"), spread("a"), near("a"), port(80)])
def test_a_small_pod_moves_so_that_one_with_rules_fits(rule: Json) -> None:
    objects = [
        zoned("x", "1", gpu=2),
        zoned("y", "2", gpu=1),
        pod("small", "x", gpu=1),
        pod("wide", gpu=2, labels={"app": "a"}, priority=100, **rule),
    ]
    if "containers" in rule:
        objects[-1]["spec"]["containers"][0]["resources"]["requests"]["nvidia.com/gpu"] = "2"
    decision = plan(objects)
    assert (names(decision), len(decision.moves)) == (["wide x"], 1)
