"""What the plugin does without Spark: whose a stage is, what is learned, what is forgotten.

Covered: identity, the same in Java and in the twin for any properties; settings for partitioning;
estimates by template, user and median; ranks after a month; tasks that outlive their job; jobs
whose end was never heard. Spark itself: e2e/spark; fair queueing by number: test_queue_in_java.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.spark import attach

Asked = Callable[[str], str]
SESSION = "f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
CONNECT = f"SparkConnect_OperationTag_User_%s_Session_{SESSION}_Operation_{SESSION}"
TAGS = st.lists(
    st.sampled_from(
        [
            CONNECT % "ann",
            CONNECT % "",
            f"x{CONNECT % 'eve'}",
            CONNECT % f"eve_Session_{SESSION}_Operation_{SESSION}",
            f"SparkConnect_Execution_User_bob_Session_{SESSION}_Tag_{CONNECT % 'eve'}",
            "SparkConnect_OperationTag_User_bob_Session_1_Operation_2",
            "tag",
        ]
    )
).map(",".join)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "spark.job.tags": TAGS,
        "fairstow.user": st.sampled_from(["bob", ""]),
        "spark.jobGroup.id": st.sampled_from(["group", ""]),
        "spark.job.description": st.sampled_from(["broadcast exchange (runId group)", "x"]),
        "sql.streaming.queryId": st.just("1"),
        "spark.streaming.internal.batchTime": st.just("2"),
    },
)


@pytest.fixture(scope="module")
def program(java: Callable[[str], Asked]) -> Asked:
    """What answers lines whose words are apart by tabs."""
    return java("Ask")


@pytest.fixture
def ask(program: Asked) -> Asked:
    return lambda line: program(line.replace(" ", "\t"))


@pytest.fixture
def two_cores(ask: Asked) -> Asked:
    ask("new 2")
    return ask


def jobs(ask: Asked) -> dict[str, list[str]]:
    """Return what `explain` says by job: user, virtual finish from now, estimate, served."""
    lines = [line.split("\t") for line in ask("explain").split("|") if line]
    return {job: [user, *numbers] for user, job, *numbers in lines}


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(properties=PROPERTIES)
def test_java_and_the_twin_find_the_same_user(program: Asked, properties: dict[str, str]) -> None:
    told = "\t".join(["user", *(word for pair in properties.items() for word in pair)])
    assert program(told) == attach.user_of(properties, "root")


@pytest.mark.parametrize(
    ("properties", "user"),
    [
        ({"spark.job.tags": f"tag,{CONNECT % 'ann'}", "fairstow.user": "bob"}, "ann"),
        ({"spark.job.tags": f"x{CONNECT % 'ann'}", "fairstow.user": "bob"}, "bob"),
        ({"spark.jobGroup.id": "group"}, "group"),
        (
            {"spark.jobGroup.id": "group", "spark.job.description": "exchange (runId group)"},
            "root",
        ),
        ({}, "root"),
        ({"sql.streaming.queryId": "1", "fairstow.user": "bob"}, attach.STREAMING),
    ],
)
def test_whose_a_stage_is(properties: dict[str, str], user: str) -> None:
    assert attach.user_of(properties, "root") == user


@pytest.mark.parametrize("cores", [0, 4, 32, 1000])
def test_settings_of_a_partitioning(ask: Asked, cores: int) -> None:
    found = ask(f"settings 10 1048576 524288 {cores}").strip("{}").split(", ")
    wanted = attach.partition_settings(10, 1048576, 524288, 0.5, cores)
    assert dict(each.split("=") for each in found) == wanted
    assert ask(f"settings 10 0 0 {cores}") == "{}"


def test_work_is_learned_by_template_then_by_user_then_by_all(two_cores: Asked) -> None:
    ask = two_cores
    ask("stage 1 first ann t")
    assert jobs(ask)["first"][2] == "1.000"
    for seconds in (3, 3):
        ask(f"task 1 {seconds}")
    ask("end first")
    ask("stage 2 again ann t")
    ask("stage 3 other ann u")
    ask("stage 4 hers bob t")
    assert [jobs(ask)[job][2] for job in ("again", "other", "hers")] == ["6.000"] * 3
    ask("task 2 16")
    ask("end again")
    ask("stage 5 third ann t")
    ask("stage 6 fourth ann v")
    # 6 + 0.3 · (16 − 6); the median of 6 and 16.
    assert [jobs(ask)[job][2] for job in ("third", "fourth")] == ["9.000", "11.000"]


def test_a_task_that_outlives_its_job_is_charged(two_cores: Asked) -> None:
    ask = two_cores
    for stage, (job, user) in enumerate([("cancelled", "eve"), ("honest", "bob")]):
        ask(f"stage {stage} {job} {user} t")
        ask(f"end {job}")
    ask("task 0 8")
    ask("stage 2 next eve t")
    ask("stage 3 following bob t")
    after = {job: float(finish) for job, (_, finish, *_) in jobs(ask).items()}
    assert after["next"] - after["following"] == pytest.approx(8, abs=0.01)


def test_a_job_that_is_never_heard_of_again_is_forgotten(two_cores: Asked) -> None:
    ask = two_cores
    ask("stage 1 lost ann t")
    ask("stage 2 here ann t")
    ask("gone 1")
    ask("clock 500")
    ask("ranks")
    assert set(jobs(ask)) == {"lost", "here"}
    ask("clock 700")
    ask("ranks")
    assert set(jobs(ask)) == {"here"}


def test_ranks_are_small_after_a_month(two_cores: Asked) -> None:
    ask = two_cores
    for day in range(31):
        ask(f"clock {day * 86_400}")
        ask(f"stage {day} day{day} ann t")
        ask(f"task {day} 172800")
    ranks = dict(each.split("=") for each in ask("ranks").strip("{}").split(", "))
    assert sorted(map(int, ranks.values())) == list(range(31))
