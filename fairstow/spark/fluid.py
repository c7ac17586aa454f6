"""Exact fluid sharing: when each job would finish if cores could be divided at will.

The oracle that the order of `fair_queueing` is tested against, and the yardstick of fairness in
the simulator (UJF, the ideal that every user gets its share of and its jobs equal parts of that).
Written without the queue's incremental bookkeeping: rates are computed anew at every event, for all
jobs at once; `tests/spark/plain_fluid.py` does it job by job.

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
is never slower than the staged one. O(events · active jobs), in arrays.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from fairstow.spark.workload import Work

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Finish:
    """When a job leaves. Attributes: at: seconds; virtual: V (∫ R/W dt; only where uncapped)."""

    at: float
    virtual: float


@dataclass
class _Users:
    """Those with jobs being served: arrays by the user's number."""

    weight: Floats
    jobs: Floats
    unfinished: Floats
    capped: bool

    def shares(self, cores: float) -> Floats:
        """Divide the cores by weight, to no user more than it has unfinished tasks if capped."""
        shares: Floats = np.zeros(len(self.weight))
        served = np.flatnonzero(self.jobs)
        caps = self.unfinished[served] if self.capped else np.full(len(served), inf)
        shares[served] = filled(cores, self.weight[served], caps)
        return shares


class _Active:
    """The jobs being served: arrays by place, those that came first first.

    job, user: numbers; level: s that each task got; target: of its next task to end; unfinished.
    """

    def __init__(self, users: _Users) -> None:
        self.users = users
        self.job = np.zeros(0, dtype=np.intp)
        self.user = np.zeros(0, dtype=np.intp)
        self.level: Floats = np.zeros(0)
        self.target: Floats = np.zeros(0)
        self.unfinished: Floats = np.zeros(0)
        self._tasks: dict[int, list[float]] = {}

    def add(self, came: Sequence[tuple[int, int, list[float]]]) -> None:
        """Add jobs: number, user's number, tasks (ascending, all over 0)."""
        numbers, users = [job for job, _, _ in came], [user for _, user, _ in came]
        lengths = [float(len(tasks)) for _, _, tasks in came]
        self.job = np.append(self.job, np.array(numbers, dtype=np.intp))
        self.user = np.append(self.user, np.array(users, dtype=np.intp))
        self.level = np.append(self.level, np.zeros(len(came)))
        self.target = np.append(self.target, [tasks[0] for _, _, tasks in came])
        self.unfinished = np.append(self.unfinished, lengths)
        np.add.at(self.users.jobs, users, 1.0)
        np.add.at(self.users.unfinished, users, lengths)
        self._tasks.update((job, tasks) for job, _, tasks in came)

    def rates(self, cores: float) -> Floats:
        """Return the cores that each job gets."""
        shares = self.users.shares(cores)
        equal = shares / np.maximum(self.users.jobs, 1.0)
        rates: Floats = equal[self.user]
        if self.users.capped:
            # A cap is one core at least: it binds no user with more jobs than cores.
            for user in np.flatnonzero(equal > 1.0):
                own = np.flatnonzero(self.user == user)
                rates[own] = filled(float(shares[user]), np.ones(len(own)), self.unfinished[own])
        return rates

    def serve(self, rates: Floats, ends: Floats, step: float) -> list[int]:
        """Serve them for so many seconds; return the jobs that end."""
        self.level += rates / self.unfinished * step
        places = np.flatnonzero(ends <= step)
        self.level[places] = self.target[places]
        over = [int(place) for place in places if self._end_tasks(int(place))]
        gone = [int(job) for job in self.job[over]]
        if over:
            for name in ("job", "user", "level", "target", "unfinished"):
                setattr(self, name, np.delete(getattr(self, name), over))
        return gone

    def _end_tasks(self, place: int) -> bool:
        """End a job's tasks that got all; return whether none is left."""
        number, user, level = int(self.job[place]), self.user[place], self.level[place]
        tasks = self._tasks[number]
        done = bisect_right(tasks, level, len(tasks) - int(self.unfinished[place]))
        left = len(tasks) - done
        self.users.unfinished[user] -= self.unfinished[place] - left
        self.unfinished[place] = left
        if left:
            self.target[place] = tasks[done]
            return False
        self.users.jobs[user] -= 1.0
        del self._tasks[number]
        return True


def fluid_finishes(works: Iterable[Work], cores: float, *, capped: bool) -> dict[str, Finish]:
    """Return when each job would finish, by its id."""
    coming = sorted(works, key=lambda work: work.submit)
    names = {work.user: work.weight for work in coming}
    numbers = {name: number for number, name in enumerate(names)}
    none = np.zeros(len(names))
    active = _Active(_Users(np.array(list(names.values())), none, none.copy(), capped))
    finishes: dict[str, Finish] = {}
    now, virtual, at = 0.0, 0.0, 0
    while len(active.job) or at < len(coming):
        weights = float(active.users.weight[active.users.jobs > 0].sum())
        rates = active.rates(cores)
        with np.errstate(divide="ignore"):
            ends = (active.target - active.level) * active.unfinished / rates
        arrival = coming[at].submit if at < len(coming) else inf
        step = min(float(ends.min(initial=inf)), arrival - now)
        over = active.serve(rates, ends, step)
        now += step
        if weights:
            virtual += step * cores / weights
        for job in over:
            finishes[coming[job].id] = Finish(now, virtual)
        came = []
        while at < len(coming) and coming[at].submit <= now:
            tasks = sorted(task for stage in coming[at].stages for task in stage if task > 0)
            if tasks:
                came.append((at, numbers[coming[at].user], tasks))
            else:
                finishes[coming[at].id] = Finish(now, virtual)
            at += 1
        if came:
            active.add(came)
    return finishes


def filled(amount: float, weights: Floats, caps: Floats) -> Floats:
    """Divide an amount by weight, none above its cap (weighted max-min)."""
    shares: Floats = np.zeros(len(weights))
    free = np.ones(len(weights), dtype=bool)
    while free.any():
        each = amount / float(weights[free].sum())
        full = free & (caps < each * weights)
        if not full.any():
            shares[free] = weights[free] * each
            break
        # Others get more then, so that who is full now stays so.
        shares[full] = caps[full]
        amount -= float(caps[full].sum())
        free &= ~full
    return shares
