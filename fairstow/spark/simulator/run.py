"""Tasks on cores: what `simulate spark` and the benchmarks play.

R cores that are alike (of executors that are there for all the time). A job's stages run one after
the other, a stage's tasks side by side; a task holds one core and is never preempted. At any moment
a free core goes to the first waiting task of the job that the policy ranks first, so none idles
while a task waits. The policy is told what jobs got at every end of a task. Not modelled: data
locality, executors that come and go, the driver's delays, and Spark's rounds of offers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass

from fairstow.spark.fair_queueing import Job
from fairstow.spark.policies import Load, Policy
from fairstow.spark.simulator.ready import Loaded, Ranked, Running
from fairstow.spark.workload import Work


@dataclass(frozen=True, slots=True)
class Span:
    """A task on a core."""

    job: str
    start: float
    end: float


@dataclass(frozen=True)
class Result:
    """What happened. Attributes: submits, starts, ends: seconds by job; spans: if asked for."""

    submits: dict[str, float]
    starts: dict[str, float]
    ends: dict[str, float]
    spans: list[Span]


class Simulation:
    """One run."""

    def __init__(
        self, works: Iterable[Work], cores: int, policy: Policy, *, spans: bool = False
    ) -> None:
        self._coming: list[tuple[float, int, Work]] = []
        self._following: dict[str, list[tuple[int, Work]]] = {}
        for number, work in enumerate(works):
            if work.after:
                self._following.setdefault(work.after, []).append((number, work))
            else:
                self._coming.append((work.submit, number, work))
        heapq.heapify(self._coming)
        self._free = cores
        self._policy = policy
        self._keep = spans
        self._tasks: list[tuple[float, int, float, Running]] = []
        self._begun = 0
        self._of_job: dict[str, int] = {}
        self._of_user: dict[str, int] = {}
        load = Load(self._of_job, self._of_user)
        self._ready = Loaded(policy, load) if policy.by_load else Ranked(policy, load)
        self._result = Result({}, {}, {}, [])

    def run(self) -> Result:
        """Play it to its end."""
        while self._tasks or self._coming:
            now = min(heap[0][0] for heap in (self._tasks, self._coming) if heap)
            while self._tasks and self._tasks[0][0] <= now:
                self._end(now)
            while self._coming and self._coming[0][0] <= now:
                self._arrive(now, heapq.heappop(self._coming)[2])
            self._dispatch(now)
        return self._result

    def _arrive(self, now: float, work: Work) -> None:
        self._result.submits[work.id] = now
        self._policy.arrive(now, Job(work.id, work.user, work.core_s * work.declared), work.weight)
        self._ready.changed()
        job = Running(work, len(self._result.submits))
        if job.begin_stage():
            self._ready.add(job)
        else:
            self._over(now, job)

    def _end(self, now: float) -> None:
        _, _, took, job = heapq.heappop(self._tasks)
        self._free += 1
        job.running -= 1
        job.served += took
        self._of_job[job.work.id] -= 1
        self._of_user[job.work.user] -= 1
        if self._policy.served(now, job.work.id, job.served):
            self._ready.changed()
        self._ready.moved(job)
        if not job.waiting and not job.running:
            if job.begin_stage():
                self._ready.add(job)
            else:
                self._over(now, job)

    def _over(self, now: float, job: Running) -> None:
        if self._policy.finish(now, job.work.id, job.served):
            self._ready.changed()
        self._of_job.pop(job.work.id, None)
        self._result.starts.setdefault(job.work.id, now)
        self._result.ends[job.work.id] = now
        for number, work in self._following.pop(job.work.id, ()):
            heapq.heappush(self._coming, (now + work.submit, number, work))

    def _dispatch(self, now: float) -> None:
        while self._free and (job := self._ready.first()) is not None:
            self._start(now, job)
            self._ready.moved(job)

    def _start(self, now: float, job: Running) -> None:
        took, name, user = job.waiting.pop(), job.work.id, job.work.user
        self._free -= 1
        self._begun += 1
        job.running += 1
        self._of_job[name] = self._of_job.get(name, 0) + 1
        self._of_user[user] = self._of_user.get(user, 0) + 1
        self._result.starts.setdefault(name, now)
        heapq.heappush(self._tasks, (now + took, self._begun, took, job))
        if self._keep:
            self._result.spans.append(Span(name, now, now + took))
