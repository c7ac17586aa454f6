"""Which waiting applications of one queue are let go now, and where the others stand.

Called by the Spark controller each turn; the order is that of `fair_queueing`. Amounts are in
milli-CPU, work in core-seconds, times in seconds from now.

    capacity  C  cores − reservedCores, and what the cohort lends
    free      F  C − cores of those that run or have been let go − what of those that never end is
                 beyond reservedCores: only their first pods are held to these

1. Applications that never end share reservedCores, first come first served, and don't queue.
2. The others are taken in the order of their virtual finish. One that somebody holds, or whose user
   is at their limit, is passed over and keeps nobody else waiting. The first that lacks cores or
   nodes with room for driver and first executors together is the *head*.
3. Behind the head h, an application c is let go only if it delays h by nothing that counts
   (backfill). With d its longest expected duration, T_h the earliest time by which running ones
   leave h enough cores, and s_h the time until the queue's virtual time reaches h's due:

       d_c ≤ T_h                 it is over by then, or
       first_c ≤ spare at T_h    it takes cores that h leaves, or
       d_c + d_h ≤ s_h           h is done by its due nevertheless.

   h may wait for room though there are cores: nobody knows then when a node's room comes, but not
   before the first of ours ends, so T_h is that and nothing is spare.
   Only so many behind the head are looked at (MOST_LOOKED_AT), those that are due first.
4. Nothing waits longer than maxWait, but for what somebody holds and what exceeds a limit.

Expected starts: all who wait take the free cores in their order, as if every running and earlier
one did its least (earliest start) or its most work (latest start) on its first cores.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import msgspec

from fairstow.api import Reason, SparkQueueSpec
from fairstow.api.fields import duration_milliseconds

MOST_AT_ONCE = 20
"""Applications let go in one turn: the next turn sees what became of them."""
MOST_LOOKED_AT = 200
"""Applications behind the head that may pass it, and those whose predecessors are told."""


class Waiting(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An application that waits.

    Attributes:
        first: what is let go together, in milli-CPU.
        low, high: the work that it may be.
        slack: until its due, at the queue's present pace.
        waited: since it was made.
        obstacle: why it can't be let go whatever is free.
    """

    id: str
    user: str
    first: int
    low: float = 0.0
    high: float = inf
    slack: float = 0.0
    waited: float = 0.0
    lasting: bool = False
    obstacle: Reason | None = None

    @property
    def longest(self) -> float:
        """How long it takes at most, on its first cores."""
        return self.high * 1000 / max(self.first, 1)


class Busy(msgspec.Struct, frozen=True, kw_only=True):
    """An application that has cores or for which they are kept. low, high: work that is left."""

    id: str
    user: str
    milli: int
    low: float = 0.0
    high: float = inf
    lasting: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where an application stands.

    Attributes:
        position: among those that wait, from 1; None for one that doesn't queue.
        starts: the earliest and the latest start; None where nobody knows.
        ahead: how many of which users are before it, the most first.
    """

    id: str
    reason: Reason
    position: int | None = None
    starts: tuple[float, float] | None = None
    ahead: tuple[tuple[str, int], ...] = ()


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do. Attributes: release: whom to let go, in that order, and why."""

    release: tuple[tuple[str, Reason], ...] = ()
    places: tuple[Place, ...] = ()
    free: int = 0
    borrowed: int = 0


@dataclass
class _Turn:
    """What changes while a turn decides. free may be below 0."""

    free: int
    reserved: int
    of_user: Counter[str]
    max_wait: float
    most: int
    most_lasting: int
    most_of_user: float
    looked_at: int = 0
    release: list[tuple[str, Reason]] = field(default_factory=list)
    held: dict[str, Reason] = field(default_factory=dict)


