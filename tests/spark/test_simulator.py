"""Policies on cores: what must hold of any run, and what UWFQ promises its users.

Covered: cores never idle beside waiting tasks, tasks aren't preempted, stages wait for each other;
makespan; lateness against fluid sharing, proved cases by hypothesis, the rest by seeded ensembles
with a confidence interval, and the published chain as the control that must fail there; wrong
estimates and a user who lives by them; the order of each baseline. Not covered: how fast it is and
what it gains (benchmarks.spark_simulator), Spark itself (tests of the plugin).

Which bounds hold: the one derived in `fairstow.spark.fluid`, always, which is (2 − 1/R)·L_max where
each user submits all its jobs at once; where others declare wrongly, in rare cases by a part of a
task more, so there (3 − 1/R)·L_max is held to. L_max alone against capped fluid sharing holds
nearly always: a counterexample is below. So is one for users who go on submitting, whose later
short jobs overtake their own long one that has been served already: of 24,000 jobs 6 were later
(at most 5 of 10,000, 95 %), the latest by 3 L_max.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.semantic_cache.bounds import upper
from fairstow.spark.fair_queueing import FairQueue, Job
from fairstow.spark.fluid import fluid_finishes
from fairstow.spark.policies import POLICIES, Policy
from fairstow.spark.policies.virtual_finish import UserWeightedFairQueueing
from fairstow.spark.simulator.run import Result, Simulation
from fairstow.spark.workload import Work, even
from tests.spark.busy_period import BusyPeriodChain
from tests.spark.drawing import CASES, ENSEMBLES, batches, works

NEAR = 1e-6
SEEDS = 5


def play(drawn: list[Work], cores: int, policy: str = "uwfq") -> Result:
    return Simulation(drawn, cores, POLICIES[policy](cores), spans=True).run()


def latenesses(
    drawn: list[Work], cores: int, policy: Callable[[float], Policy], *, capped: bool = True
) -> list[float]:
    """How late each job is, in longest tasks."""
    fluid = fluid_finishes(drawn, cores, capped=capped)
    ends = Simulation(drawn, cores, policy(cores)).run().ends
    longest = max(work.longest_task for work in drawn)
    return [(ends[work.id] - fluid[work.id].at) / longest for work in drawn]


@pytest.mark.parametrize("policy", POLICIES)
@CASES
def test_no_core_idles_while_a_task_waits(policy: str, cases: int) -> None:
    @settings(max_examples=max(20, cases // 6))
    @given(works(), st.integers(1, 6))
    def holds(drawn: list[Work], cores: int) -> None:
        staged = [replace(work, stages=(*work.stages, (0.5, 0.25))) for work in drawn]
        result = play(staged, cores, policy)
        edges = sorted({span.start for span in result.spans} | {s.end for s in result.spans})
        for moment in edges[:-1]:
            busy = [s for s in result.spans if s.start <= moment < s.end]
            assert len(busy) <= cores
            if len(busy) < cores:
                for work in staged:
                    _nothing_waits(work, moment, result)

    holds()


def _nothing_waits(work: Work, moment: float, result: Result) -> None:
    """The job isn't there, or all tasks of a stage have begun and one is running, or it is over."""
    own = [span for span in result.spans if span.job == work.id]
    begun = [span for span in own if span.start <= moment]
    running = [span for span in begun if span.end > moment]
    whole = [sum(map(len, work.stages[:n])) for n in range(len(work.stages) + 1)]
    assert work.submit > moment or (len(begun) in whole[1:] and (running or len(begun) == len(own)))


@CASES
def test_all_work_is_done_within_grahams_bound_and_on_one_core_as_soon_as_by_fifo(
    cases: int,
) -> None:
    @settings(max_examples=cases)
    @given(works(), st.integers(1, 6))
    def holds(drawn: list[Work], cores: int) -> None:
        together = [replace(work, submit=0.0) for work in drawn]
        makespan = max(play(together, cores).ends.values())
        longest = max(work.longest_task for work in together)
        least = max(sum(work.core_s for work in together) / cores, longest)
        assert makespan <= (2 - 1 / cores) * least + NEAR
        one, fifo = (max(play(drawn, 1, name).ends.values()) for name in ("uwfq", "fifo"))
        assert one == pytest.approx(fifo)

    holds()


class Watched(UserWeightedFairQueueing):
    """UWFQ; notes when a job of a user was put off by a later one of the same user."""

    def __init__(self, cores: float) -> None:
        super().__init__(cores)
        self.put_off: dict[str, float] = {}

    def arrive(self, now: float, job: Job, weight: float) -> None:
        self.queue.advance(now)
        before = dict(self.queue.order())
        super().arrive(now, job, weight)
        after = dict(self.queue.order())
        self.put_off |= {each: now for each in before if after[each] > before[each] + NEAR}


