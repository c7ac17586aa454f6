"""vLLM's two stateless doors between chats and ids: render, and its reverse, derender.

Rendering makes a prompt's ids, and says what else the engine would do with such a request: part
reasoning from the answer, hold it to a grammar, stop at more ids. Derendering makes an answer's ids
into what chats have (reasoning, content, tool calls) by the engine's parsers. A stream is
derendered piece by piece, with a state that the caller carries and every engine understands: so a
tool call goes on half-way on another engine. Facts in docs/engines.md; called by `vllm`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fairstow.gateway.engines.protocol import EngineError, Parsed, Rendered, Unparsed
from fairstow.gateway.engines.wire import Wire

Said = TypeVar("Said")

DERENDER = "/v1/chat/completions/derender"
_ABSENT = frozenset({403, 404, 405, 501})
_NOBODY = [{"role": "user", "content": ""}]
"""Parsers need a request's tools and not its messages, which may be long."""

_FRAME = frozenset({"messages", "stream", "stream_options", "logprobs", "top_logprobs"})
"""What a request says of its stream, which is the gateway's."""


class _Sampling(msgspec.Struct):
    structured_outputs: Any = None
    stop_token_ids: list[int] | None = None


class _RenderSaid(msgspec.Struct):
    token_ids: list[int]
    features: Any = None
    sampling_params: _Sampling = msgspec.field(default_factory=_Sampling)
    reasoning_parser_kwargs: Any = None


class _Choice(msgspec.Struct):
    message: dict[str, Any] | None = None
    delta: dict[str, Any] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


class _StreamSaid(msgspec.Struct):
    chunk: _Chunk
    stream_state: msgspec.Raw


async def render(wire: Wire, path: str, body: Mapping[str, Any]) -> Rendered:
    """Return a prompt's ids. Raises EngineError."""
    said = await wire.post(f"{path}/render", body)
    try:
        several = msgspec.json.decode(said, type=list[_RenderSaid] | _RenderSaid)
    except msgspec.DecodeError as error:
        raise EngineError(None, f"{path}/render: {error}") from error
    found = several if isinstance(several, list) else [several]
    if len(found) != 1:
        raise EngineError(None, f"one prompt renders to {len(found)} sequences")
    (one,) = found
    if one.features is not None:
        raise EngineError(None, "the prompt is more than tokens")
    return Rendered(
        one.token_ids,
        reasons=one.reasoning_parser_kwargs is not None,
        grammar=one.sampling_params.structured_outputs is not None,
        stops=tuple(one.sampling_params.stop_token_ids or ()),
    )


async def parses(wire: Wire) -> bool:
    """Return whether the engine derenders: a request without anything is found wrong, then."""
    try:
        await wire.post(DERENDER, {})
    except EngineError as error:
        return error.status is not None and error.status not in _ABSENT and error.status < 500
    return True


async def parse(wire: Wire, asked: Unparsed) -> Parsed:
    """Return what ids say in a chat. Raises EngineError."""
    said = {"index": 0, "token_ids": asked.tokens, "finish_reason": asked.finish}
    answer = {"request_id": secrets.token_hex(16), "output_mode": "tokens", "choices": [said]}
    request = {name: value for name, value in asked.request.items() if name not in _FRAME}
    body: dict[str, Any] = {
        "prompt_token_ids": asked.prompt,
        "chat_request": request | {"messages": _NOBODY},
        "stream": asked.streamed,
    }
    if not asked.streamed:
        answered = await wire.post(DERENDER, body | {"generate_response": answer})
        return _parsed(_decoded(answered, _Chunk).choices, None)
    state = {} if asked.state is None else {"stream_state": asked.state}
    answered = await wire.post(DERENDER, body | state | {"generate_chunk": answer})
    found = _decoded(answered, _StreamSaid)
    return _parsed(found.chunk.choices, found.stream_state)


def _decoded(answered: bytes, kind: type[Said]) -> Said:
    try:
        return msgspec.json.decode(answered, type=kind)
    except msgspec.DecodeError as error:
        raise EngineError(None, f"{DERENDER}: {error}") from error


def _parsed(choices: list[_Choice], state: msgspec.Raw | None) -> Parsed:
    (choice,) = choices
    said = choice.message if choice.message is not None else choice.delta or {}
    return Parsed(_told(said), choice.finish_reason, state)


def _told(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said at all; vLLM names what it doesn't say, too."""
    told: dict[str, Any] = {name: value for name, value in said.items() if value not in (None, [])}
    if calls := told.get("tool_calls"):
        told["tool_calls"] = [_call(each) for each in calls]
    return told


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in call["function"].items() if value is not None}
    return {name: value for name, value in call.items() if value is not None} | {
        "function": function
    }
