"""Fluid sharing job by job, as `fairstow.spark.fluid` defines it: slow, and plain to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from fairstow.spark.fluid import Finish
from fairstow.spark.workload import Work


@dataclass
class _Fluid:
    """A job being served. Attributes: tasks: ascending; done: of them; level: s each task got."""

    work: Work
    tasks: list[float]
    level: float = 0.0
    done: int = 0
    rate: float = 0.0

    @property
    def unfinished(self) -> int:
        return len(self.tasks) - self.done

    def next_end(self) -> float:
        """Seconds until its next task ends, at its rate."""
        if not self.rate:
            return inf
        return (self.tasks[self.done] - self.level) * self.unfinished / self.rate


def fluid_finishes(works: Iterable[Work], cores: float, *, capped: bool) -> dict[str, Finish]:
    """Return when each job would finish, by its id."""
    coming = sorted(works, key=lambda work: work.submit)
    active: list[_Fluid] = []
    finishes: dict[str, Finish] = {}
    now, virtual, at = 0.0, 0.0, 0
    while active or at < len(coming):
        weights = sum({job.work.user: job.work.weight for job in active}.values())
        _set_rates(active, cores, capped=capped)
        arrival = coming[at].submit if at < len(coming) else inf
        step = min([job.next_end() for job in active] + [arrival - now])
        for job in active:
            ends = job.next_end()
            job.level += job.rate / job.unfinished * step
            if ends <= step:
                job.level = job.tasks[job.done]
                while job.done < len(job.tasks) and job.tasks[job.done] <= job.level:
                    job.done += 1
        now += step
        if weights:
            virtual += step * cores / weights
        for job in active:
            if not job.unfinished:
                finishes[job.work.id] = Finish(now, virtual)
        active = [job for job in active if job.unfinished]
        while at < len(coming) and coming[at].submit <= now:
            tasks = sorted(task for stage in coming[at].stages for task in stage if task > 0)
            if tasks:
                active.append(_Fluid(coming[at], tasks))
            else:
                finishes[coming[at].id] = Finish(now, virtual)
            at += 1
    return finishes


def _set_rates(active: Sequence[_Fluid], cores: float, *, capped: bool) -> None:
    users: dict[str, list[_Fluid]] = {}
    for job in active:
        users.setdefault(job.work.user, []).append(job)
    most = {user: _most(jobs, capped=capped) for user, jobs in users.items()}
    weights = [jobs[0].work.weight for jobs in users.values()]
    shares = filled(cores, weights, list(most.values()))
    for jobs, share in zip(users.values(), shares, strict=True):
        caps = [float(job.unfinished) if capped else inf for job in jobs]
        for job, rate in zip(jobs, filled(share, [1.0] * len(jobs), caps), strict=True):
            job.rate = rate


def _most(jobs: Sequence[_Fluid], *, capped: bool) -> float:
    return float(sum(job.unfinished for job in jobs)) if capped else inf


def filled(amount: float, weights: Sequence[float], caps: Sequence[float]) -> list[float]:
    """Divide an amount by weight, none above its cap (weighted max-min)."""
    shares = [0.0] * len(weights)
    left, weight = amount, sum(weights)
    for index in sorted(range(len(weights)), key=lambda i: caps[i] / weights[i]):
        shares[index] = min(caps[index], left * weights[index] / weight) if weight > 0 else 0.0
        left -= shares[index]
        weight -= weights[index]
    return shares
