"""The memory of a running sidecar: its store opened and read, the configuration followed.

Requests pass until it is there: where Redis can't be had at the start, it is tried until it can.
Called by `service`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from fairstow.cache_sidecar import configuration
from fairstow.cache_sidecar.app import Sidecar
from fairstow.cache_sidecar.configuration import Rules
from fairstow.cache_sidecar.index import Index
from fairstow.cache_sidecar.memory import Memory
from fairstow.cache_sidecar.stores.connection import Address, client
from fairstow.cache_sidecar.stores.records import Head, Label, Seal, StoreError
from fairstow.cache_sidecar.stores.redis import RedisStore
from fairstow.cache_sidecar.stores.sqlite import SqliteStore
from fairstow.cache_sidecar.vectors import Vectors
from fairstow.cluster.errors import InputError
from fairstow.semantic_cache.equivalence import compare

RELOAD_SECONDS = 1.0
EXPIRE_SECONDS = 5.0
AGAIN_SECONDS = 1.0
_MOST_REFUSALS = 1_000
_SECRET_EVERY = 60.0
_LAST_SECONDS = 2.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Where:
    """Where answers are kept.

    Attributes:
        folder: of SQLite; None: in memory. redis: instead of it.
        prefix: of the keys in Redis, which one cache has for itself.
        seal: closes what is kept.
        most: bytes in the folder; None: as many as fit on its disk.
    """

    folder: Path | None = None
    redis: Address | None = None
    prefix: str = "fairstow-cache"
    seal: Seal = field(default_factory=Seal)
    most: int | None = None


async def remember(
    app: Sidecar, where: Where, config: Path, rules: Rules, vectors: Vectors
) -> None:
    """Open the store, load what it kept; follow the configuration and drop what expires."""
    # The lists that questions are read with take a while to load.
    await asyncio.to_thread(compare, "How is this read?", "How are words read?", 0.5)
    store: SqliteStore | RedisStore
    if where.redis is None:
        store, index, labels = await asyncio.to_thread(_opened, where, rules)
    else:
        store = RedisStore(
            client(where.redis), where.seal, where.prefix, most=rules.said.most_entries
        )
        app.callers.secret, index, labels = await _reached(store, rules)
    shared = where.redis is not None
    try:
        memory = app.memory = Memory(rules, store, index, vectors, echoes=shared)
        for label in labels:
            memory.labelled(label)
        log.info("the cache is ready", entries=len(index), vectors=index.vectors())
        loops = [_reload(memory, config), _expire(memory)]
        if isinstance(store, RedisStore):
            refusals = Refusals(store)
            app.callers.on_refused = refusals.add
            loops += [
                store.follow(memory, app.callers.refused),
                refusals.run(),
                _keep_secret(app, store),
            ]
        await asyncio.gather(*loops)
    finally:
        app.callers.on_refused = lambda _: None
        if app.memory is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await app.memory.kept()
            app.memory = None
        await store.close()


class Refusals:
    """Tells other sidecars which callers the upstream refused; too many at once are left out."""

    def __init__(self, store: RedisStore) -> None:
        self._store = store
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_MOST_REFUSALS)

    def add(self, caller: str) -> None:
        """Tell it when there is time."""
        with contextlib.suppress(asyncio.QueueFull):
            self._waiting.put_nowait(caller)

    async def run(self) -> None:
        """Tell, until cancelled."""
        while True:
            caller = await self._waiting.get()
            try:
                await self._store.refuse(caller)
            except StoreError as error:
                log.warning("others weren't told of a refused key", problem=str(error))


def secret(folder: Path | None) -> bytes:
    """Return what callers' names are made with; kept beside what is stored under them."""
    made = secrets.token_bytes(32)
    if folder is None:
        return made
    try:
        return _kept(folder, made)
    except OSError as error:
        log.error("callers won't be known after a restart", problem=str(error))
        return made


async def _reached(store: RedisStore, rules: Rules) -> tuple[bytes, Index, list[Label]]:
    """Return the secret that sidecars share and what is kept, once Redis can be had."""
    while True:
        try:
            secret = await store.secret()
            return secret, _index(await store.heads(), rules), await store.labels()
        except StoreError as error:
            log.warning("the store can't be had; requests pass", problem=str(error))
            await asyncio.sleep(AGAIN_SECONDS)


def _opened(where: Where, rules: Rules) -> tuple[SqliteStore, Index, list[Label]]:
    """Open the store and load what it kept; one that can't be had is made in memory."""
    try:
        store = SqliteStore(where.folder, where.seal, where.most)
    except OSError as error:
        log.error("answers won't survive a restart", problem=str(error))
        store = SqliteStore(None, where.seal)
    try:
        return store, _index(store.heads(), rules), store.labels()
    except sqlite3.Error as error:
        log.error("what was kept can't be read", problem=str(error))
        return store, Index(most=rules.said.most_entries), []


def _index(heads: Iterable[Head], rules: Rules) -> Index:
    index = Index(most=rules.said.most_entries)
    index.load(heads, {name: each.priority for name, each in rules.specs.items()})
    return index


async def _reload(memory: Memory, path: Path) -> None:
    """Follow the configuration's text; one that can't be used changes nothing."""
    known: str | None = None  # it may have changed while the store was waited for
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
            await memory.trim()
        except Exception as error:  # noqa: BLE001 - tried again
            log.warning("what has expired couldn't be dropped", problem=str(error))


async def _keep_secret(app: Sidecar, store: RedisStore) -> None:
    """Put the secret back where Redis has evicted it, or take the one that was put there since."""
    while True:
        await asyncio.sleep(_SECRET_EVERY)
        with contextlib.suppress(StoreError):
            app.callers.secret = await store.secret()


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
