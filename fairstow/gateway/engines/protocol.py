"""What the gateway asks of an engine, whichever it is; adapters beside this module answer.

A movable request is known to the gateway by its token ids alone. It runs as one *leg* or several,
one after the other, each on one engine: `generate` starts a leg from all ids so far, and a leg that
ends without a finish reason is unfinished, never stopped. Closing the stream of a leg aborts it.

The KV cache of a running request goes from its source to a destination of the same compatibility
class in stages (`Movement.PRE_COPY`): `hold` leases what the source has computed for exactly
these ids and `pull` takes it into the destination's prefix cache, both while the source decodes on.
The last stage is a leg on the destination whose order carries the hold: only the last blocks move.
With `Movement.COPY` the source has to stop first; with `Movement.RECOMPUTE` nothing is copied.

Requests that can't be moved are passed through as they are (`forward`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from fairstow.serving.tokens import Finish, Logprob, Piece, Sampling

__all__ = [
    "Capabilities",
    "Decoder",
    "Engine",
    "EngineError",
    "Finish",
    "Hold",
    "HoldError",
    "Load",
    "Logprob",
    "Movement",
    "Order",
    "Parsed",
    "Piece",
    "Rendered",
    "Reply",
    "Sampling",
    "Unparsed",
]


class Movement(StrEnum):
    """How an engine can hand over the KV cache of a running request, the best way first."""

    PRE_COPY = "PreCopy"
    COPY = "Copy"
    RECOMPUTE = "Recompute"


class EngineError(Exception):
    """An engine refused, broke off or can't be reached.

    Attributes:
        status: its HTTP status, None where it gave none.
        said: its own words, for logs; they may name internals and go to no client.
    """

    def __init__(self, status: int | None, said: str) -> None:
        super().__init__(f"{status or 'no answer'}: {said}")
        self.status = status
        self.said = said


class HoldError(EngineError):
    """A hold that wasn't granted or isn't good any more; whoever is to use it isn't to blame."""


class Hold(msgspec.Struct, frozen=True):
    """KV blocks that a source keeps for one pull.

    Attributes:
        tokens: how many of the ids it covers.
        expires: when it is too late to begin a pull, in seconds of the event loop's clock.
        ticket: what the destination needs to find them, as the source said it.
        lasts: until when what was pulled is what was held; the source lets go no sooner.
    """

    tokens: int
    expires: float
    ticket: Mapping[str, Any]
    lasts: float = float("inf")


class Order(msgspec.Struct, frozen=True):
    """One leg of a movable request.

    Attributes:
        id: of this leg, not of the request, and never the client's.
        tokens: the prompt's ids and all generated so far.
        sampling: for what is left.
        priority: as the engine orders its queue, smaller first.
        salt: keeps prefixes apart: the tenant's own, or the move's where they were pulled.
        hold: the last stage's, on the destination; None recomputes.
    """

    id: str
    tokens: Sequence[int]
    sampling: Sampling
    priority: int
    salt: str
    hold: Hold | None = None


class Rendered(msgspec.Struct, frozen=True):
    """A prompt, and what the engine would do with its answer.

    Attributes:
        tokens: the prompt's ids.
        reasons: it would part reasoning from it (`Engine.parse`).
        grammar: it would hold it to a form.
        stops: ids at which it would end it, beside those asked for.
    """

    tokens: list[int]
    reasons: bool = False
    grammar: bool = False
    stops: tuple[int, ...] = ()


class Unparsed(msgspec.Struct, frozen=True):
    """Ids of a chat's answer: all of them, or the next of a stream.

    Attributes:
        request: as the client asked.
        prompt: its ids.
        finish: why it ended, with the last ids.
        state: what the piece before left behind, None for the first; any engine of the same class
            goes on with it.
    """

    request: Mapping[str, Any]
    prompt: Sequence[int]
    tokens: Sequence[int]
    finish: str | None
    streamed: bool
    state: msgspec.Raw | None = None


