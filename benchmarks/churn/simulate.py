"""One day under one arm: a discrete-event simulation.

Pods arrive, run and end. Whoever finds no room waits; when room comes back somewhere, those that
wait are tried, highest priority and oldest first, as the scheduler's queue does. The scheduler's
own time and its back-off (seconds) are left out. An arm with a packer gives it a turn once a minute
while pods wait, and what it decides is done at once: a moved pod starts again on its new node,
and is there so much longer as it then takes to be useful again.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.churn.cluster import Scheduler, pod_object

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.churn.day import Arrival
    from benchmarks.churn.packer import Packer
    from fairstow.cluster.model import Pod
    from fairstow.packing.model import Decision

RESTART = 120.0
"""Seconds that a moved pod needs until it is as useful as before: image, model, warm-up."""
TURN = 60.0
HOUR = 3600.0


@dataclass
class Tally:
    """What is measured, in hours, from `since` on.

    Attributes:
        gpu_hours: of GPUs held by pods, restarts of moved ones left out.
        pod_hours: of waiting pods, by how many GPUs they ask for.
        ran: numbers of the pods that ran at some time.
    """

    since: float
    gpu_hours: float = 0.0
    pod_hours: dict[int, float] = field(default_factory=dict)
    moves: int = 0
    plans: int = 0
    ran: set[int] = field(default_factory=set)

    def held(self, arrival: Arrival, begin: float, end: float) -> None:
        """Count a pod that ran for a while."""
        if end > self.since:
            self.ran.add(arrival.number)
            self.gpu_hours += arrival.ask.gpus * self._hours(begin, end)

    def waited(self, arrival: Arrival, begin: float, end: float) -> None:
        """Count a pod that waited for a while."""
        gpus = arrival.ask.gpus
        self.pod_hours[gpus] = self.pod_hours.get(gpus, 0.0) + self._hours(begin, end)

    def _hours(self, begin: float, end: float) -> float:
        return max(0.0, end - max(begin, self.since)) / HOUR


@dataclass
class _Job:
    """A pod that is there. Attributes: since: when it began to wait or run; ends: None waiting."""

    arrival: Arrival
    name: str
    since: float
    ends: float | None = None
    starts: int = 0


class Day:
    """A run of one arm.

    Args:
        since: from when on is measured; before it the cluster gets into its stride.
    """

    def __init__(self, scheduler: Scheduler, packer: Packer | None, since: float) -> None:
        self.tally = Tally(since)
        self._scheduler = scheduler
        self._packer = packer
        self._jobs: dict[int, _Job] = {}
        self._waiting: list[tuple[tuple[int, float, int], Pod]] = []
        self._ending: list[tuple[float, int]] = []

    def play(self, arrivals: Sequence[Arrival], until: float) -> Tally:
        """Play the day and return what was measured."""
        turn = TURN
        for arrival in arrivals:
            turn = self._pass(min(arrival.at, until), turn)
            self._arrive(arrival)
        self._pass(until, turn)
        for job in self._jobs.values():
            self._count(job, until)
        return self.tally

    def _pass(self, until: float, turn: float) -> float:
        """Let time pass: pods end, and the packer has its turns."""
        while True:
            ends = self._ending[0][0] if self._ending else until
            if min(ends, turn) >= until:
                return turn
            if ends <= turn:
                self._end(*heapq.heappop(self._ending))
            else:
                self._pack(turn)
                turn += TURN

    def _arrive(self, arrival: Arrival) -> None:
        name = f"pod-{arrival.number}"
        self._jobs[arrival.number] = _Job(arrival, name, arrival.at)
        self._scheduler.put(pod_object(arrival, name, arrival.at))
        pod = self._pod(name)
        if node := self._scheduler.choose(pod, arrival.at):
            self._start(arrival.number, node, arrival.at)
        else:
            rank = (-arrival.ask.priority, arrival.at, arrival.number)
            self._waiting.append((rank, pod))
            self._waiting.sort(key=lambda each: each[0])

    def _pod(self, name: str) -> Pod:
        pod = self._scheduler.live.pod_named(f"day/{name}")
        assert pod is not None
        return pod

    def _start(self, number: int, node: str, now: float) -> None:
        """Bind a waiting pod."""
        job = self._jobs[number]
        self._count(job, now)
        job.since, job.ends = now, now + job.arrival.life
        self._scheduler.put(pod_object(job.arrival, job.name, now, node))
        heapq.heappush(self._ending, (job.ends, number))

    def _end(self, at: float, number: int) -> None:
        job = self._jobs.get(number)
        if job is None or job.ends != at:
            return  # it was moved meanwhile, and ends later
        node = self._pod(job.name).node
        self._count(job, at)
        del self._jobs[number]
        self._scheduler.gone(job.name)
        self._fill([node], at)

    def _fill(self, nodes: Sequence[str], now: float) -> None:
        """Try those that wait; only these nodes have more room than when they were tried last."""
        scheduler, still = self._scheduler, []
        for rank, pod in self._waiting:
            if any(scheduler.fits(pod, node) for node in nodes):
                self._start(rank[2], scheduler.choose(pod, now), now)
            else:
                still.append((rank, pod))
        self._waiting = still

    def _pack(self, now: float) -> None:
        if self._packer is None or not self._waiting:
            return
        decision = self._packer.turn(now, [pod for _, pod in self._waiting])
        if decision is not None:
            self._carry_out(decision, now)

    def _carry_out(self, decision: Decision, now: float) -> None:
        """Move pods and place those that this is for."""
        live = self._scheduler.live
        for move in decision.moves:
            self._scheduler.gone(move.pod.name)
        for move in decision.moves:
            number = _number(move.pod)
            job = self._jobs[number]
            assert job.ends is not None
            self._count(job, now)
            job.starts += 1
            job.name = f"pod-{number}.{job.starts}"
            # Until it is of use again it holds its GPUs for nothing, so that isn't counted.
            job.since, job.ends = now + RESTART, job.ends + RESTART
            self._scheduler.put(pod_object(job.arrival, job.name, now, move.target))
            heapq.heappush(self._ending, (job.ends, number))
        for placement in decision.placements:
            self._start(_number(placement.pod), placement.node, now)
        placed = {_number(placement.pod) for placement in decision.placements}
        self._waiting = [each for each in self._waiting if each[0][2] not in placed]
        for node in live.nodes:
            assert min((live.free(node) or {}).values()) >= 0, node
        if now >= self.tally.since:
            self.tally.moves += len(decision.moves)
            self.tally.plans += 1
        self._fill(sorted({move.source for move in decision.moves}), now)

    def _count(self, job: _Job, now: float) -> None:
        count = self.tally.waited if job.ends is None else self.tally.held
        count(job.arrival, job.since, now)


def _number(pod: Pod) -> int:
    assert pod.owner is not None
    return int(pod.owner.name.removeprefix("w-"))
