"""A movable chat whose answer an engine parses: tool calls and reasoning, made of the record's ids.

The record stays the one truth; engines are asked what the ids say, piece by piece as they come, and
any engine of the class can go on with what another left behind (engines.chats). So a call goes on
half-way through its arguments when its request moves.

vLLM reads all pieces again with each one, so that parsing an answer of n ids in k pieces costs
about n·k/2 ids of work on the engine's front end. It is bounded by time: after a piece that took d
seconds the next is asked for d·s/(SHARE·e) later, with s such streams over e engines, though after
five seconds at the latest. Below that it is at most SHARE of each front end's core: long answers
come in larger pieces.

Called by `app`.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import Any

import msgspec
import structlog

from fairstow.gateway.accounting import Told
from fairstow.gateway.engines.protocol import EngineError, Parsed, Rendered, Unparsed
from fairstow.gateway.fleet import Fleet, Instance
from fairstow.gateway.generating import Generation, counted
from fairstow.gateway.openai.answers import ChoiceAnswer
from fairstow.gateway.streams import Stream
from fairstow.serving.record import Record
from fairstow.serving.request_fields import REASONING
from fairstow.serving.requests import Asked, Endpoint
from fairstow.serving.tokens import Finish
from fairstow.web.errors import ApiError
from fairstow.web.exchange import KEEP_ALIVE, Exchange

SHARE = 0.25
"""Of a core of each engine's front end."""
_LONGEST_PAUSE = 5.0
_ATTEMPTS = 5
_RETRY_SECONDS = 0.5
_TRANSIENT = frozenset({401, 403, 404, 408, 409, 425, 429})

log = structlog.get_logger(__name__)


def unmovable(asked: Asked, rendered: Rendered | None, *, able: bool) -> str:
    """Return why a request stays with its engine, which is `able` to parse ids or not; "" if not.

    An engine that has reasoning parted from answers, and can't do so from ids, passes for one that
    leaves it in: only where the request asks for it, it is pinned.
    """
    if rendered is None:
        return asked.parsed
    if rendered.grammar:
        return "the engine holds its answer to a form"
    if not able or not (asked.parsed or rendered.reasons):
        return ""
    if asked.endpoint is Endpoint.RESPONSES:
        return REASONING
    if asked.stop:
        return "stop strings are looked for in what the engine parsed"
    if asked.sampling.logprobs is not None:
        return "only the engine has the probabilities of what it parsed"
    return ""


class Parsers:
    """The engines of a fleet, as parsers. Attributes: streams: that are being parsed."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.streams = 0

    async def ask(self, asked: Unparsed, compatibility: str) -> tuple[Parsed, float]:
        """Return what ids say, and how long to leave engines alone then. Raises ApiError."""
        failed: list[str] = []
        while len(failed) < _ATTEMPTS:
            able = self._able(compatibility)
            if not able:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            instance = min(able, key=lambda each: (failed.count(each.name), len(each.place)))
            began = time.monotonic()
            try:
                parsed = await instance.engine.parse(asked)
            except EngineError as error:
                log.warning("parsing broke", engine=instance.name, problem=str(error))
                status = error.status
                if status is not None and 400 <= status < 500 and status not in _TRANSIENT:
                    break
                failed.append(instance.name)
                self._fleet.suspect(instance)
                continue
            took = time.monotonic() - began
            return parsed, min(_LONGEST_PAUSE, took * self.streams / (SHARE * len(able)))
        raise ApiError(502, "The model's servers can't read the answer's tool calls or reasoning.")

    def _able(self, compatibility: str) -> list[Instance]:
        return [
            each
            for each in self._fleet.answering()
            if each.facts and each.facts.parses and each.facts.compatibility == compatibility
        ]


class ParsedGeneration(Generation):
    """One such request that is being answered."""

    def __init__(
        self, exchange: Exchange, told: Told, asked: Asked, began: float, parsers: Parsers
    ) -> None:
        super().__init__(exchange, told, asked, began)
        self._parsers = parsers

    async def _write(self, stream: Stream, answer: Any) -> None:
        self._parsers.streams += 1
        try:
            await self._write_parsed(stream, answer)
        finally:
            self._parsers.streams -= 1

    async def _write_parsed(self, stream: Stream, answer: ChoiceAnswer) -> None:
        exchange, outbox, record = self._exchange, stream.outbox, stream.record
        opening = answer.opening()
        state: msgspec.Raw | None = None
        known = 0
        while True:
            delta = await self._taken(stream)
            if outbox.error is not None:
                raise outbox.error
            tokens = _said(record)[known:]
            if not tokens and delta.finish is None:
                await exchange.stream(KEEP_ALIVE)
                continue
            known += len(tokens)
            parsed, pause = await self._parse(stream, tokens, delta.finish, state, streamed=True)
            state = parsed.state
            said = {name: value for name, value in parsed.said.items() if name != "role"}
            if said:
                self._spoke()
            if delta.finish is not None:
                end = answer.closing_as(said, parsed.finish or delta.finish, counted(stream))
                await exchange.stream(opening + end, last=True)
                return
            await exchange.stream(opening + answer.said(said) if said else KEEP_ALIVE)
            opening = b"" if said else opening
            await asyncio.sleep(pause)

    async def _collect(self, stream: Stream, answer: Any) -> None:
        while (finish := (await self._taken(stream)).finish) is None:
            if stream.outbox.error is not None:
                raise stream.outbox.error
            self._spoke()
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        reason: str = finish
        if tokens := _said(stream.record):
            parsed, _ = await self._parse(stream, tokens, finish, None, streamed=False)
            message |= parsed.said
            reason = "tool_calls" if message.get("tool_calls") else finish
        await self._exchange.answer(answer.whole_as(message, reason, counted(stream)))

    async def _parse(
        self,
        stream: Stream,
        tokens: array[int],
        finish: Finish | None,
        state: msgspec.Raw | None,
        *,
        streamed: bool,
    ) -> tuple[Parsed, float]:
        asked = Unparsed(
            request=self._asked.body,
            prompt=stream.record.prompt.tolist(),
            tokens=tokens.tolist(),
            finish=finish,
            streamed=streamed,
            state=state,
        )
        found = await self._exchange.kept_alive(self._parsers.ask(asked, stream.view.compatibility))
        self._exchange.on_gone = stream.leave
        return found


def _said(record: Record) -> array[int]:
    """Return the ids that say something: the one that ended the answer doesn't."""
    return record.generated[:-1] if record.finish is Finish.STOP else record.generated
