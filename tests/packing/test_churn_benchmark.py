"""The benchmark of churn: arrivals, the played scheduler, the packer and what is counted.

Covered: the equilibrium a day begins in, feasibility against the product's filters, scores against
values worked out by hand, waiting and holding to the second, a plan and its limit, paired
intervals, bounds and tables. Not covered: openb itself, and the figures.
"""

import random
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from benchmarks.churn.__main__ import judge
from benchmarks.churn.cluster import BEGAN, Scheduler, pod_object, stock_score
from benchmarks.churn.day import Arrival, Ask, Host, Trace, arrivals
from benchmarks.churn.packer import Packer, policy
from benchmarks.churn.report import tables
from benchmarks.churn.simulate import RESTART, Day
from benchmarks.closing import rewrite, verdict
from benchmarks.paired import paired
from fairstow.cluster.state import State

HOUR = 3600.0
SERVICE, BATCH = 200, 0


def hosts(*gpus: int) -> list[Host]:
    return [Host(f"node-{i}", 96_000, 400_000, count, "G2") for i, count in enumerate(gpus)]


def ask(gpus: int, priority: int = SERVICE, life: float = HOUR) -> Ask:
    return Ask(10_000 * max(gpus, 1), 10_000, gpus, priority, life)


def came(*arrivals: tuple[float, Ask]) -> list[Arrival]:
    return [Arrival(at, number, ask, ask.life) for number, (at, ask) in enumerate(arrivals)]


def test_a_day_begins_as_it_goes_on() -> None:
    trace = Trace(tuple(hosts(8, 8)), (ask(1, life=100.0), ask(2, life=1000.0)))
    rate = trace.rate(0.5)
    assert rate * fmean([1 * 100, 2 * 1000]) == pytest.approx(0.5 * 16)
    there = [
        sum(a.ask.gpus for a in arrivals(trace, 0.5, 1.0, seed) if a.at == 0) for seed in range(200)
    ]
    assert fmean(there) == pytest.approx(8, abs=1.0)
    one = arrivals(trace, 0.5, 50_000.0, 7)
    assert one == arrivals(trace, 0.5, 50_000.0, 7)
    assert len(one) == pytest.approx(rate * 50_000, rel=0.2)
    assert all(a.life <= a.ask.life for a in one)
    assert [a.at for a in one] == sorted(a.at for a in one)


@pytest.mark.parametrize("extender", [False, True])
def test_feasible_is_what_all_filters_admit(extender: bool) -> None:
    rng = random.Random(3)
    scheduler = Scheduler.of(hosts(1, 2, 4, 8), 3, extender=extender)
    for number in range(40):
        arrival = Arrival(0.0, number, ask(rng.choice((0, 1, 2, 4)), rng.choice((0, 200))), HOUR)
        name = f"pod-{number}"
        scheduler.put(pod_object(arrival, name, 0.0))
        pod = scheduler.live.pod_named(f"day/{name}")
        assert pod is not None
        snapshot = scheduler.live.snapshot()
        state = State(snapshot)
        admitted = {n.name for n in snapshot.nodes if state.refusal(pod, n) is None}
        assert {n for n in scheduler.live.nodes if scheduler.fits(pod, n)} == admitted
        node = scheduler.choose(pod, 0.0)
        assert node in (admitted or {""})
        if node:
            scheduler.put(pod_object(arrival, name, 0.0, node))


def test_scores_are_the_default_profiles() -> None:
    # Half and a quarter used after it: LeastAllocated (50 + 75) / 2; balance falls from 100 to 87.
    assert stock_score(((100, 0, 50), (100, 0, 25))) == 62 + 50 + (50 + 87 - 100) // 2
    even = stock_score(((100, 0, 50), (100, 0, 50)))
    assert even == 50 + 75


def test_the_extender_packs_where_stock_spreads() -> None:
    for extender, nodes in ((False, {"node-0", "node-1"}), (True, {"node-0"})):
        scheduler = Scheduler.of(hosts(8, 8), 1, extender=extender)
        day = Day(scheduler, None, 0.0)
        whole = (0.0, ask(8, life=1.0))
        day.play(came(whole, whole, *[(2.0 + n, ask(1)) for n in range(4)]), 100.0)
        used = {pod.node for n in range(2, 6) if (pod := scheduler.live.pod_named(f"day/pod-{n}"))}
        assert len(used) == len(nodes)


def test_waiting_and_holding_are_counted_to_the_second() -> None:
    scheduler = Scheduler.of(hosts(4), 1, extender=False)
    first, second = (0.0, ask(4, life=HOUR)), (600.0, ask(2, life=2 * HOUR))
    tally = Day(scheduler, None, 0.0).play(came(first, second), 2 * HOUR)
    assert tally.pod_hours == pytest.approx({4: 0.0, 2: 3000 / HOUR})
    assert tally.gpu_hours == pytest.approx(4 + 2)
    later = Day(Scheduler.of(hosts(4), 1, extender=False), None, 1800.0)
    assert later.play(came(first, second), 2 * HOUR).gpu_hours == pytest.approx(2 + 2)


