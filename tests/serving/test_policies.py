"""Policies: each formula against a plain oracle, and what holds whatever the pool looks like.

Covered: virtual usage, migrations that help and don't come back, drain, scaling, backfill, peaks of
memory, expected lengths, deadlines, unequal instances, prefixes, pauses, baselines. Not covered:
what they are worth (benchmarks.serving_simulator), what gateways make of the answers.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.serving.model import InstanceView, Kind, Phase, PoolView, RequestView, State
from fairstow.serving.policies import POLICIES, Settings, policy
from fairstow.serving.policies.backfill import Backfill
from fairstow.serving.policies.freeness_scaling import FreenessScaling
from fairstow.serving.policies.hexgen import HexGen
from fairstow.serving.policies.jitserve import JustInTime
from fairstow.serving.policies.lengths import Outputs
from fairstow.serving.policies.past_future import DRAWS, PastFuture, peak
from fairstow.serving.policies.pausing import Pausing
from fairstow.serving.policies.prefix_aware import PrefixAware
from fairstow.serving.policies.virtual_usage import VirtualUsage
from tests.serving.views import CAPACITY, instance, pool, pools, request

HEADROOM = {-1: 12_000}
USAGE = VirtualUsage(headroom=HEADROOM)


def virtual_usage(r: RequestView, view: InstanceView) -> float:
    """The paper's rule for one request."""
    there = list(view.requests())
    queued = [other for other in there if other.phase is Phase.QUEUED]
    if r.phase is Phase.QUEUED:
        demand = view.size(r.length) if r is queued[0] else 0
        return demand + HEADROOM.get(r.priority, 0) / _of_priority(there, r.priority)
    return view.size(r.length) + HEADROOM.get(r.priority, 0) / _of_priority(there, r.priority)


def _of_priority(there: Sequence[RequestView], priority: int) -> int:
    return sum(r.priority == priority for r in there)


@given(pools(draining=False))
def test_freeness_is_that_of_the_paper(seen: PoolView) -> None:
    for view in seen.instances:
        total = sum(virtual_usage(r, view) for r in view.requests())
        expected = (CAPACITY - total) / max(1, view.batch)
        assert USAGE.freeness(view) == pytest.approx(expected)


def test_an_instance_that_drains_is_infinitely_full() -> None:
    assert USAGE.freeness(instance(0, state=State.DRAINING)) == -float("inf")


def after(seen: PoolView, moves: Sequence[object]) -> PoolView:
    """The pool when these migrations are over."""
    there = {view.name: list(view.requests()) for view in seen.instances}
    for move in moves:
        source, destination = there[move.source], there[move.destination]  # type: ignore[attr-defined]
        moved = next(r for r in source if r.id == move.request)  # type: ignore[attr-defined]
        source.remove(moved)
        destination.insert(0 if moved.phase is Phase.DECODE else len(destination), moved)
    views = [
        instance(view.name[1:], *there[view.name], state=view.state) for view in seen.instances
    ]
    return replace(seen, instances=views)


@settings(max_examples=300, deadline=None)
@given(pools(), st.sampled_from(["llumnix", "virtual-usage"]))
def test_a_migration_helps_and_none_comes_back(seen: PoolView, name: str) -> None:
    rescheduler = POLICIES[name](Settings(headroom=HEADROOM)).rescheduler
    assert rescheduler is not None
    moves = rescheduler.migrations(seen)
    by_name = {view.name: view for view in seen.instances}
    taken = [(m.request, m.source) for m in moves]
    assert len(set(taken)) == len(taken)
    for move in moves:
        source, destination = by_name[move.source], by_name[move.destination]
        moved = next(r for r in source.requests() if r.id == move.request)
        assert source is not destination
        assert moved.movable
        assert destination.state is State.READY
        if moved.phase is Phase.QUEUED:
            assert source.state is State.DRAINING
            continue
        assert destination.used + destination.size(moved.length + 1) <= CAPACITY
        if source.state is State.READY:
            assert USAGE.freeness(source) < 30 or name == "virtual-usage"
            assert USAGE.freeness(destination) > 60
            one = after(seen, [move])
            now = {view.name: view for view in one.instances}
            assert USAGE.freeness(now[move.destination]) >= 30
            assert USAGE.slack(now[move.source]) > USAGE.slack(source)
    later = after(seen, [m for m in moves if by_name[m.source].state is State.READY])
    back = {(m.request, m.source) for m in rescheduler.migrations(later)}
    assert not back & {
        (m.request, m.destination) for m in moves if by_name[m.source].state is State.READY
    }


