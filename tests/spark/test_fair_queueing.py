"""UWFQ's queue against exact fluid sharing, and what it does with wrong estimates and changes.

Covered: V and virtual finishes against the oracle; shares by weight; splitting; charge-back, debt
over idling, refunds; weights and cores changed live; returning users and the grace; state as data;
refusals. Not covered: what tasks on cores make of the order (test_simulator), time
(benchmarks.spark_simulator).
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.spark.fair_queueing import GRACE_S, FairQueue, Job
from fairstow.spark.fluid import fluid_finishes
from fairstow.spark.workload import Work
from tests.spark.drawing import CASES, WEIGHTS, works

NEAR = 1e-6


def queued(cores: float, *jobs: tuple[str, str, float], weights: float = 1.0) -> FairQueue:
    queue = FairQueue(cores)
    for name, user, work in jobs:
        queue.arrive(0.0, Job(name, user, work), weights)
    return queue


def finishes(queue: FairQueue) -> dict[str, float]:
    return dict(queue.order())


@CASES
def test_virtual_time_is_the_fluid_systems_and_no_virtual_finish_is_after_it(cases: int) -> None:
    settings(max_examples=cases)(given(works(), st.integers(1, 8))(_agrees_with_fluid))()


def _agrees_with_fluid(drawn: list[Work], cores: int) -> None:
    fluid = fluid_finishes(drawn, cores, capped=False)
    queue, last = FairQueue(cores), 0.0
    moments: list[tuple[float, int, Work]] = [(work.submit, 1, work) for work in drawn]
    moments += [(fluid[work.id].at, 0, work) for work in drawn]
    for at, arrives, work in sorted(moments, key=lambda moment: moment[:2]):
        if arrives:
            queue.arrive(at, Job(work.id, work.user, work.core_s), work.weight)
        else:
            queue.advance(at)
            assert queue.virtual == pytest.approx(fluid[work.id].virtual, rel=1e-6, abs=NEAR)
        assert queue.virtual >= last
        last = queue.virtual
    for work in drawn:
        assert queue.virtual_finish(work.id) <= fluid[work.id].virtual + NEAR


@given(works(), st.integers(1, 8))
def test_jobs_that_end_early_or_late_in_reality_leave_the_fluid_system_as_it_is(
    drawn: list[Work], cores: int
) -> None:
    left, ended = FairQueue(cores), FairQueue(cores)
    for work in sorted(drawn, key=lambda work: work.submit):
        for queue in (left, ended):
            queue.arrive(work.submit, Job(work.id, work.user, work.core_s), work.weight)
        ended.finish(work.submit, work.id, work.core_s)
        assert ended.virtual == pytest.approx(left.virtual)
    for queue in (left, ended):
        queue.advance(1e6)
    assert ended.virtual == pytest.approx(left.virtual)
    assert ended.users() == []


@given(
    st.lists(st.integers(1, 20), min_size=30, max_size=30),
    st.lists(st.integers(1, 20), min_size=30, max_size=30),
    st.sampled_from([1.0, 2.0, 4.0]),
    st.integers(1, 25),
)
def test_users_that_wait_are_served_in_the_ratio_of_their_weights(
    of_a: list[int], of_b: list[int], weight: float, count: int
) -> None:
    queue = FairQueue(1)
    for number, (a, b) in enumerate(zip(of_a, of_b, strict=True)):
        queue.arrive(0.0, Job(f"a{number}", "a", a), weight)
        queue.arrive(0.0, Job(f"b{number}", "b", b), 1.0)
    got = {"a": 0.0, "b": 0.0}
    for job, _ in queue.order()[:count]:
        got[job[0]] += queue.work(job)
    assert abs(got["a"] / weight - got["b"]) <= max(of_a) / weight + max(of_b)


@given(st.integers(2, 9), st.floats(1, 100), st.floats(1, 100))
def test_a_job_in_parts_ends_no_earlier_and_others_no_later(
    parts: int, work: float, other: float
) -> None:
    whole = queued(4, ("x", "a", work), ("other", "b", other))
    split = queued(4, *((f"x{n}", "a", work / parts) for n in range(parts)), ("other", "b", other))
    last = max(finish for job, finish in split.order() if job != "other")
    assert last == pytest.approx(whole.virtual_finish("x"))
    assert split.virtual_finish("other") == pytest.approx(whole.virtual_finish("other"))


def test_a_short_job_of_a_quiet_user_goes_before_a_flood() -> None:
    queue = queued(2, *((f"flood{n}", "a", 10.0) for n in range(50)))
    queue.arrive(1.0, Job("small", "b", 2.0))
    assert [job for job, _ in queue.order()][:2] == ["small", "flood0"]


def test_what_a_job_got_beyond_its_estimate_is_paid_before_the_users_next() -> None:
    queue = queued(1, ("under", "a", 1.0), ("other", "b", 4.0))
    queue.finish(4.0, "under", 4.0)
    # Of the 4 core-s that a got, fluid sharing would have given it 2 by now, 1 of them declared.
    standing = queue.standing("a")
    assert standing is not None
    assert standing.debt == pytest.approx(3.0)
    queue.arrive(4.0, Job("next", "a", 1.0))
    assert queue.virtual_finish("next") == pytest.approx(queue.virtual + 4.0)


def test_debt_outlives_idling_while_others_work() -> None:
    queue = queued(1, ("under", "a", 1.0), *((f"b{n}", "b", 10.0) for n in range(9)))
    queue.finish(8.0, "under", 8.0)
    queue.arrive(10.0, Job("next", "a", 1.0))
    standing = queue.standing("a")
    assert standing is not None
    assert standing.debt == pytest.approx(6.0)  # 7 beyond the estimate, 2 s at half a core
    queue.finish(10.0, "next", 0.0)
    queue.advance(24.0)
    assert queue.standing("a") is None


def test_a_job_that_runs_beyond_its_estimate_is_charged_meanwhile() -> None:
    queue = queued(4, ("under", "a", 2.0), ("other", "b", 20.0))
    before = queue.virtual_finish("under")
    assert not queue.served(1.0, "under", 2.0)
    queue.advance(2.0)  # 8 core-s, half of them a's: the job has left the fluid system
    assert queue.served(2.0, "under", 8.0)
    assert queue.virtual_finish("under") == pytest.approx(queue.virtual + 6.0)
    assert queue.virtual_finish("under") > before


@given(st.floats(0.0, 30.0), st.floats(0.0, 40.0))
def test_an_over_estimate_gives_back_what_is_not_served_and_no_more(at: float, real: float) -> None:
    queue = queued(2, ("over", "a", 20.0), ("behind", "a", 30.0), ("other", "b", 60.0))
    before = finishes(queue)
    queue.advance(at)
    old = queue.standing("a")
    assert old is not None
    queue.finish(at, "over", min(real, 20.0))
    new = queue.standing("a")
    assert new is not None
    got = min(at / 2, 20.0)  # half of a's core
    assert old.backlog - new.backlog == pytest.approx(20.0 - max(min(real, 20.0), got), abs=NEAR)
    assert queue.virtual_finish("behind") <= before["behind"]


def test_who_returns_from_idling_has_no_credit() -> None:
    queue = queued(1, ("once", "a", 1.0), ("other", "b", 100.0))
    queue.finish(2.0, "once", 1.0)
    queue.arrive(50.0, Job("again", "a", 5.0))
    assert queue.virtual_finish("again") == pytest.approx(queue.virtual + 5.0)


@pytest.mark.parametrize(("pause", "graced"), [(GRACE_S - 0.1, True), (GRACE_S + 0.1, False)])
def test_a_later_stage_goes_on_where_its_user_left_within_the_grace(
    pause: float, graced: bool
) -> None:
    queue = queued(2, ("staged", "a", 2.0), ("other", "b", 100.0))
    queue.served(2.0, "staged", 2.0)  # at half of two cores a is drained at 2 s, V = 2
    last_b = 2.0 + pause / 2  # b is alone then, and V runs at 2 a second
    queue.advance(last_b)
    queue.revise(last_b, "staged", 6.0)
    assert queue.virtual_finish("staged") == pytest.approx((2.0 if graced else queue.virtual) + 4.0)


def test_a_stage_that_was_reckoned_with_changes_nothing() -> None:
    queue = queued(2, ("staged", "a", 2.0), ("other", "b", 100.0))
    queue.revise(30.0, "staged", 2.0)
    assert queue.virtual_finish("staged") == pytest.approx(2.0)


def test_a_revised_estimate_keeps_what_was_served_virtually() -> None:
    queue = queued(2, ("job", "a", 10.0), ("other", "b", 100.0))
    queue.revise(4.0, "job", 20.0)
    assert queue.virtual_finish("job") == pytest.approx(20.0)
    queue.revise(6.0, "job", 1.0)
    assert queue.virtual_finish("job") == pytest.approx(queue.virtual)


def test_a_weight_changed_live_counts_from_then_on() -> None:
    queue = queued(1, ("a", "a", 10.0), ("b", "b", 10.0))
    queue.advance(4.0)
    queue.reweigh(4.0, "a", 3.0)
    assert queue.virtual == pytest.approx(2.0)
    assert queue.weights == pytest.approx(4.0)
    assert queue.virtual_finish("a") == pytest.approx(2.0 + 8.0 / 3)
    queue.reweigh(4.0, "nobody", 2.0)
    queue.advance(8.0)
    assert queue.virtual == pytest.approx(3.0)


def test_cores_changed_live_change_the_pace_and_no_finish() -> None:
    queue = queued(4, ("a", "a", 10.0), ("b", "b", 20.0))
    before = queue.order()
    queue.resize(1.0, 0)
    queue.resize(100.0, 2)
    queue.advance(101.0)
    assert queue.virtual == pytest.approx(3.0)
    assert queue.order() == before


def test_what_a_user_got_past_the_queue_is_charged() -> None:
    queue = queued(2, ("other", "b", 50.0))
    queue.charge(0.0, "a", 6.0)
    queue.arrive(0.0, Job("job", "a", 1.0))
    assert queue.virtual_finish("job") == pytest.approx(7.0)


def test_a_clock_that_goes_back_stands_still() -> None:
    queue = queued(1, ("a", "a", 10.0))
    queue.advance(5.0)
    queue.arrive(1.0, Job("b", "b", 1.0))
    queue.advance(4.0)
    assert queue.virtual == pytest.approx(5.0)
    queue.advance(6.0)
    assert queue.virtual == pytest.approx(5.5)


_steps = st.lists(
    st.tuples(
        st.sampled_from(["arrive", "served", "finish", "revise", "reweigh", "resize", "charge"]),
        st.sampled_from("abcd"),
        st.integers(0, 9),
        st.floats(0.1, 30.0),
    ),
    max_size=40,
)


def _step(queue: FairQueue, now: float, what: str, user: str, number: int, amount: float) -> None:
    name = f"{user}{number}"
    if what == "arrive":
        if not _known(queue, name):
            queue.arrive(now, Job(name, user, amount), WEIGHTS[user])
    elif what == "reweigh":
        queue.reweigh(now, user, amount)
    elif what == "resize":
        queue.resize(now, float(number))
    elif what == "charge":
        queue.charge(now, user, amount, WEIGHTS[user])
    elif name in queue:
        getattr(queue, what)(now, name, amount)


def _known(queue: FairQueue, name: str) -> bool:
    return any(job["id"] == name for job in queue.state()["jobs"])


@CASES
def test_state_is_all_there_is_and_nothing_ever_runs_backwards(cases: int) -> None:
    settings(max_examples=cases)(given(_steps, _steps)(_copies_agree))()


def _copies_agree(
    before: list[tuple[str, str, int, float]], after: list[tuple[str, str, int, float]]
) -> None:
    queue, now = FairQueue(4), 0.0
    for step in before:
        now += step[3] / 3
        last = queue.virtual
        _step(queue, now, *step)
        assert queue.virtual >= last
    copy = FairQueue.restored(queue.state())
    for step in after:
        now += step[3] / 3
        _step(queue, now, *step)
        _step(copy, now, *step)
        assert dict(copy.order()) == pytest.approx(dict(queue.order()), rel=1e-6, abs=NEAR)
    for each in (queue, copy):
        for job, _ in each.order():
            each.finish(now, job, 0.0)
        each.resize(now, 1.0)
        each.advance(now + 1e7)
        assert (each.users(), each.state()["jobs"]) == ([], [])


def test_what_cannot_be_is_refused_and_changes_nothing() -> None:
    queue = queued(1, ("a", "a", 10.0))
    for job, weight in (
        (Job("a", "b", 1.0), 1.0),
        (Job("b", "b", -1.0), 1.0),
        (Job("b", "b", float("nan")), 1.0),
        (Job("b", "b", 1.0), 0.0),
    ):
        with pytest.raises(ValueError, match=r"queued already|has to be"):
            queue.arrive(0.0, job, weight)
    with pytest.raises(ValueError, match="cores is"):
        queue.resize(0.0, -1)
    with pytest.raises(KeyError):
        queue.finish(0.0, "unknown", 1.0)
    assert (queue.users(), len(queue.order())) == (["a"], 1)
