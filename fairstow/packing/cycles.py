"""Pods that must go down together, since their rules keep each other from going first.

Called by the schedule where room alone finds no next move: of two pods that must be apart and are
to change places neither may arrive before the other has left. The scheduler's own rules judge each
arrival in the state of the moment; nothing is changed here, whatever is tried is taken back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fairstow.cluster.model import Node, Pod
from fairstow.cluster.state import State

_TRIES = 200
"""Attempts at leaving pods out of a step, at most."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A running pod that is to move."""

    pod: Pod
    source: Node
    target: Node


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