def test_the_least_urgent_and_shortest_goes_first() -> None:
    high = request("high", 50, priority=-1)
    long, short = request("long", 6_500), request("short", 6_300)
    tight = instance(0, high, long, short)
    moves = VirtualUsage(low=400, high=500).migrations(pool(tight, instance(1)))
    assert [m.request for m in moves] == ["short"]
    assert "decode steps left there" in moves[0].reason


def test_room_for_who_waits_is_made_with_few_migrations() -> None:
    running = [request(i, 100 + 1_000 * i) for i in range(5)]
    blocked = request("blocked", 4_500, phase=Phase.QUEUED)
    moves = VirtualUsage().migrations(pool(instance(0, *running, blocked), instance(1)))
    assert [m.request for m in moves] == ["2"], "the shortest that is enough"


def test_who_does_not_help_by_moving_stays() -> None:
    alone = instance(0, request("a", 13_600))
    assert VirtualUsage().migrations(pool(alone, instance(1))) == []


def test_a_drain_gives_everything_away_that_can_go() -> None:
    there = [request("a"), request("b", movable=False), request("c", phase=Phase.QUEUED)]
    leaves = instance(0, *there, state=State.DRAINING)
    moves = VirtualUsage().migrations(pool(leaves, instance(1)))
    assert {m.request for m in moves} == {"a", "c"}
    assert {m.reason for m in moves} == {"drains"}
    full = instance(1, request("x", 13_600))
    assert {m.request for m in VirtualUsage().migrations(pool(leaves, full))} == {"c"}


def test_no_more_migrations_than_allowed_at_once() -> None:
    tight = instance(0, *(request(i, 1_345) for i in range(10)))
    assert len(VirtualUsage().migrations(pool(tight, instance(1)))) == 1
    tight.leaving = 2
    assert VirtualUsage().migrations(pool(tight, instance(1))) == []
    tight.leaving = 0
    assert VirtualUsage().migrations(pool(tight, instance(1, arriving=2))) == []


# Dispatch.


@given(pools(), st.sampled_from(sorted(POLICIES)), st.integers(1, 14_000))
def test_a_request_goes_where_it_may_or_waits_with_a_reason(
    seen: PoolView, name: str, length: int
) -> None:
    new = request("new", length, phase=Phase.QUEUED)
    answer = POLICIES[name](Settings(headroom=HEADROOM)).dispatcher.dispatch(new, seen)
    assert answer.reason
    assert answer == POLICIES[name](Settings(headroom=HEADROOM)).dispatcher.dispatch(new, seen)
    able = [view.name for view in seen.instances if view.takes(new)]
    if answer.instance is None:
        assert not able or name in ("virtual-usage", "past-future", "jitserve", "hexgen")
    else:
        assert answer.instance in able


@given(st.integers(1, 13_000), st.sampled_from(sorted(POLICIES)))
def test_an_idle_instance_takes_whatever_fits(length: int, name: str) -> None:
    new = request("new", length, phase=Phase.QUEUED)
    answer = POLICIES[name](Settings()).dispatcher.dispatch(new, pool(instance(0)))
    assert answer.instance == "i0"


def test_other_classes_and_instances_that_leave_take_nothing() -> None:
    new = request("new", compatibility="a", phase=Phase.QUEUED)
    other = instance(0, compatibility="b")
    cordoned = instance(1, compatibility="a", state=State.CORDONED)
    for make in POLICIES.values():
        answer = make(Settings()).dispatcher.dispatch(new, pool(other, cordoned))
        assert answer.instance is None
        assert "no instance that is ready" in answer.reason


def test_normal_requests_keep_off_urgent_ones() -> None:
    urgent = instance(0, request("u", 100, priority=-1))
    busy = instance(1, *(request(i, 500) for i in range(5)))
    new = request("new", phase=Phase.QUEUED)
    assert VirtualUsage().dispatch(new, pool(urgent, busy)).instance == "i0"
    assert USAGE.dispatch(new, pool(urgent, busy)).instance == "i1"


