"""The plugin's fair queueing in Java, number by number against the reference in Python.

Covered: every call, on random traces of users, weights, wrong estimates, debt, idling and cores.
What the reference itself promises is tests/spark's; that Spark obeys the order, e2e/spark's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.spark.fair_queueing import FairQueue, Job
from tools import spark_plugin

QUEUE = spark_plugin.SOURCES / "dev" / "fairstow" / "spark" / "FairQueue.java"
USERS = ("ann", "bob", "eve")
WORK = st.sampled_from([0.0, 0.5, 1.0, 3.0, 8.0]) | st.floats(0, 50)
WEIGHT = st.sampled_from([1.0, 2.0, 0.5]) | st.floats(0.1, 10)
FACTOR = st.sampled_from([0.0, 0.25, 1.0, 4.0]) | st.floats(0, 4)


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    try:
        home = spark_plugin.jdk()
    except spark_plugin.NoJdkError as error:
        pytest.skip(str(error))
    classes = tmp_path_factory.mktemp("classes")
    play = Path(__file__).with_name("Play.java")
    spark_plugin.compile_java([QUEUE, play], str(classes), classes)
    program = [str(home / "bin" / "java"), "-cp", str(classes), "dev.fairstow.spark.Play"]
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()


class Both:
    """The same calls to both; each answer of Java's is held against the reference."""

    def __init__(self, java: subprocess.Popen[str], cores: float) -> None:
        self.java = java
        self.reference = FairQueue(cores)
        self.now = 0.0
        self.jobs: dict[str, float] = {}
        self.number = 0
        self.tell("new", cores)

    def tell(self, call: str, *arguments: object) -> None:
        assert self.java.stdin is not None
        assert self.java.stdout is not None
        self.java.stdin.write(" ".join(map(str, (call, self.now, *arguments))) + "\n")
        self.java.stdin.flush()
        virtual, *order = self.java.stdout.readline().split()
        assert float(virtual) == pytest.approx(self.reference.virtual, rel=1e-9, abs=1e-9)
        found = {job: float(finish) for job, finish in (each.split("=") for each in order)}
        wanted = dict(self.reference.order())
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
        assert list(found) == list(wanted)

    def step(self, data: st.DataObject) -> None:
        self.now += data.draw(st.sampled_from([0.0, 0.1, 1.0, 5.0]) | st.floats(0, 20))
        calls = ["arrive", "arrive", "advance", "charge", "reweigh", "resize"]
        call = data.draw(st.sampled_from(calls + ["served", "finish", "revise"] * 2))
        getattr(self, call if self.jobs or call in calls else "arrive")(data)

    def arrive(self, data: st.DataObject) -> None:
        self.number += 1
        job = Job(f"j{self.number}", data.draw(st.sampled_from(USERS)), data.draw(WORK))
        weight = data.draw(WEIGHT)
        self.reference.arrive(self.now, job, weight)
        self.jobs[job.id] = 0.0
        self.tell("arrive", job.id, job.user, job.work, weight)

    def advance(self, _: st.DataObject) -> None:
        self.reference.advance(self.now)
        self.tell("advance")

    def charge(self, data: st.DataObject) -> None:
        user, work, weight = data.draw(st.sampled_from(USERS)), data.draw(WORK), data.draw(WEIGHT)
        self.reference.charge(self.now, user, work, weight)
        self.tell("charge", user, work, weight)

    def reweigh(self, data: st.DataObject) -> None:
        user, weight = data.draw(st.sampled_from(USERS)), data.draw(WEIGHT)
        self.reference.reweigh(self.now, user, weight)
        self.tell("reweigh", user, weight)

    def resize(self, data: st.DataObject) -> None:
        cores = data.draw(st.integers(0, 8))
        self.reference.resize(self.now, cores)
        self.tell("resize", cores)

    def served(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.jobs)))
        self.jobs[job] = self.reference.work(job) * data.draw(FACTOR)
        self.reference.served(self.now, job, self.jobs[job])
        self.tell("served", job, self.jobs[job])

    def finish(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(list(self.jobs)))
        work = self.reference.work(job) * data.draw(FACTOR)
        self.reference.finish(self.now, job, work)
        del self.jobs[job]
        self.tell("finish", job, work)

    def revise(self, data: st.DataObject) -> None:
        job, work = data.draw(st.sampled_from(list(self.jobs))), data.draw(WORK)
        self.reference.revise(self.now, job, work)
        self.tell("revise", job, work)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=200)
@given(data=st.data())
def test_java_decides_as_the_reference(java: subprocess.Popen[str], data: st.DataObject) -> None:
    both = Both(java, data.draw(st.integers(1, 8)))
    for _ in range(data.draw(st.integers(1, 30))):
        both.step(data)
