"""Jobs with tasks that wait for a core, in the order of a policy; part of `run`.

Two ways, so that a flood of jobs costs no look at all of them for each task: ranks that change only
when the policy says so are sorted once until then; ranks by load are looked at only of users of
whom something began or ended, once for each number of running tasks, since there the first of these
to arrive is the least.
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
    """By what runs at the moment, of a job and of its user."""

    def __init__(self, policy: Policy, load: Load) -> None:
        self._policy, self._load = policy, load
        self._jobs: dict[int, Running] = {}
        self._groups: dict[str, dict[int, list[int]]] = {}
        self._moved: set[str] = set()
        self._looks = 0
        self._looked: dict[str, int] = {}
        self._best: list[tuple[Rank, int, str, Running]] = []

    def changed(self) -> None:
        """Hear that ranks changed: they do all the time."""

    def add(self, job: Running) -> None:
        """Add a job with tasks that wait."""
        self.moved(job)

    def moved(self, job: Running) -> None:
        """Hear that the number of a job's running tasks, or of those that wait, changed."""
        user = job.work.user
        self._moved.add(user)
        if job.waiting:
            self._jobs[job.number] = job
            groups = self._groups.setdefault(user, {})
            heapq.heappush(groups.setdefault(job.running, []), job.number)
        else:
            self._jobs.pop(job.number, None)

    def first(self) -> Running | None:
        """Return the job that is next."""
        for user in self._moved:
            self._look(user)
        self._moved.clear()
        while self._best and self._looked.get(self._best[0][2]) != self._best[0][1]:
            heapq.heappop(self._best)
        return self._best[0][3] if self._best else None

    def _look(self, user: str) -> None:
        """Find a user's first job anew."""
        groups = self._groups.get(user, {})
        heads = [job for running in list(groups) if (job := self._head(groups, running))]
        ranked = [(self._policy.rank(job.work.id, self._load), job.number, job) for job in heads]
        self._looks += 1
        self._looked[user] = self._looks
        if ranked:
            rank, _, job = min(ranked)
            heapq.heappush(self._best, (rank, self._looks, user, job))
        else:
            self._groups.pop(user, None)

    def _head(self, groups: dict[int, list[int]], running: int) -> Running | None:
        """Return a group's first; entries that have left it since are dropped."""
        group = groups[running]
        while group:
            job = self._jobs.get(group[0])
            if job is not None and job.running == running:
                return job
            heapq.heappop(group)
        del groups[running]
        return None
