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

Where those who stay stand is `line`'s to say.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import msgspec

from fairstow.api import Reason, SparkQueueSpec
from fairstow.api.fields import duration_milliseconds
from fairstow.spark.line import Busy, Line, Waiting

MOST_AT_ONCE = 20
"""Applications let go in one turn: the next turn sees what became of them."""
MOST_LOOKED_AT = 200
"""Applications behind the head that may pass it."""


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do.

    Attributes:
        release: whom to let go, in that order, and why.
        line: those who stay.
    """

    release: tuple[tuple[str, Reason], ...] = ()
    line: Line = msgspec.field(default_factory=Line)
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
    begun: list[Busy] = field(default_factory=list)
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
    _go_through(spec, waiting, turn, fits, ever, ends)
    return Decision(
        release=tuple(turn.release),
        line=Line(waiting, turn.held, (*batch, *turn.begun), turn.free),
        free=turn.free,
        borrowed=max(0, used - capacity),
    )


_GOES = (Reason.ITS_TURN, Reason.BACKFILLED, Reason.WAITED_TOO_LONG)


def _go_through(
    spec: SparkQueueSpec,
    waiting: Sequence[Waiting],
    turn: _Turn,
    fits: Callable[[str], bool],
    ever: Callable[[str], bool],
    ends: list[tuple[float, int]],
) -> None:
    """Look at each in its order."""
    head: Waiting | None = None
    unlimited = not spec.hold and turn.most_of_user == inf
    held, most, max_wait = turn.held, turn.most, turn.max_wait
    full = False  # nobody else gets cores now, but who has waited too long or never ends
    for job in waiting:
        plain = job.obstacle is None and not job.lasting and job.waited <= max_wait
        if full and plain and job.first <= most:
            held[job.id] = Reason.BEHIND_OTHERS  # what _try says, of thousands
            continue
        reason = _obstacle(spec, job, turn)
        if reason is None:
            reason = _try(job, turn, fits, ever, head, ends)
        if reason in _GOES:
            _take(turn, job, reason, ends)
        else:
            held[job.id] = reason
            stands = reason in (Reason.WAITS_FOR_CORES, Reason.WAITS_FOR_ROOM)
            if head is None and stands and not job.lasting:
                head = job
        full = unlimited and (turn.looked_at > MOST_LOOKED_AT or len(turn.release) >= MOST_AT_ONCE)


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


def _take(turn: _Turn, job: Waiting, reason: Reason, ends: list[tuple[float, int]]) -> None:
    turn.release.append((job.id, reason))
    turn.of_user[job.user] += job.first
    if job.lasting:
        turn.reserved -= job.first
        return
    turn.free -= job.first
    turn.begun.append(Busy(id=job.id, user=job.user, milli=job.first, low=job.low, high=job.high))
    insort(ends, (job.low * 1000 / max(job.first, 1), job.first))


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
