"""What a run comes to: response, slowdown, fairness.

    response   end − submit, seconds
    slowdown   response over what the job would take alone: Σ over stages of
               max(core-s / R, longest task)
    DVR        deadline violation ratio: how much longer than under UJF (equal shares for users,
               and for a user's jobs) its response is, over its response there; the mean over the
               jobs for which it is longer, 0 if there are none
    lateness   end − end in the fluid system capped at one core for a task, in units of the
               longest task of all (L_max); UWFQ stays under 1 in all but rare cases

Called by the command line and the benchmarks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from fairstow.spark.fluid import fluid_finishes
from fairstow.spark.policies import POLICIES
from fairstow.spark.simulator.run import Result, Simulation
from fairstow.spark.workload import Work

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """One job."""

    user: str
    response: float
    slowdown: float
    violation: float
    lateness: float


def responses_under_ujf(works: Sequence[Work], cores: int) -> dict[str, float]:
    """Return by what the responses of any policy's run of this workload are measured."""
    result = Simulation(works, cores, POLICIES["ujf"](cores)).run()
    return {work.id: result.ends[work.id] - result.submits[work.id] for work in works}


def judged(
    works: Sequence[Work], cores: int, result: Result, under_ujf: Mapping[str, float]
) -> list[Judged]:
    """Return each job's figures, in the order of the workload."""
    came = [replace(work, submit=result.submits[work.id]) for work in works]
    fluid = fluid_finishes(came, cores, capped=True)
    longest = max((work.longest_task for work in works), default=0.0)
    found = []
    for work in came:
        end = result.ends[work.id]
        response, due = end - work.submit, under_ujf[work.id]
        alone = sum(max(sum(stage) / cores, max(stage, default=0.0)) for stage in work.stages)
        found.append(
            Judged(
                user=work.user,
                response=response,
                slowdown=response / alone if alone else 1.0,
                violation=max(0.0, response - due) / due if due else 0.0,
                lateness=(end - fluid[work.id].at) / longest if longest else 0.0,
            )
        )
    return found


def summary(jobs: Sequence[Judged]) -> dict[str, Any]:
    """Return the figures of all jobs, and under `users` those of each user's."""
    of_user: dict[str, list[Judged]] = {}
    for job in jobs:
        of_user.setdefault(job.user, []).append(job)
    users = {user: _figures(theirs) for user, theirs in sorted(of_user.items())}
    return _figures(jobs) | {"users": users}


def _figures(jobs: Sequence[Judged]) -> dict[str, Any]:
    late = [job.violation for job in jobs if job.violation > _ROUNDING]
    return {
        "jobs": len(jobs),
        "meanResponse_s": fmean(job.response for job in jobs),
        "meanSlowdown": fmean(job.slowdown for job in jobs),
        "dvr": fmean(late) if late else 0.0,
        "maxLatenessLmax": max(job.lateness for job in jobs),
    }