def beyond_the_bound(drawn: list[Work], cores: int) -> tuple[float, float]:
    """Return by how many seconds the latest job misses the derived bound; O, of which it is part.

    The bound: longest task + (1 − 1/R) · the job's own longest task + O/R after uncapped sharing.
    """
    fluid = fluid_finishes(drawn, cores, capped=False)
    policy = Watched(cores)
    result = Simulation(drawn, cores, policy, spans=True).run()
    overtaken = sum(
        span.end - span.start
        for span in result.spans
        if span.start < policy.put_off.get(span.job, -1.0)
    )
    longest = max(work.longest_task for work in drawn)
    missed = (
        result.ends[work.id]
        - fluid[work.id].at
        - (longest + (1 - 1 / cores) * work.longest_task + overtaken / cores)
        for work in drawn
    )
    return max(missed), overtaken


@CASES
def test_who_submits_at_once_overtakes_nothing_and_nobody_is_later_than_derived(
    cases: int,
) -> None:
    @settings(max_examples=cases)
    @given(batches(), st.integers(1, 8))
    def holds(drawn: list[Work], cores: int) -> None:
        missed, overtaken = beyond_the_bound(drawn, cores)
        assert overtaken == 0
        assert missed <= NEAR

    holds()


@CASES
def test_nor_where_users_go_on_submitting(cases: int) -> None:
    @settings(max_examples=cases)
    @given(works(), st.integers(1, 8))
    def holds(drawn: list[Work], cores: int) -> None:
        missed, _ = beyond_the_bound(drawn, cores)
        assert missed <= NEAR

    holds()


def test_ever_shorter_jobs_beside_ones_own_long_one_delay_others_by_more_than_tasks() -> None:
    """The limit of the bound: each is due before what its user was served early is paid."""
    drawn, at, left = [work("long", 0.0, "a", even(100.0, 400))], 25.0, 49.0
    while left > 1:
        drawn.append(work(f"a-{len(drawn)}", at, "a", even(left, 200)))
        at, left = at + left / 4, 0.74 * left
    drawn.append(work("patient", 0.0, "b", even(200.0, 800)))
    late = dict(zip([w.id for w in drawn], latenesses(drawn, 4, POLICIES["uwfq"]), strict=True))
    assert 80 < late["patient"] < 90
    missed, overtaken = beyond_the_bound(drawn, 4)
    assert missed <= NEAR < overtaken


def test_the_longest_task_alone_is_no_bound_even_against_capped_sharing() -> None:
    """A long task that comes when others have just begun: it waits for one, and runs alone."""
    drawn = [work(f"short-{n}", 0.0, "a", (0.25,)) for n in range(4)]
    drawn += [work("long", 0.0, "a", even(5.25, 3)), work("middle", 0.0, "a", even(1.25, 5))]
    drawn += [work("late", 1.0, "b", (1.75,), weight=2.0)]
    drawn += [work("beside", 1.0, "b", even(1.5, 3), weight=2.0)]
    latest = max(latenesses(drawn, 3, POLICIES["uwfq"]))
    assert 1 < latest <= 2 - 1 / 3


def late(policy: Callable[[float], Policy], seeds: int) -> tuple[int, int, float]:
    """How many jobs are later than L_max (weighted: 1.05 L_max), of how many; the latest."""
    found = [
        (lateness, 1.05 if kind.weighted else 1.0)
        for kind in ENSEMBLES
        for seed in range(seeds)
        for lateness in latenesses(kind.draw(seed), kind.cores, policy)
    ]
    worst = max(lateness for lateness, _ in found)
    return sum(lateness > most + NEAR for lateness, most in found), len(found), worst


def test_in_ensembles_too_and_the_published_chain_is_found_out() -> None:
    count, jobs, worst = late(POLICIES["uwfq"], SEEDS)
    assert upper(count, jobs, 0.95) <= 0.002, f"{count} of {jobs}"
    assert worst < 2
    control, jobs, worst = late(BusyPeriodChain, SEEDS)
    assert control > 0.005 * jobs
    assert worst > 2


@pytest.mark.full
def test_in_large_ensembles_999_of_1000_jobs_are_in_time() -> None:
    count, jobs, _ = late(POLICIES["uwfq"], 40)
    assert upper(count, jobs, 0.95) <= 0.001, f"{count} of {jobs}"


