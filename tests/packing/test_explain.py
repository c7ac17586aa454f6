"""Explanations: each verdict, the funnel's counts, the nearest nodes, changes that really help.

A relaxation is checked by doing what it says to the objects and asking the rules anew. Not
covered: the filters themselves (tests/cluster/test_rules), rules between pods, ports and volumes
(test_explain_between), and the plans that are explained, which are made by hand here.
"""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.cluster.model import Pod
from fairstow.cluster.rules import Rules, deficits
from fairstow.cluster.snapshot import Snapshot
from fairstow.packing.explain import Change, Explanation, Relaxation, State, explain, explain_all
from fairstow.packing.model import (
    Decision,
    Eviction,
    Move,
    Order,
    Placement,
    Request,
    RuleSet,
    Step,
    Tier,
)
from tests.cluster.objects import GPU, Object, node, pod, priority_class, snapshot

TOLERANT = [{"key": "gpu", "operator": "Exists"}]
ANTI = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "zone"}
        ]
    }
}


CLAIMS_A_DEVICE: dict[str, Any] = {"resourceClaims": [{"name": "gpu"}]}


def gpus(count: int, **more: Any) -> dict[str, Any]:
    return {"requests": {"cpu": "1", GPU: str(count)}, **more}


def full(name: str, on: str, count: int) -> Object:
    return pod(name, nodeName=on, **gpus(count))


def said(*objects: Object, name: str = "wants", decision: Decision | None = None) -> Explanation:
    found = snapshot(*objects)
    return explain(found, find(found, name), decision)


def find(found: Snapshot, name: str) -> Pod:
    (match,) = [p for p in found.pods if p.name == name]
    return match


def fitting(found: Snapshot, wanted: Pod) -> list[str]:
    rules = Rules(found)
    return [
        n.name
        for n in found.nodes
        if rules.static_refusal(wanted, n) is None and not deficits(wanted.shape, found.free(n))
    ]


# Where a pod stands


@pytest.mark.parametrize(
    ("wanted", "state", "phrase"),
    [
        (
            pod(
                "wants", nodeName="a", status={"conditions": [{"type": "Ready", "status": "True"}]}
            ),
            State.RUNNING,
            "Runs on a.",
        ),
        (pod("wants", nodeName="a"), State.RUNNING, "isn't Ready"),
        (
            pod("wants", nodeName="a", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            State.TERMINATING,
            "holds its room on a",
        ),
        (
            pod("wants", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
            State.TERMINATING,
            "Is being deleted.",
        ),
        (pod("wants", status={"nominatedNodeName": "a"}), State.NOMINATED, "nominated to a"),
        (pod("wants", schedulingGates=[{"name": "quota"}]), State.GATED, "1 node has room (a)"),
        (
            pod("wants", schedulingGates=[{"name": "quota"}], requests={"cpu": "9"}),
            State.GATED,
            "no node would take it now either",
        ),
        (pod("wants"), State.FITS, "1 node has room (a), so the scheduler should place it"),
        (pod("wants", schedulerName="volcano"), State.FITS, "its scheduler (volcano)"),
        (pod("wants", affinity=ANTI), State.FITS, "1 node has room (a)"),
        (pod("wants", **CLAIMS_A_DEVICE), State.UNKNOWN, "it isn't known whether it fits"),
        (pod("wants", requests={"cpu": "9"}), State.BLOCKED, "large enough even when empty"),
        (
            pod("wants", requests={"cpu": "9"}, **CLAIMS_A_DEVICE),
            State.BLOCKED,
            "it also uses resource claims (DRA), which isn't judged here",
        ),
    ],
)
def test_the_verdict_says_where_the_pod_stands(wanted: Object, state: State, phrase: str) -> None:
    found = said(node("a"), wanted)
    assert found.state is state
    assert phrase in found.verdict
    assert found.next_step


def test_pods_explained_together_are_explained_as_one_by_one() -> None:
    found = chain().request.snapshot
    together = explain_all(found, found.pods, chain(), source="-f x")
    assert together == tuple(explain(found, p, chain(), source="-f x") for p in found.pods)


def test_a_pod_that_is_placed_gets_no_funnel() -> None:
    found = said(node("a"), pod("wants", nodeName="a"))
    assert (found.funnel, found.nearest, found.relaxations) == ((), (), ())


def test_a_blocked_pod_is_told_what_is_free_together_and_the_largest_hole() -> None:
    found = said(
        node("a"), node("b"), full("x", "a", 1), full("y", "b", 2), pod("wants", **gpus(4))
    )
    assert found.verdict == (
        f"Waits: 2 nodes may take it and have 5 {GPU} free together, but the largest hole is 3 of "
        "the 4 it asks for."
    )


def test_a_pod_whose_needs_are_free_on_different_nodes_is_told_so() -> None:
    busy = pod("busy", nodeName="a", requests={"cpu": "8"})
    found = said(node("a"), node("b"), busy, full("x", "b", 4), pod("wants", **gpus(2)))
    assert f"1 has enough {GPU}, but too little else: cpu on 1" in found.verdict or (
        f"1 has enough cpu, but too little else: {GPU} on 1" in found.verdict
    )


def test_a_pod_that_no_node_offers_anything_for() -> None:
    found = said(node("a"), pod("wants", requests={"example.com/fpga": "1"}))
    assert found.verdict.endswith("none offers example.com/fpga.")


def test_the_schedulers_own_message_is_quoted() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }
    wanted = pod("wants", requests={"cpu": "9"}, status={"conditions": [condition]})
    assert said(node("a"), wanted).scheduler_says == condition["message"]


# The funnel


def test_the_funnel_counts_what_each_rule_removes_in_the_schedulers_order() -> None:
    tainted = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]
    pool = {"labels": {"pool": "ml"}}
    not_ready = [{"type": "Ready", "status": "False"}]
    found = said(
        node("gone", conditions=not_ready),
        node("cordoned", spec={"unschedulable": True}),
        node("tainted-1", taints=tainted),
        node("tainted-2", taints=tainted),
        node("elsewhere"),
        node("full", **pool),
        full("x", "full", 1),
        pod("wants", nodeSelector={"pool": "ml"}, **gpus(4)),
    )
    assert [str(line) for line in found.funnel] == [
        "6 nodes",
        "5 Ready and staying: 1 is not Ready",
        "4 not cordoned: 1 is cordoned",
        "2 tolerated: 2 have the taint gpu=yes:NoSchedule",
        "1 with the label pool=ml",
        f"0 with room: largest hole 3 of 4 {GPU}",
    ]
    assert found.funnel_text.startswith("6 nodes → 5 Ready")


