"""A pool as all of its gateways together see it, for whoever decides for the pool as a whole.

Called by the serving controller (scaling, rescheduling), which reads the gateways' ledgers. What a
gateway's own count (`gateway.ledger`) follows token by token is here counted anew from a list of
requests: those that speak hold their memory; the others are let in by their age while they fit, as
an engine does, and the rest wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fairstow.serving.model import InstanceView, Phase, PoolView, RequestView
from fairstow.serving.model import State as ViewState
from fairstow.serving.wire import InstanceEntry, Ledger, RequestEntry, State
from fairstow.serving.wire import Phase as WirePhase


def merged(ledgers: Iterable[Ledger], now: float) -> PoolView:
    """Return a pool's view; instances that answer nobody are left out, their requests wait.

    An instance drains if any gateway says so: the others haven't been told yet. Its capacity is 0
    where no gateway knows it.
    """
    there = tuple(ledgers)
    views = {name: _view(entries) for name, entries in _entries(there).items()}
    found = [(each, _request(each, now)) for ledger in there for each in ledger.requests]
    found.sort(key=lambda pair: pair[1].arrived)
    placed: dict[str, list[RequestView]] = {name: [] for name in views}
    waiting = []
    for entry, request in found:
        if entry.instance in views:
            request.compatibility = views[entry.instance].compatibility
            placed[entry.instance].append(request)
            _move(entry, request, views)
        else:
            waiting.append(request)
    for name, view in views.items():
        _count(view, placed[name])
    waiting.sort(key=lambda each: (each.priority, each.arrived))
    asking = sum(ledger.asking for ledger in there)
    waiting += [RequestView("", prompt=1, limit=0, arrived=now) for _ in range(asking)]
    return PoolView(list(views.values()), now=now, waiting=waiting)


def _entries(ledgers: Iterable[Ledger]) -> dict[str, list[InstanceEntry]]:
    """Return what is said of each instance that answers somebody."""
    found: dict[str, list[InstanceEntry]] = {}
    for ledger in ledgers:
        for entry in ledger.instances:
            if entry.state in (State.SERVING, State.DRAINING):
                found.setdefault(entry.name, []).append(entry)
    return found


def _view(entries: list[InstanceEntry]) -> InstanceView:
    best = max(entries, key=lambda each: each.kv_tokens)
    drains = any(each.state is State.DRAINING for each in entries)
    return InstanceView(
        best.name,
        best.kv_tokens,
        requests=tuple,
        block=best.block or 16,
        compatibility=best.compatibility,
        state=ViewState.DRAINING if drains else ViewState.READY,
    )


def _request(entry: RequestEntry, now: float) -> RequestView:
    return RequestView(
        id=entry.id,
        prompt=entry.prompt,
        limit=entry.generated + entry.limit,
        arrived=now - entry.arrived,
        priority=entry.priority,
        phase=Phase.DECODE if entry.phase is WirePhase.RUNNING else Phase.QUEUED,
        generated=entry.generated,
        tenant=entry.tenant,
        movable=not entry.pinned,
        moving=bool(entry.moving),
    )


def _move(entry: RequestEntry, request: RequestView, views: Mapping[str, InstanceView]) -> None:
    """Count a move under way at both ends: its tokens are on their way to the destination."""
    destination = views.get(entry.moving)
    if destination is not None:
        views[entry.instance].leaving += 1
        destination.arriving += 1
        destination.used += destination.size(request.length + 1)


def _count(view: InstanceView, requests: list[RequestView]) -> None:
    speaking = [each for each in requests if each.phase is Phase.DECODE]
    others = [each for each in requests if each.phase is not Phase.DECODE]
    for each in speaking:
        view.used += view.size(each.length + 1)
    view.batch = len(speaking)
    for each in others:
        size = view.size(each.length + 1)
        if not view.queued and view.used + size <= view.capacity:
            each.phase = Phase.PREFILL
            view.used += size
            view.batch += 1
        else:
            view.head = view.head or size
            view.demand += size
            view.queued += 1
    view.priorities = {each.priority for each in requests}
    view.requests = lambda: requests
