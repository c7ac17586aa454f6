"""What an hour's limits leave, by what plans did, whom they disturbed and whom they served.

Covered: that no hour ever sees more than the limits over random histories (the argument in
`limits`), as a whole, per victim and per beneficiary; what counts of plans in each state; whom a
chain of moves is for. Not covered: that the planner keeps to the caps (test_run).
"""

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.api import Limits, PackingPlan
from fairstow.packing.policy.limits import caps, disruptions, excess, left
from tests.packing.policy.objects import NOON, past

LIMITS = Limits(max_moves_per_hour=6, max_moves_per_namespace_per_hour=4)


class Done(NamedTuple):
    """A disruption as it really happened."""

    at: int
    victim: str
    served: str


class Simulation:
    """A policy that makes plans whenever it may, and a cluster that carries them out somehow."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self.now = NOON
        self.plans: list[PackingPlan] = []
        self.done: list[Done] = []

    def turn(self) -> None:
        """Some time goes by, then a plan is made within what is left, and ends in some way."""
        draw = self._data.draw
        self.now += draw(st.integers(0, 2500))
        remaining = left(LIMITS, self.plans, self.now)
        moves, evictions = caps(LIMITS, remaining)
        victims = draw(st.lists(st.sampled_from("abc"), max_size=moves))
        lost = draw(st.lists(st.sampled_from("abc"), max_size=evictions))
        served = draw(st.sampled_from("xyz"))
        made, name = self.now, f"plan-{len(self.plans)}"
        changes: dict[str, Any] = {
            "moves": [(v, f"from-{i}", f"to-{i}") for i, v in enumerate(victims)],
            "evictions": [(v, "lost") for v in lost],
            "placed": [(served, f"from-{i}") for i in range(len(victims))] + [(served, "lost")],
        }
        plan = past(name, made=made, **changes)
        if excess(remaining, plan):
            return
        done = draw(st.none() | st.integers(0, len(plan.spec.steps)))
        if done is not None:
            self.now += draw(st.integers(0, 1000))  # waits for approval
            order = [*lost, *victims]
            begun = order[: done + 1] if draw(st.booleans()) else order[:done]
            for victim in begun:
                self.now += draw(st.integers(0, 1500))
                self.done.append(Done(self.now, victim, served))
        self.now += draw(st.integers(0, 100))
        kind = "Succeeded" if done == len(plan.spec.steps) else "Stale"
        self.plans.append(past(name, made=made, done=done, ended=(kind, self.now), **changes))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), turns=st.integers(1, 12))
def test_no_hour_sees_more_than_the_limits(data: st.DataObject, turns: int) -> None:
    simulation = Simulation(data)
    for _ in range(turns):
        simulation.turn()
    for first in simulation.done:
        hour = [d for d in simulation.done if first.at <= d.at < first.at + 3600]
        assert len(hour) <= 6
        assert max(Counter(d.victim for d in hour).values()) <= 4
        assert max(Counter(d.served for d in hour).values()) <= 4


MOVES = [("a", "n1", "n2"), ("b", "n3", "n4")]


def used(*plans: PackingPlan) -> int:
    return 6 - (left(LIMITS, plans, NOON).total or 0)


def test_what_counts_of_a_plan() -> None:
    ago = NOON - 600
    assert used(past("p", made=ago, moves=MOVES)) == 2  # waits: it may still do all that
    assert used(past("p", made=ago, moves=MOVES, done=0)) == 2  # is under way
    assert used(past("p", made=ago, moves=MOVES, done=2, ended=("Succeeded", ago))) == 2
    assert used(past("p", made=ago, moves=MOVES, done=0, ended=("Stale", ago))) == 1
    assert used(past("p", made=ago, moves=MOVES, ended=("Stale", ago))) == 0
    assert used(past("p", made=ago, moves=MOVES, approval="Rejected")) == 0
    hour = NOON - 3600
    assert used(past("p", made=hour, moves=MOVES, done=2, ended=("Succeeded", hour))) == 0
    assert used(past("p", made=hour, moves=MOVES, done=2, ended=("Succeeded", hour + 1))) == 2


def test_when_something_comes_back() -> None:
    plans = [
        past("p", made=NOON - 3500, moves=MOVES, done=2, ended=("Succeeded", NOON - 3000)),
        past("q", made=NOON - 3500, moves=MOVES, done=2, ended=("Succeeded", NOON - 1000)),
    ]
    assert left(LIMITS, plans, NOON).retry_at == NOON + 600
    assert left(LIMITS, [], NOON).retry_at is None


def test_moves_come_before_evictions() -> None:
    limits = Limits(max_moves_per_hour=6, max_moves_per_plan=4, max_evictions_per_plan=5)
    assert caps(limits, left(limits, [], NOON)) == (4, 2)
    assert caps(Limits(max_evictions_per_plan=3), left(Limits(), [], NOON)) == (20, 3)


def test_a_chain_of_moves_is_for_the_pod_at_its_end() -> None:
    chain = past(
        "p",
        made=NOON,
        moves=[("a", "n2", "n3"), ("a", "n1", "n2"), ("a", "n8", "n9")],
        placed=[("x", "n1"), ("y", "n8")],
    )
    assert [d.for_ for d in disruptions(chain, NOON)] == [{"x"}, {"x"}, {"y"}]


def test_a_swap_is_for_whoever_gains_by_it() -> None:
    swap = past("p", made=NOON, moves=[("a", "n1", "n2"), ("b", "n2", "n1")], placed=[("x", "n2")])
    assert [d.for_ for d in disruptions(swap, NOON)] == [{"x"}, {"x"}]


def test_who_would_get_too_much_is_named() -> None:
    earlier = past("p", made=NOON, moves=[("a", "n1", "n2")] * 1, done=1,
                   ended=("Succeeded", NOON), placed=[("x", "n1")])  # fmt: skip
    remaining = left(LIMITS, [earlier], NOON)
    plan = past(
        "q", made=NOON, moves=[("a", f"n{i}", "n9") for i in range(4)], placed=[("y", "n1")]
    )
    over = excess(remaining, plan)
    assert (over.victims, over.beneficiaries, over.least) == (frozenset("a"), frozenset(), 3)
    assert remaining.spared == frozenset()
