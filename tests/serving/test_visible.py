"""What a pool's status shows of its engines and of the requests that moved.

Covered: states, load and room of engines from several ledgers; migrations kept in order, once,
named by pods, bounded, and what a gateway that lies may have written. Not covered: that gateways
tell them (tests/gateway).
"""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fairstow.api import InstanceDrain, ServingPoolStatus
from fairstow.api.serving_parts import MOST_MIGRATIONS
from fairstow.serving.drains import Seen
from fairstow.serving.pool_status import pool_status
from fairstow.serving.visible import engines, migrations
from fairstow.serving.wire import Hop, InstanceEntry, Ledger, Outcome, State
from fairstow.serving.workloads import EnginePod
from tests.serving.test_drains import NOW, POOL, drain, ledger, request

PODS = (EnginePod(name="pod-a", uid="a"), EnginePod(name="pod-b", uid="b"))


def hop(number: int = 0, **more: object) -> Hop:
    made = Hop(
        request=f"r{number}", source="a", destination="b", outcome=Outcome.COPIED, reason="Drain",
        tokens=512, at=NOW - 100 + number + 0.25, pause=0.0213,
    )  # fmt: skip
    return msgspec.structs.replace(made, **more)


def seen(
    *ledgers: Ledger,
    status: ServingPoolStatus | None = None,
    drains: tuple[InstanceDrain, ...] = (),
    pods: tuple[EnginePod, ...] = PODS,
) -> Seen:
    by_gateway: dict[str, Ledger | None] = {f"g{n}": each for n, each in enumerate(ledgers)}
    pool = POOL.model_copy(update={"status": status})
    return Seen(pool=pool, pods=pods, drains=drains, ledgers=by_gateway, now=NOW)


def moved(*hops: Hop) -> Ledger:
    return msgspec.structs.replace(ledger(), hops=hops)


def test_engines_are_told_by_what_all_gateways_say() -> None:
    entry = InstanceEntry(
        name="a", url="http://a", state=State.SERVING, kv_tokens=100, block=1, compatibility="w"
    )
    two = [Ledger(g, "llama", [entry], [request("a", n)]) for n, g in enumerate("xy")]
    a, b = engines(seen(*two), two)
    assert (a.pod, a.state, a.running, a.memory_permille) == ("pod-a", "Serving", 2, 320)
    assert (a.freeness_steps, a.compatibility) == (34, "w")
    assert (b.pod, b.state, b.memory_permille) == ("pod-b", "Starting", None)


def test_an_engine_drains_before_its_gateways_know() -> None:
    serving = ledger(state=State.SERVING, kv_tokens=100)
    found = seen(serving, drains=(drain("a"),))
    assert engines(found, [serving])[0].state == "Draining"


def test_migrations_are_named_and_kept_once() -> None:
    found = seen(moved(hop(1), hop(0)), moved(hop(2, destination="gone-since-long")))
    status = pool_status(found)
    assert [each.request for each in status.migrations] == ["r0", "r1", "r2"]
    first, _, last = status.migrations
    assert (first.from_, first.to, first.outcome) == ("pod-a", "pod-b", "Copied")
    assert (first.reason, first.tokens, first.pause_milliseconds) == ("Drain", 512, 21)
    assert first.time.endswith(".250Z")
    assert last.to == "gone-si…"
    # A gateway began anew, and the pod is gone: what was known stays.
    later = seen(moved(hop(3)), status=status, pods=PODS[1:])
    names = [(each.request, each.from_) for each in pool_status(later).migrations]
    assert names == [("r0", "pod-a"), ("r1", "pod-a"), ("r2", "pod-a"), ("r3", "pod-a")]


def test_those_under_way_come_last_and_go() -> None:
    moving = msgspec.structs.replace(request("a"), moving="b")
    status = pool_status(seen(ledger(moving, state=State.SERVING), moved(hop())))
    assert [each.outcome for each in status.migrations] == ["Copied", "UnderWay"]
    again = pool_status(seen(moved(hop()), status=status))
    assert [each.outcome for each in again.migrations] == ["Copied"]


def test_only_the_last_are_kept() -> None:
    found = migrations(seen(), [moved(*(hop(n) for n in range(40))), moved(hop(90), hop(91))])
    assert len(found) == 42
    many = migrations(seen(), [moved(*(hop(n) for n in range(k, k + 40))) for k in (0, 40)])
    assert [each.request for each in many] == [f"r{n}" for n in range(30, 80)]
    assert len(many) == MOST_MIGRATIONS


ANY = st.builds(
    Hop,
    request=st.text(),
    source=st.text(),
    destination=st.text(),
    outcome=st.sampled_from(Outcome),
    reason=st.text(),
    tokens=st.integers(),
    at=st.floats(allow_nan=False),
    pause=st.floats(allow_nan=False) | st.none(),
)


@given(ANY)
def test_whatever_a_gateway_says_can_be_written(made: Hop) -> None:
    (found,) = migrations(seen(), [moved(made)])
    ServingPoolStatus(migrations=(found,))
    assert found.to.isprintable()
