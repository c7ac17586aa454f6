"""OpenAI's APIs over the cost model: what pinned requests are sent as.

Prompts to ids, and tokens to chunks with text, stop strings and usage. Of /v1/responses it has
answers of one text, written as the gateway writes its own. Called by `server`.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from fairstow.gateway.cost_model import text
from fairstow.gateway.openai.answers import usage
from fairstow.gateway.openai.responses import ResponseAnswer
from fairstow.serving.record import Delta
from fairstow.serving.tokens import Finish

if TYPE_CHECKING:
    from fairstow.gateway.cost_model.runner import Told

Pieces = AsyncGenerator["Told", None]


class BadRequestError(ValueError):
    """A body that OpenAI's API would refuse."""


class Wanted(msgspec.Struct, frozen=True):
    """What a body asks for beside its prompt."""

    chat: bool
    max_tokens: int | None
    min_tokens: int
    ignore_eos: bool
    n: int
    stop: Sequence[str]
    stream: bool
    usage: bool
    salt: str
    priority: int
    ids: bool
    stops: frozenset[int]

    @property
    def prefix(self) -> str:
        """How ids of such answers begin."""
        return "chatcmpl" if self.chat else "cmpl"


class _Text(msgspec.Struct, frozen=True):
    text: str
    tokens: list[int]
    finish: str | None
    matched: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """An answer's frame."""

    id: str
    model: str
    wanted: Wanted
    prompt_tokens: int


def prompt_of(path: str, body: Mapping[str, Any]) -> list[int]:
    """Return the ids of a request's prompt. Raises BadRequestError."""
    if path == "/v1/chat/completions":
        return _rendered(body.get("messages"), body)
    if path == "/v1/responses":
        given = body.get("input")
        asked = [{"role": "user", "content": given}] if isinstance(given, str) else given
        system = body.get("instructions")
        return _rendered(
            [{"role": "system", "content": system}] * bool(system) + (asked or []), body
        )
    match body.get("prompt"):
        case str(prompt) if prompt:
            return text.encode(prompt)
        case [str(prompt)] if prompt:
            return text.encode(prompt)
        case [int(), *_] as ids:
            return msgspec.convert(ids, list[int])
        case [[int(), *_] as ids]:
            return msgspec.convert(ids, list[int])
    raise BadRequestError("prompt: one text or list of token ids that isn't empty")


def _rendered(messages: object, body: Mapping[str, Any]) -> list[int]:
    if isinstance(messages, list) and messages:
        several = [one for one in messages if isinstance(one, dict) and one.get("role")]
        if len(several) == len(messages):
            return text.render_chat(several, answer=body.get("add_generation_prompt", True))
    raise BadRequestError("messages: a list of objects with a role each, at least one")


def wanted(path: str, body: Mapping[str, Any]) -> Wanted:
    """Return what a body asks for. Raises BadRequestError."""
    stop = body.get("stop") or ()
    limits = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    limit = next((body[name] for name in limits if body.get(name)), None)
    count = body.get("n") or 1
    if not isinstance(count, int) or not 1 <= count <= 16:
        raise BadRequestError("n: from 1 to 16")
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise BadRequestError("max_tokens: at least 1")
    chat = path != "/v1/completions"
    return Wanted(
        chat=chat,
        max_tokens=limit if limit or chat else 16,
        min_tokens=body.get("min_tokens") or 0,
        ignore_eos=bool(body.get("ignore_eos")),
        n=count,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stream=bool(body.get("stream")),
        usage=bool((body.get("stream_options") or {}).get("include_usage")),
        salt=str(body.get("cache_salt") or ""),
        priority=int(body.get("priority") or 0),
        ids=bool(body.get("return_token_ids")),
        stops=frozenset(body.get("stop_token_ids") or ()),
    )


