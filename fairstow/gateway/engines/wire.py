"""HTTP with an engine: one way to ask, to stream and to pass on; used by the adapters beside it.

A request carries what the adapter put in it, the engine's key and, where it is traced, a
traceparent of ours: nothing of a client's headers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
import msgspec

from fairstow.gateway.engines.events import Events
from fairstow.gateway.engines.protocol import EngineError, Reply
from fairstow.gateway.tracing import TRACEPARENT

# A stream may pause for as long as the engine's queue is; only connecting is bounded.
STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5)
ANSWER = aiohttp.ClientTimeout(total=60, sock_connect=5)
LONGEST_COMPLAINT = 2_000
LARGE = 1 << 18
BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError)
PASSED_BACK = ("content-type", "retry-after")


class Wire:
    """One engine's HTTP server; `reuse` of connections for the next request."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, key: str | None, *, reuse: bool = True
    ) -> None:
        self.url = url.rstrip("/")
        self._session = session
        self._headers = {"Content-Type": "application/json"}
        if not reuse:
            self._headers["Connection"] = "close"
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    async def get(self, path: str) -> bytes:
        """Return what is there. Raises EngineError, also for a status that isn't 200."""
        try:
            async with self._session.get(
                self.url + path, headers=self._headers, timeout=ANSWER
            ) as response:
                return await _good(response)
        except BROKEN as error:
            raise EngineError(None, f"{path}: {_words(error)}") from error

    async def post(self, path: str, body: Mapping[str, Any]) -> bytes:
        """Return the answer to a body. Raises EngineError, also for a status that isn't 200."""
        try:
            async with self._session.post(
                self.url + path,
                data=_encoded(body),
                headers=self._traced(),
                timeout=ANSWER,
            ) as response:
                return await _good(response)
        except BROKEN as error:
            raise EngineError(None, f"{path}: {_words(error)}") from error

    def _traced(self) -> Mapping[str, str]:
        """Return the headers of a request, with what it belongs to where it is traced."""
        parent = TRACEPARENT.get()
        return self._headers | {"traceparent": parent} if parent else self._headers

    @asynccontextmanager
    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Events, None]:
        """Give the data of server-sent events as they come, up to [DONE] or the end.

        The connection closes with the context, and with it ends what the engine does for it.
        """
        try:
            events = await Events.ask(self.url + path, self._traced(), msgspec.json.encode(body))
        except EngineError as error:
            raise EngineError(error.status, f"{path}: {error.said}") from error
        try:
            if events.status != 200:
                raise EngineError(events.status, _complaint(events.complaint))
            yield events
        finally:
            events.close()

    @asynccontextmanager
    async def passed(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[Reply, None]:
        """Give the engine's answer as it is, whatever its status."""
        try:
            response = await self._session.post(
                self.url + path,
                data=_encoded(body),
                headers=self._traced(),
                timeout=STREAM,
            )
        except BROKEN as error:
            raise EngineError(None, f"{path}: {_words(error)}") from error
        try:
            yield PassedReply(response)
        finally:
            # Not `release`, which keeps a connection whose answer has been read: an answer that
            # is still under way has to break off.
            response.close() if not response.content.at_eof() else response.release()


class PassedReply:
    """A forwarded request's answer."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name: response.headers[name] for name in PASSED_BACK if name in response.headers
        }

    async def body(self) -> AsyncIterator[bytes]:
        """Yield it as it comes. Raises EngineError where the engine breaks off."""
        try:
            async for chunk in self._response.content.iter_any():
                yield chunk
        except BROKEN as error:
            raise EngineError(None, _words(error)) from error


def _encoded(body: Mapping[str, Any]) -> bytes | BytesIO:
    """Return a body as it is sent; a large one in parts, so that others are sent between them."""
    data = msgspec.json.encode(body)
    return data if len(data) < LARGE else BytesIO(data)


async def _good(response: aiohttp.ClientResponse) -> bytes:
    body = await response.read()
    if response.status != 200:
        raise EngineError(response.status, _complaint(body))
    return body


def _complaint(body: bytes) -> str:
    """Return an engine's own message, from OpenAI's shape of errors where it has that."""
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        said = None
    match said:
        case {"error": {"message": str(message)}} | {"error": str(message)}:
            return message
        case {"message": str(message)} | {"detail": str(message)}:
            return message
    return body[:LONGEST_COMPLAINT].decode(errors="replace")


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
