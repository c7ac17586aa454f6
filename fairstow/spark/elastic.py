"""Executors beyond an application's first: who gets more, and who gives back what was borrowed.

Called by the Spark controller each turn. Amounts in milli-CPU. Queues of one cohort each have a
share of their own, o_q, use u_q, and lend each other what they don't use. With n_q what the next
application of a queue needs that waits though it fits the queue's own share, and l what executors
hold that are ending already,

    missing = Σ n_q − Σ (o_q − u_q) − l

has to come back from queues that use more than they own (`give_back`): from the queue that
borrowed most, its newest executor first. Never taken are drivers, executors of applications that
never end, and those that an application began with (its least). Only so many end at once.
A queue may end below its own share by less than one executor, since those can't be divided.

Executors that wait (`let_go`): one that its application needs to have its least goes at once. The
others share what is free, but only while no application waits for cores: of the users, the one
with the fewest cores per weight is next.

Invariants (property tests): nobody falls below their least; a queue that owes nothing gives
nothing; what is let go fits what is free; with nothing missing nothing is stopped.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

MOST_ENDING = 10
"""Executors of a cohort that end at once: Spark moves their shuffle data to those that stay."""


class Executor(msgspec.Struct, frozen=True, kw_only=True):
    """An executor of a running application. Attributes: since: seconds since 1970."""

    uid: str
    app: str
    user: str
    milli: int
    since: int = 0


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A queue of a cohort.

    Attributes:
        own: its share, `used` what its applications have of it and beyond.
        needs: of its next application, if that waits and fits the own share; else 0.
        losable: executors beyond each application's first.
        ending: cores of executors that end already, `ends` how many these are.
    """

    queue: str
    own: int
    used: int
    needs: int = 0
    losable: tuple[Executor, ...] = ()
    ending: int = 0
    ends: int = 0


def losable(executors: Iterable[Executor], least: int) -> tuple[Executor, ...]:
    """Return the executors of one application that it can lose, all but its oldest."""
    oldest_first = sorted(executors, key=lambda each: (each.since, each.uid))
    return tuple(oldest_first[least:])


def give_back(cohort: Sequence[Share]) -> tuple[Executor, ...]:
    """Return which executors are to end now, so that lenders have their own again."""
    idle = sum(each.own - each.used for each in cohort)
    missing = sum(each.needs for each in cohort) - idle - sum(each.ending for each in cohort)
    if not any(each.needs for each in cohort):
        return ()
    owed = [(each.own + each.ending - each.used, each.queue, each) for each in cohort]
    heapq.heapify(owed)
    newest = {
        each.queue: sorted(each.losable, key=lambda one: (one.since, one.uid)) for each in cohort
    }
    left = MOST_ENDING - sum(each.ends for each in cohort)
    found: list[Executor] = []
    while owed and missing > 0 and len(found) < left:
        over, name, share = heapq.heappop(owed)
        if over >= 0:
            break
        if not newest[name]:
            continue
        one = newest[name].pop()
        found.append(one)
        missing -= one.milli
        heapq.heappush(owed, (over + one.milli, name, share))
    return tuple(found)


def let_go(
    held: Sequence[Executor],
    lacks: Mapping[str, int],
    free: int,
    has: Mapping[str, int],
    weights: Mapping[str, int],
) -> tuple[Executor, ...]:
    """Return which of the executors that wait may go.

    Args:
        held: those that wait.
        lacks: by application, how many executors it is below its least.
        free: cores that nobody is to have first.
        has: cores of users.
        weights: of users.
    """
    going: list[Executor] = []
    rest: dict[str, list[Executor]] = {}
    below = Counter(lacks)
    for each in sorted(held, key=lambda one: (one.since, one.uid)):
        if below[each.app] > 0:
            below[each.app] -= 1
            going.append(each)
        else:
            rest.setdefault(each.user, []).append(each)
    users = [(has.get(user, 0) / weights.get(user, 1), user) for user in rest]
    heapq.heapify(users)
    while users:
        share, user = heapq.heappop(users)
        one = rest[user].pop(0)
        if one.milli > free:
            continue  # the user's others are like it
        free -= one.milli
        going.append(one)
        if rest[user]:
            heapq.heappush(users, (share + one.milli / weights.get(user, 1), user))
    return tuple(going)
