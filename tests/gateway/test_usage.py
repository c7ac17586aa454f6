"""Limits of tenants over several gateways, with what they tell each other and a clock of ours.

Covered: all of a limit at one gateway, no more than it at several, requests at the same time; one
that isn't heard, that is new, that began anew, that has other tenants, that talks nonsense; what is
told. Not covered: how it is told (e2e/serving/test_gateways.py).
"""

from __future__ import annotations

import msgspec
import pytest

from fairstow.gateway.tenants import Entry, LimitError, Tenant, Tenants
from fairstow.gateway.usage import SharedUsage
from fairstow.serving.wire import Usage

TEAM = Entry("team-a", ["key"], requests_per_minute=60, tokens_per_minute=600, concurrent=90)


class Clock:
    """Seconds, by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Gateway:
    """One of them, as far as limits go."""

    def __init__(self, name: str, clock: Clock, replicas: int = 3, entry: Entry = TEAM) -> None:
        self.name = name
        self.tenants = Tenants([entry, Entry("free", ["other"])], clock, replicas)
        self.usage = SharedUsage(b"the pool's")

    @property
    def team(self) -> Tenant:
        return self.tenants.all[0]

    def ask(self, times: int, tokens: int = 0) -> int:
        """Ask so often for answers of so many tokens; return how often it was let in."""
        return sum(self._one(tokens) for _ in range(times))

    def _one(self, tokens: int) -> bool:
        try:
            self.team.enter()
        except LimitError:
            return False
        self.team.leave(tokens)
        return True


def hear(*gateways: Gateway, there: int | None = None) -> None:
    """Let all of them hear each other once."""
    told = {
        each.name: msgspec.json.decode(
            msgspec.json.encode(each.usage.told(each.tenants)), type=list[Usage]
        )
        for each in gateways
    }
    for each in gateways:
        others = {name: usages for name, usages in told.items() if name != each.name}
        each.usage.heard(each.tenants, others, there or len(gateways))


def three(clock: Clock) -> list[Gateway]:
    found = [Gateway(name, clock) for name in "abc"]
    hear(*found)
    return found


def test_a_tenant_has_all_of_its_limit_at_whichever_gateway() -> None:
    a, b, c = three(Clock())
    assert a.ask(100) == 60
    hear(a, b, c)
    assert b.ask(100) + c.ask(100) == 0


def test_it_has_no_more_at_several_but_for_what_wasnt_heard_yet() -> None:
    clock = Clock()
    gateways = three(clock)
    let_in = 0
    for _ in range(1200):  # two minutes
        clock.now += 0.1
        let_in += sum(each.ask(1) for each in gateways)
        hear(*gateways)
    assert 60 + 120 - 2 <= let_in <= 60 + 120 + 2


def test_tokens_count_at_all_of_them_afterwards() -> None:
    clock = Clock()
    a, b, c = three(clock)
    assert a.ask(1, tokens=1200) == 1
    hear(a, b, c)
    assert b.ask(1) == c.ask(1) == 0
    clock.now += 61
    assert b.ask(1) == 1


def test_requests_at_the_same_time_are_counted_over_all() -> None:
    a, b, c = three(Clock())
    for _ in range(50):
        a.team.enter()
    hear(a, b, c)
    assert (b.team.running, b.team.elsewhere) == (0, 50)
    for _ in range(10):
        b.team.enter()
    hear(a, b, c)
    for _ in range(50):
        a.team.leave(0)
    hear(a, b, c)
    assert c.team.elsewhere == 10


def test_where_one_isnt_heard_each_has_its_part() -> None:
    clock = Clock()
    a, b, c = three(clock)
    for _ in range(30):
        c.team.enter()
    hear(a, b, there=3)
    assert a.team.elsewhere == 0
    assert (a.ask(100), b.ask(100)) == (20, 20)
    clock.now += 60
    assert a.ask(100) == 20
    hear(a, b, c)
    clock.now += 60
    assert a.ask(100) == 60


def test_before_anything_is_heard_each_has_its_part() -> None:
    assert Gateway("a", Clock()).ask(100) == 20


def test_a_new_one_learns_what_is_left() -> None:
    a, b, c = three(Clock())
    assert a.ask(45) == 45
    hear(a, b, c)
    new = Gateway("d", Clock(), replicas=4)
    hear(a, b, c, new)
    assert new.ask(100) == 15
    hear(a, b, c, new)
    assert a.ask(100) == 0
    began_anew = Gateway("a", Clock())
    hear(began_anew, b, c, new)
    assert began_anew.ask(100) == b.ask(100) == 0


def test_one_that_was_alone_for_long_goes_on_when_another_comes() -> None:
    clock = Clock()
    a = Gateway("a", clock, 1)
    hear(a)
    for _ in range(10):
        assert a.ask(100) == 60
        clock.now += 60
        hear(a)
    assert a.ask(10) == 10
    b = Gateway("b", clock, 2)
    hear(a, b)
    assert b.ask(100) == 50
    hear(a, b)
    assert a.ask(100) == 0
    clock.now += 60
    assert a.ask(100) == 60


def test_one_with_other_tenants_or_another_secret_counts_as_not_heard() -> None:
    clock = Clock()
    a, b = Gateway("a", clock, 2), Gateway("b", clock, 2)
    b.usage = SharedUsage(b"another")
    hear(a, b)
    assert a.ask(100) + b.ask(100) == 60


@pytest.mark.parametrize(
    "nonsense", [{"running": -5}, {"requests": -(10**9)}, {"tokens": -(10**9)}]
)
def test_nonsense_lets_nobody_in(nonsense: dict[str, int]) -> None:
    a, b = Gateway("a", Clock(), 2), Gateway("b", Clock(), 2)
    hear(a, b)
    assert a.ask(60) == 60
    (told,) = b.usage.told(b.tenants)
    a.usage.heard(a.tenants, {"b": [Usage(told.tenant, **nonsense)]}, 2)
    assert a.ask(100) == 0


def test_neither_names_nor_keys_are_told_and_who_has_no_limit_isnt() -> None:
    a = Gateway("a", Clock())
    assert len(a.usage.told(a.tenants)) == 1
    assert "team" not in repr(a.usage.told(a.tenants))
