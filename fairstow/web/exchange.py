"""One HTTP request and its answer, as ASGI has them: bounded bodies, streams kept alive, goodbyes.

A client that leaves is noticed at once, whatever its request waits for. Used by the gateway and
the semantic cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

from fairstow.web.errors import ApiError
from fairstow.web.port import AT_ONCE, Port
from fairstow.web.trace import Trace, Untraced

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Result = TypeVar("Result")

KEEP_ALIVE = b": keep-alive\n\n"
STALL_SECONDS = 60.0
"""A client that takes nothing for so long has left."""
BODY_SECONDS = 120.0
"""In which a body has to be here."""
MOST_BODIES = 128 << 20
"""Bytes of bodies that are held at the same time."""
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class ClientLeftError(Exception):
    """There is nobody to answer any more."""


class Bodies:
    """What all requests' bodies may take together. Attributes: held: bytes of them now."""

    def __init__(self, most: int = MOST_BODIES) -> None:
        self.held = 0
        self._most = most

    @property
    def full(self) -> bool:
        """Whether there is no room for more."""
        return self.held >= self._most

    def take(self, size: int) -> None:
        """Hold so many bytes more. Raises ApiError where there is no room for them."""
        if self.held + size > self._most:
            raise ApiError(
                429, "Too many large requests run already. Try again later.", retry_after=1
            )
        self.held += size


class Exchange:
    """See the module.

    Attributes:
        status: that was sent, 0 before.
        streaming: whether it is answered by events.
        sent: whether anything of the model's is on its way.
        sending: whether something waits for the client to take it; `taken` counts what it took.
        at_once: writes parts of a stream while the client keeps up; None where that can't be.
        gone: whether the client left; `on_gone` is called then.
        failing: makes the last event of a stream that fails.
        extra: headers of the answer; `late` makes those that are known when it begins.
        trace: whom its parts are told to.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        keep_alive: float,
        longest: int,
        bodies: Bodies | None = None,
    ) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.status = 0
        self.streaming = False
        self.sent = self.sending = False
        self.taken = 0
        self.gone = False
        self.on_gone: Callable[[], None] = lambda: None
        self.trace: Trace = Untraced()
        self.failing: Callable[[ApiError], bytes] = ApiError.event
        self.extra: list[tuple[bytes, bytes]] = []
        self.late: Callable[[], list[tuple[bytes, bytes]]] = list
        self.at_once: Port | None = scope.get("extensions", {}).get(AT_ONCE, {}).get("port")
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        self._receive = receive
        self._send = send
        self._longest = longest
        self._bodies = bodies or Bodies()
        self._held = 0
        self._keep_alive = keep_alive
        self._listening: asyncio.Task[None] | None = None
        self._ended = False

    def header(self, name: bytes) -> str | None:
        """Return a header; several of a name count as none."""
        found = [value for each, value in self.headers if each == name]
        return found[0].decode("latin-1") if len(found) == 1 else None

    async def body(self) -> bytes:
        """Return the request's body, then listen for the client to leave. Raises ApiError."""
        announced = self.header(b"content-length") or ""
        if announced.isdecimal() and int(announced) > self._longest:
            raise self._too_long()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await self._body()
        except TimeoutError:
            raise ApiError(408, f"The body wasn't here in {BODY_SECONDS:.0f} s.") from None
        self._listening = asyncio.create_task(self._listen())
        return body

    async def _body(self) -> bytes:
        parts: list[bytes] = []
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            part = message.get("body", b"")
            if self._held + len(part) > self._longest:
                raise self._too_long()
            self._bodies.take(len(part))
            self._held += len(part)
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_long(self) -> ApiError:
        return ApiError(413, f"The body is larger than {self._longest >> 20} MiB.")

    async def _listen(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        self.on_gone()

    async def kept_alive(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what work comes to; until it sends something, the client's stream is kept alive.

        Raises:
            ClientLeftError: the client left first; the work is cancelled.
        """
        task = asyncio.ensure_future(work)
        left = asyncio.get_running_loop().create_future()
        self.on_gone = lambda: None if left.done() else left.set_result(None)
        try:
            while not task.done():
                if self.gone:
                    raise ClientLeftError
                pause = self._keep_alive if self.streaming and not self.sent else None
                done, _ = await asyncio.wait(
                    (task, left), timeout=pause, return_when=asyncio.FIRST_COMPLETED
                )
                if not done and not self.sent:
                    await self.stream(KEEP_ALIVE)
            return task.result()
        finally:
            task.cancel()
            with suppress(BaseException):
                await task

    async def stream(self, data: bytes, *, last: bool = False) -> None:
        """Send a part of a stream, its head before the first."""
        if not self.status:
            await self._start(200, _STREAM)
        await self._put(data, more=not last)

    async def answer(self, data: bytes, status: int = 200) -> None:
        """Send a whole answer in JSON."""
        length = (b"content-length", str(len(data)).encode())
        await self._start(status, [(b"content-type", b"application/json"), length])
        await self._put(data, more=False)

    async def text(self, data: bytes, status: int = 200, kind: str = "text/plain") -> None:
        """Send a whole answer in text."""
        length = (b"content-length", str(len(data)).encode())
        await self._start(status, [(b"content-type", kind.encode()), length])
        await self._put(data, more=False)

    async def fail(self, error: ApiError) -> None:
        """Say what went wrong, as an event where a stream has begun."""
        if self._ended:
            return
        if self.status:
            await self._put(self.failing(error) if self.streaming else b"", more=False)
            return
        data = error.body()
        length = (b"content-length", str(len(data)).encode())
        await self._start(error.status, [*error.headers(), length])
        await self._put(data, more=False)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        head = [*headers, *self.extra, *self.late()]
        await self._send({"type": "http.response.start", "status": status, "headers": head})

    async def _put(self, data: bytes, *, more: bool) -> None:
        if self.gone:
            raise ClientLeftError
        self._ended = not more
        self.sending = True
        await self._send({"type": "http.response.body", "body": data, "more_body": more})
        self.sending = False
        self.taken += 1

    def drop(self) -> None:
        """Hang up on a client that takes nothing: closing would wait until it has taken all."""
        if self.at_once is not None:
            self.at_once.drop()

    def close(self) -> None:
        """Listen no longer; what its body says is let go of."""
        self._bodies.held -= self._held
        self._held = 0
        if self._listening is not None:
            self._listening.cancel()
