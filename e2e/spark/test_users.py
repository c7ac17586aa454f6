"""Several users in one stock Spark application whose driver has the plugin: who runs first.

Covered, on the newest Spark (both lines: test_variants): a flood of one user delays nobody's small
job, the order that the plugin says is the one that runs, users by property, job group and
application, weights, an SQL query of several stages with adaptive execution as one job, a stream
beside it as a user of its own, no job kept after its end, Spark's own builder back after the end.
Not covered here: Connect, executors in processes of their own, FAIR mode, failures (test_variants);
the numbers of fair queueing (tests/spark_app).
"""

from __future__ import annotations

from typing import Any

import pytest

from e2e.spark import application

FLOOD_S = 0.75


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    application.needed()
    # A query's first run takes long where the machine is busy; its weight makes up for it.
    weights = {"spark.fairstow.weight.bob": "6", "spark.fairstow.weight.query": "10"}
    conf = application.with_plugin() | weights
    return application.run("users", tmp_path_factory.mktemp("users"), conf=conf, flood_s=FLOOD_S)


def test_small_jobs_of_others_do_not_wait_for_a_flood(ran: dict[str, Any]) -> None:
    started = ran["started"]
    for small in ("bob1", "bob2", "application", "query", "stream"):
        assert started.index(small) < started.index("flood2"), started


def test_stages_run_in_the_order_that_was_decided(ran: dict[str, Any]) -> None:
    decided = [user for user, *_ in ran["waiting"] if user in ("bob", "flood")]
    began = [name[:-1] for name in ran["started"] if name[:-1] in ("bob", "flood")]
    assert began == decided == ["bob"] * 2 + ["flood"] * 3


def test_whose_each_job_is(ran: dict[str, Any]) -> None:
    users = {user for user, *_ in ran["waiting"]}
    assert {"plug", "flood", "bob", "query", "(streaming)"} <= users
    # Who runs the application, for a job that says nothing else.
    assert len(users) == 6


def test_a_query_with_all_its_stages_is_one_job(ran: dict[str, Any]) -> None:
    jobs = [(user, job.split()[0]) for user, job, *_ in ran["waiting"]]
    assert jobs.count(("query", "query")) == 1


def test_a_changed_weight_counts_at_once(ran: dict[str, Any]) -> None:
    def apart(jobs: list[list[str]]) -> float:
        *_, last_but_one, last = (float(finish) for user, _, finish, *_ in jobs if user == "flood")
        return last - last_but_one

    # Half the weight is twice the distance, less what was served between the two looks.
    assert 1.5 < apart(ran["lighter"]) / apart(ran["waiting"]) <= 2.01


def test_nothing_is_left_when_the_application_ends(ran: dict[str, Any]) -> None:
    assert ran["during"] == "FairBuilder"
    assert (ran["restored"], ran["left"]) == ("FIFOSchedulableBuilder", False)
    assert "Fairstow" not in ran["log"]
