"""The planner against the whole truth on small clusters, and against the checker on all.

Covered: optimal counts by tier and the least cost without evictions (brute force), proofs,
legality of every step, limits, both orders, evictions, what to do without time. Not covered:
large clusters (benchmarks), rules beyond room and selectors (the checker's and the rules' tests).
"""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.packing.checker import check
from fairstow.packing.formulate import formulate
from fairstow.packing.model import Decision, Order, Proof, Request
from fairstow.packing.plan import to_plan
from fairstow.packing.planner import decide, find, inline
from fairstow.packing.schedule import schedule
from fairstow.packing.worker import SolverError, Worker
from tests.packing.checker_clusters import Json, budget, node, pod
from tests.packing.clusters import best, clusters, proofs_are_true, snapshot

AMPLE = 30.0
slow = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def plan(objects: list[Json], **request: object) -> Decision:
    """Decide in this process and have the checker accept the plan."""
    asked = Request(snapshot(objects), **({"window": AMPLE} | request))  # type: ignore[arg-type]
    decision = decide(asked, inline(time.monotonic), time.monotonic)
    verdict = check(objects, to_plan(decision).to_object(), budgets_known=decision.budgets_known)
    assert verdict.accepted, verdict.violations
    return decision


def placed(decision: Decision) -> tuple[int, ...]:
    return tuple(t.after for t in decision.tiers)


@slow
@given(clusters() | clusters(working=True))
def test_without_budgets_the_plan_is_the_optimum(objects: list[Json]) -> None:
    truth, decision = best(objects), plan(objects)
    assert placed(decision) == truth.placed
    assert decision.cost == truth.cost
    assert decision.proved_least_cost


@slow
@given(
    clusters(budgets=True, preempting=True, working=True),
    st.sampled_from(Order),
    st.integers(0, 3),
)
def test_every_plan_is_legal_and_never_worse(
    objects: list[Json], order: Order, evictions: int
) -> None:
    decision = plan(objects, order=order, max_evictions=evictions, window=2.0)
    assert placed(decision) >= tuple(t.before for t in decision.tiers)
    assert len(decision.evictions) <= evictions


@slow
@given(clusters(), st.sampled_from(Order), st.sampled_from((0.02, 0.1, 0.5)))
def test_a_proof_is_true_however_little_time_there_is(
    objects: list[Json], order: Order, window: float
) -> None:
    truth, decision = best(objects).placed, plan(objects, order=order, window=window)
    proofs_are_true(decision, truth, order)


@slow
@given(clusters(), st.integers(0, 2))
def test_a_limit_on_moves_is_kept(objects: list[Json], most: int) -> None:
    assert len(plan(objects, max_moves=most).moves) <= most


SEVEN_SIX_SEVEN = [
    *(node(name, gpu=8) for name in "abc"),
    *(pod(f"a{i}", "a", gpu=1) for i in range(7)),
    *(pod(f"b{i}", "b", gpu=1) for i in range(6)),
    *(pod(f"c{i}", "c", gpu=1) for i in range(7)),
    pod("big", gpu=4, priority=100),
]


def test_small_pods_move_so_that_a_big_one_fits() -> None:
    decision = plan(SEVEN_SIX_SEVEN)
    assert [(p.pod.name, p.node) for p in decision.placements] == [("big", "b")]
    assert len(decision.moves) == 2
    assert decision.proved_least_cost
    assert all(t.proof is Proof.OPTIMAL for t in decision.tiers)


def test_pods_of_one_budget_move_one_at_a_time() -> None:
    small = {"app": "small"}
    objects = [
        node("a", gpu=4),
        node("b", gpu=4),
        *(pod(f"p{i}", "a", gpu=1, labels=small) for i in range(3)),
        pod("big", gpu=4, priority=100, nodeSelector={"host": "a"}),
        budget("one", small, 1),
    ]
    decision = plan(objects)
    assert [len(s.evict) for s in decision.steps] == [1, 1, 1, 0]


def test_two_full_nodes_swap_in_one_step() -> None:
    objects = [
        node("a", gpu=3),
        node("b", gpu=2),
        pod("stays", "a", gpu=1, owner=""),
        pod("two", "a", gpu=2),
        pod("one", "b", gpu=1),
        pod("big", gpu=1, priority=100, nodeSelector={"host": "a"}),
    ]
    decision = plan(objects)
    assert [(len(s.evict), len(s.bind)) for s in decision.steps] == [(2, 2), (0, 1)]


def test_an_eviction_for_good_takes_the_fewest_lower_pods() -> None:
    objects = [
        node("a", gpu=4),
        *(pod(f"low{i}", "a", gpu=1) for i in range(4)),
        pod("high", gpu=1, priority=100),
    ]
    assert not plan(objects).evictions
    decision = plan(objects, max_evictions=4)
    assert len(decision.evictions) == 1
    assert [p.pod.name for p in decision.placements] == ["high"]