def decide(
    spec: SparkQueueSpec,
    waiting: Sequence[Waiting],
    busy: Sequence[Busy],
    fits: Callable[[str], bool],
    *,
    ever: Callable[[str], bool] = lambda _: True,
    lent: int = 0,
) -> Decision:
    """Decide for one queue.

    Args:
        spec: the queue's.
        waiting: in the order of their virtual finish.
        busy: those that were let go and haven't ended.
        fits: takes room on nodes for an application's first pods; False where there is none.
        ever: whether its pods would fit empty nodes.
        lent: what the cohort lends at most.
    """
    batch = [each for each in busy if not each.lasting]
    capacity = (spec.cores - spec.reserved_cores) * 1000
    used = sum(each.milli for each in batch)
    lasting = sum(each.milli for each in busy if each.lasting)
    own = capacity - used - beyond_reserved(spec, lasting)
    turn = _Turn(
        free=own + min(lent, spec.borrowed_cores * 1000),
        reserved=spec.reserved_cores * 1000 - lasting,
        of_user=Counter(),
        max_wait=duration_milliseconds(spec.max_wait) / 1000,
        most=_most(spec, spec.cores - spec.reserved_cores),
        most_lasting=_most(spec, spec.reserved_cores),
        most_of_user=inf if spec.max_cores_per_user is None else spec.max_cores_per_user * 1000,
    )
    ends = sorted((each.low * 1000 / max(each.milli, 1), each.milli) for each in batch)
    for each in busy:
        turn.of_user[each.user] += each.milli
    head: Waiting | None = None
    for job in waiting:
        reason = _obstacle(spec, job, turn)
        if reason is None:
            reason = _try(job, turn, fits, ever, head, ends)
        if reason in _GOES:
            turn.release.append((job.id, reason))
            _take(turn, job)
            if not job.lasting:
                insort(ends, (job.low * 1000 / max(job.first, 1), job.first))
            continue
        turn.held[job.id] = reason
        stands = reason in (Reason.WAITS_FOR_CORES, Reason.WAITS_FOR_ROOM)
        if head is None and stands and not job.lasting:
            head = job
    going = {job_id for job_id, _ in turn.release}
    begun = [
        Busy(id=job.id, user=job.user, milli=job.first, low=job.low, high=job.high)
        for job in waiting
        if job.id in going and not job.lasting
    ]
    places = _places(waiting, turn.held, [*batch, *begun], turn.free)
    borrowed = max(0, used - capacity)
    return Decision(
        release=tuple(turn.release), places=tuple(places), free=turn.free, borrowed=borrowed
    )


_NEVER = (Reason.EXCEEDS_LIMIT, Reason.NEVER_FITS)
_GOES = (Reason.ITS_TURN, Reason.BACKFILLED, Reason.WAITED_TOO_LONG)


def beyond_reserved(spec: SparkQueueSpec, lasting: int) -> int:
    """Return what applications that never end have of the others' cores, in milli-CPU."""
    return max(0, lasting - spec.reserved_cores * 1000)


def _most(spec: SparkQueueSpec, whole: int) -> int:
    """Return the most milli-CPU that one application may have, of these cores and borrowed ones."""
    most = (spec.max_cores_per_application, spec.max_cores_per_user, whole + spec.borrowed_cores)
    return min(each for each in most if each is not None) * 1000


def _obstacle(spec: SparkQueueSpec, job: Waiting, turn: _Turn) -> Reason | None:
    """Return what keeps a job from being let go whoever else waits."""
    if job.obstacle is not None:
        return job.obstacle
    if job.first > (turn.most_lasting if job.lasting else turn.most):
        return Reason.EXCEEDS_LIMIT
    if spec.hold:
        return Reason.QUEUE_HELD
    if turn.most_of_user < inf and turn.of_user[job.user] + job.first > turn.most_of_user:
        return Reason.USER_AT_LIMIT
    return None


