"""When a policy's pool is looked at: pods that wait, schedules, requests.

Covered: each cause by itself, what is missed while nobody runs, that the moment it gives is the
first at which anything changes (over random cases). Not covered: which pods count (test_pools).
"""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.api import PackingPolicy
from fairstow.cluster.model import Pod
from fairstow.cluster.times import seconds, written
from fairstow.packing.policy.triggers import RETRY, Cause, due
from tests.packing.checker_clusters import Json, node, pod
from tests.packing.clusters import snapshot
from tests.packing.policy.objects import NOON, policy

POD = snapshot([node(), pod("big")]).pods[0]


def waiting(*since: int | None) -> list[Pod]:
    return [msgspec.structs.replace(POD, waiting_since=each) for each in since]


def ran(at: int | None, handled: str = "", **spec: Any) -> PackingPolicy:
    status: Json = (
        {} if at is None else {"lastRun": {"time": written(at), "reason": "NoBetterPlan"}}
    )
    if handled:
        status["lastHandledRequest"] = handled
    return policy(status=status, **spec)


def test_a_pod_counts_after_the_delay() -> None:
    assert due(ran(None), waiting(NOON - 60), NOON).causes == {Cause.UNSCHEDULABLE}
    early = due(ran(None), waiting(NOON - 59, NOON), NOON)
    assert (early.causes, early.next_at) == (frozenset(), NOON + 1)
    assert due(ran(None), waiting(None), NOON).next_at is None


def test_a_pod_starts_one_run_then_waits_for_the_next() -> None:
    seen = due(ran(NOON - 10), waiting(NOON - 100), NOON)
    assert (seen.causes, seen.next_at) == (frozenset(), NOON - 10 + RETRY)
    new = due(ran(NOON - 10), waiting(NOON - 100, NOON - 65), NOON)
    assert new.causes == {Cause.UNSCHEDULABLE}
    again = due(ran(NOON - RETRY), waiting(NOON - 1000), NOON)
    assert again.causes == {Cause.UNSCHEDULABLE}


def test_a_pod_that_began_to_wait_during_a_run_starts_the_next() -> None:
    """A run takes a while; what it began without isn't left alone until the one after."""
    pods = waiting(NOON - 100)
    assert due(ran(NOON - 10), pods, NOON, tried={"another"}).causes == {Cause.UNSCHEDULABLE}
    assert not due(ran(NOON - 10), pods, NOON, tried={pods[0].uid}).causes


def test_when_a_plan_has_ended_its_pods_are_looked_at_soon() -> None:
    pods = waiting(NOON - 1000)
    assert due(ran(NOON - 50), pods, NOON, NOON - 20).next_at == NOON + 10
    assert due(ran(NOON - 60), pods, NOON, NOON - 20).causes == {Cause.UNSCHEDULABLE}
    assert due(ran(NOON - 60), pods, NOON, NOON - 70).causes == frozenset()


def test_a_schedule_fires_once_also_for_what_was_missed() -> None:
    nightly: Json = {"triggers": {"schedule": "0 2 * * *"}}
    yesterday = seconds("2026-02-28T02:00:00Z") or 0
    assert due(ran(yesterday, **nightly), [], NOON).causes == {Cause.SCHEDULE}
    assert due(ran(yesterday - 40 * 86_400, **nightly), [], NOON).causes == {Cause.SCHEDULE}
    done = due(ran(NOON - 3600, **nightly), [], NOON)
    assert (done.causes, done.next_at) == (frozenset(), seconds("2026-03-02T02:00:00Z"))
    new = due(policy(made=NOON - 60, **nightly), [], NOON)
    assert (new.causes, new.next_at) == (frozenset(), seconds("2026-03-02T02:00:00Z"))


def test_a_request_is_due_until_it_is_handled() -> None:
    asked = {"fairstow.dev/run-requested-at": "please"}
    assert due(ran(NOON, annotations=asked), [], NOON).causes == {Cause.REQUESTED}
    assert due(ran(NOON, "please", annotations=asked), [], NOON).causes == frozenset()
    assert due(ran(NOON, "before", annotations=asked), [], NOON).causes == {Cause.REQUESTED}
    long = {"fairstow.dev/run-requested-at": "x" * 500}
    assert due(ran(NOON, "x" * 64, annotations=long), [], NOON).causes == frozenset()


@settings(max_examples=200, deadline=None)
@given(
    run=st.none() | st.integers(NOON - 1000, NOON),
    since=st.lists(st.integers(NOON - 1000, NOON), max_size=3),
    delay=st.sampled_from(("0s", "60s", "10m")),
    schedule=st.sampled_from((None, "*/5 * * * *", "0 2 * * *")),
)
def test_nothing_is_due_before_the_moment_it_gives(
    run: int | None, since: list[int], delay: str, schedule: str | None
) -> None:
    triggers = {"unschedulableFor": delay} | ({"schedule": schedule} if schedule else {})
    given_policy = ran(run, triggers=triggers)
    now = due(given_policy, waiting(*since), NOON)
    if now.next_at is not None:
        assert due(given_policy, waiting(*since), now.next_at - 1).causes == now.causes
        assert due(given_policy, waiting(*since), now.next_at).causes > now.causes
