"""Orders that no scheduler could have, to see what is left to gain in mean response time.

    shortest remaining   the job with the least work left, which nobody has to guess; no fairness
    in time              knows when capped fluid sharing will end each job: of the jobs whose rest
                         could go first without making another present one later than L_max after
                         that, the one with the least work left, else who is due first

Called by `play`. Neither is optimal for tasks on many cores; both are better informed than any
policy of the product can be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from fairstow.spark.fair_queueing import Job
from fairstow.spark.fluid import fluid_finishes
from fairstow.spark.policies import Load, Policy
from fairstow.spark.workload import Work


class ShortestRemaining:
    """The least work left goes first."""

    by_load = False

    def __init__(self) -> None:
        self._work: dict[str, float] = {}
        self._left: dict[str, float] = {}

    def arrive(self, now: float, job: Job, weight: float) -> None:
        """Hear of a job."""
        del weight
        self._work[job.id] = job.work
        self.served(now, job.id, 0.0)

    def served(self, now: float, job_id: str, core_s: float) -> bool:
        """Hear what a job got."""
        del now
        self._left[job_id] = max(self._work[job_id] - core_s, 0.0)
        return True

    def finish(self, now: float, job_id: str, core_s: float) -> bool:
        """Hear of an end."""
        del now, core_s
        del self._left[job_id]
        return True

    def rank(self, job_id: str, load: Load) -> tuple[float, ...]:
        """Rank by what is left."""
        del load
        return (self._left[job_id],)


class InTime(ShortestRemaining):
    """The least work left goes first where that makes nobody late."""

    def __init__(self, cores: int, due: Mapping[str, float]) -> None:
        super().__init__()
        self._cores, self._due = cores, due
        self._places: dict[str, int] = {}

    def served(self, now: float, job_id: str, core_s: float) -> bool:
        """Order the jobs that are there anew."""
        super().served(now, job_id, core_s)
        self._order(now)
        return True

    def rank(self, job_id: str, load: Load) -> tuple[float, ...]:
        """Rank by that order."""
        del load
        return (self._places[job_id],)

    def _order(self, now: float) -> None:
        by_due = sorted(self._left, key=lambda job: self._due[job])
        demand, slack, first = 0.0, inf, []
        for job in by_due:
            if self._left[job] <= slack:
                first.append(job)
            demand += self._left[job]
            slack = min(slack, self._cores * (self._due[job] - now) - demand)
        first.sort(key=lambda job: self._left[job])
        chosen = set(first)
        order = first + [job for job in by_due if job not in chosen]
        self._places = {job: place for place, job in enumerate(order)}


def references(works: Sequence[Work], cores: int) -> dict[str, Policy]:
    """Return these policies by name for a workload."""
    fluid = fluid_finishes(works, cores, capped=True)
    # A task that begins when its job is due ends up to a longest task later, as it may.
    due = {job: finish.at for job, finish in fluid.items()}
    return {"shortest remaining": ShortestRemaining(), "in time": InTime(cores, due)}
