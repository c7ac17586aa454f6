"""What UWFQ is compared with: FIFO, Spark's FAIR by job and by user, due dates.

    FIFO   order of arrival
    Fair   fewest running tasks first (Spark's FAIR with a pool for each job)
    UJF    fewest running tasks of the user for its weight, then of the job (a pool for each user);
           what published work calls user-job fairness, and the yardstick of its violations
    EDD    earliest due date: arrival + L·W/(R·w), what the user's share would take if it had
           nothing else, W the weights of users with unfinished jobs at the arrival

Ties go to who arrived first. Spark's FAIR breaks them by the pool's name instead, so with fewer
free cores than pools the last name starves; that isn't copied here.
"""

from __future__ import annotations

from collections import Counter

from fairstow.spark.fair_queueing import Job
from fairstow.spark.policies.protocols import Load, Rank


class _Remembering:
    """Jobs that aren't over: their number, and their user's weight."""

    by_load = False

    def __init__(self) -> None:
        self._arrived = 0
        self._jobs: dict[str, tuple[int, Job]] = {}
        self._weights: dict[str, float] = {}

    def arrive(self, now: float, job: Job, weight: float) -> None:
        del now
        self._arrived += 1
        self._jobs[job.id] = self._arrived, job
        self._weights[job.user] = weight

    def served(self, now: float, job_id: str, core_s: float) -> bool:
        del now, job_id, core_s
        return False

    def finish(self, now: float, job_id: str, core_s: float) -> bool:
        del now, core_s
        del self._jobs[job_id]
        return False


class Fifo(_Remembering):
    """Order of arrival."""

    def rank(self, job_id: str, load: Load) -> Rank:
        """Rank by arrival."""
        del load
        return (self._jobs[job_id][0],)


class Fair(_Remembering):
    """Equal numbers of running tasks for all jobs."""

    by_load = True

    def rank(self, job_id: str, load: Load) -> Rank:
        """Rank by running tasks."""
        return load.of_job.get(job_id, 0), self._jobs[job_id][0]


class UserJobFair(_Remembering):
    """Running tasks by users' weights, equal for a user's jobs."""

    by_load = True

    def rank(self, job_id: str, load: Load) -> Rank:
        """Rank by the user's running tasks, then by the job's."""
        number, job = self._jobs[job_id]
        of_user = load.of_user.get(job.user, 0) / self._weights[job.user]
        return of_user, load.of_job.get(job_id, 0), number


class DueDate(_Remembering):
    """Earliest due date."""

    def __init__(self, cores: float) -> None:
        super().__init__()
        self._cores = cores
        self._due: dict[str, float] = {}
        self._of_user: Counter[str] = Counter()
        self._active = 0.0

    def arrive(self, now: float, job: Job, weight: float) -> None:
        """Fix the job's due date."""
        before = self._weights.get(job.user, weight) if self._of_user[job.user] else 0.0
        super().arrive(now, job, weight)
        self._of_user[job.user] += 1
        self._active += weight - before
        self._due[job.id] = now + job.work * self._active / (self._cores * weight)

    def finish(self, now: float, job_id: str, core_s: float) -> bool:
        """Forget the job, and its user's weight with the last one."""
        user = self._jobs[job_id][1].user
        self._of_user[user] -= 1
        if not self._of_user[user]:
            self._active -= self._weights[user]
        return super().finish(now, job_id, core_s)

    def rank(self, job_id: str, load: Load) -> Rank:
        """Rank by due date."""
        del load
        return self._due[job_id], self._jobs[job_id][0]