def test_each_label_of_a_selector_and_the_affinity_have_their_own_line() -> None:
    terms = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["z"]}]}]
    affinity = {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}
        }
    }
    found = said(
        node("a"),
        node("b", labels={"k": "1"}),
        node("c", labels={"k": "1", "l": "2"}),
        pod("wants", nodeSelector={"k": "1", "l": "2"}, affinity=affinity),
    )
    assert [str(line) for line in found.funnel] == [
        "3 nodes",
        "2 with the label k=1",
        "1 with the label l=2",
        "0 matching its required node affinity",
    ]
    assert "of the last 1, none matches its required node affinity" in found.verdict


def test_running_pods_anti_affinity_is_named() -> None:
    guard = pod("guard", nodeName="a", labels={"app": "db"}, affinity=ANTI)
    found = said(node("a", labels={"zone": "z"}), guard, pod("wants", labels={"app": "web"}))
    assert "running pods' anti-affinity keeps it out of all" in found.verdict
    assert "zone=z" in str(found.nearest[0])


# Nearest nodes


def test_the_nearest_nodes_lack_least_and_say_exactly_how_much() -> None:
    nodes = [node(f"n{i}") for i in range(5)]
    holders = [full(f"x{i}", f"n{i}", i) for i in range(1, 5)]
    found = said(*nodes, *holders, full("y", "n0", 4), pod("wants", **gpus(4)))
    assert [str(near) for near in found.nearest] == [
        f"n1: short 1 {GPU}: 4 asked, 3 free",
        f"n2: short 2 {GPU}: 4 asked, 2 free",
        f"n3: short 3 {GPU}: 4 asked, 1 free",
    ]


def test_without_an_open_node_the_nearest_are_those_that_one_rule_refuses() -> None:
    twice = [{"key": "k", "effect": "NoSchedule"}, {"key": "l", "effect": "NoSchedule"}]
    found = said(
        node("cordoned", spec={"unschedulable": True}),
        node("tainted", taints=twice[:1]),
        node("twice", taints=twice),
        node("small", taints=twice[:1], allocatable={"cpu": "1", "pods": "9"}),
        pod("wants", requests={"cpu": "2"}),
    )
    assert [str(near) for near in found.nearest] == [
        "cordoned has room, but is cordoned",
        "tainted has room, but has the taint k:NoSchedule",
    ]


