"""Tenants that are read anew while they use the gateway, with a clock of ours.

Covered: a file that hasn't changed changes nothing; limits that do, in any order, let no more in
than a minute's worth and what has come since; requests that run are counted until they end; a file
that can't be used leaves counts alone; who is new, gone, or back. Not covered: limits over several
gateways (test_usage.py), that a Secret is read anew (e2e/serving/test_gateways.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cluster.errors import InputError
from fairstow.gateway.tenants import Entry, LimitError, Tenant, Tenants, parse

LIMITS = st.integers(1, 8)
ENTRIES = st.builds(
    Entry,
    name=st.just("a"),
    keys=st.just(["key"]),
    requests_per_minute=LIMITS,
    tokens_per_minute=LIMITS,
    concurrent=LIMITS,
)
WAIT = st.tuples(st.just("wait"), st.floats(0, 90))
ASK = st.tuples(st.just("ask"), st.just(0))
END = st.tuples(st.just("end"), st.integers(0, 12))
STEPS = st.lists(WAIT | ASK | END, max_size=60)


@dataclass
class Gateway:
    """Lets one tenant's requests in. Attributes: running: those whose tenant will be told."""

    entry: Entry
    now: float = 0.0
    running: list[Tenant] = field(default_factory=list)
    tenants: Tenants = field(init=False)

    def __post_init__(self) -> None:
        self.tenants = self._parsed(None)

    @property
    def tenant(self) -> Tenant:
        return self.tenants.all[0]

    def reload(self, entry: Entry) -> None:
        self.entry = entry
        self.tenants = self._parsed(self.tenants)

    def do(self, what: str, how_much: float) -> str:
        """Do it; return what a client would be told."""
        match what:
            case "wait":
                self.now += how_much
            case "ask":
                try:
                    self.tenant.enter()
                except LimitError as error:
                    return error.limit
                self.running.append(self.tenant)
                return "in"
            case "end" if self.running:
                self.running.pop().leave(int(how_much))
        return ""

    def _parsed(self, before: Tenants | None) -> Tenants:
        text = yaml.safe_dump([msgspec.to_builtins(self.entry)])
        return parse("tenants", text, lambda: self.now, before=before)


@given(ENTRIES, STEPS)
def test_reading_the_same_again_changes_nothing(
    entry: Entry, steps: list[tuple[str, float]]
) -> None:
    one, other = Gateway(entry), Gateway(entry)
    for step in steps:
        other.reload(entry)
        assert one.do(*step) == other.do(*step)
    assert one.tenant.running == other.tenant.running


@given(ENTRIES, st.lists(STEPS.flatmap(lambda s: st.tuples(st.just(s), ENTRIES)), max_size=6))
def test_changes_of_limits_let_in_no_more_than_they_say(
    entry: Entry, rounds: list[tuple[list[tuple[str, float]], Entry]]
) -> None:
    gateway = Gateway(entry)
    allowed = float(entry.requests_per_minute or 0)
    let_in = 0
    for steps, after in rounds:
        for step in steps:
            most, rate = gateway.entry.concurrent or 0, gateway.entry.requests_per_minute or 0
            before = gateway.now
            said = gateway.do(*step)
            allowed += (gateway.now - before) * rate / 60
            let_in += said == "in"
            assert let_in <= allowed + 1e-6
            assert said != "in" or len(gateway.running) <= most
            assert gateway.tenant.running == len(gateway.running)
        gateway.reload(after)


def test_a_higher_limit_holds_at_once() -> None:
    gateway = Gateway(Entry("a", ["key"], requests_per_minute=1, concurrent=1))
    assert [gateway.do("ask", 0) for _ in range(2)] == ["in", "concurrent"]
    gateway.reload(Entry("a", ["key"], requests_per_minute=120, concurrent=2))
    assert gateway.do("ask", 0) == "requests"
    gateway.do("wait", 0.5)
    assert gateway.do("ask", 0) == "in"


def test_a_limit_that_is_new_begins_whole_and_one_that_goes_is_forgotten() -> None:
    gateway = Gateway(Entry("a", ["key"]))
    assert {gateway.do("ask", 0) for _ in range(5)} == {"in"}
    gateway.reload(Entry("a", ["key"], requests_per_minute=2, concurrent=9))
    assert [gateway.do("ask", 0) for _ in range(3)] == ["in", "in", "requests"]
    gateway.reload(Entry("a", ["key"], concurrent=7))
    assert gateway.do("ask", 0) == "concurrent"


def test_what_cant_be_read_leaves_everything_as_it_was() -> None:
    gateway = Gateway(Entry("a", ["key"], requests_per_minute=1))
    gateway.do("ask", 0)
    with pytest.raises(InputError):
        gateway.reload(Entry("a", ["key"], requests_per_minute=0, concurrent=3))
    assert gateway.do("ask", 0) == "requests"
    assert gateway.tenant.running == 1


def test_another_of_the_same_key_owes_nothing() -> None:
    gateway = Gateway(Entry("a", ["key"], requests_per_minute=1))
    gateway.do("ask", 0)
    gateway.reload(Entry("b", ["key"], requests_per_minute=1))
    assert gateway.do("ask", 0) == "in"
    assert gateway.tenant.running == 1
