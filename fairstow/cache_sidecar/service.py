"""The sidecar as a running program: its ports, its loops, its orderly end.

Called by `__main__`. Ports are open before model and store are: until then requests pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import structlog

from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.admin import Admin
from fairstow.cache_sidecar.app import Sidecar
from fairstow.cache_sidecar.callers import Callers
from fairstow.cache_sidecar.configuration import Rules
from fairstow.cache_sidecar.embedding import Embedder
from fairstow.cache_sidecar.index import Index
from fairstow.cache_sidecar.memory import Memory
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from fairstow.cache_sidecar.upstream import Upstream, session
from fairstow.cache_sidecar.vectors import Embeds, Vectors
from fairstow.cluster.errors import InputError
from fairstow.kube.aio.tasks import first, running
from fairstow.kube.connections import bounded
from fairstow.kube.flags import Address
from fairstow.kube.loop_server import LoopServer
from fairstow.semantic_cache.equivalence import compare
from fairstow.semantic_cache.identity import Workload
from fairstow.web.guards import local_guard, scraped, token_guard
from fairstow.web.port import LISTEN_BACKLOG, listen, port

MOST_CONNECTIONS = 64
"""On the admin port."""
RELOAD_SECONDS = 1.0
EXPIRE_SECONDS = 5.0
_LAST_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the command line says.

    Attributes:
        config: followed while it runs. data: the store's folder; None: memory only.
        workload: the one caller; None: whoever shows a key.
        ca: certificates that the upstream's is checked by; None: the system's.
        grace: seconds for running requests at the end.
        embedder: makes what embeds.
    """

    upstream: str
    listen: Address
    admin: Address
    config: Path
    data: Path | None = None
    workload: Workload | None = None
    ca: str | None = None
    admin_token: str | None = None
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
        app = Sidecar(upstream, Callers(settings.workload, _secret(settings.data), time.monotonic))
        vectors = Vectors(settings.embedder)
        stack.callback(vectors.close)
        guard = token_guard(settings.admin_token) if settings.admin_token else local_guard
        if settings.metrics_token:
            guard = scraped(guard, settings.metrics_token)
        console = Admin(app, guard, lambda: "ending" if stopped.is_set() else "")
        admin = LoopServer(console, None, http=bounded(MOST_CONNECTIONS))
        clients = LoopServer(app, None, http=port(), timeout_keep_alive=75, backlog=LISTEN_BACKLOG)
        sockets = [stack.enter_context(listen(each)) for each in (settings.listen, settings.admin)]
        ports = Ports(*(each.getsockname()[1] for each in sockets))
        log.info("listening", **ports._asdict())
        listening(ports)
        serving = asyncio.create_task(clients.serve(sockets=[sockets[0]]))
        stack.push_async_callback(_cancelled, serving)
        tasks = [
            admin.serve(sockets=[sockets[1]]),
            vectors.run(),
            _remember(app, settings, rules, vectors),
        ]
        async with running(tasks) as failed:
            await first(stopped.wait(), failed, asyncio.shield(serving))
            await _end(app, clients, serving, settings.grace)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """End what a failure has left, before its socket is closed."""
    task.cancel()
    await asyncio.wait({task})


async def _remember(app: Sidecar, settings: Settings, rules: Rules, vectors: Vectors) -> None:
    """Open the store, load what it kept, then follow the configuration and drop what expires."""
    store, index = await asyncio.to_thread(_opened, settings.data, rules)
    try:
        memory = app.memory = Memory(rules, store, index, vectors)
        log.info("the cache is ready", entries=len(index), vectors=index.vectors())
        await asyncio.gather(_reload(memory, settings.config), _expire(memory))
    finally:
        if app.memory is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await app.memory.kept()
            app.memory = None
        await store.close()


def _opened(folder: Path | None, rules: Rules) -> tuple[SqliteStore, Index]:
    """Open the store and load what it kept; one that can't be had is made in memory."""
    try:
        store = SqliteStore(folder)
    except OSError as error:
        log.error("answers won't survive a restart", problem=str(error))
        store = SqliteStore(None)
    try:
        return store, _load(store, rules)
    except sqlite3.Error as error:
        log.error("what was kept can't be read", problem=str(error))
        return store, Index(most=rules.said.most_entries)


def _load(store: SqliteStore, rules: Rules) -> Index:
    compare("How is this read?", "How are words read?", 0.5)  # their lists, which takes a while
    index = Index(most=rules.said.most_entries)
    index.load(store.heads(), {name: each.priority for name, each in rules.specs.items()})
    return index


async def _reload(memory: Memory, path: Path) -> None:
    """Follow the configuration's text; one that can't be used changes nothing."""
    known = await asyncio.to_thread(_text, path)
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        text = await asyncio.to_thread(_text, path)
        if text is None or text == known:
            continue
        known = text
        try:
            memory.rules = configuration.parse(text, str(path))
        except InputError as error:
            log.error("the configuration can't be used; the last one stays", problem=str(error))
            continue
        memory.index.most = memory.rules.said.most_entries
        log.info("the configuration is reloaded", categories=len(memory.rules.policies))


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        log.warning("the configuration can't be read", problem=str(error))
        return None


async def _expire(memory: Memory) -> None:
    while True:
        await asyncio.sleep(EXPIRE_SECONDS)
        try:
            await memory.expire()
        except Exception as error:  # noqa: BLE001 - tried again
            log.warning("what has expired couldn't be dropped", problem=str(error))


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


def _secret(folder: Path | None) -> bytes:
    """Return what keys' names are made with; kept beside what is stored under them."""
    made = secrets.token_bytes(32)
    if folder is None:
        return made
    try:
        return _kept(folder, made)
    except OSError as error:
        log.error("callers won't be known after a restart", problem=str(error))
        return made


def _kept(folder: Path, made: bytes) -> bytes:
    """Return the secret in a folder, the one made if there is none. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "secret"
    if path.exists() and len(found := path.read_bytes()) == 32:
        return found
    new = folder / "secret.new"
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(made)
        file.flush()
        os.fsync(handle)
    new.rename(path)
    return made
