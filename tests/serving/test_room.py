"""How many instances of a pool are to spare, by hand and as properties."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairstow.serving.room import spare_instances
from fairstow.serving.wire import InstanceEntry, Ledger, Phase, RequestEntry, State


def ledger(
    memory: list[int], held: int = 0, *, phase: Phase = Phase.RUNNING, state: State = State.SERVING
) -> Ledger:
    """Instances 0, 1, … and one request that holds so many tokens."""
    request = RequestEntry(
        id="r", tenant="t", instance="0", phase=phase, prompt=held, generated=0, limit=1,
        priority=0, arrived=0.0,
    )  # fmt: skip
    entries = [
        InstanceEntry(name=str(i), url="", state=state, kv_tokens=m) for i, m in enumerate(memory)
    ]
    return Ledger(gateway="g", pool="p", instances=entries, requests=[request])


def test_the_others_have_room_with_a_tenth_left() -> None:
    assert spare_instances([ledger([100, 100], 90)], ()) == 1
    assert spare_instances([ledger([100, 100], 91)], ()) == 0
    assert spare_instances([ledger([100, 100, 100], 90)], ()) == 2
    assert spare_instances([ledger([100, 50], 46)], ()) == 0, "the largest may be the one to go"


def test_the_last_one_is_never_spare() -> None:
    assert spare_instances([ledger([100])], ()) == 0
    assert spare_instances([], ()) == 0


def test_those_that_leave_or_serve_nobody_are_not_counted() -> None:
    assert spare_instances([ledger([100, 100])], {"1"}) == 0
    assert spare_instances([ledger([100, 100], state=State.DRAINING)], ()) == 0


def test_requests_of_all_gateways_count_and_instances_once() -> None:
    assert spare_instances([ledger([100, 100], 45)] * 2, ()) == 1
    assert spare_instances([ledger([100, 100], 46)] * 2, ()) == 0


def test_no_instance_is_spare_while_a_request_is_parked() -> None:
    assert spare_instances([ledger([100, 100], 1, phase=Phase.PARKED)], ()) == 0


def test_an_engine_without_a_size_is_unknown() -> None:
    assert spare_instances([ledger([100, 0])], ()) is None


@given(st.lists(st.integers(1, 100), max_size=6), st.integers(0, 400))
def test_as_many_as_there_are_may_go(memory: list[int], held: int) -> None:
    spare = spare_instances([ledger(memory, held)], ())
    assert spare is not None
    assert 0 <= spare <= max(0, len(memory) - 1)
    left = sorted(memory)[: len(memory) - spare]
    assert not spare or held <= 0.9 * sum(left)
    assert spare == len(memory) - 1 or not memory or held > 0.9 * sum(left[:-1])
