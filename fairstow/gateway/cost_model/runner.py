"""The cost model's engine in true time: requests in, tokens out as they are due.

The state machine of `fairstow.serving.engine` says when an iteration ends; one task sleeps until
then and hands out what it generated. A time of the engine is the event loop's times `speed`.

KV cache travels between two servers as it does by NIXL: a *hold* leases blocks here; whoever has
its ticket reads them once (`read`), which takes as long as the copy; the reader has leased room
for them before (`fetch`). What is copied stands for exactly the ids that were held: a reader whose
ids differ, or with other weights, gets wrong blocks without an error, and writes other text from
there on, as a real engine does. Called by `server`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import msgspec

from fairstow.gateway.cost_model.text import END, Writer
from fairstow.serving.engine import Engine
from fairstow.serving.jobs import Change, Job
from fairstow.serving.model import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fairstow.serving.cost_model import Profile

ROOM_RETRY_S = 0.02


class KvGoneError(Exception):
    """Blocks that were held aren't there any more, or their holder isn't."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What is served.

    Attributes:
        name: as clients ask for it.
        weights: engines with other weights write other text.
        mean_length: an answer ends by itself after about so many tokens; 0 never.
        lease: seconds that a hold lasts.
    """

    name: str
    weights: str
    mean_length: int = 0
    lease: float = 30.0


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One sequence to generate.

    Attributes:
        variant: which of several answers to the same prompt; 0 the first.
        remote: where its prompt's KV is held, as the holder said it.
    """

    id: str
    tokens: Sequence[int]
    limit: int
    at_least: int = 0
    priority: int = 0
    salt: str = ""
    ends: bool = True
    stops: frozenset[int] = frozenset()
    variant: int = 0
    remote: Mapping[str, Any] | None = None


class Told(msgspec.Struct, frozen=True):
    """Tokens that came at once, with how likely each was, and at the end why it ended."""

    tokens: list[int]
    logprobs: list[float]
    finish: str | None = None
    matched: int | None = None


@dataclass
class _Sequence:
    ask: Ask
    writer: Writer
    keys: list[bytes]
    chain: _Chain
    sent: int = 0
    told: asyncio.Queue[Told] = field(default_factory=asyncio.Queue)


@dataclass
class _Held:
    tokens: int
    content: bytes
    expires: float


class _Chain:
    """Keys of a sequence's full blocks: digests of the salt and all ids up to a block's end."""

    def __init__(self, salt: str, block: int) -> None:
        self._digest = blake2b(salt.encode(), digest_size=16)
        self._block = block
        self._rest: list[int] = []

    def feed(self, ids: Sequence[int]) -> list[bytes]:
        """Take ids in; return the keys of the blocks they fill."""
        rest, size = [*self._rest, *ids], self._block
        keys = []
        for start in range(0, len(rest) - size + 1, size):
            self._digest.update(b"".join(t.to_bytes(2) for t in rest[start : start + size]))
            keys.append(self._digest.copy().digest())
        self._rest = rest[len(keys) * size :]
        return keys


