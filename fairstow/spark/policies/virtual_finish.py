"""Policies that rank jobs by virtual finish: UWFQ, and CFQ, which knows no users.

CFQ ("Cluster Fair Queueing", INFOCOM 2017) is the same queue with every job a user of its own and
of weight 1: Dg = V + L.
"""

from __future__ import annotations

from fairstow.spark.fair_queueing import FairQueue, Job
from fairstow.spark.policies.protocols import Load, Rank


class UserWeightedFairQueueing:
    """UWFQ as `fair_queueing` has it."""

    by_load = False

    def __init__(self, cores: float) -> None:
        self.queue = FairQueue(cores)
        self._numbers: dict[str, int] = {}

    def arrive(self, now: float, job: Job, weight: float) -> None:
        """Queue a job."""
        self.queue.arrive(now, job, weight)
        self._numbers[job.id] = len(self._numbers)

    def served(self, now: float, job_id: str, core_s: float) -> bool:
        """Charge a job."""
        return self.queue.served(now, job_id, core_s)

    def finish(self, now: float, job_id: str, core_s: float) -> bool:
        """Take a job out."""
        return self.queue.finish(now, job_id, core_s)

    def rank(self, job_id: str, load: Load) -> Rank:
        """Rank by virtual finish."""
        del load
        return self.queue.virtual_finish(job_id), self._numbers[job_id]


class ClusterFairQueueing(UserWeightedFairQueueing):
    """CFQ: jobs share alike, whoever they belong to."""

    def arrive(self, now: float, job: Job, weight: float) -> None:
        """Queue a job as a user of its own."""
        del weight
        super().arrive(now, Job(job.id, job.id, job.work), 1.0)