def test_amounts_that_round_to_the_same_are_written_in_full() -> None:
    room = {"cpu": "8", "memory": str(8 * 2**30 - 2**20), "pods": "9"}
    found = said(node("a", allocatable=room), pod("wants", requests={"memory": "8Gi"}))
    assert str(found.nearest[0]) == "a: short 1Mi memory: 8Gi asked, 8191Mi free"


# Changes that help


def test_each_kind_of_change_is_offered_once_the_smallest_first() -> None:
    tainted = [{"key": "gpu", "value": "x", "effect": "NoSchedule"}]
    pool = {"pool": "ml"}
    found = said(
        node("holed", labels=pool),
        full("x", "holed", 1),
        node("cordoned", labels=pool, spec={"unschedulable": True}),
        node("tainted", labels=pool, taints=tainted),
        node("elsewhere"),
        pod("wants", nodeSelector=pool, **gpus(4)),
    )
    assert [r.text for r in found.relaxations] == [
        f"ask for 3 instead of 4 {GPU} → fits on holed",
        "uncordon cordoned → it has room",
        "tolerate the taint gpu=x → fits on tainted",
        "drop the nodeSelector pool=ml → fits on elsewhere",
    ]


@pytest.mark.parametrize(
    "blocker",
    [
        node("a", taints=[{"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}]),
        node("a", conditions=[{"type": "Ready", "status": "False"}]),
        node("a", spec={"unschedulable": True}, taints=[{"key": "k", "effect": "NoSchedule"}]),
        node("a", allocatable={"cpu": "8", "pods": "0"}),
    ],
    ids=["trouble", "not-ready", "two-rules", "no-more-pods"],
)
def test_nothing_is_offered_where_no_single_sensible_change_helps(blocker: Object) -> None:
    assert said(blocker, pod("wants")).relaxations == ()


def test_nothing_is_offered_to_a_pod_with_rules_that_nobody_judges() -> None:
    cordoned = node("a", spec={"unschedulable": True})
    found = said(cordoned, pod("wants", **CLAIMS_A_DEVICE))
    assert found.relaxations == ()
    assert [str(near) for near in found.nearest] == ["a has room, but is cordoned"]
    assert found.not_considered[0] == "resource claims (DRA): used by this pod, not judged yet"


def test_nothing_is_offered_to_a_gated_pod_that_has_a_node_to_go_to() -> None:
    cordoned = node("b", spec={"unschedulable": True})
    found = said(node("a"), cordoned, pod("wants", schedulingGates=[{"name": "quota"}]))
    assert (found.relaxations, found.nearest) == ((), ())


def test_a_cordon_is_lifted_with_the_taint_that_comes_with_it() -> None:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    found = said(node("a", spec={"unschedulable": True}, taints=[taint]), pod("wants"))
    assert [r.change for r in found.relaxations] == [Change.UNCORDON]
    assert found.next_step == "kubectl uncordon a"


def test_one_toleration_covers_every_effect_of_a_taint() -> None:
    taints = [{"key": "gpu", "effect": e} for e in ("NoSchedule", "NoExecute")]
    (offer,) = said(node("a", taints=taints), pod("wants")).relaxations
    assert offer.text == "tolerate the taint gpu → fits on a"


def test_commands_are_quoted() -> None:
    hostile = pod("wants", nodeSelector={"k;reboot": "x"})
    assert said(node("a"), hostile).next_step == "kubectl get nodes -L 'k;reboot'"


def test_a_smaller_request_is_rounded_down_so_that_it_fits() -> None:
    room = {"cpu": "8", "memory": str(8 * 2**30 + 7), "pods": "9"}
    objects = [node("a", allocatable=room), pod("wants", requests={"memory": "9Gi"})]
    (offer,) = said(*objects).relaxations
    assert offer.text == "ask for 8Gi instead of 9Gi memory → fits on a"


LABELS = st.sampled_from(({}, {"pool": "a"}, {"pool": "b"}, {"pool": "a", "zone": "z"}))
TAINTS = st.lists(
    st.sampled_from(
        (
            {"key": "gpu", "value": "x", "effect": "NoSchedule"},
            {"key": "gpu", "value": "x", "effect": "NoExecute"},
            {"key": "team", "effect": "NoSchedule"},
            {"key": "soft", "effect": "PreferNoSchedule"},
            {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"},
        )
    ),
    max_size=2,
)
AFFINITIES = st.sampled_from(
    (
        {},
        {"key": "zone", "operator": "Exists"},
        {"key": "pool", "operator": "NotIn", "values": ["a"]},
    )
)


@st.composite
def clusters(draw: st.DrawFn) -> list[Object]:
    """Up to five nodes closed in various ways, half full, and up to three pods that wait."""
    objects: list[Object] = []
    for i in range(draw(st.integers(1, 5))):
        room = {
            "cpu": str(draw(st.integers(1, 4))),
            "memory": str(draw(st.integers(0, 3 * 2**30))),
            "pods": str(draw(st.integers(0, 4))),
            GPU: str(draw(st.integers(0, 4))),
        }
        ready = "True" if draw(st.integers(0, 5)) else "False"
        objects.append(
            node(
                f"n{i}",
                labels=draw(LABELS),
                taints=draw(TAINTS),
                allocatable=room,
                spec={"unschedulable": draw(st.integers(0, 4)) == 0},
                conditions=[{"type": "Ready", "status": ready}],
            )
        )
        if draw(st.booleans()):
            guard: dict[str, Any] = {"affinity": ANTI} if draw(st.integers(0, 3)) == 0 else {}
            requests = {"cpu": "1", GPU: str(draw(st.integers(0, 2)))}
            objects.append(pod(f"r{i}", nodeName=f"n{i}", requests=requests, **guard))
    for i in range(draw(st.integers(1, 3))):
        spec: dict[str, Any] = {}
        if term := draw(AFFINITIES):
            required = {"nodeSelectorTerms": [{"matchExpressions": [term]}]}
            key = "requiredDuringSchedulingIgnoredDuringExecution"
            spec["affinity"] = {"nodeAffinity": {key: required}}
        objects.append(
            pod(
                f"w{i}",
                labels={"app": draw(st.sampled_from(("web", "db")))},
                requests={
                    "cpu": f"{draw(st.integers(1, 5000))}m",
                    "memory": str(draw(st.integers(0, 4 * 2**30))),
                    GPU: str(draw(st.integers(0, 5))),
                },
                nodeSelector=draw(LABELS),
                tolerations=draw(st.sampled_from(([], TOLERANT))),
                **spec,
            )
        )
    return objects


@settings(deadline=None, max_examples=200)
@given(clusters())
def test_an_explanation_is_true(objects: list[Object]) -> None:
    """The funnel ends at the nodes that fit, near nodes lack what is said, each change helps."""
    found = snapshot(*objects)
    for wanted in found.pods:
        told = explain(found, wanted, None)
        if wanted.node:
            assert told.state is State.RUNNING
            continue
        fits = fitting(found, wanted)
        counts = [line.nodes_left for line in told.funnel]
        assert counts[0] == len(found.nodes)
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] == len(fits)
        assert told.state is (State.FITS if fits else State.BLOCKED)
        for near in told.nearest:
            there = found.node_by_name[near.node]
            assert near.refusal == Rules(found).static_refusal(wanted, there)
            assert near.deficits == deficits(wanted.shape, found.free(there))
            assert near.deficits or near.refusal
        for offer in told.relaxations:
            assert offer.nodes
            now = snapshot(*applied(objects, wanted.name, offer))
            assert set(offer.nodes) <= set(fitting(now, find(now, wanted.name)))


def applied(objects: list[Object], name: str, offer: Relaxation) -> list[Object]:
    """The cluster after doing what a relaxation says."""
    changed = copy.deepcopy(objects)
    (wanted,) = [o for o in changed if o["kind"] == "Pod" and o["metadata"]["name"] == name]
    spec = wanted["spec"]
    match offer.change:
        case Change.REQUEST:
            amount = f"{offer.value}m" if offer.key == "cpu" else offer.value
            spec["containers"][0]["resources"]["requests"][offer.key] = amount
        case Change.TOLERATE:
            spec["tolerations"] = [*spec["tolerations"], {"key": offer.key, "value": offer.value}]
        case Change.SELECTOR:
            del spec["nodeSelector"][offer.key]
        case Change.AFFINITY:
            del spec["affinity"]["nodeAffinity"]
        case Change.UNCORDON:
            (there,) = [o for o in changed if o["metadata"]["name"] == offer.key]
            kept = [t for t in there["spec"]["taints"] if "unschedulable" not in t["key"]]
            there["spec"] |= {"unschedulable": False, "taints": kept}
    return changed


# What a plan does


def chain(**request: Any) -> Decision:
    """A plan that places `wants` on a after x: a → b after y: b → c; z: d → c is unrelated."""
    found = snapshot(
        *(node(n) for n in "abcd"),
        full("x", "a", 2),
        full("x2", "a", 2),
        full("y", "b", 2),
        full("y2", "b", 2),
        full("c2", "c", 1),
        full("z", "d", 1),
        full("low", "d", 3),
        pod("wants", priority=1000, **gpus(2)),
        pod("more", priority=1000, **gpus(4)),
        pod("odd", priority=1000, **CLAIMS_A_DEVICE, **gpus(4)),
        pod("huge", priority=1000, **gpus(64)),
        pod("lost", priority=1000, nodeSelector={"pool": "none"}),
        priority_class("prod", 1000),
    )
    x, y, z, low, wants = (find(found, n) for n in ("x", "y", "z", "low", "wants"))
    return Decision(
        request=Request(found, **{"max_evictions": 1} | request),
        placements=(Placement(wants, "a"),),
        moves=(Move(y, "b", "c"), Move(z, "d", "c"), Move(x, "a", "b")),
        evictions=(Eviction(low, "d"),),
        steps=(
            Step((y,), ((y, "c"),)),
            Step((z,), ((z, "c"),)),
            Step((x,), ((x, "b"),)),
            Step((low,), ()),
            Step((), ((wants, "a"),)),
        ),
        tiers=(Tier(1000, 0, 1, 3, 1), Tier(0, 6, 5, 1, 5)),
        cost=103,
        proved_least_cost=False,
        not_considered=(),
        budgets_known=True,
    )


def fix(name: str, decision: Decision) -> Any:
    found = decision.request.snapshot
    return explain(found, find(found, name), decision).plan_fixes


def test_a_placement_names_the_moves_it_needs_and_no_others() -> None:
    found = fix("wants", chain())
    assert found.node == "a"
    assert [m.pod.name for m in found.moves] == ["y", "x"]
    assert found.evictions == ()
    assert found.text == (
        "The plan places it on a in step 5 of 5 after moving 2 pods (team/y: b → c, team/x: a → b)."
    )


def test_what_happens_to_running_pods_is_told() -> None:
    decision = chain()
    assert "moves it from a to b in step 3 of 5" in fix("x", decision).text
    assert "evicts it from d for good in step 4 of 5" in fix("low", decision).text
    assert fix("x2", decision) is None


def test_a_pod_left_waiting_is_told_what_is_proved() -> None:
    assert fix("more", chain(max_evictions=0)).text == (
        "The plan leaves it waiting. Proved: with moves only, no plan runs more pods of priority "
        "prod than this one (1)."
    )
    assert "with at most 3 moves and at most 1 eviction" in fix("more", chain(max_moves=3)).text
    assert "rules of the paper" in fix("more", chain(rules=RuleSet.PAPER)).text


def with_tiers(decision: Decision, *tiers: Tier) -> Decision:
    return Decision(**{f: getattr(decision, f) for f in decision.__slots__} | {"tiers": tiers})


def test_a_gap_is_not_called_proved() -> None:
    text = fix("more", with_tiers(chain(), Tier(1000, 0, 1, 3, 3))).text
    assert "It isn't proved that it must: up to 2 more pods of priority prod" in text


def test_a_proof_below_other_tiers_says_what_it_takes_as_given() -> None:
    higher = Tier(5000, 1, 1, 0, 1)
    decision = with_tiers(chain(), higher, *chain().tiers)
    assert "no place taken from a higher priority" in fix("more", decision).text
    by_tier = with_tiers(chain(order=Order.TIER_BY_TIER), higher, *chain().tiers)
    assert "with the fewest moves" in fix("more", by_tier).text


def test_no_plan_is_promised_where_moves_cannot_help() -> None:
    decision = chain()
    assert "resource claims (DRA), which the planner doesn't model" in fix("odd", decision).text
    assert fix("huge", decision).text.endswith("large enough even when empty.")
    assert "not labels, taints or cordons" in fix("lost", decision).text


def test_without_a_plan_the_next_step_looks_for_one_where_it_can_help() -> None:
    found = chain().request.snapshot
    told = explain(found, find(found, "more"), None, source="-f dump.json")
    assert told.plan_fixes is None
    assert told.next_step == "fairstow plan -f dump.json"
    assert explain(found, find(found, "huge"), None).next_step == "fairstow pools"
    assert explain(found, find(found, "lost"), None).next_step == "kubectl get nodes -L pool"
