"""Answers in Redis, shared by the sidecars of one cache, and how they learn of each other's.

    PREFIX:answer:ID    an answer, sealed; set with its expiry in one command, so never half of one
    PREFIX:log          a stream of heads that were put and ids that are gone; trimmed
    PREFIX:purged       which purge was the last
    PREFIX:refused      a stream of callers that the upstream has refused
    PREFIX:labels       a stream of labels of hits
    PREFIX:secret       what the names of callers are made with

Each sidecar keeps its own index of vectors: it reads the log once at its start, then as it grows.
The log may lose its oldest part, or all of it: then fewer entries are found. What was removed is
safe all the same, since its answer is gone. A purge is told by what it means, since the others may
know entries that the one who was asked doesn't: the log has it, then `purged` names it. Whoever
fetches an answer reads `purged` in the same round trip, and serves nothing before it has heard that
one. Where the log has lost it, all is forgotten and read again. A server that is down or slow is
left alone for `ALONE` seconds, so that look-ups don't wait for it one after the other. Called by
`memory`, `service`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import msgspec
import structlog
from redis.exceptions import RedisError, ResponseError

from fairstow.cache_sidecar.kept import Answer
from fairstow.cache_sidecar.stores.connection import Client, leave
from fairstow.cache_sidecar.stores.protocol import Follower
from fairstow.cache_sidecar.stores.records import (
    MOST_LABELS,
    Head,
    Label,
    Purged,
    Seal,
    StoreError,
)

ALONE = 1.0
"""Seconds."""
SLOW = 0.25
_AT_REST = 2.0
"""Seconds: how long a look-up's command may take, and one that nobody waits for."""
MOST_WAITING = 256
MOST_REFUSED = 10_000
_MOST_HEARD = 1_000
_PART = 500
_BLOCK = 500
"""Milliseconds that a read of the log waits; less than the client's time-out."""
_FIRST = "0-0"

Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class RedisStore:
    """See the module. Args: most: entries, after which the log's oldest are dropped."""

    def __init__(
        self,
        client: Client,
        seal: Seal,
        prefix: str,
        *,
        most: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._seal = seal
        self._prefix = prefix
        self._log = f"{prefix}:log"
        self._named = f"{prefix}:purged"
        self._refusals = f"{prefix}:refused"
        self._most = most
        self._clock = clock
        self._me = secrets.token_hex(8).encode()
        self._after = self._labelled = self._refused_after = _FIRST
        self._heard: dict[bytes, None] = {}
        self._missing: bytes | None = None
        self._alone_until = float("-inf")
        self._running: set[asyncio.Future[Any]] = set()
        self._secret = b""

    async def secret(self) -> bytes:
        """Return what all sidecars make the names of callers with. Raises StoreError."""
        name = f"{self._prefix}:secret"
        made = self._secret or secrets.token_bytes(32)
        sealed = self._seal.shut(b"secret", made)
        await self._run(lambda: self._client.set(name, sealed, nx=True))
        found = await self._run(lambda: self._client.get(name))
        opened = None if found is None else self._seal.opened(b"secret", found)
        if opened is None or len(opened) != 32:
            log.warning("the names of callers are made anew: their secret can't be opened")
            opened = made
        if opened != self._secret:  # closed with the first key, so that others may go
            sealed = self._seal.shut(b"secret", opened)
            await self._run(lambda: self._client.set(name, sealed))
        self._secret = opened
        return opened

    async def heads(self) -> list[Head]:
        """Return what is kept now; `follow` tells what comes after. Raises StoreError."""
        found: dict[str, Head] = {}
        self._after = _FIRST
        named = await self._run(lambda: self._client.get(self._named))
        while events := await self._run(self._next):
            for at, event in events:
                self._after = at.decode()
                if (head := self._put_of(event)) is not None:
                    found[head.id] = head
                for entry in _gone_of(event):
                    found.pop(entry, None)
                if (what := self._purge_of(event)) is not None:
                    found = {
                        name: head
                        for name, head in found.items()
                        if not what.means(name, head.category, head.tenant)
                    }
        self._hear(named)  # what the log has lost of it, it has lost of what was before
        return list(found.values())

    async def answer(self, entry: str) -> Answer | None:
        """Return an entry's answer, None if it is gone or damaged. Raises StoreError."""
        sealed, named = await self._run(lambda: self._both(self._at(entry), self._named))
        if named is not None and named not in self._heard:
            self._missing = named
            raise StoreError("a purge isn't heard yet")
        return None if sealed is None else self._seal.open(entry, sealed, Answer)

    async def put(self, head: Head, answer: Answer) -> None:
        """Keep an entry in place of one with its id, and tell the others. Raises StoreError."""
        sealed = self._seal.close(head.id, answer)
        ends = int(head.expires * 1_000)
        await self._run(lambda: self._client.set(self._at(head.id), sealed, pxat=ends))
        await self._tell({"put": self._seal.close(head.id, head), "id": head.id})

    async def delete(self, entries: Sequence[str]) -> None:
        """Drop entries, and tell the others. Raises StoreError."""
        for start in range(0, len(entries), _PART):
            part = entries[start : start + _PART]
            await self._run(lambda part=part: self._unlink(part), slow=_AT_REST)  # type: ignore[misc]
            await self._tell({"gone": " ".join(part)})

    async def purge(self, what: Purged, entries: Sequence[str]) -> None:
        """Drop entries, and have all sidecars drop what is meant. Raises StoreError."""
        await self.delete(entries)
        name = secrets.token_hex(8).encode()
        self._hear(name)
        await self._tell({"purge": msgspec.json.encode(what), "name": name})
        await self._run(lambda: self._client.set(self._named, name))

    async def refuse(self, caller: str) -> None:
        """Tell the others that the upstream has refused a caller. Raises StoreError."""
        said = {"caller": caller, "by": self._me}
        await self._run(
            lambda: self._client.xadd(self._refusals, said, maxlen=MOST_REFUSED, approximate=True)
        )

    async def expired(self, entries: Sequence[str]) -> None:
        """Do nothing: Redis drops them by itself, and every sidecar knows when."""

    async def labels(self) -> list[Label]:
        """Return the labels that came since this was asked last. Raises StoreError."""
        found = []
        while events := await self._run(self._next_labels):
            for at, event in events:
                self._labelled = at.decode()
                label = self._seal.label(event.get(b"label", b""))
                if label is not None:
                    found.append(label)
        return found

    async def label(self, label: Label) -> None:
        """Keep a label, for all; `follow` tells it here, too. Raises StoreError."""
        said = {"label": self._seal.close_label(label)}
        name = f"{self._prefix}:labels"
        await self._run(lambda: self._client.xadd(name, said, maxlen=MOST_LABELS, approximate=True))

    async def follow(self, follower: Follower, refused: Callable[[str], None]) -> None:
        """Tell what other sidecars do, until cancelled."""
        heard = True
        while True:
            missing = self._missing
            try:
                events = await self._run(lambda: self._next(block=_BLOCK), slow=_AT_REST)
                for label in await self.labels():
                    follower.labelled(label)
                for caller in await self._refused():
                    refused(caller)
            except StoreError as error:
                if heard:
                    log.warning("other sidecars can't be heard", problem=str(error))
                heard = False
                await asyncio.sleep(ALONE)
                continue
            if not heard:
                log.info("other sidecars are heard again")
            heard = True
            for at, event in events:
                self._after = at.decode()
                self._told(follower, event)
            if len(events) < _PART and missing is not None and missing not in self._heard:
                log.warning("a purge was lost; all is read again")
                follower.lost()
                self._me = secrets.token_hex(8).encode()  # what was told here is heard, too
                self._after = _FIRST
                self._hear(missing)

    def _told(self, follower: Follower, event: dict[bytes, bytes]) -> None:
        if event.get(b"by") == self._me:
            return
        if (head := self._put_of(event)) is not None:
            follower.learned(head)
        if gone := _gone_of(event):
            follower.forgotten(gone)
        if (what := self._purge_of(event)) is not None:
            follower.purged(what)
            self._hear(event.get(b"name"))

    async def close(self) -> None:
        """Leave."""
        running = list(self._running)
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)  # each gives its connection back
        await leave(self._client)

    async def _unlink(self, entries: Sequence[str]) -> None:
        async with self._client.pipeline(transaction=False) as pipeline:
            for entry in entries:
                pipeline.execute_command("UNLINK", self._at(entry))
            await pipeline.execute()

    async def _both(self, one: str, other: str) -> tuple[bytes | None, bytes | None]:
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.get(one)
            pipeline.get(other)
            first, second = await pipeline.execute()
            return first, second

    async def _refused(self) -> list[str]:
        found = await self._run(
            lambda: self._client.xread({self._refusals: self._refused_after}, count=_PART)
        )
        events = found[0][1] if found else []
        for at, _ in events:
            self._refused_after = at.decode()
        return [
            event.get(b"caller", b"").decode("ascii", "replace")
            for _, event in events
            if event.get(b"by") != self._me
        ]

    def _hear(self, name: bytes | None) -> None:
        """A purge was heard, or made here."""
        if name is not None:
            self._heard[name] = None
            if len(self._heard) > _MOST_HEARD:
                del self._heard[next(iter(self._heard))]

    def _purge_of(self, event: dict[bytes, bytes]) -> Purged | None:
        said = event.get(b"purge")
        try:
            return None if said is None else msgspec.json.decode(said, type=Purged)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            log.warning("a purge of the log can't be read: all is meant")
            return Purged()

    def _at(self, entry: str) -> str:
        return f"{self._prefix}:answer:{entry}"

    def _put_of(self, event: dict[bytes, bytes]) -> Head | None:
        sealed, entry = event.get(b"put"), event.get(b"id", b"")
        if sealed is None:
            return None
        head = self._seal.open(entry.decode("ascii", "replace"), sealed, Head)
        if head is None:
            log.warning("an entry of the log is damaged, or another key's")
        return head

    async def _tell(self, event: dict[str, Any]) -> None:
        event["by"] = self._me
        await self._run(
            lambda: self._client.xadd(self._log, event, maxlen=self._most, approximate=True)
        )

    async def _next(self, block: int | None = None) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found = await self._client.xread({self._log: self._after}, count=_PART, block=block)
        return found[0][1] if found else []

    async def _next_labels(self) -> list[tuple[bytes, dict[bytes, bytes]]]:
        found = await self._client.xread({f"{self._prefix}:labels": self._labelled}, count=_PART)
        return found[0][1] if found else []

    async def _run(self, command: Callable[[], Awaitable[Result]], *, slow: float = SLOW) -> Result:
        """Run a command to its end, even where who asks has no time left."""
        if self._clock() < self._alone_until:
            raise StoreError("Redis is left alone for a moment")
        if len(self._running) >= MOST_WAITING:
            raise StoreError("Redis is too slow: too much waits for it")
        task = asyncio.ensure_future(self._timed(command, slow))
        self._running.add(task)
        task.add_done_callback(self._ran)
        return await asyncio.shield(task)

    async def _timed(self, command: Callable[[], Awaitable[Result]], slow: float) -> Result:
        began = self._clock()
        try:
            found = await command()
        except ResponseError as error:
            raise StoreError(f"Redis refuses: {error}") from error
        except (RedisError, OSError, ValueError) as error:
            self._alone_until = self._clock() + ALONE
            raise StoreError(f"Redis can't be had: {error}") from error
        if self._clock() - began > slow:
            self._alone_until = self._clock() + ALONE
        return found

    def _ran(self, task: asyncio.Future[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waited may have left


def _gone_of(event: dict[bytes, bytes]) -> list[str]:
    return event.get(b"gone", b"").decode("ascii", "replace").split()
