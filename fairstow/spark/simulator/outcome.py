"""What a run comes to: response, slowdown, fairness.

    response   end − submit, seconds
    slowdown   response over what the job would take alone: Σ over stages of
               max(core-s / R, longest task)
    DVR        deadline violation ratio: the mean over jobs of max(0, (end − due) / (due − submit)),
               where due is the job's end under UJF (equal shares for users, and for a user's
               jobs) on the same cores; the mean of those jobs alone that are late is higher
    lateness   end − end in the fluid system capped at one core for a task, in units of the
               longest task of all (L_max); UWFQ stays under 1 in all but rare cases

Called by the command line and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fairstow.spark.fluid import fluid_finishes
from fairstow.spark.policies import POLICIES
from fairstow.spark.simulator.run import Result, Simulation
from fairstow.spark.workload import Work


@dataclass(frozen=True)
class Yardstick:
    """What the ends of a workload's jobs are measured by, whatever the policy.

    Attributes:
        due: ends under UJF.
        fluid: ends under capped fluid sharing.
        longest: seconds of the longest task.
    """

    due: Mapping[str, float]
    fluid: Mapping[str, float]
    longest: float


@dataclass(frozen=True)
class Judged:
    """One job."""

    user: str
    response: float
    slowdown: float
    violation: float
    lateness: float


def yardstick(works: Sequence[Work], cores: int) -> Yardstick:
    """Return what any policy's run of this workload is measured by."""
    fluid = fluid_finishes(works, cores, capped=True)
    return Yardstick(
        due=Simulation(works, cores, POLICIES["ujf"](cores)).run().ends,
        fluid={job: finish.at for job, finish in fluid.items()},
        longest=max((work.longest_task for work in works), default=0.0),
    )


def judged(works: Sequence[Work], cores: int, result: Result, by: Yardstick) -> list[Judged]:
    """Return each job's figures, in the order of the workload."""
    return [_judge(work, cores, result.ends[work.id], by) for work in works]


def _judge(work: Work, cores: int, end: float, by: Yardstick) -> Judged:
    response, due = end - work.submit, by.due[work.id] - work.submit
    alone = sum(max(sum(stage) / cores, max(stage, default=0.0)) for stage in work.stages)
    return Judged(
        user=work.user,
        response=response,
        slowdown=response / alone if alone else 1.0,
        violation=max(0.0, response - due) / due if due else 0.0,
        lateness=(end - by.fluid[work.id]) / by.longest if by.longest else 0.0,
    )


def summary(jobs: Sequence[Judged]) -> dict[str, Any]:
    """Return the figures of all jobs, and under `users` those of each user's."""
    users = sorted({job.user for job in jobs})
    return _figures(jobs) | {
        "users": {user: _figures([job for job in jobs if job.user == user]) for user in users}
    }


def _figures(jobs: Sequence[Judged]) -> dict[str, Any]:
    return {
        "jobs": len(jobs),
        "meanResponse_s": fmean(job.response for job in jobs),
        "meanSlowdown": fmean(job.slowdown for job in jobs),
        "dvr": fmean(job.violation for job in jobs),
        "maxLatenessLmax": max(job.lateness for job in jobs),
    }