class Runner:
    """One engine and its time.

    Attributes:
        id: of this engine; another after each start.
        failed: it stopped for an error of its own.
    """

    def __init__(
        self,
        profile: Profile,
        model: Model,
        *,
        speed: float = 1.0,
        read: Callable[[Mapping[str, Any], int], Awaitable[bytes]],
    ) -> None:
        self.id = secrets.token_hex(8)
        self.failed = False
        self.profile = profile
        self.model = model
        self.engine = Engine(profile)
        self._speed = speed
        self._read = read
        self._live: dict[str, _Sequence] = {}
        self._held: dict[str, _Held] = {}
        self._wrong: dict[bytes, bytes] = {}
        self._changed = asyncio.Event()

    @property
    def now(self) -> float:
        """The engine's time."""
        return asyncio.get_running_loop().time() * self._speed

    async def run(self) -> None:
        """Hand tokens out when they are due, until cancelled."""
        try:
            while True:
                self._changed.clear()
                now = self.now
                self._hand_out(now)
                await self._until_due(min(self.engine.tick, self.engine.due) - now)
        except Exception:
            # Nobody waits for this task: whoever waits for tokens has to learn of it.
            self.failed = True
            for sequence in self._live.values():
                sequence.told.put_nowait(Told([], [], "error"))
            raise

    async def _until_due(self, wait: float) -> None:
        """Wait so long, in the engine's time, or until something is asked of it."""
        timer = None
        if wait != float("inf"):
            loop = asyncio.get_running_loop()
            timer = loop.call_later(max(0.0, wait / self._speed), self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def generate(self, ask: Ask) -> AsyncGenerator[Told, None]:
        """Yield what is generated; closing it aborts. Raises ValueError, KvGoneError."""
        if self.failed:
            raise RuntimeError("the engine has failed")
        writer = Writer(self.model.weights, ask.tokens, self.model.mean_length)
        chain = _Chain(ask.salt, self.profile.block)
        keys = chain.feed(ask.tokens)
        ticket = ""
        if ask.remote is not None:
            ticket = f"in-{ask.id}"
            await self._fetch(ask.remote, ticket, keys, writer)
        if wrong := self._wrong_in(keys):
            writer.spoil(wrong)
        if ask.variant:
            writer.spoil(ask.variant.to_bytes(2))
        with self._submitted(_Sequence(ask, writer, keys, chain), ticket) as sequence:
            while True:
                told = await sequence.told.get()
                yield told
                if told.finish is not None:
                    return

    def abort(self, job: str) -> bool:
        """End a sequence as aborted; say whether it was here."""
        sequence = self._live.get(job)
        if sequence is None:
            return False
        self._drop(job)
        sequence.told.put_nowait(Told([], [], "abort"))
        return True

    def hold(self, job: str, tokens: Sequence[int], salt: str) -> dict[str, Any]:
        """Lease the blocks of ids that a sequence has just computed; say what finds them."""
        keys = _Chain(salt, self.profile.block).feed(tokens)
        ticket = f"{job}-{secrets.token_hex(4)}"
        expires = self.now + self.model.lease * self._speed
        self._held = {t: held for t, held in self._held.items() if held.expires > self.now}
        self.engine.hold(self.now, ticket, keys, expires=expires)
        content = self._wrong_in(keys) or Writer(self.model.weights, tokens).digest()
        self._held[ticket] = _Held(len(tokens), content, expires)
        return {
            "remote_block_ids": [list(range(self.profile.blocks_of(len(tokens))))],
            "remote_engine_id": self.id,
            "remote_request_id": ticket,
            "remote_num_tokens": len(tokens),
            "tp_size": 1,
        }

    async def read(self, ticket: str, tokens: int) -> bytes:
        """Give what is held to its reader, as long as that takes. Raises KvGoneError."""
        held = self._held.pop(ticket, None)
        if held is None or held.expires <= self.now:
            raise KvGoneError(f"nothing is held as {ticket}")
        await self._until(self.engine.copy(self.now, tokens))
        self.engine.release(self.now, ticket)
        self._changed.set()
        return held.content

    def cached(self, tokens: Sequence[int], salt: str) -> int:
        """Return how many leading tokens of a prompt need not be computed."""
        return self.engine.cached(_Chain(salt, self.profile.block).feed(tokens))

    def used(self) -> float:
        """Return the share of KV blocks in use."""
        return self.engine.used / self.profile.blocks

    async def _fetch(
        self, remote: Mapping[str, Any], ticket: str, keys: list[bytes], writer: Writer
    ) -> None:
        lease = self.model.lease * self._speed
        missing = self.engine.receive(self.now, ticket, keys, expires=self.now + lease)
        while missing is None:
            await asyncio.sleep(ROOM_RETRY_S / self._speed)
            missing = self.engine.receive(self.now, ticket, keys, expires=self.now + lease)
        try:
            done = self.engine.copy(self.now, missing)
            self._changed.set()
            content = await self._read(remote, missing)
            await self._until(done)
        except BaseException:
            self.engine.release(self.now, ticket)
            raise
        if content != writer.digest():
            for key in keys:
                self._wrong[key] = content
            if not keys:
                writer.spoil(content)

    def _wrong_in(self, keys: Sequence[bytes]) -> bytes | None:
        if not self._wrong:
            return None
        found = self.engine.cached(keys) // self.profile.block
        return next((self._wrong[key] for key in keys[:found] if key in self._wrong), None)

    @contextmanager
    def _submitted(self, sequence: _Sequence, ticket: str) -> Iterator[_Sequence]:
        ask = sequence.ask
        job = Job(
            id=ask.id,
            prompt=len(ask.tokens),
            output=ask.limit,
            priority=ask.priority,
            keys=tuple(sequence.keys),
        )
        try:
            self.engine.submit(self.now, job)
            self._live[ask.id] = sequence
            self._changed.set()
            yield sequence
        finally:
            self._drop(ask.id)
            if ticket:
                self.engine.release(self.now, ticket)

    def _drop(self, job: str) -> None:
        if self._live.pop(job, None) is not None:
            with suppress(KeyError):  # it ended by itself just now
                self.engine.abort(self.now, job)
            self._changed.set()

    def _hand_out(self, now: float) -> None:
        for event in self.engine.advance(now):
            if event.change is Change.FINISH and event.id in self._live:
                sequence = self._live.pop(event.id)
                self._tell(now, sequence, sequence.ask.limit, over=True)
        for job, sequence in list(self._live.items()):
            generated = self.engine.generated(job)
            if generated > sequence.sent:
                self._tell(now, sequence, generated, over=False)

    def _tell(self, now: float, sequence: _Sequence, generated: int, *, over: bool) -> None:
        ask, writer = sequence.ask, sequence.writer
        tokens: list[int] = []
        finish: str | None = None
        matched: int | None = None
        while sequence.sent < generated and finish is None:
            early = sequence.sent < ask.at_least
            token = writer.next(may_end=ask.ends and not early)
            writer.feed((token,))
            sequence.sent += 1
            tokens.append(token)
            if token == END and ask.ends:
                finish = "stop"
            elif token in ask.stops and not early:
                finish, matched = "stop", token
        if over and finish is None:
            finish = "length"
        if finish is None:
            self._seal(now, sequence, tokens)
        elif not over:
            self._drop(ask.id)
        sequence.told.put_nowait(Told(tokens, [likelihood(t) for t in tokens], finish, matched))

    def _seal(self, now: float, sequence: _Sequence, tokens: list[int]) -> None:
        # KV of the newest token isn't computed yet: its block is full one step later.
        sequence.keys += sequence.chain.feed(tokens)
        if self.engine.phase(sequence.ask.id) is Phase.DECODE:
            length = len(sequence.ask.tokens) + sequence.sent
            full = (length - 1) // self.profile.block
            self.engine.seal(now, sequence.ask.id, sequence.keys[:full])

    async def _until(self, at: float) -> None:
        await asyncio.sleep(max(0.0, (at - self.now) / self._speed))


def likelihood(token: int) -> float:
    """Return a token's log-probability; made up, the same wherever it is asked for."""
    return -(token % 97 + 1) / 128
