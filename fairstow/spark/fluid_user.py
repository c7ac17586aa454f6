"""One user of the fluid system: its jobs, what they got, and their chain.

Part of `fair_queueing`, where the letters and formulas are explained, and called by nothing else.
All times are values of V.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class FluidJob:
    """A job that isn't over, or isn't drained.

    Attributes:
        deadline: Du, the user's attained work at which it leaves the fluid system.
        finish: Dg, by the last chain that was computed.
        active: whether it is in the fluid system.
        over: whether it has really finished.
    """

    id: str
    user: str
    work: float
    deadline: float
    number: int
    served: float = 0.0
    finish: float = 0.0
    active: bool = True
    over: bool = False


@dataclass(slots=True, eq=False)
class FluidUser:
    """A user.

    Attributes:
        seen: the V to which attained (v_k) and debt are brought.
        left: the V at which it was last active.
        jobs: active ones, in the order of their user deadlines.
        late: those that left the fluid system and aren't over.
        chained: where its chain began, and its debt and attained then; None once it is computed.
        departure: the number of its next departure in the heap.
    """

    name: str
    weight: float
    seen: float
    attained: float = 0.0
    debt: float = 0.0
    left: float = float("-inf")
    active: bool = False
    jobs: list[FluidJob] = field(default_factory=list)
    late: dict[str, FluidJob] = field(default_factory=dict)
    chained: tuple[float, float, float] | None = None
    unfinished: int = 0
    departure: int = 0

    def settle(self, virtual: float) -> None:
        """Bring debt and attained work to V."""
        service = (virtual - self.seen) * self.weight
        self.seen = virtual
        if self.active and service > 0:
            paid = min(self.debt, service)
            self.debt -= paid
            if self.jobs:
                # Rounding mustn't carry it past a departure, which is an event of its own.
                reached = self.attained + (service - paid) / len(self.jobs)
                self.attained = min(reached, self.jobs[0].deadline)

    def put(self, job: FluidJob) -> None:
        """Add an active job; the chain has to be made anew."""
        insort(self.jobs, job, key=_by_deadline)

    def chain(self, base: float) -> None:
        """Chain the active jobs anew from there."""
        self.chained = base, self.debt, self.attained

    def compute(self) -> None:
        """Give the jobs of the last chain their virtual finish."""
        if self.chained is None:
            return
        base, ahead, attained = self.chained
        self.chained = None
        weight = self.weight
        for job in self.jobs:
            ahead += job.deadline - attained
            job.finish = base + ahead / weight

    def give_back(self, job: FluidJob, core_s: float, base: float) -> None:
        """Shorten a job that is over; it puts off nobody's virtual finish."""
        self.compute()
        self.jobs.remove(job)
        job.deadline -= core_s
        self.put(job)
        before = [each.finish for each in self.jobs]
        self.chain(base)
        self.compute()
        for each, finish in zip(self.jobs, before, strict=True):
            each.finish = min(each.finish, finish)

    def next_departure(self) -> float:
        """Return the V at which a job leaves, or the last debt is paid."""
        first = (self.jobs[0].deadline - self.attained) * len(self.jobs) if self.jobs else 0.0
        return self.seen + (self.debt + max(first, 0.0)) / self.weight

    def leaving(self) -> list[FluidJob]:
        """Take out the jobs that leave at the departure that is due."""
        self.debt = 0.0
        if self.jobs:
            self.attained = self.jobs[0].deadline
        count = 0
        while count < len(self.jobs) and self.jobs[count].deadline <= self.attained:
            self.jobs[count].active = False
            count += 1
        gone, self.jobs = self.jobs[:count], self.jobs[count:]
        return gone


def _by_deadline(job: FluidJob) -> tuple[float, int]:
    return job.deadline, job.number
