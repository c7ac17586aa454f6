"""Hand-overs, as events in any order.

Covered: whatever engines say, break and refuse, in any interleaving, what is delivered continues
what was delivered before, from ids the leg really had; no leg is left running, every move is
answered once, and with engines that work the request ends. Then each path by name. Not covered:
clocks, sockets and real engines (tests/gateway).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.serving.handover import (
    STRIKES,
    Abort,
    Action,
    Deliver,
    Ended,
    Event,
    Fail,
    Fault,
    Handover,
    Move,
    Moved,
    Over,
    Park,
    Pause,
    Placed,
    Prepare,
    Prepared,
    Said,
    Start,
    Stayed,
    Way,
    Withdrawn,
)
from fairstow.serving.tokens import Finish, Piece

PROMPT = 100


@dataclass
class World:
    """Engines and a client round one request. A token tells its leg and its position."""

    handover: Handover = field(default_factory=lambda: Handover(PROMPT))
    record: list[int] = field(default_factory=list)
    legs: dict[int, int] = field(default_factory=dict)
    """Those that run, and the position of their next token."""
    starts: dict[int, Start] = field(default_factory=dict)
    preparing: list[Prepare] = field(default_factory=list)
    moves: dict[int, int] = field(default_factory=dict)
    parked: bool = True
    finished: bool = False
    failed: bool = False

    def on(self, event: Event) -> list[Action]:
        actions = self.handover.on(event)
        for action in actions:
            self._do(action)
        assert len(self.legs) <= 2
        assert self.handover.length == PROMPT + len(self.record)
        if self.handover.ended:
            assert not self.legs
        return actions

    def _do(self, action: Action) -> None:
        match action:
            case Start(leg, _, length):
                assert length == PROMPT + len(self.record), "not from the ids of that moment"
                assert leg not in self.starts
                self.starts[leg], self.legs[leg], self.parked = action, length, False
            case Abort(leg):
                self.legs.pop(leg, None)
            case Prepare():
                assert action.length == PROMPT + len(self.record)
                self.preparing.append(action)
            case Deliver(_, piece):
                assert not self.finished
                for token in piece.tokens:
                    assert token % 1000 == PROMPT + len(self.record), "lost or duplicated"
                    self.record.append(token)
                self.finished = piece.finish is not None
            case Moved(move) | Stayed(move):
                self.moves[move] = self.moves.get(move, 0) + 1
            case Park():
                assert not self.legs
                self.parked = True
            case Fail():
                self.failed = True

    def say(self, leg: int, count: int, finish: Finish | None = None) -> list[Action]:
        at = self.legs[leg]
        self.legs[leg] += count
        if finish:
            del self.legs[leg]
        said = [1000 * leg + position for position in range(at, at + count)]
        return self.on(Said(leg, Piece(said, finish)))

    def fail(self, leg: int, fault: Fault = Fault.BROKEN) -> list[Action]:
        del self.legs[leg]
        return self.on(Ended(leg, fault))

    def prepared(self, done: bool = True) -> list[Action]:
        return self.on(Prepared(self.preparing.pop(0).move, done))


ENGINES = st.sampled_from("abc")


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_in_any_order_of_events_the_client_sees_the_record(data: st.DataObject) -> None:
    world = World()
    for _ in range(data.draw(st.integers(0, 40))):
        if world.handover.ended:
            break
        _something(world, data)
    for _ in range(100):  # from here on everything works
        if world.handover.ended:
            break
        _well(world)
    assert world.handover.ended
    assert world.finished or world.failed
    assert set(world.moves.values()) <= {1}
    # Whoever speaks or breaks afterwards changes nothing.
    assert world.on(Said(1, Piece([1]))) == world.on(Ended(2, Fault.BROKEN)) == []


def _something(world: World, data: st.DataObject) -> None:
    choices = ["move", "withdraw", "place", "pause", "stale"]
    choices += ["say", "say", "break"] * bool(world.legs) + ["prepared"] * bool(world.preparing)
    match data.draw(st.sampled_from(choices)):
        case "move":
            way = data.draw(st.sampled_from(Way))
            world.on(Move(data.draw(ENGINES), way, slack=data.draw(st.integers(0, 3))))
        case "pause":
            world.on(Pause())
        case "withdraw":
            world.on(Withdrawn(data.draw(st.integers(1, 9))))
        case "place":
            if world.parked:
                world.on(Placed(data.draw(ENGINES)))
        case "prepared":
            world.prepared(data.draw(st.booleans()))
        case "say":
            leg = data.draw(st.sampled_from(sorted(world.legs)))
            world.say(leg, data.draw(st.integers(0, 3)))
        case "break":
            leg = data.draw(st.sampled_from(sorted(world.legs)))
            world.fail(leg, data.draw(st.sampled_from(Fault)))
        case _:  # something about a leg that is over
            dead = sorted(set(world.starts) - set(world.legs))
            if dead:
                leg = data.draw(st.sampled_from(dead))
                assert world.on(Said(leg, Piece([999]))) == []


def _well(world: World) -> None:
    if world.parked:
        world.on(Placed("a"))
    elif world.legs:
        world.say(max(world.legs), 1, Finish.STOP if len(world.record) > 5 else None)


def running() -> World:
    world = World()
    world.on(Placed("a"))
    world.say(1, 5)
    return world


def switching(way: Way = Way.COPIED) -> World:
    """On its way from a to b; the destination's leg has the highest number."""
    world = running()
    world.on(Move("b", way, slack=2))
    if way is not Way.STOPPED:
        world.prepared()
    assert world.starts[max(world.starts)].engine == "b"
    return world