@given(pools(draining=False), st.integers(1, 3_000))
def test_backfill_never_takes_the_room_that_is_kept(seen: PoolView, length: int) -> None:
    rule = Backfill()
    new = request("new", length, phase=Phase.QUEUED)
    answer = rule.dispatch(new, seen)
    kept = rule.kept(seen)
    assert len(kept) == bool(seen.waiting)
    assert answer.instance not in kept
    if answer.instance is not None:
        chosen = next(view for view in seen.instances if view.name == answer.instance)
        assert chosen.used + chosen.demand + length <= CAPACITY


def test_who_waits_longest_is_made_room_for() -> None:
    waits = request("waits", 6_000, phase=Phase.QUEUED)
    views = [instance(i, *(request(f"{i}.{j}", 900 + i) for j in range(12))) for i in range(2)]
    seen = pool(*views, instance(2), waiting=[waits])
    views[0].used -= 3_000
    assert Backfill().kept(seen) == {"i2": 6_016}
    seen.instances = views
    assert Backfill().kept(seen) == {"i0": 6_016}
    assert Backfill().freeness(views[0], Backfill().kept(seen)) < 0


def test_where_all_have_urgent_requests_newcomers_go_to_the_emptier() -> None:
    urgent = [request(f"u{i}", 100, priority=-1) for i in range(2)]
    few = instance(0, urgent[0], *(request(i, 500) for i in range(5)))
    many = instance(1, urgent[1], *(request(f"m{i}", 300) for i in range(20)))
    new = request("new", phase=Phase.QUEUED)
    assert Backfill(headroom=HEADROOM).dispatch(new, pool(few, many)).instance == "i0"
    assert Backfill(headroom=HEADROOM).dispatch(new, pool(many, few)).instance == "i0"


# Scaling.


@pytest.mark.parametrize(
    ("lengths", "desired", "victim"),
    [([900] * 14, 3, None), ([700] * 14, None, None), ([100] * 5, 1, "i0")],
)
def test_instances_are_added_and_drained_by_freeness(
    lengths: list[int], desired: int | None, victim: str | None
) -> None:
    views = [
        instance(i, *(request(f"{i}.{j}", n) for j, n in enumerate(lengths[i:]))) for i in (1, 0)
    ]
    if victim:
        views[1].batch = 1
    rule = FreenessScaling(usage=VirtualUsage(), low=100, high=500)
    answer = rule.scale(pool(*views, now=100))
    assert (answer and answer.desired) == desired
    assert (answer and answer.victim) == victim


def test_scaling_waits_until_the_last_change_shows_and_keeps_to_its_bounds() -> None:
    idle = [instance(0), instance(1)]
    rule = FreenessScaling(usage=VirtualUsage())
    assert rule.scale(pool(*idle, now=100, scaled=95)) is None
    assert rule.scale(pool(*idle, now=100)) is not None
    assert replace(rule, least=2).scale(pool(*idle, now=100)) is None
    waits = [request(i, 5_000, phase=Phase.QUEUED) for i in range(6)]
    full = instance(0, *(request(i, 1_345) for i in range(10)))
    assert rule.scale(pool(full, now=100)) is not None
    roomy = instance(0, *(request(i, 600) for i in range(10)))
    assert rule.scale(pool(roomy, now=100)) is None
    assert rule.scale(pool(roomy, now=100, waiting=waits)) is not None
    assert replace(rule, most=1).scale(pool(full, now=100)) is None
    halves = [instance(i, *(request(f"{i}.{j}", 600) for j in range(10))) for i in range(2)]
    assert replace(rule, low=200, high=500).scale(pool(*halves, now=100)) is None, "too few without"
    assert replace(rule, low=50, high=500).scale(pool(*halves, now=100)) is not None
    none = rule.scale(pool(now=100))
    assert none is not None
    assert none.desired == 1


def test_instances_on_their_way_count_as_empty() -> None:
    rule = FreenessScaling(usage=VirtualUsage())
    full = instance(0, *(request(i, 1_345) for i in range(10)))
    assert rule.scale(pool(full, now=100, starting=1)) is None
    waits = [request(f"w{i}", 5_000, phase=Phase.QUEUED) for i in range(6)]
    more = rule.scale(pool(full, now=100, starting=1, waiting=waits))
    assert more is not None
    assert (more.desired, more.victim) == (3, None)
    assert rule.scale(pool(now=100, starting=1, waiting=waits)) is None, "nobody knows how large"
    # One that isn't needed any more goes before it has come.
    idle = rule.scale(pool(instance(0), now=100, starting=1))
    assert idle is not None
    assert (idle.desired, idle.victim) == (1, None)


