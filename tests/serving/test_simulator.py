"""The simulator: whatever the policy, nobody is lost, and what is moved goes on where it was.

Covered: every policy on drawn workloads, with and without scaling, the same answer twice, one
request reckoned by hand, instances that report late, clients that wait for their answers. Not
covered: how good policies are (benchmarks.serving_simulator).
"""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.serving.cost_model import A10_7B
from fairstow.serving.policies import POLICIES, Settings
from fairstow.serving.simulator.arrivals import Arrival, drawn, urgent
from fairstow.serving.simulator.outcome import outcome
from fairstow.serving.simulator.run import Result, Setup, Simulation


def run(policy: str, arrivals: list[Arrival], *, instances: int = 4, **more: bool) -> Result:
    setup = Setup(
        policy=POLICIES[policy](Settings(headroom={-1: 12_000})),
        profiles=[A10_7B] * instances,
        scaling=more.get("scaling", False),
    )
    return Simulation(arrivals, setup, glance=5.0).run()


def check(result: Result, arrivals: list[Arrival]) -> None:
    assert len(result.served) == len(arrivals)
    for served, arrival in zip(result.served, arrivals, strict=True):
        assert served.view.generated == arrival.output
        assert arrival.at < served.first <= served.finished < math.inf
        assert not served.view.moving
        assert served.instance is None
        assert served.lost == served.handed == math.inf
    for glance in result.glances:
        assert all(0 <= used <= 1 for _, used, _, _ in glance.instances)


@pytest.mark.parametrize("scaling", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_is_lost_under_load(policy: str, scaling: bool) -> None:
    arrivals = drawn("M-M", 400, 2.2, seed=1, cv=2.0, lengths_seed=0xCADE)
    arrivals = urgent(arrivals, 0.1, seed=2)
    result = run(policy, arrivals, scaling=scaling)
    check(result, arrivals)
    figures = outcome(result)
    assert figures["requests"] == 400
    assert sum(p["requests"] for p in figures["byPriority"].values()) == 400


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(
        st.tuples(st.floats(0, 60), st.integers(1, 6000), st.integers(1, 600), st.booleans()),
        min_size=1,
        max_size=60,
    ),
)
def test_nobody_is_lost_whatever_comes(
    policy: str, requests: list[tuple[float, int, int, bool]]
) -> None:
    arrivals = [
        Arrival(at=at, prompt=prompt, output=output, priority=-1 if high else 0)
        for at, prompt, output, high in sorted(requests)
    ]
    check(run(policy, arrivals, instances=2, scaling=True), arrivals)


def test_the_same_question_gets_the_same_answer() -> None:
    arrivals = drawn("M-M", 300, 2.2, seed=1, lengths_seed=0xCADE)
    assert outcome(run("virtual-usage", arrivals)) == outcome(run("virtual-usage", arrivals))


def test_one_request_alone_takes_what_the_cost_model_says() -> None:
    result = run("llumnix", [Arrival(at=1.0, prompt=100, output=3)])
    served = result.served[0]
    assert served.first == 1.0 + A10_7B.prefill_s(100, 100**2)
    decode = A10_7B.decode_s(1, 101) + A10_7B.decode_s(1, 102)
    assert served.finished == pytest.approx(served.first + decode)


def test_migrations_happen_and_cost_little() -> None:
    arrivals = drawn("M-M", 1_000, 1.95, seed=1, lengths_seed=0xCADE)
    result = run("llumnix", arrivals)
    check(result, arrivals)
    figures = outcome(result)
    assert figures["migrations"] > 5
    assert figures["downtime"]["p50_s"] < 3 * A10_7B.decode_s(16, 8_000)


def test_an_instance_that_is_scaled_in_gives_its_requests_away() -> None:
    burst = [Arrival(at=i / 100, prompt=500, output=400) for i in range(40)]
    slow = [Arrival(at=60 + i * 5, prompt=50, output=2_000) for i in range(20)]
    result = run("virtual-usage", burst + slow, instances=4, scaling=True)
    check(result, burst + slow)
    assert len(result.glances[-1].instances) < 4
    assert result.instance_seconds < 4 * result.end
    stays = run("load-aware", burst + slow, instances=4, scaling=True)
    first = [next(g.at for g in each.glances if len(g.instances) < 4) for each in (result, stays)]
    assert first[0] < first[1], "its instance went no sooner for giving its requests away"


def reported(every: float | None, arrivals: list[Arrival], policy: str) -> Result:
    chosen = POLICIES[policy](Settings())
    return Simulation(arrivals, Setup(policy=chosen, profiles=[A10_7B] * 4, reports=every)).run()


@pytest.mark.parametrize(("every", "together"), [(None, False), (0.0, False), (1.0, True)])
def test_what_comes_between_two_reports_goes_to_the_same_instance(
    every: float | None, together: bool
) -> None:
    """A prefill takes 8 ms, so that it is over and reported long before the next request comes."""
    arrivals = [Arrival(at=1.1 + 0.2 * number, prompt=10, output=200) for number in range(4)]
    result = reported(every, arrivals, "load-aware")
    check(result, arrivals)
    alone = reported(None, arrivals[:1], "load-aware").served[0].finished - arrivals[0].at
    slowed = [s.finished - s.arrival.at > 1.01 * alone for s in result.served]
    assert slowed == [together] * 4


@pytest.mark.parametrize("policy", POLICIES)
def test_nobody_is_lost_where_instances_report_late(policy: str) -> None:
    arrivals = drawn("M-M", 300, 2.2, seed=1, cv=2.0, lengths_seed=0xCADE)
    check(reported(1.0, arrivals, policy), arrivals)


def test_clients_send_one_request_after_the_other() -> None:
    arrivals = drawn("M-M", 120, 100.0, seed=1, lengths_seed=0xCADE)
    setup = Setup(policy=POLICIES["load-aware"](Settings()), profiles=[A10_7B], clients=40)
    served = Simulation(arrivals, setup).run().served
    assert [s.arrival.output for s in served] == [a.output for a in arrivals]
    for new in served[:-40]:  # who comes last comes where others have none to send
        others = [s for s in served if s is not new]
        assert sum(s.arrival.at <= new.arrival.at < s.finished for s in others) == 39
    assert any(s.preempted for s in served)
    for s in served:
        assert s.waited / max(1, s.preempted) <= s.longest_wait <= s.waited
