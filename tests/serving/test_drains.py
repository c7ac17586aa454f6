"""Who is to drain, how far each drain is, and when an instance may go.

Covers `fairstow.serving.drains` alone, from ledgers written by hand. Not covered: that gateways
carry drains out (tests/gateway), and the API server's part (e2e).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.api import InstanceDrain, InstanceDrainStatus, ServingPool
from fairstow.api.status import condition
from fairstow.serving.drains import ABANDONED_SECONDS, Seen, deadline, decide, drained
from fairstow.serving.wire import InstanceEntry, Ledger, Phase, RequestEntry, State
from fairstow.serving.workloads import EnginePod

NOW = 1_800_000_000
POOL = ServingPool.model_validate(
    {
        "kind": "ServingPool",
        "metadata": {"name": "llama", "namespace": "chat"},
        "spec": {
            "engines": {"selector": {"matchLabels": {"app": "llama"}}},
            "drainDeadline": "60s",
        },
    }
)


def drain(uid: str = "a", **spec: Any) -> InstanceDrain:
    named = {"pool": "llama", "podName": f"pod-{uid}", "podUid": uid}
    return InstanceDrain.model_validate(
        {"kind": "InstanceDrain", "metadata": {"name": f"drain-{uid}"}, "spec": named | spec}
    )


def request(uid: str, number: int = 0, *, pinned: str = "") -> RequestEntry:
    return RequestEntry(
        id=f"r{number}",
        tenant="t",
        instance=uid,
        phase=Phase.RUNNING,
        prompt=10,
        generated=5,
        limit=100,
        priority=0,
        arrived=1.0,
        pinned=pinned,
    )


def ledger(*requests: RequestEntry, state: State = State.DRAINING, **counts: Any) -> Ledger:
    entry = InstanceEntry(name="a", url="http://a", state=state, **counts)
    return Ledger(gateway="g", pool="llama", instances=[entry], requests=requests)


def seen(*ledgers: Ledger | None, drains: tuple[InstanceDrain, ...] = (), **more: Any) -> Seen:
    pods = more.pop("pods", (EnginePod(name="pod-a", uid="a"),))
    by_gateway = {f"g{n}": each for n, each in enumerate(ledgers)}
    return Seen(pool=POOL, pods=pods, drains=drains, ledgers=by_gateway, now=more.pop("now", NOW))


def told(found: Seen) -> tuple[InstanceDrainStatus, str]:
    """The status of the only drain, and its reason."""
    ((_, status),) = decide(found).report
    said = condition(status.conditions, "Drained")
    assert said is not None
    return status, f"{said.status} {said.reason}"


def started(found: InstanceDrain, at: int = NOW) -> InstanceDrain:
    """The drain with the status of a first turn with one request at that moment."""
    ((_, status),) = decide(seen(ledger(request("a")), drains=(found,), now=at)).report
    return found.model_copy(update={"status": status})


def test_requests_on_the_instance_are_counted_over_all_gateways() -> None:
    first = ledger(request("a", 1), request("b", 2), moved=3)
    second = ledger(request("a", 3, pinned="Grammar"), moved=1, recomputed=2)
    status, said = told(seen(first, second, drains=(drain(),)))
    assert said == "False RequestsRemain"
    assert (status.remaining, status.pinned, status.moved, status.recomputed) == (2, 1, 4, 2)


def test_an_empty_instance_that_gets_nothing_new_is_drained() -> None:
    assert told(seen(ledger(request("b")), drains=(drain(),)))[1] == "True Drained"


def test_a_gateway_that_still_sends_requests_there_keeps_it() -> None:
    found = seen(ledger(), ledger(state=State.SERVING), drains=(drain(),))
    assert told(found)[1] == "False RequestsRemain"


def test_a_silent_gateway_may_have_requests_there() -> None:
    assert told(seen(ledger(), None, drains=(drain(),)))[1] == "False GatewaySilent"


def test_without_a_gateway_nobody_has_requests_there() -> None:
    assert told(seen(drains=(drain(),)))[1] == "True NoGateway"


@pytest.mark.parametrize(("own", "seconds"), [({}, 60), ({"deadline": "5s"}, 5)])
def test_the_deadline_counts_from_the_start(own: dict[str, str], seconds: int) -> None:
    begun = started(drain(**own))
    assert deadline(begun, POOL, NOW + 1) == NOW + seconds
    on_it = ledger(request("a", pinned="Grammar"))
    before, after = (
        decide(seen(on_it, drains=(begun,), now=NOW + at)).report for at in (seconds - 1, seconds)
    )
    assert not [status for _, status in before if status_says(status, "True")]
    ((_, status),) = after
    assert status_says(status, "True")
    assert status.remaining == 1


def status_says(status: InstanceDrainStatus, word: str) -> bool:
    found = condition(status.conditions, "Drained")
    return found is not None and found.status == word


def test_once_drained_it_stays_so() -> None:
    ((_, status),) = decide(seen(ledger(), drains=(drain(),))).report
    over = drain().model_copy(update={"status": status})
    assert drained(over)
    # A pinned request of a gateway that was restarted, say.
    ((_, later),) = decide(seen(ledger(request("a")), drains=(over,), now=NOW + 5)).report
    assert status_says(later, "True")
    assert later.started_at == status.started_at


def test_pods_on_cordoned_nodes_are_drained_once() -> None:
    pods = (EnginePod(name="pod-a", uid="a", cordoned=True), EnginePod(name="pod-b", uid="b"))
    (made,) = decide(seen(ledger(), pods=pods)).create
    assert (made.spec.pod_uid, made.spec.cause) == ("a", "Cordon")
    assert made.metadata.namespace == "chat"
    again = decide(seen(ledger(), pods=pods, drains=(made,)))
    assert (again.create, again.delete) == ((), ())


def test_a_person_s_drain_makes_one_for_the_cordon_needless() -> None:
    pods = (EnginePod(name="pod-a", uid="a", cordoned=True),)
    assert decide(seen(ledger(), pods=pods, drains=(drain(),))).create == ()


def test_uncordoning_ends_the_drain_that_the_cordon_began_and_no_other() -> None:
    by_cordon, by_hand = drain("a", cause="Cordon"), drain("b", cause="User")
    pods = (EnginePod(name="pod-a", uid="a"), EnginePod(name="pod-b", uid="b"))
    found = decide(seen(ledger(), pods=pods, drains=(by_cordon, by_hand)))
    assert found.delete == (by_cordon,)


@pytest.mark.parametrize(
    ("cause", "ends"), [("Eviction", True), ("Packing", True), ("User", False)]
)
def test_an_eviction_that_was_given_up_has_the_engine_serve_again(cause: str, ends: bool) -> None:
    begun = started(drain(cause=cause))
    ended_at = deadline(begun, POOL, NOW) + ABANDONED_SECONDS
    before, after = (
        decide(seen(ledger(), drains=(begun,), now=at)).delete for at in (ended_at - 1, ended_at)
    )
    assert before == ()
    assert after == ((begun,) if ends else ())
    going = (EnginePod(name="pod-a", uid="a", terminating=True),)
    assert decide(seen(ledger(), pods=going, drains=(begun,), now=ended_at)).delete == ()


def test_a_drain_goes_with_its_pod() -> None:
    anew = EnginePod(name="pod-a", uid="another")
    found = decide(seen(ledger(), pods=(anew,), drains=(drain(),)))
    assert found.delete == (drain(),)
    assert found.report == ()


@given(
    ledgers=st.lists(
        st.none()
        | st.builds(
            lambda ids, state: ledger(*(request("a", n) for n in ids), state=state),
            st.sets(st.integers(0, 5)),
            st.sampled_from(list(State)),
        ),
        min_size=1,
        max_size=4,
    ),
    later=st.integers(0, 59),
)
def test_before_its_deadline_no_instance_with_requests_may_go(
    ledgers: list[Ledger | None], later: int
) -> None:
    found = seen(*ledgers, drains=(started(drain()),), now=NOW + later)
    reports = decide(found).report
    may_go = any(status_says(status, "True") for _, status in reports)
    known = [each for each in ledgers if each is not None]
    assert may_go == (
        len(known) == len(ledgers)
        and not any(each.requests for each in known)
        and not any(e.state is State.SERVING for each in known for e in each.instances)
    )


def test_a_turn_that_changes_nothing_reports_nothing() -> None:
    begun = started(drain())
    assert decide(seen(ledger(request("a")), drains=(begun,), now=NOW + 3)).report == ()
