"""The published chain of deadlines, kept as a negative control: tests must tell it from ours.

It chains a user's jobs from the V at which the user's busy period began, over all the work of that
period. Each later job's deadline is then counted from a start long past.
"""

from __future__ import annotations

from fairstow.spark.fair_queueing import Job
from fairstow.spark.policies import Load
from fairstow.spark.policies.virtual_finish import UserWeightedFairQueueing


class BusyPeriodChain(UserWeightedFairQueueing):
    """UWFQ's fluid system with the published virtual finishes."""

    def __init__(self, cores: float) -> None:
        super().__init__(cores)
        self._began: dict[str, float] = {}
        self._chains: dict[str, list[tuple[float, str, float]]] = {}
        self._finish: dict[str, float] = {}

    def arrive(self, now: float, job: Job, weight: float) -> None:
        self.queue.advance(now)
        standing = self.queue.standing(job.user)
        if standing is None or not standing.active:
            self._began[job.user], self._chains[job.user] = self.queue.virtual, []
        super().arrive(now, job, weight)
        (deadline,) = [j["deadline"] for j in self.queue.state()["jobs"] if j["id"] == job.id]
        chain = self._chains[job.user]
        chain.append((deadline, job.id, job.work))
        chain.sort()
        ahead = self._began[job.user]
        for _, name, work in chain:
            ahead += work / weight
            self._finish[name] = ahead

    def rank(self, job_id: str, load: Load) -> tuple[float, ...]:
        return self._finish[job_id], super().rank(job_id, load)[1]
