"""One request to the upstream, and all who asked the same of it meanwhile.

A flight reads the upstream at its own pace into parts; its listeners read those, each at its own.
It goes on while anybody listens: the first to ask may leave. Within `MOST_AHEAD` bytes of the
slowest listener, that is, and who comes after more than that was said starts a flight of its own.
A failure before the head reaches every listener, and each then asks for itself. Called by `app`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

MOST_AHEAD = 1 << 20
"""Bytes."""


class Reply(msgspec.Struct, frozen=True):
    """The head of an upstream's answer, as it is passed on."""

    status: int
    headers: list[tuple[bytes, bytes]]
    kind: str


class Flight:
    """See the module.

    Args:
        fly: asks the upstream: tells `head`, then each part, and returns after the last.

    Attributes:
        on_end: called when it is over.
    """

    def __init__(self, fly: Callable[[Flight], Awaitable[None]]) -> None:
        self.reply: Reply | None = None
        self.on_end: Callable[[], None] = lambda: None
        self._parts: list[bytes] = []
        self._size = self._dropped = 0
        self._read: dict[object, int] = {}
        self._ended = False
        self._error: Exception | None = None
        self._changed: set[asyncio.Future[None]] = set()
        self._task = asyncio.create_task(self._fly(fly))

    async def _fly(self, fly: Callable[[Flight], Awaitable[None]]) -> None:
        try:
            await fly(self)
        except asyncio.CancelledError:
            self._error = ConnectionAbortedError("nobody listens any more")
            raise
        except Exception as error:  # noqa: BLE001 - the listeners raise it
            self._error = error
        finally:
            self._ended = True
            self._tell()
            self.on_end()

    @property
    def joinable(self) -> bool:
        """Whether one who comes now hears all of it."""
        return not self._task.done() and self._size <= MOST_AHEAD

    def head(self, reply: Reply) -> None:
        """The answer begins."""
        self.reply = reply
        self._tell()

    async def part(self, data: bytes) -> None:
        """Add a part; waits where the slowest listener is far behind."""
        self._parts.append(data)
        self._size += len(data)
        self._tell()
        while self._size > MOST_AHEAD and min(self._read.values(), default=0) < len(self._parts):
            await self._wait()
        if self._size > MOST_AHEAD:  # nobody will ask for those any more
            for at in range(self._dropped, len(self._parts)):
                self._parts[at] = b""
            self._dropped = len(self._parts)

    async def listen(self) -> AsyncGenerator[bytes, None]:
        """Yield nothing once the head is here, then the parts. Raises what the upstream did."""
        me = object()
        self._read[me] = 0
        try:
            while self.reply is None:
                if self._ended:
                    raise self._error or ConnectionResetError("it ended without an answer")
                await self._wait()
            yield b""
            while True:
                at = self._read[me]
                if at < len(self._parts):
                    part = self._parts[at]
                    self._read[me] = at + 1
                    if self._size > MOST_AHEAD:
                        self._tell()
                    yield part
                elif self._ended:
                    if self._error is not None:
                        raise self._error
                    return
                else:
                    await self._wait()
        finally:
            del self._read[me]
            if not self._read and not self._ended:
                self._task.cancel()
            self._tell()

    def _tell(self) -> None:
        for future in self._changed:
            if not future.done():
                future.set_result(None)
        self._changed.clear()

    async def _wait(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._changed.add(future)
        try:
            await future
        finally:
            self._changed.discard(future)