def _try(
    job: Waiting,
    turn: _Turn,
    fits: Callable[[str], bool],
    ever: Callable[[str], bool],
    head: Waiting | None,
    ends: Sequence[tuple[float, int]],
) -> Reason:
    """Say why a job goes now, or why not."""
    if len(turn.release) >= MOST_AT_ONCE:
        return Reason.BEHIND_OTHERS
    if job.waited > turn.max_wait:
        return Reason.WAITED_TOO_LONG
    if job.lasting:
        if job.first > turn.reserved:
            return Reason.RESERVED_TAKEN
        return Reason.ITS_TURN if fits(job.id) else Reason.WAITS_FOR_ROOM
    if head is None:
        if job.first > turn.free:
            return Reason.WAITS_FOR_CORES if ever(job.id) else Reason.NEVER_FITS
        if fits(job.id):
            return Reason.ITS_TURN
        return Reason.WAITS_FOR_ROOM if ever(job.id) else Reason.NEVER_FITS
    turn.looked_at += 1
    if turn.looked_at > MOST_LOOKED_AT or job.first > turn.free:
        return Reason.BEHIND_OTHERS
    passes = _harmless(job, head, turn, ends) and fits(job.id)
    return Reason.BACKFILLED if passes else Reason.BEHIND_OTHERS


def _take(turn: _Turn, job: Waiting) -> None:
    turn.of_user[job.user] += job.first
    if job.lasting:
        turn.reserved -= job.first
    else:
        turn.free -= job.first


def _harmless(job: Waiting, head: Waiting, turn: _Turn, ends: Sequence[tuple[float, int]]) -> bool:
    """Whether a job that starts now leaves the head its place.

    `ends` are of those that run, and of those let go in this turn.
    """
    if job.longest + head.longest <= head.slack:
        return True
    if turn.held.get(head.id) is Reason.WAITS_FOR_ROOM:
        first_end = ends[0][0] if ends else 0.0
        return job.longest <= first_end
    free, begins = turn.free, inf
    for end, milli in ends:
        if free >= head.first:
            break
        free, begins = free + milli, end
    if free < head.first:
        return False
    return job.longest <= begins or job.first <= free - head.first


def _places(
    waiting: Sequence[Waiting], held: dict[str, Reason], batch: Sequence[Busy], free: int
) -> list[Place]:
    queued = [
        job
        for job in waiting
        if not job.lasting and job.obstacle is None and held.get(job.id, _NEVER[0]) not in _NEVER
    ]
    early = _starts(queued, batch, free, high=False)
    late = _starts(queued, batch, free, high=True)
    places, before, position = [], Counter[str](), 0
    for job in waiting:
        job_id = job.id
        queues = job_id in early
        position += queues
        reason = held.get(job_id)
        if reason is None:
            continue
        if not queues:
            places.append(Place(id=job_id, reason=reason))
            continue
        near = len(places) < MOST_LOOKED_AT
        start = early[job_id]
        places.append(
            Place(
                id=job_id,
                reason=reason,
                position=position,
                starts=None if start == inf else (start, late[job_id]),
                ahead=tuple(before.most_common(3)) if near else (),
            )
        )
        if len(places) < MOST_LOOKED_AT:
            before[job.user] += 1
    return places


def _starts(
    queued: Sequence[Waiting], batch: Sequence[Busy], free: int, *, high: bool
) -> dict[str, float]:
    """Return when each starts, if each takes the cores that are free in its turn."""
    ends = [
        ((each.high if high else each.low) * 1000 / max(each.milli, 1), each.milli)
        for each in batch
    ]
    heapq.heapify(ends)
    now, starts = 0.0, dict.fromkeys((job.id for job in queued), inf)
    for job in queued:
        first = job.first
        ended = False  # the first of `ends`, which is replaced then: cheaper than pop and push
        while free < first:
            if ended:
                heapq.heappop(ends)
            if not ends:
                return starts
            (end, milli), ended = ends[0], True
            now, free = max(now, end), free + milli
        starts[job.id] = now
        free -= first
        ends_at = now + (job.high if high else job.low) * 1000 / max(first, 1)
        (heapq.heapreplace if ended else heapq.heappush)(ends, (ends_at, first))
    return starts