async def chunks(answer: Answer, every: Sequence[Pieces]) -> AsyncGenerator[bytes, None]:
    """Yield a stream's chunks, of all choices as they come."""
    counted = 0
    said: asyncio.Queue[tuple[int, _Text | Exception]] = asyncio.Queue()

    async def listen(index: int, pieces: Pieces) -> None:
        try:
            async with aclosing(_texts(pieces, answer.wanted.stop)) as texts:
                async for each in texts:
                    said.put_nowait((index, each))
        except Exception as error:  # noqa: BLE001  # handed on to the reader
            said.put_nowait((index, error))

    listeners = [asyncio.create_task(listen(*each)) for each in enumerate(every)]
    try:
        if answer.wanted.chat:
            for index in range(len(every)):
                yield _encoded(answer, [_delta(index, {"role": "assistant", "content": ""}, None)])
        open_choices = len(every)
        while open_choices:
            index, each = await said.get()
            if isinstance(each, Exception):
                raise each
            counted += len(each.tokens)
            open_choices -= each.finish is not None
            if answer.wanted.chat:
                choice = _delta(index, {"content": each.text} if each.text else {}, each.finish)
            else:
                choice = {"index": index, "text": each.text, "finish_reason": each.finish}
            if answer.wanted.ids:
                choice |= {"token_ids": each.tokens, "stop_reason": each.matched}
            yield _encoded(answer, [choice])
        if answer.wanted.usage:
            yield _encoded(answer, [], _usage(answer, counted))
    finally:
        for listener in listeners:
            listener.cancel()
        await asyncio.gather(*listeners, return_exceptions=True)


async def whole(answer: Answer, every: Sequence[Pieces]) -> dict[str, Any]:
    """Return an answer that isn't streamed."""

    async def collect(pieces: Pieces) -> _Text:
        every: list[_Text] = []
        async with aclosing(_texts(pieces, answer.wanted.stop)) as texts:
            every = [each async for each in texts]
        tokens = [token for each in every for token in each.tokens]
        return _Text("".join(each.text for each in every), tokens, every[-1].finish)

    collected = await asyncio.gather(*(collect(pieces) for pieces in every))
    choices = [
        {"index": index, "finish_reason": each.finish, "logprobs": None}
        | (
            {"message": {"role": "assistant", "content": each.text}}
            if answer.wanted.chat
            else {"text": each.text}
        )
        | ({"token_ids": each.tokens} if answer.wanted.ids else {})
        for index, each in enumerate(collected)
    ]
    usage = _usage(answer, sum(len(each.tokens) for each in collected))
    return _frame(answer, choices, usage, chunk=False)


async def response(answer: ResponseAnswer, prompt: int, pieces: Pieces) -> bytes:
    """Return an answer of /v1/responses."""
    every = [each async for each in _texts(pieces, ())]
    counted = usage(prompt, sum(len(each.tokens) for each in every))
    return answer.whole("".join(each.text for each in every), None, _ended(every[-1]), counted)


async def response_events(
    answer: ResponseAnswer, prompt: int, pieces: Pieces
) -> AsyncGenerator[bytes, None]:
    """Yield a stream of it."""
    yield answer.opening()
    generated = 0
    async for each in _texts(pieces, ()):
        generated += len(each.tokens)
        yield answer.chunk(Delta(each.text, len(each.tokens)))
        if each.finish is not None:
            yield answer.closing(_ended(each), usage(prompt, generated))


def _ended(last: _Text) -> Finish:
    return Finish.LENGTH if last.finish == "length" else Finish.STOP


async def _texts(pieces: Pieces, stops: Sequence[str]) -> AsyncGenerator[_Text, None]:
    """Yield text as it is certain, with the tokens that came; up to a stop string."""
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    held = max((len(stop) for stop in stops), default=1) - 1
    rest = ""
    async with aclosing(pieces):
        async for told in pieces:
            over = told.finish is not None
            rest += utf8.decode(bytes(t for t in told.tokens if t < 256), over)
            found = [at for stop in stops if (at := rest.find(stop)) >= 0]
            if found:
                yield _Text(rest[: min(found)], told.tokens, "stop")
                return
            certain = len(rest) if over else max(0, len(rest) - held)
            yield _Text(rest[:certain], told.tokens, told.finish, told.matched)
            rest = rest[certain:]


def _delta(index: int, delta: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}


def _usage(answer: Answer, tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": tokens,
        "total_tokens": answer.prompt_tokens + tokens,
    }


def _encoded(
    answer: Answer, choices: list[dict[str, Any]], usage: dict[str, int] | None = None
) -> bytes:
    return msgspec.json.encode(_frame(answer, choices, usage, chunk=True))


def _frame(
    answer: Answer, choices: list[dict[str, Any]], usage: dict[str, int] | None, *, chunk: bool
) -> dict[str, Any]:
    kind = "text_completion"
    if answer.wanted.chat:
        kind = "chat.completion.chunk" if chunk else "chat.completion"
    frame = {"id": answer.id, "object": kind, "created": 0, "model": answer.model}
    return frame | {"choices": choices} | ({"usage": usage} if usage else {})
