"""A movable request from its prompt's ids to its answer, whole or streamed.

Called by `app` once a request is known to be movable; what moves it is in `streams`.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from fairstow.gateway.accounting import Told
from fairstow.gateway.engines.protocol import EngineError, Rendered
from fairstow.gateway.fleet import Fleet, Instance
from fairstow.gateway.openai.answers import Answer, ChoiceAnswer, Usage, usage
from fairstow.gateway.openai.responses import ResponseAnswer
from fairstow.gateway.streams import Stream
from fairstow.gateway.urgency import Urgency
from fairstow.serving.model import RequestView
from fairstow.serving.record import Delta, Record
from fairstow.serving.requests import Asked, Endpoint
from fairstow.serving.tokens import Logprob, Sampling
from fairstow.web.errors import ApiError
from fairstow.web.exchange import KEEP_ALIVE, ClientLeftError, Exchange

COMPLETION_TOKENS = 16
"""OpenAI's default for plain completions."""

_PROMPT = {Endpoint.CHAT: "messages", Endpoint.COMPLETIONS: "prompt", Endpoint.RESPONSES: "input"}

log = structlog.get_logger(__name__)

Serving = Callable[[str], Awaitable[Instance]]
"""Waits for an engine of a model."""


async def prompt(fleet: Fleet, serving: Serving, asked: Asked) -> tuple[Instance, Rendered | None]:
    """Return the prompt, by the template of an engine, and that engine. Raises ApiError.

    Nothing is rendered where the answer has to be parsed and the engine can't do so from ids alone.
    """
    while True:
        instance = await serving(asked.model)
        if asked.parsed and not (instance.facts and instance.facts.parses):
            return instance, None
        try:
            return instance, await instance.engine.render(asked.template, asked.prompt)
        except EngineError as error:
            if error.status in (400, 422):
                raise ApiError(400, error.said) from error
            log.warning("render broke", engine=instance.name, problem=str(error))
            fleet.suspect(instance)


def limit(asked: Asked, length: int, longest: int) -> int:
    """Return how many tokens may be generated after so many. Raises ApiError where none fit."""
    room = longest - length
    wanted = asked.sampling.max_tokens
    if room < max(1, wanted):
        raise ApiError(
            400,
            f"The model's context holds {longest} tokens; the prompt has {length} and "
            f"{max(1, wanted)} more are asked for.",
            code="context_length_exceeded",
            param=_PROMPT[asked.endpoint],
        )
    if asked.endpoint is Endpoint.COMPLETIONS:
        wanted = wanted or COMPLETION_TOKENS
    return min(wanted or room, room)


class Generation:
    """One request that is being answered."""

    def __init__(self, exchange: Exchange, told: Told, asked: Asked, began: float) -> None:
        self._exchange = exchange
        self._told = told
        self._asked = asked
        self._began = began

    async def run(self, stream: Stream, answer: Answer) -> None:
        """Answer it from its stream. Raises ApiError and ClientLeftError."""
        told, exchange = self._told, self._exchange
        told.prompt = len(stream.record.prompt)
        exchange.on_gone, exchange.failing = stream.leave, answer.failing
        try:
            if exchange.gone:
                raise ClientLeftError
            stream.start()
            await (self._write if self._asked.stream else self._collect)(stream, answer)
        finally:
            stream.leave()
            told.generated = len(stream.record.generated)
            told.moves, told.legs = stream.moves, stream.legs

    async def _write(self, stream: Stream, answer: Answer) -> None:
        exchange, outbox = self._exchange, stream.outbox
        opening = answer.opening()
        port = exchange.at_once

        def at_once(delta: Delta) -> bool:
            if port is None or not port.ready:
                return False
            if data := answer.chunk(delta):
                port.write(data)
            return True

        while True:
            delta = await self._taken(stream)
            data = answer.chunk(delta)
            if data:
                self._spoke()
            if delta.finish is not None:
                data += answer.closing(delta.finish, counted(stream))
                await exchange.stream(opening + data, last=True)
                return
            if data:
                await exchange.stream(opening + data)
                opening = b""
                outbox.at_once = at_once
            if outbox.error is not None:
                raise outbox.error
            if not data:
                await exchange.stream(KEEP_ALIVE)

    async def _collect(self, stream: Stream, answer: Answer) -> None:
        text: list[str] = []
        logprobs: list[Logprob] = []
        while True:
            delta = await self._taken(stream)
            text.append(delta.text)
            logprobs += delta.logprobs
            if delta.text:
                self._spoke()
            if delta.finish is not None:
                wanted = None if self._asked.sampling.logprobs is None else logprobs
                said = answer.whole("".join(text), wanted, delta.finish, counted(stream))
                await self._exchange.answer(said)
                return
            if stream.outbox.error is not None:
                raise stream.outbox.error

    async def _taken(self, stream: Stream) -> Delta:
        """Return what the outbox has. Raises ClientLeftError."""
        if self._exchange.gone:  # it left while it was being sent something: nobody wakes us
            raise ClientLeftError
        delta = await stream.outbox.take()
        if self._exchange.gone:
            raise ClientLeftError
        return delta

    def _spoke(self) -> None:
        if self._told.first is None:
            self._told.first = time.monotonic() - self._began


def answer_of(asked: Asked, instance: Instance) -> Answer:
    """Return what writes the answer."""
    engine = instance.engine

    def spell(token: int) -> str:
        alone = engine.decoder(())
        return alone.feed((token,)) + alone.end()

    now = int(time.time())
    if asked.endpoint is Endpoint.RESPONSES:
        return ResponseAnswer(asked.body, now, spell)
    return ChoiceAnswer(asked.endpoint, asked.model, now, counted=asked.usage, spell=spell)


def sampling(asked: Asked, rendered: Rendered, limit: int) -> Sampling:
    """Return how tokens are drawn: as asked, and stopped where the engine itself would."""
    stops = dict.fromkeys((*asked.sampling.stop_token_ids, *rendered.stops))
    return msgspec.structs.replace(asked.sampling, max_tokens=limit, stop_token_ids=tuple(stops))


def parts(
    asked: Asked, instance: Instance, ids: list[int], tenant: str, urgent: Urgency
) -> tuple[RequestView, Record]:
    """Return what policies see of a request, and its record. Raises ApiError."""
    facts = instance.facts
    assert facts is not None
    most = limit(asked, len(ids), facts.max_length)
    record = Record(
        ids,
        instance.engine.decoder(ids),
        most,
        stop=asked.stop,
        min_tokens=asked.sampling.min_tokens,
    )
    view = RequestView(
        id=secrets.token_hex(12),
        prompt=len(ids),
        limit=most,
        arrived=time.monotonic(),
        tenant=tenant,
        compatibility=facts.compatibility,
    )
    urgent.mark(view)
    return view, record


def counted(stream: Stream) -> Usage:
    """Return a request's tokens."""
    return usage(len(stream.record.prompt), len(stream.record.generated))
