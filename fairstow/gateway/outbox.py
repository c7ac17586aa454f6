"""What a stream has to say and its client hasn't taken: bounded, put together when it lags.

A leg puts in, the client's task takes out. Whatever came meanwhile is taken as one, so that a
client that is behind gets fewer and larger chunks; above `MOST` characters the leg isn't read any
further until the client has caught up. To a client that isn't behind what is put in can be written
at once, without its task: that is all but a few tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairstow.serving.record import Delta
from fairstow.serving.tokens import Finish, Logprob
from fairstow.web.errors import ApiError

MOST = 1 << 18


class Outbox:
    """One request's answer on its way to its client.

    Attributes:
        error: what ended it instead of a finish.
        at_once: tries to write something to the client; False if it is to be queued.
    """

    __slots__ = (
        "_logprobs",
        "_room",
        "_size",
        "_text",
        "_tokens",
        "_wake",
        "at_once",
        "error",
        "finish",
    )

    def __init__(self) -> None:
        self.at_once: Callable[[Delta], bool] | None = None
        self.error: ApiError | None = None
        self.finish: Finish | None = None
        self._text: list[str] = []
        self._logprobs: list[Logprob] = []
        self._tokens = 0
        self._size = 0
        self._wake: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        """Whether its client is far behind."""
        return self._size > MOST

    def put(self, delta: Delta) -> None:
        """Add what was said."""
        if (
            self.at_once is not None
            and delta.finish is None
            and self._wake is not None  # its task has taken all before, and waits
            and not (self._text or self._logprobs or self._wake.done())
            and self.at_once(delta)
        ):
            return
        if delta.text:
            self._text.append(delta.text)
        if delta.logprobs:
            self._logprobs += delta.logprobs
        self._tokens += delta.tokens
        self._size += len(delta.text) + 64 * len(delta.logprobs)
        if delta.finish is not None:
            self.finish = delta.finish
        if delta.text or delta.logprobs or delta.finish is not None:
            self.poke()

    def fail(self, error: ApiError) -> None:
        """End it badly; the first reason counts, and a finish more than any."""
        if self.finish is None and self.error is None:
            self.error = error
        self.poke()

    def poke(self) -> None:
        """Wake the client's task, also if there is nothing."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def take(self) -> Delta:
        """Return what there is, as one; waits for it, or for a poke."""
        if not (self._text or self._logprobs or self.finish or self.error):
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        text = self._text[0] if len(self._text) == 1 else "".join(self._text)
        logprobs: Sequence[Logprob] = tuple(self._logprobs)
        delta = Delta(text, self._tokens, logprobs, self.finish)
        self._text.clear()
        self._logprobs.clear()
        self._tokens = self._size = 0
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        return delta

    async def room(self) -> None:
        """Wait until its client has caught up."""
        while self.full:
            if self._room is None or self._room.done():
                self._room = asyncio.get_running_loop().create_future()
            await self._room
