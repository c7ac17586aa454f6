"""Plans for random clusters with everything in them: what must hold whatever the cluster.

Each cluster mixes priorities, budgets, work to lose, rules between pods, volumes, gangs, pods that
must not be touched and nodes that take nothing. Covered: never worse than now, every step legal (by
the checker), budgets and protection (counted here once more), proofs against what a naive planner
finds, and that no plan can be altered unnoticed. Not covered: that plans are optimal (test_planner,
test_gangs, test_between by brute force), large clusters (benchmarks).
"""

import copy
import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fairstow.packing.checker import check
from fairstow.packing.model import Decision, Order, Proof, Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, inline
from tests.packing.checker_clusters import (
    DISK,
    TRAITS,
    Json,
    Naive,
    beating,
    budget,
    node,
    pod,
    verdict,
    with_trait,
)
from tests.packing.checker_clusters import plan as plan_of
from tests.packing.clusters import clusters, snapshot
from tests.packing.test_checker_mutations import MUTATIONS, Mutation

slow = settings(
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def annotated(key: str, value: str) -> Callable[[Json], object]:
    return lambda pod: pod["metadata"]["annotations"].update({key: value})


def owned_by(kind: str) -> Callable[[Json], object]:
    return lambda pod: pod["metadata"]["ownerReferences"][0].update(kind=kind)


PROTECTIONS: dict[str, Callable[[Json], object]] = {
    "do not disrupt": annotated("fairstow.dev/do-not-disrupt", "true"),
    "Karpenter": annotated("karpenter.sh/do-not-disrupt", "true"),
    "autoscaler": annotated("cluster-autoscaler.kubernetes.io/safe-to-evict", "false"),
    "mirror": annotated("kubernetes.io/config.mirror", "x"),
    "its node's": owned_by("DaemonSet"),
    "unknown owner": owned_by("Widget"),
    "no owner": lambda pod: pod["metadata"].update(ownerReferences=[]),
    "terminating": lambda pod: pod["metadata"].update(deletionTimestamp="2026-03-01T12:00:30Z"),
    "local": lambda pod: pod["spec"].update(volumes=[{"name": "v", "hostPath": {"path": "/"}}]),
    "part of Fairstow": lambda pod: pod["metadata"]["labels"].update(
        {"app.kubernetes.io/part-of": "fairstow"}
    ),
    "member": lambda pod: pod["metadata"]["labels"].update(
        {"scheduling.x-k8s.io/pod-group": "running"}
    ),
    "young": lambda pod: pod["status"].update(startTime="2026-03-01T11:59:30Z"),
}
MIN_AGE = 60

CLOSED: tuple[Callable[[Json], object], ...] = (
    lambda node: node["spec"].update(unschedulable=True),
    lambda node: node["spec"].update(taints=[{"key": "x", "effect": "NoSchedule"}]),
    lambda node: node["metadata"].update(deletionTimestamp="2026-03-01T12:00:30Z"),
    lambda node: node["status"]["conditions"][0].update(status="Unknown"),
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Json], set[str]]:
    """A cluster with everything in it, and the uids of the pods that nobody may touch."""

    def one_in(number: int) -> bool:
        return draw(st.integers(1, number)) == number

    objects = draw(clusters(preempting=True, working=True))
    untouchable: set[str] = set()
    for item in objects:
        if item["kind"] == "Node":
            if one_in(8):
                draw(st.sampled_from(CLOSED))(item)
            continue
        if "nodeName" in item["spec"]:
            item["status"].setdefault("startTime", "2026-03-01T00:00:00Z")
            item["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
        if one_in(6):
            with_trait(item, draw(st.sampled_from(TRAITS)))
        if "nodeName" not in item["spec"]:
            if one_in(4):
                item["metadata"]["labels"]["scheduling.x-k8s.io/pod-group"] = "waiting"
        elif item["metadata"]["ownerReferences"]:
            if one_in(6):
                draw(st.sampled_from(sorted(PROTECTIONS.items())))[1](item)
                untouchable.add(item["metadata"]["uid"])
        else:
            untouchable.add(item["metadata"]["uid"])
    disk = copy.deepcopy(DISK)
    affinity = disk[1]["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    affinity[0]["matchExpressions"][0]["values"] = ["n0"]
    budgets = [budget(f"of-{app}", {"app": app}, draw(st.integers(0, 2))) for app in "ab"]
    return [*objects, *disk, *(b for b in budgets if one_in(2))], untouchable


def decided(objects: list[Json], **request: object) -> Decision:
    asked = {"window": 2.0, "min_age": MIN_AGE} | request
    question = Request(snapshot(objects), **asked)  # type: ignore[arg-type]
    return decide(question, inline(time.monotonic), time.monotonic)


def wire(decision: Decision) -> Json:
    written: Json = to_plan(decision).to_object()
    return written


@slow
@given(worlds(), st.sampled_from(Order), st.integers(0, 2), st.sampled_from((None, 0, 1, 3)))
def test_a_plan_is_legal_never_worse_and_touches_nobody_protected(
    world: tuple[list[Json], set[str]], order: Order, evictions: int, moves: int | None
) -> None:
    objects, untouchable = world
    decision = decided(objects, order=order, max_evictions=evictions, max_moves=moves)
    found = check(objects, wire(decision), budgets_known=decision.budgets_known)
    assert found.accepted, found.violations
    assert tuple(t.after for t in decision.tiers) >= tuple(t.before for t in decision.tiers)
    disturbed = [*(m.pod for m in decision.moves), *(e.pod for e in decision.evictions)]
    assert not {pod.uid for pod in disturbed} & untouchable
    assert len(decision.evictions) <= evictions
    assert moves is None or len(decision.moves) <= moves
    assert decision.steps or not decision.cost


@slow
@given(worlds(), st.integers(0, 2))
def test_no_budget_is_broken(world: tuple[list[Json], set[str]], evictions: int) -> None:
    objects, _ = world
    decision = decided(objects, max_evictions=evictions)
    for each in (o for o in objects if o["kind"] == "PodDisruptionBudget"):
        app, left = each["spec"]["selector"]["matchLabels"]["app"], each["status"]
        allowed = left["disruptionsAllowed"]
        for step in decision.steps:
            down = [p.uid for p in step.evict if dict(p.labels)["app"] == app]
            assert len(down) <= allowed
            allowed -= len(set(down) - {p.uid for p, _ in step.bind})


@slow
@given(worlds())
def test_no_plan_that_is_legal_contradicts_a_proof(world: tuple[list[Json], set[str]]) -> None:
    objects, _ = world
    decision = decided(objects)
    known = decision.budgets_known
    naive = plan_of(
        objects,
        *Naive(objects).steps(),
        minimumAge=f"{MIN_AGE}s",
        budgets="Known" if known else "Unknown",
    )
    found = verdict(objects, naive, budgets_known=known)
    assume(found.accepted and found.placements)
    for tier, other in zip(decision.tiers, found.tiers, strict=True):
        assert other.placed_after <= tier.bound
        if tier.proof is Proof.GAP or other.placed_after < tier.after:
            break


@pytest.mark.parametrize("mutate", MUTATIONS)
@settings(slow, max_examples=4)
@given(world=worlds(), data=st.data())
def test_no_plan_can_be_altered_unnoticed(
    mutate: Mutation, world: tuple[list[Json], set[str]], data: st.DataObject
) -> None:
    objects, _ = world
    decision = decided(objects, max_evictions=1, window=1.0)
    assume(bool(decision.placements))
    mutated = wire(decision)
    mutate(mutated["spec"], data)
    assume(mutated != wire(decision))
    assert not check(objects, mutated, budgets_known=decision.budgets_known).accepted


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("protected", [["on-a"], ["on-b"], ["on-a", "on-b"]])
def test_nobody_protected_moves_though_it_would_help(protection: str, protected: list[str]) -> None:
    pods = [pod("on-a", "a", hours=1), pod("on-b", "b", hours=1)]
    large = pod("large", gpu=2, priority=100)
    objects = [beating(node("a", gpu=2)), beating(node("b", gpu=2)), *pods, large]
    assert len(decided(objects).moves) == 1
    for each in pods:
        if each["metadata"]["name"] in protected:
            PROTECTIONS[protection](each)
    free = {"on-a", "on-b"} - {*protected}
    assert {m.pod.name for m in decided(objects).moves} == free
