"""The gateway as a running program: its ports, its loops, its orderly end.

Called by `__main__`. One event loop does everything, so that a decision reads a ledger which nobody
changes meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import structlog

from fairstow.gateway import tenants, tracing
from fairstow.gateway.admin import Admin
from fairstow.gateway.app import Gateway, Limits
from fairstow.gateway.dispatching import MOST_WAITING, Dispatcher
from fairstow.gateway.engines.protocol import Engine
from fairstow.gateway.engines.vocabulary import Vocabulary
from fairstow.gateway.fleet import Fleet
from fairstow.gateway.following import Followed, Following
from fairstow.gateway.hops import Hops
from fairstow.gateway.moving import Mover
from fairstow.gateway.orphans import Orphans
from fairstow.gateway.pairs import Pairs
from fairstow.gateway.streams import Pool
from fairstow.gateway.tenants import Tenants
from fairstow.kube.aio.api import Api
from fairstow.kube.aio.tasks import cancelled, first, running
from fairstow.kube.connections import bounded
from fairstow.kube.flags import Address
from fairstow.kube.loop_server import LoopServer
from fairstow.kube.tls import self_signed
from fairstow.serving.policies.protocols import Policy
from fairstow.web.errors import ApiError
from fairstow.web.guards import Guard, local_guard, scraped, token_guard
from fairstow.web.port import LISTEN_BACKLOG, listen, port

MOST_CONNECTIONS = 64
"""On the admin port; the clients' has its own bound."""
_LAST_SECONDS = 2.0
"""After the grace, for errors to reach clients."""

log = structlog.get_logger(__name__)

MakeEngine = Callable[[aiohttp.ClientSession], Engine]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line says.

    Attributes:
        tenants: their file; None lets everybody in, on a loopback port.
        admin_token: what the admin port asks for; None where only this machine reaches it.
        secret: keeps tenants' prefixes apart in engines; the same for all replicas of a pool.
        policy: how requests are spread. reschedule: whether it moves them, too.
        grace: seconds for running requests at the end.
        linger: seconds before, in which requests are taken though it isn't ready any more.
        followed: the ServingPool that says engines, tenants and policy; None: they are given here.
        vocabulary: of that pool's engines.
        otlp: where traces are sent, None for nowhere; of which `trace_ratio` are kept.
    """

    listen: Address
    admin: Address
    engines: Sequence[MakeEngine]
    tenants: Path | None
    admin_token: str | None
    metrics_token: str | None = None
    secret: bytes
    policy: Policy
    reschedule: bool
    most_waiting: int = MOST_WAITING
    limits: Limits
    grace: float
    linger: float = 0.0
    replicas: int
    name: str
    pool: str
    followed: Followed | None = None
    vocabulary: Vocabulary | None = None
    otlp: str | None = None
    trace_ratio: float = 1.0


class Ports(NamedTuple):
    """Where a running gateway listens."""

    clients: int
    admin: int


def _nobody(_ports: Ports) -> None:
    """Tell nobody."""


async def serve(
    settings: Settings, stopped: asyncio.Event, listening: Callable[[Ports], None] = _nobody
) -> None:
    """Run until told to stop, then end in order.

    Raises:
        InputError: the tenants' file can't be used.
        OSError: a port can't be had.
    """
    async with (
        _api(settings) as api,
        gateway_of(settings, api) as (app, mover, following),
        contextlib.AsyncExitStack() as stack,
    ):
        guard, context = _guard(settings, following)

        def unready() -> str:
            if stopped.is_set():
                return "ending"
            return following.unready() if following else ""

        console = Admin(app, mover, guard, settings.name, settings.pool, unready)
        admin = _server(console, bounded(MOST_CONNECTIONS), context)
        clients = _server(app, port())
        listeners = [
            stack.enter_context(listen(each)) for each in (settings.listen, settings.admin)
        ]
        ports = Ports(*(each.getsockname()[1] for each in listeners))
        log.info("listening", **ports._asdict())
        listening(ports)
        serving = asyncio.create_task(clients.serve(sockets=[listeners[0]]))
        stack.push_async_callback(cancelled, serving)  # before its socket is closed
        tasks = [
            admin.serve(sockets=[listeners[1]]),
            mover.run(),
            app.keep_alive(),
            app.drop_stalled(),
            Orphans(app.fleet, app.streams, time.monotonic).run(),
            app.pool.pairs.run(),
        ]
        if following is not None:
            tasks += following.tasks()
        async with running(tasks) as failed:
            await first(stopped.wait(), failed, asyncio.shield(serving))
            await _end(app, clients, serving, settings)


@contextlib.asynccontextmanager
async def _api(settings: Settings) -> AsyncIterator[Api | None]:
    """Connect to the pool's cluster, if there is one."""
    if settings.followed is None:
        yield None
        return
    async with Api.connect(settings.followed.kubeconfig, settings.followed.context) as api:
        yield api


