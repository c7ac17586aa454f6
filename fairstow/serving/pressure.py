"""How short a pool of engines is, in one number, for those in front who could ask it for less.

With M the KV tokens of the instances that serve, U those that requests hold, and D those that
waiting requests need, on instances or in the pool's queue,

    pressure = min(1, max(0, (U + D) / M - 1/2))

is 0 up to half of the memory, 1/2 where all of it is taken and requests begin to wait, and 1 once
half of the memory again is waited for. Engines that don't tell their memory are measured in
requests: those that run are all that fit as soon as others wait, and before that nobody knows (0).
Where nothing serves it is 1 if anybody waits.

Called by a gateway for its answers' heads (`WORD`), which the semantic cache's sidecar reads.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

WORD = "x-fairstow-load"
"""The header of a gateway's answers that says it."""


class Busy(msgspec.Struct, frozen=True):
    """An instance that answers.

    Attributes:
        capacity: tokens of KV that fit; 0 where it doesn't tell.
        needed: tokens of KV that are held there or waited for.
        running, waiting: requests, by its own count.
        serves: new requests may go there.
    """

    capacity: int
    needed: int
    running: int
    waiting: int
    serves: bool = True


def pressure(instances: Iterable[Busy], queue: Iterable[int]) -> float:
    """Return it. Args: queue: tokens of each request that waits for an instance."""
    there, waits = tuple(instances), tuple(queue)
    serving = [each for each in there if each.serves]
    if not serving:
        return 1.0 if waits or any(each.waiting for each in there) else 0.0
    if all(each.capacity for each in serving):
        needed = sum(each.needed for each in there) + sum(waits)
        return _of(needed, sum(each.capacity for each in serving))
    running = sum(each.running for each in there)
    waiting = sum(each.waiting for each in there) + len(waits)
    return _of(running + waiting, running) if waiting else 0.0


def _of(needed: int, room: int) -> float:
    return min(1.0, max(0.0, needed / room - 0.5)) if room else 1.0
