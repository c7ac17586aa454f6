"""Who is let go now, and where the others stand: decisions of one queue, case by case.

Covered: the order, the head and what may pass it, limits, holds, what never ends, borrowing,
waiting too long, expected starts; on random queues that cores are never overdrawn and that none
idle that the head could use. Not covered: the order itself (tests/spark, test_accounts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.api import Reason, SparkQueueSpec
from fairstow.spark import admission
from fairstow.spark.admission import Decision, decide
from fairstow.spark.line import Busy, Place, Waiting


def spec(cores: int = 10, **more: Any) -> SparkQueueSpec:
    return SparkQueueSpec(cores=cores, **more)


def job(name: str, cores: float = 2, user: str = "", **more: Any) -> Waiting:
    known = {"low": 100.0, "high": 400.0} | more
    return Waiting(id=name, user=user or name, first=int(cores * 1000), **known)


def busy(name: str, cores: int, seconds: float = 100.0, **more: Any) -> Busy:
    left = seconds * cores
    return Busy(id=name, user=name, milli=cores * 1000, low=left, high=left, **more)


def asked(
    queue: SparkQueueSpec,
    waiting: list[Waiting],
    running: Sequence[Busy] = (),
    **more: Any,
) -> Decision:
    return decide(queue, waiting, running, more.pop("fits", lambda _: True), **more)


def released(decision: Decision) -> list[tuple[str, Reason]]:
    return list(decision.release)


def reason(decision: Decision, name: str) -> Reason:
    return next(place.reason for place in places_of(decision) if place.id == name)


def places_of(decision: Decision) -> tuple[Place, ...]:
    return tuple(decision.line.timed(place) for place in decision.line.places)


def test_those_that_are_due_first_are_let_go_while_there_are_cores() -> None:
    decision = asked(spec(5), [job("a"), job("b"), job("c"), job("d")])
    assert released(decision) == [("a", Reason.ITS_TURN), ("b", Reason.ITS_TURN)]
    assert reason(decision, "c") is Reason.WAITS_FOR_CORES
    assert reason(decision, "d") is Reason.BEHIND_OTHERS
    assert [(p.position, p.ahead) for p in places_of(decision)] == [(1, ()), (2, (("c", 1),))]


def test_driver_and_first_executors_need_room_together() -> None:
    """Four drivers, room for three drivers and no executor: none is let go to wait for ever."""
    decision = asked(spec(100), [job(name) for name in "abcd"], fits=lambda _: False)
    assert released(decision) == []
    assert reason(decision, "a") is Reason.WAITS_FOR_ROOM


def test_small_ones_pass_the_head_where_it_loses_nothing() -> None:
    running = [busy("r", 8, seconds=300)]
    head, short, long = job("head", 6), job("short", 2, high=500), job("long", 2, high=5000)
    # Over by the time that the head gets its cores, or beside it then.
    assert released(asked(spec(), [head, short], running)) == [("short", Reason.BACKFILLED)]
    assert released(asked(spec(), [head, long], running)) == [("long", Reason.BACKFILLED)]
    big = job("head", 10)
    assert released(asked(spec(), [big, short], running)) == [("short", Reason.BACKFILLED)]
    held = asked(spec(), [big, long], running)
    assert released(held) == []
    assert reason(held, "long") is Reason.BEHIND_OTHERS


def test_the_head_may_wait_until_its_due() -> None:
    running = [busy("r", 8, seconds=300)]
    long = job("long", 2, high=5000)  # 2,500 s on its cores; the head takes 40 s
    waits = job("head", 10, slack=2541.0)
    assert released(asked(spec(), [waits, long], running)) == [("long", Reason.BACKFILLED)]
    late = job("head", 10, slack=2539.0)
    assert released(asked(spec(), [late, long], running)) == []


def test_a_head_without_room_is_passed_only_by_what_ends_first() -> None:
    def only(name: str) -> bool:
        return name != "head"

    running = [busy("r", 2, seconds=300)]
    short, long = job("short", 2, high=500), job("long", 2, high=700)
    decision = asked(spec(), [job("head"), short, long], running, fits=only)
    assert released(decision) == [("short", Reason.BACKFILLED)]


def test_what_passes_the_head_counts_for_the_next_that_would() -> None:
    """The head gets its eight cores at 10 s, of r and of short: long would keep two until 90 s."""
    running = [busy("r", 4, seconds=10), busy("s", 4, seconds=100)]
    short, long = job("short", 2, low=20, high=20), job("long", 2, low=180, high=180)
    decision = asked(spec(12), [job("head", 8), short, long], running)
    assert released(decision) == [("short", Reason.BACKFILLED)]


def test_what_never_goes_has_no_place_and_delays_no_expected_start() -> None:
    waiting = [job("huge", 99), job("wide"), job("next", 3)]
    decision = asked(spec(4), waiting, [busy("r", 4)], ever=lambda name: name != "wide")
    places = {place.id: place for place in places_of(decision)}
    assert [places[name].position for name in ("huge", "wide", "next")] == [None, None, 1]
    assert places["next"].starts == (100.0, 100.0)
    assert places["next"].ahead == ()


def test_one_that_no_node_could_take_keeps_nobody_waiting() -> None:
    def others(name: str) -> bool:
        return name != "huge"

    decision = asked(spec(), [job("huge"), job("b")], fits=others, ever=others)
    assert reason(decision, "huge") is Reason.NEVER_FITS
    assert released(decision) == [("b", Reason.ITS_TURN)]


def test_a_user_at_their_limit_keeps_nobody_waiting() -> None:
    waiting = [job("a1", 3, "ana"), job("a2", 3, "ana"), job("b", 3, "bob")]
    decision = asked(spec(9, max_cores_per_user=5), waiting)
    assert [name for name, _ in released(decision)] == ["a1", "b"]
    assert reason(decision, "a2") is Reason.USER_AT_LIMIT


@pytest.mark.parametrize("limit", ["max_cores_per_application", "max_cores_per_user"])
def test_more_than_a_limit_is_said_and_never_let_go(limit: str) -> None:
    decision = asked(spec(9, **{limit: 2}), [job("a", 3, waited=1e9), job("b", 2)])
    assert reason(decision, "a") is Reason.EXCEEDS_LIMIT
    assert released(decision) == [("b", Reason.ITS_TURN)]


@pytest.mark.parametrize(
    "obstacle", [Reason.HELD_BY_PERSON, Reason.SUSPENDED_BY_USER, Reason.NOT_PERMITTED]
)
def test_what_somebody_holds_waits_for_them_alone(obstacle: Reason) -> None:
    decision = asked(spec(), [job("a", waited=1e9, obstacle=obstacle), job("b")])
    assert reason(decision, "a") is obstacle
    assert released(decision) == [("b", Reason.ITS_TURN)]
    assert places_of(decision)[0].position is None


def test_a_held_queue_lets_nobody_go() -> None:
    decision = asked(spec(hold=True), [job("a", waited=1e9)])
    assert released(decision) == []
    assert reason(decision, "a") is Reason.QUEUE_HELD


def test_nobody_waits_longer_than_the_queue_says() -> None:
    decision = asked(spec(2), [job("a"), job("b", waited=604_801)], [busy("r", 2)])
    assert released(decision) == [("b", Reason.WAITED_TOO_LONG)]


def test_what_never_ends_has_cores_of_its_own() -> None:
    queue = spec(10, reserved_cores=4)
    waiting = [job("stream", 3, lasting=True), job("second", 3, lasting=True), job("batch", 6)]
    decision = asked(queue, waiting)
    assert released(decision) == [("stream", Reason.ITS_TURN), ("batch", Reason.ITS_TURN)]
    assert reason(decision, "second") is Reason.RESERVED_TAKEN
    assert released(asked(queue, [job("batch", 7)])) == []


def test_idle_cores_of_the_cohort_are_borrowed_up_to_a_limit() -> None:
    queue = spec(4, cohort="all", borrowed_cores=2)
    assert released(asked(queue, [job("a", 6)], lent=8000)) == [("a", Reason.ITS_TURN)]
    assert released(asked(queue, [job("a", 6)], lent=1000)) == []
    assert reason(asked(queue, [job("a", 7)], lent=8000), "a") is Reason.EXCEEDS_LIMIT
    assert asked(queue, [], [busy("r", 6)]).borrowed == 2000


def test_what_streams_have_beyond_the_reserved_cores_is_taken_from_the_others() -> None:
    grown = [Busy(id="stream", user="s", milli=5000, lasting=True)]
    queue = spec(8, reservedCores=2)
    assert released(asked(queue, [job("a", 4)], grown)) == []
    assert released(asked(queue, [job("a", 3)], grown)) == [("a", Reason.ITS_TURN)]


def test_expected_starts_are_between_the_least_and_the_most_work() -> None:
    running = [Busy(id="r", user="r", milli=2000, low=200, high=600)]
    waiting = [job("a", 2, low=100, high=400), job("b", 2)]
    decision = asked(spec(2), waiting, running)
    assert [place.starts for place in places_of(decision)] == [(100.0, 300.0), (150.0, 500.0)]
    (place,) = places_of(asked(spec(2), waiting))
    assert place.starts == (50.0, 200.0), "a begins now, so b waits for it"
    lasting = asked(spec(2), waiting, [Busy(id="r", user="r", milli=2000)])
    assert places_of(lasting)[0].starts == (0.0, inf)


JOBS = st.lists(
    st.tuples(st.integers(1, 6), st.integers(1, 100), st.sampled_from("abc"), st.booleans()),
    max_size=12,
)


@given(JOBS, st.lists(st.integers(1, 4), max_size=3), st.integers(1, 12))
def test_cores_are_never_overdrawn_nor_idle_for_the_head(
    jobs: list[tuple[int, int, str, bool]], runs: list[int], cores: int
) -> None:
    waiting = [
        job(f"j{n}", size, user, low=work, high=work, slack=float(work) if due else 0.0)
        for n, (size, work, user, due) in enumerate(jobs)
    ]
    running = [busy(f"r{n}", size) for n, size in enumerate(runs)]
    decision = asked(spec(cores), waiting, running)
    gone = {name for name, _ in decision.release}
    used = sum(each.milli for each in running) + sum(j.first for j in waiting if j.id in gone)
    if gone:
        assert used <= cores * 1000
    places = {place.id: place for place in places_of(decision)}
    assert gone | places.keys() == {each.id for each in waiting}
    assert sorted(p.position for p in places.values() if p.position) == list(
        range(1, sum(p.position is not None for p in places.values()) + 1)
    )
    fits = [j for j in waiting if j.id not in gone and j.first <= cores * 1000]
    if fits and places[fits[0].id].reason is Reason.WAITS_FOR_CORES:
        # The head could be passed, but what passed it left no more than it lacks.
        before = [j for j in waiting[: waiting.index(fits[0])] if j.id in gone]
        taken = sum(each.milli for each in running) + sum(j.first for j in before)
        assert taken + fits[0].first > cores * 1000


CORES = st.sampled_from([0.5, 1, 2, 3])
WORK = st.floats(0, 1000)


@given(
    st.lists(st.tuples(CORES, WORK, WORK), max_size=12),
    st.lists(st.tuples(st.integers(1, 4), WORK), max_size=6),
    st.integers(1, 8),
)
def test_expected_starts_are_those_of_who_takes_cores_as_they_come(
    waits: list[tuple[float, float, float]], runs: list[tuple[int, float]], cores: int
) -> None:
    """Against a simulation that sorts all ends anew for each."""
    waiting = [
        job(str(n), size, low=min(work), high=max(work)) for n, (size, *work) in enumerate(waits)
    ]
    running = [busy(f"b{n}", size, seconds) for n, (size, seconds) in enumerate(runs)]
    free = cores * 1000 - sum(each.milli for each in running)
    decision = asked(spec(cores, hold=True), waiting, running)
    queued = [each for each in waiting if each.first <= cores * 1000]
    early = _starts(queued, [(each.low * 1000 / each.milli, each.milli) for each in running],
                    free, lambda each: each.low)  # fmt: skip
    late = _starts(queued, [(each.high * 1000 / each.milli, each.milli) for each in running],
                   free, lambda each: each.high)  # fmt: skip
    said = {place.id: place.starts for place in places_of(decision) if place.position}
    assert said == {
        each.id: None if early[each.id] == inf else (early[each.id], late[each.id])
        for each in queued
    }


@given(st.integers(1, 12), st.lists(st.tuples(CORES, WORK, WORK), min_size=1, max_size=12))
def test_a_start_is_the_same_whoever_asked_before(
    cores: int, waits: list[tuple[float, float, float]]
) -> None:
    waiting = [
        job(str(n), size, low=min(work), high=max(work)) for n, (size, *work) in enumerate(waits)
    ]
    one = asked(spec(cores, hold=True), waiting).line
    backwards = [one.timed(place) for place in reversed(one.places)]
    assert tuple(reversed(backwards)) == places_of(asked(spec(cores, hold=True), waiting))


@given(
    st.lists(
        st.tuples(
            st.integers(1, 6), st.sampled_from("ab"), st.sampled_from([0, 9e6]), st.booleans()
        ),
        max_size=12,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 6),
)
def test_who_comes_after_all_that_can_go_is_told_the_same_by_the_short_way(
    jobs: list[tuple[int, str, float, bool]], at_once: int, looked_at: int, taken: int
) -> None:
    """Under a limit per user, which nobody reaches here, each is looked at in full."""
    waiting = [
        job(f"j{n}", size, user, waited=waited, lasting=lasting)
        for n, (size, user, waited, lasting) in enumerate(jobs)
    ]
    running = [busy("r", taken)] if taken else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "MOST_AT_ONCE", at_once)
        patch.setattr(admission, "MOST_LOOKED_AT", looked_at)
        short = asked(spec(8, reservedCores=2), waiting, running)
        whole = asked(spec(8, reservedCores=2, maxCoresPerUser=1000), waiting, running)
    assert short.release == whole.release
    assert places_of(short) == places_of(whole)


def _starts(
    queued: list[Waiting],
    ends: list[tuple[float, int]],
    free: int,
    work: Callable[[Waiting], float],
) -> dict[str, float]:
    now, starts = 0.0, {}
    for each in queued:
        while free < each.first and ends:
            first = min(ends)
            ends.remove(first)
            now, free = max(now, first[0]), free + first[1]
        if free < each.first:
            now = inf
        starts[each.id] = now
        free -= each.first
        ends.append((now + work(each) * 1000 / each.first, each.first))
    return starts
