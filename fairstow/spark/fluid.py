"""Exact fluid sharing: when each job would finish if cores could be divided at will.

The oracle that the order of `fair_queueing` is tested against, and the yardstick of fairness in
the simulator (UJF, the ideal that every user gets its share of and its jobs equal parts of that).
Written without the queue's incremental bookkeeping: rates are computed anew at every event.

    uncapped   user k is served at R·w_k/W, each of its n_k jobs at an equal part of that
    capped     besides, no job is served faster than one core for each of its unfinished tasks;
               what a job can't use goes to the user's others, and what a user can't use to others
               by weight (max-min, filled from the most capped up)

How late UWFQ on cores can be (tests/spark/test_simulator.py)
    Jobs of one stage, exact estimates, constant weights and cores. t(D) is the moment at which V
    reaches D, L_max the longest task of all, p_i that of job i, and O the work that jobs had got
    when a later, shorter job of their own user put them off. Then job i ends by

        t(Dg_i) + L_max + (1 − 1/R)·p_i + O/R   ≤   uncapped fluid finish + (2 − 1/R)·L_max + O/R

    Sketch: let s be when i's last task begins, D = Dg_i, and t0 ≤ s the last moment at which a core
    idled or a task with Dg > D began. No task with Dg ≤ D waited then, so what begins in (t0, s] is
    of jobs that came at t0 or later: work H. All cores are busy until s, at first with the rest of
    what ran at t0, of at most R·L_max; so R·(s − t0) ≤ R·L_max + H − p_i. A user's jobs with Dg ≤ D
    are by the chain's making no more than w·(D − V) beyond what the fluid system had served of them
    when it was made, so it serves them all by t(D); only what was served of jobs whose Dg passed D
    since comes on top. So H ≤ R·(t(D) − t0) + O, and i ends by s + p_i.

    Where each user submits what it has at once, O = 0: this bound is the promise. Where users go
    on submitting, O is bounded by nothing but their work: each ever shorter job is due before what
    its user got early is paid (a test has 84 L_max). And no bound is L_max alone, though against
    capped sharing it holds for all but a few of 10,000 jobs: a long task that came while others had
    just begun waits for one of them and then runs alone.

A job's tasks are served alike, so its shortest end first. Stages are taken as one: the fluid job
is never slower than the staged one. O(events · active jobs).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

from fairstow.spark.workload import Work


@dataclass(frozen=True)
class Finish:
    """When a job leaves. Attributes: at: seconds; virtual: V (∫ R/W dt; only where uncapped)."""

    at: float
    virtual: float


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
