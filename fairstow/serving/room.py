"""How many instances of a pool could go now, and the others still have memory for all requests.

Told in ServingPool's status; packing reads it to know what moving an engine costs. With M the KV
tokens of each instance that serves and U those that all requests hold,

    spare = the most k such that U ≤ 0.9 · (the sum of the n − k smallest M),   k < n

since requests go on growing wherever they are: a tenth is left to that. While a request is parked
because no instance has room, none is spare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from fairstow.serving.wire import Ledger, Phase, State

_FILLED = 0.9


def spare_instances(ledgers: Iterable[Ledger], leaving: Collection[str]) -> int | None:
    """Return the number; None where an instance doesn't say how much memory it has.

    Those that are leaving, drained or terminating, aren't counted, whatever gateways know of it.
    """
    there = tuple(ledgers)
    memory = {
        entry.name: entry.kv_tokens
        for ledger in there
        for entry in ledger.instances
        if entry.state is State.SERVING and entry.name not in leaving
    }
    if not all(memory.values()):
        return None
    requests = [request for ledger in there for request in ledger.requests]
    if any(request.phase is Phase.PARKED for request in requests):
        return 0
    held = sum(request.prompt + request.generated for request in requests)
    room, spare = sorted(memory.values()), 0
    while len(room) > 1 and held <= _FILLED * sum(room[:-1]):
        room.pop()
        spare += 1
    return spare
