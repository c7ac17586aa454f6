"""Jobs with tasks that wait for a core, in the order of a policy; part of `run`.

Two ways, so that a flood of jobs costs no look at all of them for each task: ranks that change only
when the policy says so are sorted once until then; ranks by load are looked at once for each user
and number of running tasks, since there the first of these to arrive is the least.
"""

from __future__ import annotations

import heapq
from bisect import insort
from dataclasses import dataclass, field

from fairstow.spark.policies import Load, Policy
from fairstow.spark.policies.protocols import Rank
from fairstow.spark.workload import Work


@dataclass(slots=True, eq=False)
class Running:
    """A job that has arrived. Attributes: waiting: tasks of this stage, the next one last."""

    work: Work
    number: int
    waiting: list[float] = field(default_factory=list)
    stage: int = -1
    running: int = 0
    served: float = 0.0

    def begin_stage(self) -> bool:
        """Go on to the next stage that has tasks; False if there is none."""
        while self.stage + 1 < len(self.work.stages):
            self.stage += 1
            self.waiting = list(reversed(self.work.stages[self.stage]))
            if self.waiting:
                return True
        return False


class Ranked:
    """By ranks that change when the policy says so."""

    def __init__(self, policy: Policy, load: Load) -> None:
        self._policy, self._load = policy, load
        self._jobs: list[Running] = []
        self._sorted = True

    def changed(self) -> None:
        """Hear that ranks changed."""
        self._sorted = False

    def add(self, job: Running) -> None:
        """Add a job with tasks that wait."""
        if self._sorted:
            insort(self._jobs, job, key=self._rank)
        else:
            self._jobs.append(job)

    def moved(self, job: Running) -> None:
        """Hear that the number of a job's running tasks, or of those that wait, changed."""
        if not job.waiting and self._jobs and self._jobs[0] is job:
            del self._jobs[0]

    def first(self) -> Running | None:
        """Return the job that is next."""
        if not self._sorted:
            self._jobs.sort(key=self._rank)
            self._sorted = True
        return self._jobs[0] if self._jobs else None

    def _rank(self, job: Running) -> Rank:
        return self._policy.rank(job.work.id, self._load)


class Loaded:
    """By what runs at the moment."""

    def __init__(self, policy: Policy, load: Load) -> None:
        self._policy, self._load = policy, load
        self._jobs: dict[int, Running] = {}
        self._groups: dict[tuple[str, int], list[int]] = {}

    def changed(self) -> None:
        """Hear that ranks changed: they do all the time."""

    def add(self, job: Running) -> None:
        """Add a job with tasks that wait."""
        self.moved(job)

    def moved(self, job: Running) -> None:
        """Hear that the number of a job's running tasks, or of those that wait, changed."""
        if job.waiting:
            self._jobs[job.number] = job
            heapq.heappush(self._groups.setdefault((job.work.user, job.running), []), job.number)
        else:
            self._jobs.pop(job.number, None)

    def first(self) -> Running | None:
        """Return the job that is next."""
        best: tuple[Rank, Running] | None = None
        for key in list(self._groups):
            job = self._head(key)
            if job is not None:
                rank = self._policy.rank(job.work.id, self._load)
                if best is None or rank < best[0]:
                    best = rank, job
        return best[1] if best else None

    def _head(self, key: tuple[str, int]) -> Running | None:
        """Return a group's first; entries that have left it since are dropped."""
        group, (_, running) = self._groups[key], key
        while group:
            job = self._jobs.get(group[0])
            if job is not None and job.running == running:
                return job
            heapq.heappop(group)
        del self._groups[key]
        return None