@CASES
def test_what_others_declare_wrongly_delays_nobody_by_more_than_another_task(cases: int) -> None:
    @settings(max_examples=cases)
    @given(batches(), st.integers(1, 6), st.sampled_from([0.0, 0.01, 0.25, 0.5, 2.0, 4.0]))
    def holds(drawn: list[Work], cores: int, factor: float) -> None:
        wrong = [replace(w, declared=factor) if w.user == "a" else w for w in drawn]
        longest = max(work.longest_task for work in drawn)
        fluid = fluid_finishes(drawn, cores, capped=False)
        ends = play(wrong, cores).ends
        for work in drawn:
            if work.user != "a":
                late_by = ends[work.id] - fluid[work.id].at
                assert late_by <= (3 - 1 / cores) * longest + NEAR

    holds()


@pytest.mark.parametrize("declared", [1.0, 0.25, 0.01, 0.0])
def test_a_flood_that_is_declared_as_nothing_gets_its_share_and_no_more(declared: float) -> None:
    flood = [replace(work(f"a{n}", 0.0, "a", even(4.0, 4)), declared=declared) for n in range(40)]
    honest = work("honest", 0.0, "b", even(20.0, 20))
    assert play([*flood, honest], 4).ends["honest"] <= 11.0


def closed_loop(declared: float, rounds: int = 60) -> float:
    """What share of one core a user gets who runs one job at a time, beside two honest ones."""
    queue, now, number = FairQueue(1), 0.0, 0
    got = {"liar": 0.0, "honest": 0.0, "other": 0.0}
    whose: dict[str, str] = {}

    def submit(user: str) -> None:
        nonlocal number
        number += 1
        whose[str(number)] = user
        queue.arrive(now, Job(str(number), user, declared if user == "liar" else 1.0))

    for user in got:
        submit(user)
    for _ in range(rounds):
        job, _ = queue.order()[0]
        now += 1.0
        queue.finish(now, job, 1.0)
        got[whose[job]] += 1.0
        submit(whose[job])
    return got["liar"] / rounds


def test_who_declares_a_quarter_gains_nothing_in_a_closed_loop() -> None:
    honest = closed_loop(1.0)
    assert honest == pytest.approx(1 / 3, abs=0.02)
    assert closed_loop(0.25) <= honest + 1 / 60
    assert closed_loop(1e-3) <= honest + 1 / 60


def work(name: str, at: float, user: str, *stages: tuple[float, ...], weight: float = 1.0) -> Work:
    return Work(name, at, user, stages, weight)


def order(drawn: list[Work], policy: str) -> list[str]:
    ends = play(drawn, 1, policy).ends
    return sorted(ends, key=lambda job: ends[job])


def test_each_policy_has_its_order() -> None:
    flood = [work(f"a{n}", 0.0, "a", even(6.0, 6)) for n in range(3)]
    mixed = [*flood, work("b", 0.5, "b", even(4.0, 4)), work("c", 1.5, "a", even(1.0, 1))]
    assert order(mixed, "fifo") == ["a0", "a1", "a2", "b", "c"]
    assert order(mixed, "uwfq") == ["c", "b", "a0", "a1", "a2"]
    assert order(mixed, "cfq") == ["c", "b", "a0", "a1", "a2"]
    assert order(mixed, "edd")[:2] == ["c", "a0"]


def test_fair_shares_by_job_and_ujf_by_user() -> None:
    drawn = [work(f"a{n}", 0.0, "a", even(12.0, 12)) for n in range(3)]
    drawn.append(work("b", 0.0, "b", even(12.0, 12)))
    assert play(drawn, 4, "fair").ends["b"] == pytest.approx(12.0)
    assert play(drawn, 4, "ujf").ends["b"] == pytest.approx(6.0)


def test_a_job_that_follows_another_comes_when_that_is_over() -> None:
    first = work("first", 1.0, "a", (4.0,))
    result = play([replace(first, id="next", submit=0.5, after="first"), first], 1)
    assert result.submits == {"first": 1.0, "next": 5.5}
    assert result.ends["next"] == pytest.approx(9.5)


def test_stragglers_and_stages_take_their_time() -> None:
    drawn = [work("a", 0.0, "a", (1.0, 1.0, 5.0), (1.0, 1.0)), work("b", 0.0, "b", (2.0,))]
    ends = play(drawn, 3).ends
    # b is due first; a's long task begins at 1, its second stage at 6.
    assert ends == {"a": pytest.approx(7.0), "b": pytest.approx(2.0)}
    assert play([work("none", 2.0, "a")], 1).ends == {"none": 2.0}
