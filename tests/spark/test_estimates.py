"""Estimates of work, and the settings made of them.

Covered: means that follow, spread, whose median stands in, forgetting, data that was tampered
with; settings and cutting of tasks. Not covered: what wrong estimates cost (test_simulator,
benchmarks.spark_simulator), whether Spark heeds the settings (tests of the plugin).
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.spark.estimates import MOST, Basis, Estimates
from fairstow.spark.partitioning import MOST_TASKS, partitioned, session_settings, tasks_of
from fairstow.spark.workload import Work


def learned(*runs: tuple[str, str, float]) -> Estimates:
    found = Estimates()
    for run in runs:
        found = found.learned(*run)
    return found


def test_a_template_follows_its_last_runs() -> None:
    estimates = learned(*[("a", "etl", 100.0)] * 20)
    assert estimates.estimate("a", "etl", 1.0).work == pytest.approx(100.0)
    for _ in range(10):
        estimates = estimates.learned("a", "etl", 1000.0)
    found = estimates.estimate("a", "etl", 1.0)
    assert 950 < found.work <= 1000
    assert (found.basis, found.runs) == (Basis.TEMPLATE, 30)


def test_the_range_is_narrow_where_runs_are_alike_and_wide_where_they_differ() -> None:
    alike = learned(*[("a", "x", 100.0)] * 20).estimate("a", "x", 1.0)
    differ = learned(*[("a", "x", w) for w in [20.0, 500.0] * 10]).estimate("a", "x", 1.0)
    once = learned(("a", "x", 100.0)).estimate("a", "x", 1.0)
    assert alike.high / alike.low < 1.1
    assert differ.high / differ.low > 10
    assert once.low == pytest.approx(50)
    assert once.high == pytest.approx(200)


def test_the_unknown_is_the_users_median_then_everybodys_then_the_default() -> None:
    estimates = learned(("a", "x", 1.0), ("a", "y", 10.0), ("a", "z", 9000.0), ("b", "x", 5.0))
    own = estimates.estimate("a", "new", 7.0)
    assert (own.work, own.low, own.high, own.basis) == (10.0, 1.0, 9000.0, Basis.USER)
    others = estimates.estimate("c", "new", 7.0)
    assert (others.work, others.basis) == (7.5, Basis.CLUSTER)
    default = Estimates().estimate("c", "new", 8.0)
    assert (default.work, default.low, default.high) == (8.0, 2.0, 32.0)
    assert (default.basis, default.runs) == (Basis.DEFAULT, 0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("xy"), st.floats(0, 1e6))))
def test_an_estimate_lies_in_its_range_and_survives_being_written(
    runs: list[tuple[str, str, float]],
) -> None:
    estimates = learned(*runs)
    copy = Estimates.from_data(json.loads(json.dumps(estimates.as_data())))
    for user in "abc":
        found, again = (each.estimate(user, "x", 5.0) for each in (estimates, copy))
        assert 0 < found.low <= found.work <= found.high
        assert again.work == pytest.approx(found.work, rel=1e-2, abs=1e-3)


def test_the_longest_unseen_is_forgotten() -> None:
    full = Estimates.from_data([["a", f"t{n}", 1.0, 0.1, 1] for n in range(MOST)])
    again = full.learned("a", "t0", 1.0).learned("a", "new", 1.0)
    assert len(again.known) == MOST
    assert ("a", "t0") in again.known
    assert ("a", "t1") not in again.known
    assert len(json.dumps(again.as_data())) < 1_000_000


def test_data_that_was_tampered_with_does_no_harm() -> None:
    bad = json.loads(
        '[["a", "x", -1, 0, 1], ["a"], 7, ["a", "y", "many", 0, 1], ["a", "z", 3, 0, 1]]'
    )
    assert list(Estimates.from_data(bad).known) == [("a", "z")]
    with pytest.raises(ValueError, match="core_s is nan"):
        Estimates().learned("a", "x", float("nan"))


def test_settings_cut_reads_and_shuffles_into_tasks_of_the_target() -> None:
    found = session_settings(60.0, 1_200_000_000, 240_000_000)
    assert found["spark.sql.files.maxPartitionBytes"] == "10000000"
    assert found["spark.sql.files.minPartitionNum"] == "120"
    assert found["spark.sql.adaptive.advisoryPartitionSizeInBytes"] == "2000000"
    assert found["spark.sql.adaptive.coalescePartitions.parallelismFirst"] == "false"
    assert "spark.sql.adaptive.advisoryPartitionSizeInBytes" not in session_settings(60.0, 1)
    assert session_settings(0.0, 1000) == session_settings(1.0, 0) == {}
    assert session_settings(1e9, 1)["spark.sql.files.maxPartitionBytes"] == "65536"


@pytest.mark.parametrize(
    ("work", "cores", "tasks"),
    [(0.05, 32, 1), (0.35, 32, 3), (2.0, 32, 20), (8.0, 32, 32), (8.0, 0, 16), (60.0, 32, 120)],
)
def test_a_short_job_has_tasks_for_all_cores_but_none_under_a_tenth_of_a_second(
    work: float, cores: int, tasks: int
) -> None:
    assert tasks_of(work, cores=cores) == tasks


@given(st.floats(0.01, 1e4), st.floats(0.1, 10), st.integers(0, 64))
def test_partitioned_work_is_the_same_work_in_tasks_of_the_target(
    work: float, target: float, cores: int
) -> None:
    job = partitioned(Work("j", 0.0, "a", ((work,), (work / 2, work / 2))), target, cores)
    assert job.core_s == pytest.approx(2 * work)
    assert job.longest_task <= target * (1 + 1e-6) or tasks_of(work, target) == MOST_TASKS
    assert len(job.stages[0]) <= max(work / target + 1, cores)
