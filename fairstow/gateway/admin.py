"""The port beside the clients': health, metrics, the ledger, drains and proposed moves.

Only for this machine or for holders of a token, since it shows every tenant's requests (never what
they say) and moves them. `/healthz` and `/readyz` are open to all. Its bodies are `serving.wire`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from fairstow.gateway import metrics
from fairstow.gateway.app import Gateway
from fairstow.gateway.engines.protocol import Movement
from fairstow.gateway.fleet import Instance
from fairstow.gateway.moving import Mover
from fairstow.serving import model
from fairstow.serving.model import RequestView
from fairstow.serving.wire import (
    Drains,
    InstanceEntry,
    Ledger,
    Load,
    Loads,
    Moves,
    Phase,
    RequestEntry,
    State,
)
from fairstow.web.errors import ApiError
from fairstow.web.exchange import ClientLeftError, Exchange, Receive, Scope, Send
from fairstow.web.guards import Guard

Body = TypeVar("Body", Drains, Moves)

_LONGEST = 4 << 20


class Admin:
    """The application. Args: unready: why clients had better ask another replica, or ""."""

    def __init__(
        self,
        gateway: Gateway,
        mover: Mover,
        guard: Guard,
        name: str,
        pool: str,
        unready: Callable[[], str],
    ) -> None:
        self._gateway = gateway
        self._mover = mover
        self._guard = guard
        self._unready = unready
        self._name = name
        self._pool = pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, receive, send, keep_alive=10.0, longest=_LONGEST)
        try:
            await self._answer(exchange)
        except ApiError as error:
            await exchange.fail(error)
        except ClientLeftError:
            pass
        finally:
            exchange.close()

    async def _answer(self, exchange: Exchange) -> None:
        match exchange.method, exchange.path:
            case "GET", "/healthz":
                await exchange.text(b"ok")
                return
            case "GET", "/readyz":
                trouble = self._unready()
                await exchange.text(trouble.encode() or b"ok", 503 if trouble else 200)
                return
        await self._guard(exchange.header(b"authorization") or "", exchange.path)
        match exchange.method, exchange.path:
            case "GET", "/metrics":
                self._measure()
                await exchange.text(generate_latest(metrics.REGISTRY), kind=CONTENT_TYPE_LATEST)
            case "GET", "/ledger":
                await self._ledger(exchange)
            case "GET", "/loads":
                await exchange.answer(msgspec.json.encode(self.loads()))
            case "POST", "/moves":
                moves = _read(await exchange.body(), Moves)
                await exchange.answer(msgspec.json.encode(self._mover.take(moves)))
            case "PUT", "/drains":
                await self._drains(exchange)
            case _:
                raise ApiError(
                    404, "There are GET /ledger, /loads and /metrics, POST /moves, PUT /drains."
                )

    async def _drains(self, exchange: Exchange) -> None:
        wanted = _read(await exchange.body(), Drains)
        fleet = self._gateway.fleet
        unknown = [name for name in wanted.instances if name not in fleet.instances]
        if unknown:
            raise ApiError(404, f"No engine is called {unknown[0][:100]!r}; see GET /ledger.")
        fleet.drain(wanted.instances)
        self._mover.drain()
        await self._ledger(exchange)

    async def _ledger(self, exchange: Exchange) -> None:
        await exchange.answer(msgspec.json.encode(self.ledger()))

    def ledger(self) -> Ledger:
        """Return all that this gateway knows."""
        gateway = self._gateway
        streams = [
            _request(each.view, each.at, parked=each.at is None, moving=each.handover.destination)
            for each in gateway.streams.values()
        ]
        pinned = [
            _request(view, instance, pinned=why, parked=instance is None)
            for view, why in gateway.pinned.values()
            for instance in [self._of(view)]
        ]
        instances = [
            _instance(each, gateway.pool.pairs.best(each))
            for each in gateway.fleet.instances.values()
        ]
        everything = [*streams, *pinned]
        hops = tuple(gateway.pool.hops.last)
        asking = gateway.asking
        return Ledger(self._name, self._pool, instances, everything, asking=asking, hops=hops)

    def loads(self) -> Loads:
        """Return what this gateway has on each engine, and of each tenant with limits."""
        gateway = self._gateway
        there = gateway.fleet.instances.values()
        loads = [Load(each.name, *each.place.ours()) for each in there]
        return Loads(self._name, loads, gateway.usage.told(gateway.tenants))

    def _of(self, view: RequestView) -> Instance | None:
        for each in self._gateway.fleet.instances.values():
            if view in each.place:
                return each
        return None

    def _measure(self) -> None:
        fleet = self._gateway.fleet
        metrics.PEERS.set(self._gateway.dispatcher.peers)
        metrics.WAITING.set(len(self._gateway.dispatcher) + self._gateway.asking)
        metrics.FAILED_PAIRS.set(self._gateway.pool.pairs.failed)
        states = Counter(each.state for each in fleet.instances.values())
        for state in State:
            metrics.ENGINES.labels(state).set(states[state])
        metrics.RUNNING.clear()
        for each in fleet.instances.values():
            metrics.RUNNING.labels(each.name).set(len(each.place))


def _request(
    view: RequestView,
    at: Instance | None,
    *,
    parked: bool,
    pinned: str = "",
    moving: str = "",
) -> RequestEntry:
    phase = Phase.PARKED if parked else Phase.RUNNING
    if not parked and view.phase is not model.Phase.DECODE:
        phase = Phase.QUEUED
    return RequestEntry(
        id=view.id,
        tenant=view.tenant,
        instance="" if at is None else at.name,
        phase=phase,
        prompt=view.prompt,
        generated=view.generated,
        limit=max(0, view.limit - view.generated),
        priority=view.priority,
        arrived=round(time.monotonic() - view.arrived, 3),
        pinned=pinned,
        moving=moving,
    )


def _instance(each: Instance, movement: Movement | None) -> InstanceEntry:
    facts = each.facts
    return InstanceEntry(
        name=each.name,
        url=each.engine.url,
        state=each.state,
        compatibility=facts.compatibility if facts else "",
        kv_tokens=facts.kv_tokens if facts else 0,
        block=facts.block if facts else 0,
        movement=movement or "",
        moved=each.moved,
        recomputed=each.recomputed,
        problem=each.problem,
    )


def _read(body: bytes, kind: type[Body]) -> Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(400, f"The body can't be used: {error}") from None