def test_stages_are_repeated_until_little_is_left() -> None:
    world = running()
    (first,) = world.on(Move("b", Way.COPIED, slack=2))
    assert (first.length, first.source) == (PROMPT + 5, "a")  # type: ignore[attr-defined]
    world.say(1, 3)
    (second,) = world.prepared()
    assert isinstance(second, Prepare)
    assert second.length == PROMPT + 8
    world.say(1, 2)
    (last,) = world.prepared()
    assert last == Start(3, "b", PROMPT + 10, "a", move=2)


def test_what_the_source_says_meanwhile_is_dropped_with_the_first_token() -> None:
    world = switching()
    assert world.say(1, 4) == []
    leg = max(world.legs)
    actions = world.say(leg, 1)
    assert actions[:2] == [Abort(1), Moved(2, "a", "b", 1, 4)]
    assert [token // 1000 for token in world.record] == [1] * 5 + [leg]


@pytest.mark.parametrize("event", ["withdrawn", "broken"])
def test_without_the_destination_it_stays_and_nothing_is_lost(event: str) -> None:
    world = switching()
    world.say(1, 4)
    leg = max(world.legs)
    actions = world.on(Withdrawn(2)) if event == "withdrawn" else world.fail(leg)
    assert any(isinstance(action, Stayed) for action in actions)
    assert [token // 1000 for token in world.record] == [1] * 9
    assert world.handover.engine == "a"


def test_a_source_that_finishes_first_has_the_last_word() -> None:
    world = switching()
    world.say(1, 2)
    world.say(1, 1, Finish.LENGTH)
    assert world.finished
    assert len(world.record) == 8


def test_a_source_that_breaks_while_switching_leaves_it_to_the_destination() -> None:
    world = switching()
    world.say(1, 2)
    assert world.fail(1) == []
    world.say(max(world.legs), 1)
    assert len(world.record) == 6


def test_both_break_and_it_is_parked_with_all_that_was_said() -> None:
    world = switching()
    world.say(1, 2)
    world.fail(1)
    assert world.fail(max(world.legs))[-1] == Park()
    assert len(world.record) == 7
    assert world.on(Placed("c")) == [Start(4, "c", PROMPT + 7)]


def test_a_source_that_breaks_while_preparing_starts_where_it_was_going() -> None:
    world = running()
    world.on(Move("b", Way.COPIED))
    assert world.fail(1)[-1] == Start(3, "b", PROMPT + 5)


def test_a_source_that_must_stop_is_aborted_first() -> None:
    world = running()
    assert world.on(Move("b", Way.STOPPED)) == [
        Abort(1),
        Start(3, "b", PROMPT + 5, "a", move=2),
    ]
    assert world.fail(3)[-1] == Park()


def test_recomputed_there_before_it_switches() -> None:
    world = running()
    (warm,) = world.on(Move("b", Way.RECOMPUTED))
    assert isinstance(warm, Prepare)
    assert warm.source == ""
    assert world.prepared() == [Start(3, "b", PROMPT + 5, move=2)]


def test_what_has_said_nothing_goes_at_once() -> None:
    world = World()
    world.on(Placed("a"))
    assert world.on(Move("b", Way.COPIED)) == [
        Abort(1),
        Moved(3, "a", "b", 0, 0),
        Start(2, "b", PROMPT),
    ]


def test_a_request_that_kills_engines_is_given_up() -> None:
    world = World()
    for leg in range(1, STRIKES):
        world.on(Placed("abc"[leg % 3]))
        assert world.fail(leg) == [Park()]
    world.on(Placed("d"))
    assert world.fail(STRIKES) == [Fail(Fault.BROKEN)]
    assert world.handover.ended


def test_engines_that_cant_be_reached_are_no_strike() -> None:
    world = World()
    for leg in range(1, 9):
        world.on(Placed("a"))
        assert world.fail(leg, Fault.UNREACHABLE) == [Park()]


def test_what_is_refused_for_good_ends() -> None:
    world = World()
    world.on(Placed("a"))
    assert world.fail(1, Fault.REFUSED) == [Fail(Fault.REFUSED)]


def test_a_client_that_leaves_ends_both_legs() -> None:
    world = switching()
    actions = world.on(Over())
    assert [a for a in actions if isinstance(a, Abort)] == [Abort(1), Abort(3)]
    assert isinstance(actions[-1], Stayed)
