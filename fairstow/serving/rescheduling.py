"""Which running requests of a pool with several gateways move, and whom that is proposed to.

Called by the serving controller, under its Lease, twice a second. The policy's rescheduler is the
one that a gateway that is alone asks about its own requests; here it sees the sum of all ledgers.
Drains are the gateways' own matter: each hands over what is its own, with or without a controller.
"""

from __future__ import annotations

from collections.abc import Mapping

from fairstow.api import ServingPoolSpec
from fairstow.serving.merged import merged
from fairstow.serving.model import State
from fairstow.serving.policies import Settings, policy
from fairstow.serving.wire import Ledger, Move, Moves


def settings(spec: ServingPoolSpec) -> Settings:
    """Return what a pool says of how its requests move."""
    limits = spec.rescheduling
    return Settings(
        below=limits.below_steps, above=limits.above_steps, moves=limits.max_moves_per_instance
    )


def proposals(
    spec: ServingPoolSpec, ledgers: Mapping[str, Ledger | None], now: float
) -> dict[str, Moves]:
    """Return what is proposed to each gateway, which may be nothing; by their names.

    None of them is told anything where they don't need anybody, since there is one, they aren't
    to move requests or the policy moves none; or where one doesn't answer: nobody knows the whole
    then, and after some seconds each decides by what it knows.
    """
    known = {name: each for name, each in ledgers.items() if each is not None}
    rescheduler = policy(spec.dispatch, settings(spec)).rescheduler
    if len(known) < 2 or len(known) < len(ledgers) or rescheduler is None:
        return {}
    if not spec.rescheduling.enabled:
        return {}
    view = merged(known.values(), now)
    view.instances = [each for each in view.instances if each.state is State.READY]
    owners = {each.id: name for name, ledger in known.items() for each in ledger.requests}
    found: dict[str, list[Move]] = {name: [] for name in known}
    if len(view.instances) > 1 and all(each.capacity for each in view.instances):
        for each in rescheduler.migrations(view):
            move = Move(each.request, each.source, each.destination, each.reason)
            found[owners[each.request]].append(move)
    return {name: Moves(moves, leads=True) for name, moves in found.items()}