class Parsed(msgspec.Struct, frozen=True):
    """What ids say in a chat. Attributes: said: a message, or a stream's delta of it."""

    said: Mapping[str, Any]
    finish: str | None
    state: msgspec.Raw | None


class Capabilities(msgspec.Struct, frozen=True):
    """Facts of a running engine, asked of itself.

    Attributes:
        kind: "vllm", "llama.cpp", "openai".
        compatibility: requests go on only on engines of the same class.
        max_length: most ids of a sequence, prompt included.
        kv_tokens: its KV cache's size; 0 where it doesn't tell.
        block: tokens a KV block holds.
        bounded: whether holds overtake its queue, so that downtime doesn't depend on it.
        parses: whether it makes tool calls and reasoning of ids alone (`Engine.parse`).
        missing: what it lacks, as sentences that say what follows and what to change.
        speed: of its GPU, relative to the pool's slowest, as declared.
    """

    kind: str
    version: str
    model: str
    compatibility: str
    max_length: int
    kv_tokens: int
    block: int
    movement: Movement
    bounded: bool
    parses: bool = False
    missing: Sequence[str] = ()
    speed: float = 1.0


class Load(msgspec.Struct, frozen=True):
    """An engine's own count, a correction to the gateways' ledgers."""

    running: int
    waiting: int
    kv_used: float  # share of its cache
    preemptions: int = 0


class Decoder(Protocol):
    """Token ids of one request into text, as far as it is certain."""

    def feed(self, tokens: Sequence[int]) -> str:
        """Return the text that these ids complete; bytes of a half character are held back."""
        ...

    def end(self) -> str:
        """Return what was held back, with U+FFFD for what never became a character."""
        ...


class Reply(Protocol):
    """A forwarded request's answer."""

    status: int
    headers: Mapping[str, str]

    def body(self) -> AsyncIterator[bytes]:
        """Yield it as it comes. Raises EngineError where the engine breaks off."""
        ...


class Engine(Protocol):
    """One running engine. Everything raises EngineError where it can't be done."""

    name: str
    url: str

    async def probe(self) -> Capabilities:
        """Ask what it is and can; checked against the running server, nothing assumed."""
        ...

    async def load(self) -> Load:
        """Ask how busy it is."""
        ...

    async def render(self, path: str, body: Mapping[str, Any]) -> Rendered:
        """Return the prompt's ids of an OpenAI request, by the engine's own chat template.

        Raises EngineError with the engine's 4xx where it finds the request wrong.
        """
        ...

    async def parse(self, asked: Unparsed) -> Parsed:
        """Return what ids say in a chat; only asked of engines that can."""
        ...

    def decoder(self, prompt: Sequence[int]) -> Decoder:
        """Return a new decoder of what follows the prompt."""
        ...

    def generate(self, order: Order) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Run a leg; leaving the context before its end aborts it on the engine."""
        ...

    async def hold(self, tokens: Sequence[int], salt: str) -> Hold:
        """Lease the KV of exactly these ids, which a leg of this engine has computed."""
        ...

    async def pull(self, tokens: Sequence[int], salt: str, hold: Hold) -> None:
        """Take held blocks of these ids into this engine's prefix cache."""
        ...

    def forward(
        self, path: str, body: Mapping[str, Any], *, salt: str, priority: int
    ) -> AbstractAsyncContextManager[Reply]:
        """Pass a request that can't be moved; leaving the context aborts it.

        The body holds only what clients may say; salt and priority as in `Order`, for engines
        that know them.
        """
        ...


class ParsesNothing:
    """An engine that makes no tool calls of ids alone: they stay with the one that writes them."""

    async def parse(self, asked: Unparsed) -> Parsed:  # noqa: ARG002  # nothing can
        """Raise EngineError."""
        raise EngineError(None, "it makes no tool calls of ids alone")