def test_what_drains_is_to_find_room_on_the_others() -> None:
    rule = FreenessScaling(usage=VirtualUsage(), least=0)
    half = [request(i, 600) for i in range(10)]
    drains = instance(1, *(request(f"d{i}", 740) for i in range(10)), state=State.DRAINING)
    assert rule.scale(pool(instance(0, *half), now=100)) is None
    more = rule.scale(pool(instance(0, *half), drains, now=100))
    assert more is not None
    assert more.desired == 2
    alone = rule.scale(pool(drains, now=100))
    assert alone is not None
    assert alone.desired == 1


def test_a_pool_goes_to_nothing_only_when_nobody_asks() -> None:
    rule = FreenessScaling(usage=VirtualUsage(), least=0)
    last = rule.scale(pool(instance(0), now=100))
    assert last is not None
    assert (last.desired, last.victim) == (0, "i0")
    assert rule.scale(pool(instance(0, request("a")), now=100)) is None
    assert rule.scale(pool(now=100)) is None
    first = rule.scale(pool(now=100, waiting=[request("w", phase=Phase.QUEUED)]))
    assert first is not None
    assert first.desired == 1


# Looking ahead.


def walked(requests: Sequence[tuple[int, int]]) -> int:
    """Count memory token by token until all have ended."""
    alive, most = list(requests), 0
    while alive:
        most = max(most, sum(held for held, _ in alive))
        alive = [(held + 1, left - 1) for held, left in alive if left > 0]
    return most


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 40)), max_size=8))
def test_the_peak_is_that_of_a_walk_token_by_token(requests: list[tuple[int, int]]) -> None:
    assert peak(requests) == walked(requests)


@given(st.lists(st.integers(1, 500), min_size=20, max_size=60), st.integers(0, 600))
def test_what_is_left_is_that_of_longer_outputs(outputs: list[int], generated: int) -> None:
    r = request("a", generated=generated)
    longer = [n for n in outputs if n > generated]
    known = Outputs(outputs)
    if longer:
        assert known.mean_left(r) == pytest.approx(sum(longer) / len(longer) - generated)
        assert all(known.drawn_left(r, n) + generated in longer for n in range(5))
    else:
        assert known.drawn_left(r, 4) == known.mean_left(r) == max(256, generated)


def test_draws_are_spread_like_the_outputs_and_differ() -> None:
    known = Outputs(range(1_000))
    first, second = ([known.drawn_left(request(i), n) for i in range(2_000)] for n in (0, 1))
    assert np.percentile(first, [10, 50, 90]) == pytest.approx([100, 500, 900], abs=40)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.1
    assert known.drawn_left(request(7), 1) == second[7]


def test_past_future_admits_by_the_peak_and_in_order() -> None:
    young = [request(i, 1_000, generated=10) for i in range(8)]
    old = [request(i, 300, generated=710) for i in range(8)]
    new = request("new", 1_000, phase=Phase.QUEUED)
    seen = {"outputs": [720] * 50}
    rule = PastFuture()
    assert rule.dispatch(new, pool(instance(0, *young), **seen)).instance is None
    assert rule.dispatch(new, pool(instance(0, *old), **seen)).instance == "i0"
    behind = pool(instance(0, *old), waiting=[request("first")], **seen)
    assert rule.dispatch(new, behind).instance is None


def test_past_future_asks_that_every_draw_fits() -> None:
    """Half of the requests are long: what fits by one draw in two is too much one time in two."""
    outputs = [10] * 50 + [2_000] * 50
    assert peak([(112, 1_995.0)] * 6 + [(112, 5.0)] * 6) < CAPACITY < peak([(112, 1_995.0)] * 7)
    admitted = 0
    for i in range(50):
        there = instance(0, *(request(f"{i}/{j}", 100, generated=5) for j in range(11)))
        new = request(f"{i}/new", 100, phase=Phase.QUEUED)
        answer = PastFuture().dispatch(new, pool(there, outputs=outputs))
        admitted += answer.instance is not None
    assert 0 < admitted < 15


