"""User-weighted fair queueing (UWFQ): in which order the jobs of several users run.

After "Balancing Fairness and Performance in Multi-User Spark Workloads with Dynamic Scheduling"
(arXiv 2510.15485, section 3), with another chain of deadlines and with charge-back. Called by the
admission of Spark applications (`admission`), by the simulator, and as the reference that the
plugin inside Spark is compared with.

The fluid system
    R cores, core-seconds of work, users k with weights w_k. A user is *active* while it has work
    left in the fluid system; W is the sum of the active users' weights. Each active user is served
    at R·w_k/W core-s a second, and each of its n_k active jobs gets an equal part of it:

        dV/dt = R / W                  V    virtual time, in core-s for each unit of weight
        dv_k/dV = w_k / n_k            v_k  core-s that each active job of k got while k was active

    A job of L core-s that arrives has the user deadline Du = v_k + L, and leaves the fluid system
    when v_k reaches it. Between arrivals, departures and changes all of this is linear in V, so
    events are kept as values of V: neither time nor a change of R moves them.

The order of the real system
    A user's jobs are chained in the order of their user deadlines, over what is left of them *now*:

        Dg_i = V + (debt_k + Σ over active j with Du_j ≤ Du_i of (Du_j − v_k)) / w_k

    and the least Dg (virtual finish) runs first. In the fluid system job i leaves when

        V + (debt_k + Σ over Du_j ≤ Du_i of (Du_j − v_k) + (n_k − i)·(Du_i − v_k)) / w_k   ≥   Dg_i

    (i jobs up to it, n_k − i behind it), so to run by Dg is to finish a user's short jobs earlier
    than it could expect, and nobody's later than it could expect, but for tasks that can't be
    preempted. The published chain begins at the start of the user's busy period instead, which
    puts deadlines into the past: others are then late by many times the longest task.

    A chain is made anew when a job of the user arrives, or an estimate or weight of it changes, and
    at no other time: for i of n jobs dDg_i/dt = (R/W)·(1 − i/n) > 0, so making it anew later would
    postpone a user's own short jobs.

Estimates that were wrong
    Work beyond the estimate is *debt*: while a job runs L := max(L, served) and the difference is
    added to debt_k. Debt is paid before the user's jobs get anything (it is a ghost job, chained
    first) and keeps the user active, so it outlives idling; who under-declares by x is early by x
    and pays x before the next job. It holds for those of the user's jobs, too, that have left the
    fluid system but wait in reality, else a flood declared as nothing would be due at once: their
    virtual finish is never before V + debt_k/w_k. A job that finishes with less than its estimate
    gives back what the fluid system hasn't served yet, and no more. A job that has left the fluid
    system and turns out longer comes back with the rest (`revise`) or with its debt (`served`), so
    its virtual finish is never before V.

Idle users
    A user that returns starts at V: no credit for idling. Only a later part of a job that it
    already had, known within 3 s (at half the cores: 3·R/2 core-s of V), goes on from where the
    user left. So a job's stages don't lose their place to the pause between them.

Invariants (tests/spark): V never falls; Dg_i ≤ the V at which i leaves the fluid system, where
estimates are right; served work of users that always wait is in the ratio of their weights within
a job each; a job split in parts finishes its last part no earlier against others.

Cost: a chain is computed when somebody asks for it, as it was when it was made, so many arrivals in
a row cost one: `order` is O(n log n), all else O(log n) and moving one entry of a sorted list.
Nothing reads a clock: `now` is in seconds, and one that goes back is taken to stand still.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from operator import attrgetter
from typing import Any, Final

from fairstow.spark.fluid_user import FluidJob, FluidUser

GRACE_S: Final = 3.0
"""How long a user may be idle between two parts of one job without losing its place."""

_ROUNDING: Final = 1e-9
"""What of a job's work is taken for an error of rounding."""

_KEPT = ("id", "user", "work", "served", "deadline", "finish", "active", "over")
"""What the state has of a job."""