def test_whoever_waits_is_tried_by_priority_then_age() -> None:
    scheduler = Scheduler.of(hosts(1), 1, extender=False)
    day = Day(scheduler, None, 0.0)
    waits = [(1.0, ask(1, BATCH)), (2.0, ask(1, BATCH)), (3.0, ask(1))]
    day.play(came((0.0, ask(1, life=10.0)), *waits), 20.0)
    running = [n for n in range(4) if (p := scheduler.live.pod_named(f"day/pod-{n}")) and p.node]
    assert running == [3]


def stuck(priority: int = SERVICE) -> list[Arrival]:
    """Two nodes of four GPUs, two used on each, and a pod of four that comes."""
    small = (0.0, ask(2, priority, 3 * HOUR))
    return came(small, small, (60.0, ask(4, life=HOUR)))


def test_the_packer_moves_a_service_and_not_a_job() -> None:
    for priority, moves in ((SERVICE, 1), (BATCH, 0)):
        scheduler = Scheduler.of(hosts(4, 4), 1, extender=False)
        packer = Packer(scheduler.live, policy(10), effort=1)
        tally = Day(scheduler, packer, 0.0).play(stuck(priority), HOUR)
        assert (tally.moves, tally.plans) == (moves, moves)
        if moves:
            # It has waited for the default minute, and the restart of the moved pod isn't counted.
            held = 2 * 2 * HOUR - 2 * RESTART + 4 * (HOUR - 120.0)
            assert tally.pod_hours[4] == pytest.approx(60.0 / HOUR)
            assert tally.gpu_hours == pytest.approx(held / HOUR)
        else:
            assert tally.pod_hours[4] == pytest.approx((HOUR - 60) / HOUR)


def test_no_hour_sees_more_moves_than_the_limit() -> None:
    scheduler = Scheduler.of(hosts(*[4] * 8), 1, extender=False)
    packer = Packer(scheduler.live, policy(2), effort=1)
    small = [(0.0, ask(2, life=9 * HOUR))] * 8
    large = [(60.0, ask(4, life=9 * HOUR))] * 4
    tally = Day(scheduler, packer, 0.0).play(came(*small, *large), HOUR)
    assert tally.moves == 2
    assert BEGAN % 86_400 == 0


def run(arm: str, seed: int, **other: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "arm": arm,
        "seed": seed,
        "allocated": 80.0 + seed / 10 + (5 if arm == "auto" else 0),
        "podHours": {"1": 1.0, "8": 10.0 if arm == "auto" else 50.0 + seed},
        "gpuHours": 100.0,
        "pods": 1000,
        "moves": 29 if arm == "auto" else 0,
        "plans": 9,
        "runs": {"PlanCreated": 9},
    }
    return base | other


def record(**auto: Any) -> dict[str, Any]:
    arms = ("stock", "score", "auto")
    runs = [run(a, s, **(auto if a == "auto" else {})) for s in (1, 2, 3) for a in arms]
    about = {"date": "d", "commit": "c", "python": "3", "ortools": "9"}
    head = {"nodes": 120, "gpus": 622, "hours": 24.0, "load": 0.9}
    return {"provenance": about, **head, "runs": runs}


def test_differences_are_paired_by_seed() -> None:
    even = paired([2.0, 3.0, 4.0], [1.0, 2.0, 3.0], digits=2)
    assert even == {"mean": 1.0, "low": 1.0, "high": 1.0}
    found = paired([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], digits=2)
    assert found == {"mean": 2.33, "low": -1.46, "high": 6.13}


def test_a_benchmark_ends_with_its_page_and_what_it_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- b -->\nbehind\n")
    marks = "<!-- a -->\n", "<!-- b -->\n"
    for _ in range(2):
        rewrite(page, marks, "new\n")
    assert page.read_text() == "before\n<!-- a -->\n\nnew\n\n<!-- b -->\nbehind\n"
    with pytest.raises(AssertionError, match="lacks the marks"):
        rewrite(page, ("<!-- c -->\n", marks[1]), "lost")
    assert (verdict([]), verdict(["too slow"])) == (0, 1)
    assert capsys.readouterr().err == "too slow\n"


def test_bounds_and_tables() -> None:
    assert judge(record()) == []
    missed = judge(record(moves=31, allocated=80.2))
    assert [sentence.partition(":")[0] for sentence in missed] == ["moved", "allocated_low"]
    text = tables(record())
    assert "| with score and Auto | 85.20 ± 0.10 |" in text
    assert "| with score and Auto less stock | +5.00 (+5.00 … +5.00) |" in text
    assert "2.90 %" in text
