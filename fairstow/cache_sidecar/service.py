"""The sidecar as a running program: its ports, its loops, its orderly end.

Called by `__main__`. Ports are open before model and store are: until then requests pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import structlog

from fairstow.cache_sidecar import configuration, metrics
from fairstow.cache_sidecar.admin import Admin
from fairstow.cache_sidecar.app import Sidecar
from fairstow.cache_sidecar.callers import Callers
from fairstow.cache_sidecar.configuration import Rules
from fairstow.cache_sidecar.embedding import Embedder
from fairstow.cache_sidecar.remembering import AGAIN_SECONDS, Where, remember, secret
from fairstow.cache_sidecar.upstream import Upstream, session
from fairstow.cache_sidecar.vectors import Embeds, Vectors
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.tasks import cancelled, first, running
from fairstow.kube.connections import bounded
from fairstow.kube.flags import Address
from fairstow.kube.loop_server import LoopServer
from fairstow.semantic_cache.identity import Workload
from fairstow.web.guards import local_guard, scraped, token_guard
from fairstow.web.port import LISTEN_BACKLOG, listen, port

MOST_CONNECTIONS = 64
"""On the admin port."""
READ = frozenset({"/metrics", "/stats"})
"""On the admin port, with the token for metrics."""
_LAST_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line says.

    Attributes:
        config: followed while it runs. where: answers are kept.
        workload: the one caller; None: whoever shows a key.
        ca: certificates that the upstream's is checked by; None: the system's.
        grace: seconds for running requests at the end.
        embedder: makes what embeds.
    """

    upstream: str
    listen: Address
    admin: Address
    config: Path
    where: Where = field(default_factory=Where)
    workload: Workload | None = None
    ca: str | None = None
    admin_token: str | None = None
    admin_tls: ssl.SSLContext | None = None
    metrics_token: str | None = None
    grace: float = 30.0
    embedder: Callable[[], Embeds] = Embedder


class Ports(NamedTuple):
    """Where a running sidecar listens."""

    clients: int
    admin: int


def _nobody(_ports: Ports) -> None:
    """Tell nobody."""


async def serve(
    settings: Settings, stopped: asyncio.Event, listening: Callable[[Ports], None] = _nobody
) -> None:
    """Run until told to stop, then end in order.

    Raises:
        InputError: the configuration can't be used, or another sidecar owns the data's folder.
        OSError: a port or the secret can't be had.
    """
    rules = configuration.read(settings.config)
    async with contextlib.AsyncExitStack() as stack:
        upstream = Upstream(
            await stack.enter_async_context(session(settings.ca)), settings.upstream
        )
        app = Sidecar(
            upstream, Callers(settings.workload, secret(settings.where.folder), time.monotonic)
        )
        stack.callback(app.end_aside)
        vectors = Vectors(settings.embedder)
        stack.callback(vectors.close)
        guard = token_guard(settings.admin_token) if settings.admin_token else local_guard
        if settings.metrics_token:
            guard = scraped(guard, settings.metrics_token, READ)
        console = Admin(app, guard, lambda: "ending" if stopped.is_set() else "")
        admin = LoopServer(console, settings.admin_tls, http=bounded(MOST_CONNECTIONS))
        clients = LoopServer(app, None, http=port(), timeout_keep_alive=75, backlog=LISTEN_BACKLOG)
        sockets = [stack.enter_context(listen(each)) for each in (settings.listen, settings.admin)]
        ports = Ports(*(each.getsockname()[1] for each in sockets))
        log.info("listening", **ports._asdict())
        listening(ports)
        serving = asyncio.create_task(clients.serve(sockets=[sockets[0]]))
        stack.push_async_callback(cancelled, serving)  # before its socket is closed
        tasks = [
            admin.serve(sockets=[sockets[1]]),
            vectors.run(),
            _remembering(app, settings, rules, vectors),
        ]
        async with running(tasks) as failed:
            await first(stopped.wait(), failed, asyncio.shield(serving))
            await _end(app, clients, serving, settings.grace)


async def _remembering(app: Sidecar, settings: Settings, rules: Rules, vectors: Vectors) -> None:
    """Have a memory; where one fails, requests pass, and another is begun."""
    while True:
        try:
            await remember(app, settings.where, settings.config, rules, vectors)
        except InputError:
            raise
        except Exception:
            log.exception("the memory failed; requests pass")
            metrics.FAILED_OPEN.labels("memory").inc()
            await asyncio.sleep(AGAIN_SECONDS)


async def _end(
    app: Sidecar, clients: LoopServer, serving: asyncio.Task[None], grace: float
) -> None:
    """End in order: no new connection, the running requests, what is left."""
    clients.should_exit = True
    log.info("ending", requests=app.running, seconds=grace)
    done, _ = await asyncio.wait({serving}, timeout=grace)
    if not done:
        app.end_all()
        done, _ = await asyncio.wait({serving}, timeout=_LAST_SECONDS)
    if not done:
        clients.force_exit = True
        await serving
    log.info("ended")