@dataclass(frozen=True, slots=True)
class Job:
    """What arrives. Attributes: work: core-s it is estimated to need."""

    id: str
    user: str
    work: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What a user has in the fluid system. Attributes: backlog: core-s of its jobs, debt aside."""

    weight: float
    active: int
    backlog: float
    debt: float


class FairQueue:
    """The fluid system and the order that follows from it; every method is told the time."""

    def __init__(self, cores: float, now: float = 0.0) -> None:
        self._cores = _number("cores", cores)
        self._now = now
        self._virtual = 0.0
        self._weights = 0.0
        self._active = 0
        self._number = 0
        self._jobs: dict[str, FluidJob] = {}
        self._users: dict[str, FluidUser] = {}
        self._scheduled = 0
        self._departures: list[tuple[float, int, str]] = []

    @property
    def virtual(self) -> float:
        """V, at the time last told."""
        return self._virtual

    @property
    def cores(self) -> float:
        """R."""
        return self._cores

    @property
    def weights(self) -> float:
        """W, the sum of the active users' weights."""
        return self._weights

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._jobs and not self._jobs[job_id].over

    def advance(self, now: float) -> None:
        """Let the fluid system run until `now`."""
        left = now - self._now
        if left <= 0:
            return
        self._now = now
        while self._active and self._cores:
            at, user = self._next_departure()
            needed = max(at - self._virtual, 0.0) * self._weights / self._cores
            if needed > left:
                self._virtual += left * self._cores / self._weights
                return
            left -= needed
            self._virtual = max(self._virtual, at)
            self._depart(user)

    def arrive(self, now: float, job: Job, weight: float = 1.0) -> None:
        """Add a job, whose user now has this weight. Raises ValueError for an id that is there."""
        self.advance(now)
        if job.id in self._jobs:
            raise ValueError(f"job {job.id!r} is queued already")
        work = _number("work", job.work)
        user = self._user(job.user, weight)
        self._activate(user)
        self._number += 1
        added = FluidJob(job.id, job.user, work, user.attained + work, self._number)
        self._jobs[job.id] = added
        user.unfinished += 1
        user.put(added)
        self._chain(user, self._virtual)

    def revise(self, now: float, job_id: str, work: float) -> None:
        """Say anew how much a job needs in all, such as when its next stage is known."""
        self.advance(now)
        job = self._unfinished(job_id)
        user = self._settled(job.user)
        work = max(_number("work", work), job.served)
        if job.active:
            got = job.work - (job.deadline - user.attained)
            user.jobs.remove(job)
            job.deadline = user.attained + max(work - got, 0.0)
            base = self._virtual
        elif work <= job.work:
            return
        else:
            gone = self._virtual - user.left
            graced = not user.active and gone <= GRACE_S * self._cores / 2
            base = user.left if graced else self._virtual
            self._activate(user)
            del user.late[job_id]
            job.active, job.deadline = True, user.attained + work - job.work
        job.work = work
        user.put(job)
        self._chain(user, base)

    def served(self, now: float, job_id: str, core_s: float) -> bool:
        """Say how much a job really got so far, in all; return whether the order changed."""
        self.advance(now)
        job = self._unfinished(job_id)
        job.served = max(job.served, _number("core_s", core_s))
        excess = job.served - job.work
        if excess <= _ROUNDING * job.work:
            return False
        job.work = job.served
        self._indebt(self._users[job.user], excess)
        return True

    def finish(self, now: float, job_id: str, core_s: float) -> bool:
        """Take out a job that ended with so much really served; 0 for one that never ran.

        Returns:
            Whether the order of the others changed.
        """
        changed = self.served(now, job_id, core_s)
        job = self._jobs[job_id]
        user = self._settled(job.user)
        job.over = True
        user.unfinished -= 1
        given_back = min(job.work - job.served, job.deadline - user.attained)
        if job.active and given_back > _ROUNDING * job.work:
            user.give_back(job, given_back, self._virtual)
            self._schedule(user)
            changed = True
        if not job.active:
            del self._jobs[job_id]
            del user.late[job_id]
            self._forget(user)
        return changed

    def charge(self, now: float, user: str, core_s: float, weight: float = 1.0) -> None:
        """Charge a user for what it got past this queue, such as a service that never ends."""
        self.advance(now)
        if _number("core_s", core_s):
            self._indebt(self._user(user, weight), core_s)

    def reweigh(self, now: float, user: str, weight: float) -> None:
        """Change a user's weight; one that is unknown brings its weight when it arrives."""
        self.advance(now)
        _positive(weight)
        if user in self._users:
            known = self._settled(user)
            self._set_weight(known, weight)
            self._chain(known, self._virtual)

    def resize(self, now: float, cores: float) -> None:
        """Change the number of cores; with none the fluid system stands still."""
        self.advance(now)
        self._cores = _number("cores", cores)

    def order(self) -> list[tuple[str, float]]:
        """Return (id, virtual finish) of all jobs that aren't over, the first to run first."""
        for user in self._users.values():
            user.compute()
        jobs = [job for job in self._jobs.values() if not job.over]
        jobs.sort(key=attrgetter("finish"))  # stable: of equals, who arrived first
        return [(job.id, job.finish) for job in jobs]

    def virtual_finish(self, job_id: str) -> float:
        """Return a job's Dg."""
        job = self._jobs[job_id]
        self._users[job.user].compute()
        return job.finish

    def work(self, job_id: str) -> float:
        """Return a job's estimated core-s as it is known now."""
        return self._jobs[job_id].work

    def standing(self, user: str) -> Standing | None:
        """Return what a user has in the fluid system, None for one that is unknown."""
        if user not in self._users:
            return None
        known = self._settled(user)
        backlog = sum(max(job.deadline - known.attained, 0.0) for job in known.jobs)
        return Standing(known.weight, len(known.jobs), backlog, known.debt)

    def users(self) -> list[str]:
        """Return the users that are known: active, or with a job that isn't over."""
        return list(self._users)

    def state(self) -> dict[str, Any]:
        """Return all of it as plain data, for `restored`."""
        for each in self._users.values():
            each.settle(self._virtual)
            each.compute()
        return {
            "now": self._now,
            "virtual": self._virtual,
            "cores": self._cores,
            "users": {
                user.name: {
                    "weight": user.weight,
                    "attained": user.attained,
                    "debt": user.debt,
                    "left": user.left if isfinite(user.left) else None,
                    "active": user.active,
                }
                for user in self._users.values()
            },
            "jobs": [
                {name: getattr(job, name) for name in _KEPT}
                for job in sorted(self._jobs.values(), key=lambda job: job.number)
            ],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> FairQueue:
        """Return the queue that gave this state."""
        queue = cls(state["cores"], state["now"])
        queue._virtual = state["virtual"]
        for name, known in state["users"].items():
            left = float("-inf") if known["left"] is None else known["left"]
            user = FluidUser(
                name, known["weight"], queue._virtual, known["attained"], known["debt"]
            )
            user.left = left
            queue._users[name] = user
            if known["active"]:
                queue._activate(user)
        for number, known in enumerate(state["jobs"], start=1):
            job = FluidJob(number=number, **known)
            queue._number = number
            queue._jobs[job.id] = job
            user = queue._users[job.user]
            user.unfinished += not job.over
            if job.active:
                user.put(job)
            else:
                user.late[job.id] = job
        for user in queue._users.values():
            queue._schedule(user)
        return queue

    def _unfinished(self, job_id: str) -> FluidJob:
        if job_id not in self:
            raise KeyError(job_id)
        return self._jobs[job_id]

    def _user(self, name: str, weight: float) -> FluidUser:
        """Return a user, known or new, with this weight."""
        _positive(weight)
        known = self._users.setdefault(name, FluidUser(name, weight, self._virtual))
        known.settle(self._virtual)
        self._set_weight(known, weight)
        return known

    def _settled(self, name: str) -> FluidUser:
        user = self._users[name]
        user.settle(self._virtual)
        return user

    def _set_weight(self, user: FluidUser, weight: float) -> None:
        if user.active:
            self._weights += weight - user.weight
        user.weight = weight

    def _activate(self, user: FluidUser) -> None:
        if not user.active:
            user.active = True
            self._active += 1
            self._weights = self._weights + user.weight if self._active > 1 else user.weight

    def _indebt(self, user: FluidUser, core_s: float) -> None:
        user.settle(self._virtual)
        self._activate(user)
        user.debt += core_s
        self._chain(user, self._virtual)
        paid = self._virtual + user.debt / user.weight
        for job in user.late.values():
            job.finish = max(job.finish, paid)

    def _chain(self, user: FluidUser, base: float) -> None:
        """Chain the user's active jobs anew from here, and say when the first leaves."""
        user.chain(base)
        self._schedule(user)

    def _schedule(self, user: FluidUser) -> None:
        if not user.active:
            return
        self._scheduled += 1
        user.departure = self._scheduled
        heapq.heappush(self._departures, (user.next_departure(), user.departure, user.name))
        if len(self._departures) > 64 + 4 * len(self._users):
            self._departures = [each for each in self._departures if self._is_next(each)]
            heapq.heapify(self._departures)

    def _is_next(self, departure: tuple[float, int, str]) -> bool:
        _, number, name = departure
        user = self._users.get(name)
        return user is not None and user.active and user.departure == number

    def _next_departure(self) -> tuple[float, FluidUser]:
        while not self._is_next(self._departures[0]):
            heapq.heappop(self._departures)
        at, _, name = self._departures[0]
        return at, self._users[name]

    def _depart(self, user: FluidUser) -> None:
        """Let the jobs go whose user deadline is reached, and the user with its last one."""
        user.settle(self._virtual)
        user.compute()
        for job in user.leaving():
            if job.over:
                del self._jobs[job.id]
            else:
                user.late[job.id] = job
        if user.jobs:
            self._schedule(user)
            return
        user.active, user.left, user.attained = False, self._virtual, 0.0
        self._active -= 1
        self._weights = self._weights - user.weight if self._active else 0.0
        self._forget(user)

    def _forget(self, user: FluidUser) -> None:
        if not user.active and not user.unfinished:
            del self._users[user.name]


def _number(what: str, number: float) -> float:
    if not (isfinite(number) and number >= 0):
        raise ValueError(f"{what} is {number}; it has to be a number of at least 0")
    return float(number)


def _positive(weight: float) -> None:
    if not (isfinite(weight) and weight > 0):
        raise ValueError(f"weight is {weight}; it has to be a number over 0")