@given(
    st.lists(st.lists(st.integers(1, 900), max_size=6), min_size=1, max_size=6),
    st.lists(st.integers(1, 3_000), min_size=20, max_size=40),
)
def test_past_future_chooses_the_lowest_of_the_highest_peaks(
    there: list[list[int]], outputs: list[int]
) -> None:
    new, known = request("new", 100, phase=Phase.QUEUED), Outputs(outputs)
    seen = [
        instance(i, *(request(f"{i}/{j}", 100, generated=g) for j, g in enumerate(generated)))
        for i, generated in enumerate(there)
    ]
    highest = {
        each.name: max(
            peak((each.size(r.length + 1), known.drawn_left(r, n)) for r in (*each.requests(), new))
            for n in range(DRAWS)
        )
        for each in seen
    }
    answer = PastFuture().dispatch(new, pool(*seen, outputs=outputs))
    if min(highest.values()) <= CAPACITY:
        assert answer.instance == min(highest, key=highest.__getitem__)


def test_deadlines_decide_who_runs() -> None:
    rule = JustInTime(speed=10.0)
    seen = pool(outputs=[100] * 50, now=0.0)
    need = {"tight": 12.0, "late": 5.0, "wide": 100.0, "next": 30.0}
    asked = [
        request(name, kind=Kind.DEADLINE, deadline=time, phase=Phase.QUEUED)
        for name, time in need.items()
    ]
    asked.append(request("steady", kind=Kind.LATENCY, pace=0.15, phase=Phase.QUEUED))
    asked.sort(key=rule.key(seen))
    assert [r.id for r in asked] == ["steady", "tight", "next", "wide", "late"]


def test_who_can_wait_is_paused_for_who_cannot() -> None:
    wide = request("wide", 6_000, kind=Kind.DEADLINE, deadline=500.0)
    tight = request("tight", 6_000, kind=Kind.DEADLINE, deadline=12.0)
    new = request("new", 5_000, kind=Kind.DEADLINE, deadline=12.0, phase=Phase.QUEUED)
    seen = pool(instance(0, wide, tight), outputs=[100] * 50)
    rule = JustInTime(speed=10.0)
    assert [p.request for p in rule.pauses([new], seen)] == ["wide"]
    for more in ({"tenant": "another"}, {"priority": -1}):
        assert rule.pauses([new], pool(instance(0, replace(wide, **more), tight))) == []
    wide.pauses = 2
    assert rule.pauses([new], seen) == []


def test_fast_instances_get_more_until_they_are_busy() -> None:
    new = request("new", phase=Phase.QUEUED)
    slow, fast = instance(0, request("a")), instance(1, request("b"), speed=2.0)
    assert HexGen().dispatch(new, pool(slow, fast)).instance == "i1"
    busy = instance(1, *(request(i, 1_000) for i in range(12)), speed=2.0)
    assert HexGen().dispatch(new, pool(slow, busy)).instance == "i0"
    hurried = request("hurried", deadline=10.0)
    rank = HexGen().key(pool())
    assert rank(hurried) < rank(request("easy", deadline=90.0))


def test_a_cached_prefix_draws_until_its_instance_is_busy() -> None:
    new = request("new", 2_000, phase=Phase.QUEUED, keys=("a", "b"))
    has = instance(0, request("x", 3_000), cached=lambda _: 1_600)
    rule = PrefixAware()
    assert rule.dispatch(new, pool(instance(1), has)).instance == "i0"
    waits = [request(f"q{i}", 1_500, phase=Phase.QUEUED) for i in range(2)]
    busy = instance(0, request("x", 3_000), *waits, cached=lambda _: 1_600)
    assert rule.dispatch(new, pool(instance(1), busy)).instance == "i1"


def test_the_less_urgent_give_way_within_bounds() -> None:
    low = [request(f"low{i}", 2_000 + i, priority=1) for i in range(6)]
    urgent = request("urgent", 3_000, priority=0, phase=Phase.QUEUED)
    rule = Pausing()
    seen = pool(instance(0, *low), now=50.0)
    assert [p.request for p in rule.pauses([urgent], seen)] == ["low0"]
    assert rule.pauses([urgent], replace(seen, now=0.5)) == [], "patience"
    low[0].pauses = 2
    assert [p.request for p in rule.pauses([urgent], seen)] == ["low1"], "starvation is bounded"
    for r in low:
        r.resumed = 45.0
    assert rule.pauses([urgent], seen) == [], "they had their place for too short"
    equal = request("equal", 3_000, priority=1, phase=Phase.QUEUED)
    assert rule.pauses([equal], replace(seen, now=90.0)) == []


def test_names_are_said_either_way() -> None:
    assert policy("PastFuture").name == policy("past-future").name == "past-future"
    assert policy("JITServe").name == "jitserve"
    with pytest.raises(KeyError):
        policy("best")
