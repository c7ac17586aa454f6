"""What a scheduling policy is asked; the modules beside this one are policies.

Called by the simulator, and for UWFQ by what decides in a cluster. A policy hears of arrivals, of
what jobs were served, and of ends, and ranks jobs: the least rank gets the next free core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from fairstow.spark.fair_queueing import Job

Rank = tuple[float, ...]


@dataclass(frozen=True)
class Load:
    """Running tasks now, by job and by user; who has none may be missing."""

    of_job: Mapping[str, int]
    of_user: Mapping[str, int]


class Policy(Protocol):
    """An order of jobs.

    Attributes:
        by_load: whether ranks follow from what runs at the moment of the job and of its user. Of
            one user's jobs with equally many running tasks the first to arrive then has the least
            rank.
    """

    by_load: bool

    def arrive(self, now: float, job: Job, weight: float) -> None:
        """Hear of a job with its estimate, and of its user's weight."""
        ...

    def served(self, now: float, job_id: str, core_s: float) -> bool:
        """Hear what a job got so far in all; answer whether ranks changed."""
        ...

    def finish(self, now: float, job_id: str, core_s: float) -> bool:
        """Hear of a job's end and what it got in all; answer whether ranks changed."""
        ...

    def rank(self, job_id: str, load: Load) -> Rank:
        """Rank a job that waits for cores."""
        ...
