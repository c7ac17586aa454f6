"""The engine: batches, preemption, priorities, aborts, and KV that is held, copied and used again.

Covered: any mix of jobs against a slow oracle, blocks never beyond what there is, leaps of any size
alike, each rule by example. Not covered: durations themselves (test_cost_model), the HTTP server.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fairstow.serving.cost_model import A10_7B
from fairstow.serving.engine import NEVER, Engine
from fairstow.serving.jobs import Change, Event, Job
from fairstow.serving.model import Phase
from tests.serving.slow_engine import SlowEngine

SMALL = replace(A10_7B, blocks=40, block=4, batch=6, prefill_tokens=64, scale=1.0)


def job(name: object, prompt: int = 10, output: int = 5, **more: Any) -> Job:
    return Job(id=str(name), prompt=prompt, output=output, **more)


def drain(engine: Engine) -> list[Event]:
    events = []
    while engine.due < NEVER:
        events += engine.advance(engine.due)
        assert 0 <= engine.available <= engine.profile.blocks
    return events


def by_job(events: Sequence[tuple[float, str, str]]) -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, list[tuple[str, Any]]] = defaultdict(list)
    for at, change, name in events:
        found[name].append((str(change), pytest.approx(at, abs=1e-9)))
    return dict(found)


jobs = st.lists(
    st.tuples(
        st.floats(0, 2, allow_subnormal=False),
        st.integers(1, 60),
        st.integers(1, 60),
        st.sampled_from([0, 0, 5]),
    ),
    min_size=1,
    max_size=25,
    unique_by=lambda j: j[0],
).map(
    lambda drawn: [
        (at, job(i, prompt, output, priority=priority))
        for i, (at, prompt, output, priority) in enumerate(sorted(drawn))
    ]
)


@settings(max_examples=300, deadline=None)
@given(jobs, st.lists(st.floats(0, 4), max_size=30))
def test_any_mix_runs_as_in_an_engine_that_counts_step_by_step(
    arrivals: list[tuple[float, Job]], glances: list[float]
) -> None:
    engine = Engine(SMALL)
    events = []
    looks: list[tuple[float, Job | None]] = [(at, None) for at in glances]
    times = sorted([*looks, *arrivals], key=lambda t: t[0])
    for at, arrival in times:
        events += engine.advance(at)
        if arrival is not None:
            engine.submit(at, arrival)
    events += drain(engine)
    slow = SlowEngine(SMALL)
    expected = slow.play(arrivals)
    assert slow.most_used <= SMALL.blocks
    assert by_job(events) == by_job(expected)
    assert engine.preemptions == sum(change == "preempt" for _, change, _ in expected)
    assert engine.used == engine.batch == engine.waiting == engine.tokens == 0


def test_the_first_token_comes_with_the_prefill_and_one_more_each_step() -> None:
    engine = Engine(A10_7B)
    engine.submit(1.0, job("a", 100, 3))
    assert engine.phase("a") is Phase.PREFILL
    first = 1.0 + A10_7B.prefill_s(100, 100**2)
    assert engine.tick == engine.due == first
    assert engine.advance(first) == [(first, Change.FIRST, "a")]
    assert (engine.generated("a"), engine.phase("a"), engine.tokens) == (1, Phase.DECODE, 101)
    second = first + A10_7B.decode_s(1, 101)
    assert engine.tick == second
    assert engine.advance(second) == []
    assert engine.generated("a") == 2
    third = second + A10_7B.decode_s(1, 102)
    assert engine.due == pytest.approx(third)
    assert [e.change for e in engine.advance(engine.due)] == [Change.FINISH]
    assert engine.due == NEVER


def test_a_newcomer_is_prefilled_when_the_step_under_way_ends() -> None:
    engine = Engine(A10_7B)
    engine.submit(0.0, job("a", 100, 500))
    engine.advance(1.0)
    step = engine.tick
    engine.submit(1.0, job("b", 100, 5))
    assert engine.phase("b") is Phase.QUEUED
    engine.advance(step)
    assert engine.phase("b") is Phase.PREFILL
    before = engine.generated("a")
    engine.advance(engine.due)
    assert engine.generated("a") == before
    assert engine.generated("b") == 1


def test_one_that_does_not_fit_holds_up_those_behind_it() -> None:
    engine = Engine(SMALL)
    engine.submit(0.0, job("runs", 100, 20))
    engine.submit(0.1, job("large", 100, 2))
    engine.submit(0.2, job("tiny", 1, 1))
    assert list(engine.queued()) == ["large", "tiny"]
    assert [e.id for e in drain(engine)] == [*("runs", "runs", "large", "tiny", "tiny", "large")]


def test_the_more_urgent_waits_less_and_is_preempted_last() -> None:
    engine = Engine(SMALL)
    engine.submit(0.0, job("first", 1, 1))
    engine.submit(0.1, job("low", 60, 60, priority=1))
    engine.submit(0.2, job("high", 60, 60, priority=0))
    preempted = [e.id for e in drain(engine) if e.change is Change.PREEMPT]
    assert set(preempted) == {"low"}
    engine = Engine(SMALL)
    engine.submit(0.0, job("runs", 100, 20))
    engine.submit(0.1, job("low", 100, 2, priority=1))
    engine.submit(0.2, job("high", 100, 2, priority=0))
    assert list(engine.queued()) == ["high", "low"]


def test_the_preempted_goes_on_where_it_was() -> None:
    engine = Engine(SMALL)
    for name in ("a", "b"):
        engine.submit(0.0, job(name, 40, 70))
    events = engine.advance(engine.due)
    while not any(e.change is Change.PREEMPT for e in events):
        events = engine.advance(engine.due)
    assert engine.phase("b") is Phase.QUEUED
    kept = engine.generated("b")
    assert kept > 1
    assert engine.recomputed == 40 + kept
    engine.advance(engine.due)
    while engine.phase("b") is not Phase.DECODE:
        engine.advance(engine.due)
    assert engine.generated("b") == kept + 1


@pytest.mark.parametrize("when", ["queued", "prefill", "decode"])
def test_who_is_aborted_leaves_nothing_behind(when: str) -> None:
    engine = Engine(SMALL)
    engine.submit(0.0, job("stays", 30, 40))
    if when == "queued":
        engine.advance(engine.due)
        engine.submit(0.1, job("a", 120, 20))
    elif when == "prefill":
        engine.advance(engine.due)
        engine.submit(0.1, job("a", 20, 20))
        engine.advance(engine.tick)
    else:
        engine.submit(0.0, job("a", 20, 20))
        engine.advance(0.3)
    assert engine.phase("a") == when
    generated = engine.generated("a")
    assert engine.abort(max(0.11, engine.tick - 0.001), "a") == generated
    assert [e.id for e in drain(engine) if e.change is Change.FINISH] == ["stays"]
    assert engine.used == engine.batch == engine.waiting == 0
    with pytest.raises(KeyError):
        engine.abort(9.0, "a")


def test_what_can_never_run_is_refused_at_once() -> None:
    engine = Engine(SMALL)
    with pytest.raises(ValueError, match="grows to 161 tokens; at most 160 fit"):
        engine.submit(0.0, job("a", 100, 61))
    with pytest.raises(ValueError, match="at least one token"):
        engine.submit(0.0, job("a", 100, 0))
    engine.submit(0.0, job("a", 100, 60))
    with pytest.raises(ValueError, match="is here already"):
        engine.submit(0.0, job("a", 1, 1))


def test_one_percent_of_the_blocks_stays_free_at_admission() -> None:
    engine = Engine(A10_7B)
    engine.submit(0.0, job("a", 842 * 16 + 1, 10))
    engine.submit(0.1, job("b", 1, 10))
    engine.advance(engine.due)
    assert engine.phase("b") is Phase.QUEUED


# Keys: the same prompt again, holds, copies.

SAME = tuple(f"block {i}" for i in range(5))


def test_a_prompt_seen_before_is_not_computed_again() -> None:
    engine = Engine(SMALL)
    engine.submit(0.0, job("a", 22, 5, keys=SAME))
    drain(engine)
    assert engine.used == 0
    assert engine.cached(SAME) == 20
    engine.submit(9.0, job("b", 22, 5, keys=SAME))
    assert engine.due - 9.0 == pytest.approx(SMALL.prefill_s(2, 22**2 - 20**2))
    assert engine.used == 6
    engine.submit(9.0, job("c", 20, 5, keys=SAME))
    engine.advance(engine.due)
    assert engine.due - engine.tick == 0
    assert engine.used == 7, "the last token is always computed, in a block that becomes shared"
    engine.advance(engine.due)
    assert engine.used == 5 + 1 + 1
    drain(engine)
    assert engine.used == 0


def test_blocks_nobody_uses_give_way() -> None:
    engine = Engine(SMALL)
    engine.submit(0.0, job("a", 22, 5, keys=SAME))
    drain(engine)
    engine.submit(9.0, job("b", 150, 2))
    drain(engine)
    assert engine.cached(SAME) == 8, "as many as had to"


def test_a_running_sequence_moves_with_its_kv() -> None:
    """Hold while it runs on, copy, abort, go on elsewhere: only the rest is computed."""
    source, destination = Engine(SMALL), Engine(SMALL)
    source.submit(0.0, job("a", 22, 50))
    source.advance(1.0)
    length = 22 + source.generated("a")
    keys = tuple(("a", i) for i in range((length - 1) // 4))
    before = source.used
    source.seal(1.0, "a", keys)
    assert source.used == before
    held = source.hold(1.0, "ticket", keys, expires=31.0)
    assert held == len(keys) * 4
    missing = destination.receive(1.0, "ticket", keys, expires=31.0)
    assert missing == held
    done = max(source.copy(1.0, missing), destination.copy(1.0, missing))
    assert done == 1.0 + SMALL.copy_s(missing)
    generated = source.abort(done, "a")
    assert source.used == len(keys), "the hold outlives the sequence"
    source.release(done, "ticket")
    assert source.used == 0
    destination.submit(done, job("a", 22 + generated, 50 - generated, keys=keys))
    destination.release(done, "ticket")
    total, known = 22 + generated, len(keys) * 4
    assert destination.due - done == pytest.approx(
        SMALL.prefill_s(total - known, total**2 - known**2)
    )
    drain(destination)
    assert destination.used == 0


def test_decode_steps_are_slower_while_kv_is_copied() -> None:
    engine = Engine(A10_7B)
    engine.submit(0.0, job("a", 100, 500))
    engine.advance(5.0)
    engine.copy(5.0, 1000)
    engine.advance(engine.tick)
    start, tokens = engine.tick, engine.tokens
    engine.advance(start)
    assert engine.tick - start == pytest.approx(1.022 * A10_7B.decode_s(1, tokens + 1))
    engine.advance(5.5)
    start, tokens = engine.tick, engine.tokens
    engine.advance(start)
    assert engine.tick - start == pytest.approx(A10_7B.decode_s(1, tokens + 1))


def test_copies_share_the_link() -> None:
    engine = Engine(A10_7B)
    assert engine.copy(1.0, 1000) == 1.0 + A10_7B.copy_s(1000)
    assert engine.copy(1.0, 500) == 1.0 + A10_7B.copy_s(1500)
    assert engine.copy(9.0, 500) == 9.0 + A10_7B.copy_s(500)


def test_there_is_no_room_for_a_copy_beside_what_runs() -> None:
    engine = Engine(A10_7B)
    engine.submit(0.0, job("a", 800 * 16, 5))
    assert engine.receive(0.0, "t", [("b", i) for i in range(44)], expires=9.0) is None
    assert engine.receive(0.0, "t", [("b", i) for i in range(43)], expires=9.0) == 43 * 16


def test_a_lease_that_nobody_consumes_ends() -> None:
    engine = Engine(SMALL)
    engine.receive(0.0, "t", [("b", i) for i in range(30)], expires=30.0)
    assert (engine.used, engine.leases) == (30, 1)
    engine.submit(1.0, job("a", 50, 5))
    assert engine.phase("a") is Phase.QUEUED
    assert engine.due == 30.0
    engine.advance(30.0)
    assert engine.phase("a") is Phase.PREFILL
    assert engine.leases == 0


def test_only_full_blocks_can_be_sealed() -> None:
    engine = Engine(SMALL)
    engine.submit(0.0, job("a", 22, 50))
    engine.advance(engine.due)
    with pytest.raises(ValueError, match="has 5 full blocks, not 6"):
        engine.seal(engine.tick - 0.001, "a", [("a", i) for i in range(6)])


def test_a_lease_of_idle_blocks_takes_them_from_the_steps_to_come() -> None:
    engine = Engine(SMALL)
    keys = [("x", i) for i in range(9)]
    engine.submit(0.0, job("before", 36, 1, keys=tuple(keys)))
    drain(engine)
    now = 100.0
    for name in "ab":
        engine.submit(now, job(name, 56, 60))
    engine.advance(engine.due)
    engine.advance(engine.due)
    engine.hold(engine.tick - 1e-4, "x", keys, expires=now + 50)
    while engine.due < now + 50:
        engine.advance(engine.due - 1e-6)  # all steps of the run but the last
        _sound(engine)
        engine.advance(engine.due)
    assert engine.preemptions > 0


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_is_asked_blocks_are_never_beyond_what_there_is(data: st.DataObject) -> None:
    engine = Engine(SMALL)
    now, alive = 0.0, set[str]()
    for step in range(data.draw(st.integers(1, 40))):
        now += data.draw(st.floats(0, 0.5))
        for event in engine.advance(now):
            if event.change is Change.FINISH:
                alive.remove(event.id)
        what = data.draw(st.sampled_from(["submit", "submit", "abort", "hold", "receive", "seal"]))
        prefix = data.draw(st.sampled_from(["x", "y"]))
        if what == "submit":
            prompt = data.draw(st.integers(1, 60))
            keys = tuple((prefix, i) for i in range(prompt // 4))
            engine.submit(now, job(step, prompt, data.draw(st.integers(1, 60)), keys=keys))
            alive.add(str(step))
        elif what == "abort" and alive:
            name = data.draw(st.sampled_from(sorted(alive)))
            engine.abort(now, name)
            alive.remove(name)
        elif what == "hold":
            engine.hold(now, prefix, [(prefix, i) for i in range(9)], expires=now + 1)
        elif what == "receive":
            engine.receive(now, f"r{prefix}", [(prefix, i) for i in range(9)], expires=now + 1)
        elif what == "seal":
            for name in list(engine.running()):
                if engine.phase(name) is Phase.DECODE:
                    held = len(engine._all[name].keys)
                    extra = [(name, i) for i in range(9)]
                    length = engine._all[name].job.prompt + engine.generated(name)
                    keys2 = [*engine._all[name].keys, *extra][: max(held, (length - 1) // 4)]
                    engine.seal(now, name, keys2)
        _sound(engine)
    for event in drain(engine):
        if event.change is Change.FINISH:
            alive.remove(event.id)
    engine.advance(now + 99)
    assert not alive
    engine.hold(now + 100, "none", [], expires=now + 100)
    assert engine._private == 0
    assert engine.used == 0


def _sound(engine: Engine) -> None:
    private = 0
    for sequence in engine._running.values():
        length = engine._steps + sequence.offset
        blocks = engine.profile.blocks_of(length - 1 if engine._filling else length)
        private += blocks - len(sequence.keys)
    for sequence in engine._prefilling:
        length = sequence.job.prompt + sequence.generated
        private += engine.profile.blocks_of(length) - sequence.found
    assert engine._private == private
    assert engine._private + len(engine._cache) <= engine.profile.blocks
    assert engine.available >= 0
