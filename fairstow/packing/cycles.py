"""Pods that must go down together, since each waits for another to leave.

Called by the schedule where no pod can move alone: between two full nodes nobody can go first for
want of room (`_closure`), and of two pods that must be apart and are to change places neither may
arrive before the other has left (`few_together`). The scheduler's own rules judge each arrival in
the state of the moment; nothing is changed here, whatever is tried is taken back.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Node, Pod
from fairstow.cluster.state import State
from fairstow.packing.problem import Site
from fairstow.packing.remaining import Overlay, Remaining, Room

_SWAP = 2
"""Pods of the shortest cycle there is."""

_STARTS = 64
"""Departures from which a cycle is looked for, those first that most is waiting for."""

_TRIES = 200
"""Attempts at leaving pods out of a step, at most."""

Pair = tuple[Site, Site]
"""A move: a departure and its slot."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A running pod that is to move."""

    pod: Pod
    source: Node
    target: Node


def cycle(left: Remaining) -> list[Pair]:
    """Return the fewest moves found that can be made together, as they arrive; or none."""
    smallest: list[Pair] | None = None
    for site in itertools.islice(left.departures(), _STARTS):
        closure = _closure(left, site)
        if closure and (smallest is None or len(closure) < len(smallest)):
            smallest = _in_order(left, closure) or smallest
        if smallest and len(smallest) == _SWAP:
            break
    if smallest is None and left.judge:
        every = _all_moves(left)
        smallest = [every[i] for i in few_together(left.judge, _exchanges(left, every))]
    return smallest or []


# For want of room


def _closure(left: Remaining, start: Site) -> list[Pair] | None:
    """Return departures from `start` on that can all arrive once all are down, or None.

    Each one that finds no slot with room takes, on the slot that lacks least, others that
    are to leave that node down with it; they then need slots in turn.
    """
    down, used = Counter[Site]({start: 1}), Counter[Site]()
    room = Overlay(left.room)
    left.take(room, start, -1)
    pairs: list[Pair] = []
    queue = [start]
    while queue:
        site = queue.pop(0)
        open_slots = [s for s in left.slots_of(site[0]) if left.slots[s] > used[s]]
        for slot in sorted(open_slots, key=lambda s: left.shortage(room, s)):
            extra = _make_room(left, room, slot, down)
            if extra is None:
                continue
            for other in extra:
                left.take(room, other, -1)
                down[other] += 1
            queue += extra
            left.take(room, slot, 1)
            used[slot] += 1
            pairs.append((site, slot))
            break
        else:
            return None
    return pairs if left.within_budgets([site for site, _ in pairs]) else None


def _make_room(left: Remaining, room: Room, slot: Site, down: Counter[Site]) -> list[Site] | None:
    """Return departures of a slot's node that make room for it, given what is down already."""
    local: Room = {slot[1]: list(room[slot[1]])}
    extra: list[Site] = []
    leaving = [
        s for s in left.leaving_from(slot[1]) if s != slot for _ in range(left.movers(s) - down[s])
    ]
    while left.shortage(local, slot) > 0:
        if not leaving:
            return None
        extra.append(leaving.pop(0))
        left.take(local, extra[-1], -1)
    return extra


# For the sake of rules


def _in_order(left: Remaining, pairs: list[Pair]) -> list[Pair] | None:
    """Return departures that go down together so that all may arrive in turn, or None."""
    if left.judge is None or not any(site[0] in left.judged for site, _ in pairs):
        return pairs
    order, stuck = arrive_in_turn(left.judge, _exchanges(left, pairs))
    return None if stuck else [pairs[i] for i in order]


def _all_moves(left: Remaining) -> list[Pair]:
    """Return all moves that are left, as many as budgets let go down at once."""
    found: list[Pair] = []
    sites = list(left.departures())
    moving = {site[0]: left.moves(site[0]) for site in sites}
    slots = {i: [s for s in left.slots_of(i) for _ in range(left.slots[s])] for i in moving}
    for site in sites:
        index = site[0]
        for _ in range(left.leaving[site]):
            if not (slots[index] and moving[index]):
                break
            if left.within_budgets([*(s for s, _ in found), site]):
                found.append((site, slots[index].pop()))
                moving[index] -= 1
    return found


def _exchanges(left: Remaining, pairs: list[Pair]) -> list[Exchange]:
    taken = Counter[Site]()
    found = []
    for site, slot in pairs:
        taken[site] += 1
        pod, source = left.running[site][-taken[site]], left.nodes[site[1]]
        found.append(Exchange(pod, source, left.nodes[slot[1]]))
    return found


def arrive_in_turn(state: State, exchanges: Sequence[Exchange]) -> tuple[list[int], list[int]]:
    """Take all pods down, let arrive who may, over and over; return who did in turn, and the rest.

    Indices into `exchanges`; the state is as before afterwards.
    """
    for each in exchanges:
        state.remove(each.pod)
    arrived: list[int] = []
    waiting = list(range(len(exchanges)))
    again = True
    while again:
        again = False
        for index in list(waiting):
            each = exchanges[index]
            if state.refusal(each.pod, each.target) is None:
                state.add(each.pod, each.target)
                arrived.append(index)
                waiting.remove(index)
                again = True
    for index in arrived:
        state.remove(exchanges[index].pod)
    for each in exchanges:
        state.add(each.pod, each.source)
    return arrived, waiting


def few_together(state: State, exchanges: Sequence[Exchange]) -> list[int]:
    """Return some that can go down together and all arrive, in turn; none if there are none.

    From all that are left, those that find no way in are taken out until all do; then as many as
    can be are left out, in halves, quarters, …, one by one.
    """
    chosen = list(range(len(exchanges)))
    while chosen:
        arrived, stuck = _some(state, exchanges, chosen)
        if not stuck:
            chosen = arrived
            break
        chosen = [i for i in chosen if i not in set(stuck)]
    size, tries = len(chosen) // 2, 0
    while size and tries < _TRIES:
        start = 0
        while start < len(chosen) and tries < _TRIES:
            fewer = chosen[:start] + chosen[start + size :]
            arrived, stuck = _some(state, exchanges, fewer)
            tries += 1
            if fewer and not stuck:
                chosen = arrived
                start = 0
            else:
                start += size
        size //= 2
    return chosen


def _some(
    state: State, exchanges: Sequence[Exchange], chosen: list[int]
) -> tuple[list[int], list[int]]:
    arrived, stuck = arrive_in_turn(state, [exchanges[i] for i in chosen])
    return [chosen[i] for i in arrived], [chosen[i] for i in stuck]
