"""Whether an engine's pod may be evicted: `fairstow.serving.evictions`, case by case.

Not covered: the webhook around it (e2e/serving/test_evictions.py).
"""

from __future__ import annotations

import pytest

from fairstow.api import InstanceDrain, ServingPool
from fairstow.cluster.times import written
from fairstow.serving.evictions import Answer, Victim, judge
from tests.serving.test_drains import NOW, POOL, drain, ledger, request, started

VICTIM = Victim(namespace="chat", name="pod-a", uid="a", labels={"app": "llama"})


def aged(found: InstanceDrain, seconds: int) -> InstanceDrain:
    meta = {"namespace": "chat", "creation_timestamp": written(NOW - seconds)}
    return found.model_copy(update={"metadata": found.metadata.model_copy(update=meta)})


def judged(*drains: InstanceDrain, victim: Victim = VICTIM, pool: ServingPool = POOL) -> Answer:
    return judge(victim, [pool], drains, NOW)


def test_the_first_eviction_begins_a_drain() -> None:
    answer = judged()
    assert "InstanceDrain of ServingPool chat/llama" in answer.wait
    assert answer.begin is not None
    assert (answer.begin.spec.pod_uid, answer.begin.spec.cause) == ("a", "Eviction")


@pytest.mark.parametrize(
    "victim",
    [
        Victim(namespace="chat", name="pod-a", uid="a", labels={"app": "web"}),
        Victim(namespace="elsewhere", name="pod-a", uid="a", labels={"app": "llama"}),
    ],
)
def test_a_pod_of_no_pool_goes(victim: Victim) -> None:
    assert judged(victim=victim) == Answer()


def test_a_drain_under_way_is_waited_for_and_not_begun_again() -> None:
    begun = aged(started(drain()), 5)
    answer = judged(begun)
    assert answer.begin is None
    assert "1 request on it still" in answer.wait


def test_a_pod_of_the_same_name_made_anew_is_another() -> None:
    assert judged(aged(drain("another"), 5)).begin is not None


@pytest.mark.parametrize(("age", "waits"), [(59, True), (61, False)])
def test_a_drain_that_nobody_carries_out_holds_nobody_for_good(age: int, waits: bool) -> None:
    assert bool(judged(aged(drain(), age)).wait) == waits


def test_what_is_drained_goes() -> None:
    from fairstow.serving.drains import decide
    from tests.serving.test_drains import seen

    ((_, status),) = decide(seen(ledger(request("b")), drains=(drain(),))).report
    over = aged(drain().model_copy(update={"status": status}), 5)
    assert judged(over) == Answer()