def test_nobody_is_evicted_for_a_pod_that_then_finds_no_way_in() -> None:
    guarded = {"app": "guarded"}
    objects = [
        node("a", gpu=1),
        node("b", gpu=1),
        pod("victim", "a", gpu=1, labels=guarded),
        pod("mover", "b", gpu=1, labels=guarded, priority=100),
        pod("high", gpu=1, priority=100, nodeSelector={"host": "b"}),
        budget("one", guarded, 1),
    ]
    assert not plan(objects, max_evictions=1).steps


def test_what_a_phase_was_held_to_proves_nothing() -> None:
    objects = [
        node("a", gpu=1),
        node("b", gpu=1),
        pod("low", "a", gpu=1),
        pod("never", gpu=1, priority=100, preemptionPolicy="Never"),
        pod("may", gpu=1, priority=100),
    ]
    decision = plan(objects, max_evictions=1)
    assert decision.tiers[0].bound == 2


def test_a_tier_never_trades_its_own_pods() -> None:
    objects = [
        node("a", gpu=2),
        pod("wide", "a", gpu=2),
        *(pod(f"slim{i}", gpu=1) for i in range(2)),
        pod("high", gpu=4, priority=100),
    ]
    assert not plan(objects, max_evictions=4).steps


def test_a_pod_that_must_not_preempt_costs_nobody_a_place() -> None:
    objects = [
        node("a", gpu=1),
        pod("low", "a", gpu=1),
        pod("high", gpu=1, priority=100, preemptionPolicy="Never"),
    ]
    assert not plan(objects, max_evictions=4).placements


def test_tier_by_tier_moves_nobody_for_a_lower_priority() -> None:
    objects = [
        node("a", gpu=2),
        node("b", gpu=2),
        pod("high", "a", gpu=1, priority=100),
        pod("low", "b", gpu=1),
        pod("wide", gpu=2, nodeSelector={"host": "a"}),
    ]
    assert [m.pod.name for m in plan(objects).moves] == ["high"]
    assert not plan(objects, order=Order.TIER_BY_TIER).moves


def test_a_schedule_is_cut_after_its_last_placement_that_fits() -> None:
    cluster = snapshot(SEVEN_SIX_SEVEN)
    problem, roster = formulate(cluster)
    asked = Request(cluster, window=AMPLE)
    layout = find(asked, inline(time.monotonic), time.monotonic).layout.at
    whole = schedule(cluster, problem, roster, layout)
    assert (len(whole.moves), len(whole.placements), whole.cut) == (2, 1, False)
    cut = schedule(cluster, problem, roster, layout, most=2)
    assert (cut.steps, cut.layout, cut.cut) == ((), problem.current(), True)


def test_moves_that_serve_no_placement_are_left_out() -> None:
    guarded = {"app": "guarded"}
    objects = [
        node("a", gpu=2),
        node("b", gpu=1),
        pod("free", "a", gpu=1),
        pod("one", "b", gpu=1, labels=guarded),
        pod("stays", "a", gpu=1, labels=guarded),
        pod("wide", gpu=2, nodeSelector={"host": "a"}),
        budget("none", guarded, 0),
    ]
    assert not plan(objects).steps


@pytest.mark.parametrize("kind", ["lowerKind", "A b", "X" * 80])
def test_an_owner_named_like_nothing_in_kubernetes_spoils_no_plan(kind: str) -> None:
    odd = pod("odd", gpu=1)
    odd["metadata"]["ownerReferences"][0] |= {"kind": kind, "name": "a/b\n"}
    decision = plan([node("a"), odd])
    assert to_plan(decision).spec.placements[0].owner == ""


def test_nothing_pending_is_proved_at_once() -> None:
    decision = plan([node("a"), pod("x", "a")])
    assert not decision.steps
    assert decision.tiers[0].proof is Proof.OPTIMAL


@pytest.mark.parametrize("window", [0.0, 0.01])
def test_without_time_the_answer_is_the_current_placement_or_better(window: float) -> None:
    decision = plan(SEVEN_SIX_SEVEN, window=window)
    assert placed(decision) in ((0, 20), (1, 20))


def test_a_worker_answers_twice_and_survives_its_process() -> None:
    asked = Request(snapshot(SEVEN_SIX_SEVEN), window=AMPLE)
    with Worker() as worker:
        for _ in range(2):
            assert placed(decide(asked, worker, time.monotonic)) == (1, 20)
        worker._process.kill()
        worker._process.join()
        assert placed(decide(asked, worker, time.monotonic)) == (1, 20)


def test_a_fault_in_the_search_is_told_not_taken_for_an_answer() -> None:
    asked = Request(snapshot(SEVEN_SIX_SEVEN), window=AMPLE, seed="x")  # type: ignore[arg-type]
    with Worker() as worker, pytest.raises(SolverError, match="Error"):
        decide(asked, worker, time.monotonic)


def test_a_late_worker_is_cut_off_and_what_it_reported_stands() -> None:
    asked = Request(snapshot(SEVEN_SIX_SEVEN), window=0.0)
    with Worker() as worker:
        assert placed(decide(asked, worker, time.monotonic)) == (0, 20)


def test_equal_requests_give_equal_plans_when_proved() -> None:
    one, two = plan(SEVEN_SIX_SEVEN, seed=7), plan(list(reversed(SEVEN_SIX_SEVEN)), seed=7)
    assert to_plan(one) == to_plan(two)
