"""Fair queueing in the plugin's Java and in the twin's one file, against the reference, by number.

Covered: every call, on random traces of users, weights, wrong estimates, debt, idling and cores;
the twin's syntax for the oldest Python that it is for; its settings for partitioning.
What the reference itself promises is tests/spark's; that Spark obeys the order, e2e/spark's.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairstow.spark import attach, partitioning
from fairstow.spark.fair_queueing import FairQueue, Job

Asked = Callable[[str], str]
USERS = ("ann", "bob", "eve")
WORK = st.sampled_from([0.0, 0.5, 1.0, 3.0, 8.0]) | st.floats(0, 50)
WEIGHT = st.sampled_from([1.0, 2.0, 0.5]) | st.floats(0.1, 10)
FACTOR = st.sampled_from([0.0, 0.25, 1.0, 4.0]) | st.floats(0, 4)


Answer = tuple[float, dict[str, float]]


def of_java(ask: Asked, call: str, *arguments: Any) -> Answer:
    virtual, *order = ask(" ".join(map(str, (call, *arguments)))).split()
    return float(virtual), {
        job: float(finish) for job, finish in (each.split("=") for each in order)
    }


class Twin:
    """The twin's queue, called as Java's is."""

    CALLS: ClassVar = {"served": "serve", "finish": "end"}

    def __call__(self, call: str, *arguments: Any) -> Answer:
        if call == "new":
            now, cores = arguments
            self.queue = attach.Queue(cores, now)
        else:
            getattr(self.queue, self.CALLS.get(call, call))(*arguments)
        return self.queue.virtual, dict(self.queue.order())


class Both:
    """The same calls to both; each answer is held against the reference."""

    def __init__(self, other: Callable[..., Answer], cores: float) -> None:
        self.other = other
        self.reference = FairQueue(cores)
        self.now = 0.0
        self.jobs: dict[str, float] = {}
        self.number = 0
        self.tell("new", cores)

    def tell(self, call: str, *arguments: Any) -> None:
        virtual, found = self.other(call, self.now, *arguments)
        assert virtual == pytest.approx(self.reference.virtual, rel=1e-9, abs=1e-9)
        wanted = dict(self.reference.order())
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
        assert list(found) == list(wanted)

    def step(self, data: st.DataObject, *, charge: bool) -> None:
        self.now += data.draw(st.sampled_from([0.0, 0.1, 1.0, 5.0]) | st.floats(0, 20))
        calls = ["arrive", "arrive", "advance", "reweigh", "resize"] + ["charge"] * charge
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


@pytest.fixture(scope="module")
def play(java: Callable[[str], Asked]) -> Asked:
    return java("Play")


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=200)
@given(data=st.data())
def test_java_decides_as_the_reference(play: Asked, data: st.DataObject) -> None:
    both = Both(functools.partial(of_java, play), data.draw(st.integers(1, 8)))
    for _ in range(data.draw(st.integers(1, 30))):
        both.step(data, charge=True)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_the_twin_decides_as_the_reference(data: st.DataObject) -> None:
    both = Both(Twin(), data.draw(st.integers(1, 8)))
    for _ in range(data.draw(st.integers(1, 30))):
        both.step(data, charge=False)


def test_the_twin_is_for_old_pythons_and_needs_nothing() -> None:
    text = Path(attach.__file__).read_text()
    tree = ast.parse(text, feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in imports
        for alias in node.names
    }
    assert {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) == {"pyspark"}


@given(
    work=WORK,
    scanned=st.integers(0, 2**40),
    shuffled=st.integers(0, 2**40),
    cores=st.integers(0, 1000),
    target=st.sampled_from([0.5, 0.5, 0.05, 3.0, 0.0, -1.0]),
)
def test_the_twin_partitions_as_the_reference(
    work: float, scanned: int, shuffled: int, cores: int, target: float
) -> None:
    found = attach.partition_settings(work, scanned, shuffled, target, cores)
    assert found == partitioning.session_settings(work, scanned, shuffled, target, cores)
