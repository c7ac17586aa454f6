"""A request that the cache has looked at, and what the upstream says to it.

It is asked for a client (`fly`), whose answer is kept if it may be, or behind a client's back
(`again`), to see whether what was served from memory is what the upstream would have said. Made by
`app`, for each request.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import msgspec
import structlog

from fairstow.cache_sidecar import metrics
from fairstow.cache_sidecar.answers import Hearing
from fairstow.cache_sidecar.asked import Asked
from fairstow.cache_sidecar.callers import Callers, Client
from fairstow.cache_sidecar.flights import Flight, Reply
from fairstow.cache_sidecar.kept import Answer, Form, NotKeptError
from fairstow.cache_sidecar.labelling import Watched
from fairstow.cache_sidecar.memory import Memory
from fairstow.cache_sidecar.upstream import Upstream
from fairstow.web.exchange import Bodies

_AGAIN_SECONDS = 300.0
_KINDS = {Form.WHOLE: "application/json"}
_STREAM = "text/event-stream"

log = structlog.get_logger(__name__)


class Behind(msgspec.Struct, frozen=True):
    """What all requests share.

    Attributes:
        room: for answers on their way.
    """

    upstream: Upstream
    callers: Callers
    room: Bodies


class Asking(msgspec.Struct, frozen=True):
    """See the module.

    Attributes:
        target, headers, data: as the client sent them.
        asked: what they say to the cache.
    """

    behind: Behind
    memory: Memory
    client: Client
    asked: Asked
    target: str
    headers: list[tuple[bytes, bytes]]
    data: bytes

    async def fly(self, flight: Flight) -> Answer | None:
        """Ask for all who listen; return the answer if it is kept."""
        memory, began, epoch = self.memory, time.monotonic(), self.memory.epoch
        asking = self.behind.upstream.ask("POST", self.target, self.headers, self.data, plain=True)
        with closing(self._hearing()) as hearing:
            async with asking as (reply, parts):
                self.behind.callers.told(self.client, reply.status)
                memory.measured.first_byte(time.monotonic() - began)
                hear_load(memory, reply)
                flight.head(reply)
                kept = self._may_be_kept(reply)
                async for part in parts:
                    await flight.part(part)
                    if kept:
                        hearing.feed(part)
            took = time.monotonic() - began
            if reply.status == 200:
                memory.measured.took("upstream", took)
            if not kept:
                metrics.NOT_STORED.labels("status" if reply.status != 200 else "kind").inc()
                return None
            return self._keep(hearing, took, epoch)

    async def again(self, watched: Watched) -> None:
        """Ask what was served from memory. Raises UpstreamError, NotKeptError, TimeoutError."""
        asking = self.behind.upstream.ask("POST", self.target, self.headers, self.data, plain=True)
        with closing(self._hearing()) as hearing:
            async with asyncio.timeout(_AGAIN_SECONDS), asking as (reply, parts):
                self.behind.callers.told(self.client, reply.status)
                if not self._may_be_kept(reply):
                    return
                async for part in parts:
                    hearing.feed(part)
            answer = hearing.answer()
        await self.memory.judge(self.asked, watched, answer)

    def _hearing(self) -> Hearing:
        longest = self.memory.rules.said.longest_answer
        return Hearing(self.asked.endpoint, self.asked.form, longest, self.behind.room)

    def _may_be_kept(self, reply: Reply) -> bool:
        encoded = any(name == b"content-encoding" for name, _ in reply.headers)
        kind = _KINDS.get(self.asked.form, _STREAM)
        return reply.status == 200 and not encoded and reply.kind == kind

    def _keep(self, hearing: Hearing, took: float, epoch: int) -> Answer | None:
        try:
            answer = hearing.answer()
            self.memory.keep(self.asked, answer, took, epoch)
        except NotKeptError as error:
            metrics.NOT_STORED.labels(str(error)).inc()
        except Exception:
            log.exception("an answer couldn't be read")
            metrics.NOT_STORED.labels("fault").inc()
        else:
            return answer
        return None


def hear_load(memory: Memory, reply: Reply) -> None:
    """Learn how loaded the upstream says that it is."""
    spec = memory.rules.said.load
    if spec is None or spec.header is None:
        return
    wanted = spec.header.lower().encode()
    for name, value in reply.headers:
        if name == wanted:
            memory.measured.told(value.decode("latin-1"))