def _guard(settings: Settings, following: Following | None) -> tuple[Guard, ssl.SSLContext | None]:
    """Return who may use the admin port, and how it is encrypted.

    On a cluster nobody can verify its certificate; the token that is shown is good for nothing
    else.
    """
    guard = token_guard(settings.admin_token) if settings.admin_token else local_guard
    if following is not None:
        guard = following.guard
    if settings.metrics_token:
        guard = scraped(guard, settings.metrics_token)
    return guard, self_signed("fairstow-gateway") if following is not None else None


async def _end(
    app: Gateway, clients: LoopServer, serving: asyncio.Task[None], settings: Settings
) -> None:
    """End in order; what runs goes on meanwhile, moves too."""
    # 1. Not ready any more; a Service sends clients still, until it has learnt that.
    await asyncio.wait({serving}, timeout=settings.linger)

    # 2. No connection is taken, no request either.
    app.ending = True
    clients.should_exit = True
    grace = settings.grace
    log.info("ending", requests=len(app.streams) + len(app.pinned), seconds=grace)

    # 3. Those there may end by themselves, up to a bound.
    done, _ = await asyncio.wait({serving}, timeout=grace)

    # 4. The others are told; a stream without [DONE] isn't done.
    if not done:
        app.fail_all(ApiError(503, "The gateway is shutting down.", retry_after=1))
        done, _ = await asyncio.wait({serving}, timeout=_LAST_SECONDS)
    if not done:
        clients.force_exit = True
        await serving
    log.info("ended")


@contextlib.asynccontextmanager
async def gateway_of(
    settings: Settings, api: Api | None
) -> AsyncIterator[tuple[Gateway, Mover, Following | None]]:
    """Give a gateway without ports, its mover, and what has it follow its pool on a cluster."""
    clock = time.monotonic
    if settings.tenants:
        who = tenants.read(settings.tenants, clock, settings.replicas)
    else:
        who = Tenants((), clock) if settings.followed else Tenants.anybody(clock)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        fleet = Fleet()
        dispatcher = Dispatcher(fleet, settings.policy, clock, settings.most_waiting)
        pool = Pool(fleet, dispatcher, Pairs(fleet), asyncio.Event(), Hops())
        traces = _traces(settings)
        app = Gateway(pool, who, settings.secret, settings.limits, traces)
        rescheduler = settings.policy.rescheduler if settings.reschedule else None
        mover = Mover(pool, app.streams, clock, rescheduler)
        for make in settings.engines:
            fleet.add(make(session))
        following = None
        if api is not None and settings.followed is not None:
            following = Following(
                api,
                settings.followed,
                app,
                mover,
                session,
                vocabulary=settings.vocabulary,
                replicas=settings.replicas,
                clock=clock,
            )
        try:
            yield app, mover, following
        finally:
            await fleet.close()
            await traces.close()


def _traces(settings: Settings) -> tracing.Traces:
    if settings.otlp is None:
        return tracing.NO_TRACES
    return tracing.traces(settings.otlp, settings.trace_ratio, settings.name, settings.pool)


def new_secret() -> bytes:
    """Return a secret for one gateway alone."""
    return secrets.token_bytes(32)


def _server(
    app: Any, http: type[asyncio.Protocol], context: ssl.SSLContext | None = None
) -> LoopServer:
    return LoopServer(app, context, http=http, timeout_keep_alive=75, backlog=LISTEN_BACKLOG)
