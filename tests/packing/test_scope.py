"""Plans that are confined to some nodes: nobody outside moves, and proofs are about such plans.

Random small clusters against all layouts that the scope allows. Also: pods that aren't to be tried,
namespaces that are spared, and rules between pods across the border.
"""

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.packing.model import Decision, Order, Request, Scope
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from tests.packing.checker_clusters import Json, node, pod, rules_broken
from tests.packing.clusters import best, clusters, proofs_are_true, snapshot


def planned(objects: list[Json], scope: Scope) -> Decision:
    request = Request(snapshot(objects), effort=1, scope=scope)
    return decide(request, inline(monotonic), monotonic)


@settings(max_examples=40, deadline=None)
@given(objects=clusters(), data=st.data())
def test_a_plan_keeps_to_its_nodes_and_its_proof_is_about_them(
    objects: list[Json], data: st.DataObject
) -> None:
    names = [o["metadata"]["name"] for o in objects if o["kind"] == "Node"]
    inside = data.draw(st.sets(st.sampled_from(names)))

    def allowed(pods: list[Json], layout: Sequence[str]) -> bool:
        homes = [p["spec"].get("nodeName", "") for p in pods]
        return all(
            was == now or ({was, now} - {""} <= inside)
            for was, now in zip(homes, layout, strict=True)
        )

    decision = planned(objects, Scope("pool", frozenset(inside)))

    touched = {m.source for m in decision.moves} | {m.target for m in decision.moves}
    assert touched | {p.node for p in decision.placements} <= inside
    proofs_are_true(decision, best(objects, allowed).placed, Order.PLACE_FIRST)
    assert not rules_broken(objects, to_plan(decision).to_object(), budgets_known=False)


NODES = [node("a", gpu=4), node("b", gpu=4)]
SMALL = [pod(f"small-{i}", on, gpu=2, owner="ReplicaSet/web") for i, on in enumerate("ab")]
BIG = pod("big", gpu=4, owner="ReplicaSet/big")
BOTH = Scope("pool", frozenset("ab"))


def test_within_its_nodes_it_does_what_any_plan_does() -> None:
    decision = planned([*NODES, *SMALL, BIG], BOTH)
    assert [p.pod.name for p in decision.placements] == ["big"]
    assert to_plan(decision).spec.pool == "pool"


def test_untried_pods_are_left_waiting_and_said_why() -> None:
    scope = replace(BOTH, untried={BIG["metadata"]["uid"]: "that somebody else sees to"})
    decision = planned([*NODES, *SMALL, BIG], scope)
    assert not decision.placements
    assert "1 pending pod that somebody else sees to (team-a/big)" in decision.not_considered
    assert decision.tiers[0].left_out == 1


def test_spared_namespaces_keep_their_pods() -> None:
    decision = planned([*NODES, *SMALL, BIG], replace(BOTH, spared=frozenset({"team-a"})))
    assert not decision.moves
    assert any("as much as an hour allows" in said for said in decision.not_considered)
    other = replace(BOTH, spared=frozenset({"team-b"}))
    assert planned([*NODES, *SMALL, BIG], other).moves


TERM = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "zone"}
RULE = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}}


def test_pods_outside_stay_where_they_are_though_it_would_help() -> None:
    nodes = [_zoned("a", "1"), _zoned("b", "2"), _zoned("out", "1")]
    db = pod("db", "out", gpu=1, labels={"app": "db"})
    filler = pod("filler", "b", gpu=3, owner="")
    apart = pod("apart", gpu=4, owner="ReplicaSet/big", affinity=RULE)
    objects = [*nodes, db, filler, apart]
    assert not planned(objects, BOTH).moves
    whole = Scope("pool", frozenset({"a", "b", "out"}))
    assert [(m.pod.name, m.target) for m in planned(objects, whole).moves] == [("db", "b")]


def test_pods_outside_still_count_for_rules_between_pods() -> None:
    zones = (("a", "1"), ("b", "2"), ("out", "1"))
    nodes = [_zoned(n, z) for n, z in zones]
    db = pod("db", "out", labels={"app": "db"})
    apart = pod("apart", gpu=4, owner="ReplicaSet/big", affinity=RULE)
    filler = pod("filler", "b", gpu=2, owner="ReplicaSet/web")
    decision = planned([*nodes, db, apart, filler], BOTH)
    assert [(m.source, m.target) for m in decision.moves] == [("b", "a")]
    assert [p.node for p in decision.placements] == ["b"]


def _zoned(name: str, zone: str) -> Json:
    item = node(name, gpu=4)
    item["metadata"]["labels"]["zone"] = zone
    return item
