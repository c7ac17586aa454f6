"""A request that may be passed on as it is: its target, its body beyond any bound, any answer.

Used by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from fairstow.web.exchange import (
    BODY_SECONDS,
    Bodies,
    ClientLeftError,
    Exchange,
    Receive,
    Scope,
    Send,
)


class Passing(Exchange):
    """An exchange whose head and body can be another server's.

    Attributes:
        target: path and query as they came.
        query: whether there is one.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, bodies: Bodies) -> None:
        super().__init__(scope, receive, send, keep_alive=3_600.0, longest=0, bodies=bodies)
        query: bytes = scope["query_string"]
        raw: bytes = scope["raw_path"]
        self.query = bool(query)
        self.target = (raw.split(b"?")[0] + (b"?" + query if query else b"")).decode("latin-1")
        self._whole = False

    def header(self, name: bytes) -> str | None:
        """Return a header; several of a name are one list."""
        found = [value for each, value in self.headers if each == name]
        return b", ".join(found).decode("latin-1") if found else None

    async def up_to(self, longest: int) -> tuple[bytes, bool]:
        """Return the body, or its beginning, and whether it is all of it.

        A beginning is returned where it is longer, isn't here in time, or others' take all room.
        """
        parts: list[bytes] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(BODY_SECONDS):
                while not self._whole and self._held <= longest and not self._bodies.full:
                    part = await self._part()
                    parts.append(part)
                    self._held += len(part)
                    self._bodies.held += len(part)
        if self._whole:
            self._listening = asyncio.create_task(self._listen())
        return b"".join(parts), self._whole

    async def all_of(self, beginning: bytes) -> AsyncIterator[bytes]:
        """Yield the body as it comes, after the beginning that was read."""
        if beginning:
            yield beginning
        while not self._whole:
            if part := await self._part():
                yield part
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())

    async def begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Send an answer's head."""
        await self._start(status, headers)

    async def put(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of the answer."""
        self.sent = True
        await self._put(data, more=not last)

    async def _part(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        self._whole = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return part

    async def cut(self) -> None:
        """Break the connection off, since an answer that stops short must not look whole."""
        if self.at_once is not None:
            self.at_once.transport.abort()
        while self._listening is not None and not self.gone:
            await asyncio.sleep(0)
