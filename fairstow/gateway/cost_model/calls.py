"""The cost model's tool calls: what vLLM's parsers are to it, so that derendering has an answer.

Where a chat has tools, the answer's first line is content and each line after it is a call of the
first tool, with that line as its argument. A stream's state is all ids so far, as in vLLM; each
piece is what all ids say, less what those before said. Called by `server`.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec


class Choice(msgspec.Struct):
    """One answer's ids, or the next of them."""

    token_ids: list[int]
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    """As the engine's token endpoint has it."""

    choices: list[Choice]


class State(msgspec.Struct):
    """What a caller carries from one piece of a stream to the next."""

    output_token_ids: list[int] = []


class Body(msgspec.Struct):
    """The body of /v1/chat/completions/derender."""

    chat_request: dict[str, Any]
    prompt_token_ids: list[int]
    stream: bool = False
    generate_response: Answer | None = None
    generate_chunk: Answer | None = None
    stream_state: State = msgspec.field(default_factory=State)


def derender(body: Body) -> dict[str, Any]:
    """Return what vLLM would answer. Raises ValueError."""
    answer = body.generate_chunk if body.stream else body.generate_response
    if answer is None or len(answer.choices) != 1:
        raise ValueError("one choice has to be given")
    (choice,) = answer.choices
    tool = _tool(body.chat_request)
    known = body.stream_state.output_token_ids if body.stream else []
    every = [*known, *choice.token_ids]
    over = choice.finish_reason is not None
    content, calls = _parsed(every, tool, over=over)
    if not body.stream:
        said = {"role": "assistant", "content": content or None, "tool_calls": _calls([], calls)}
        return {"choices": [{"message": said, "finish_reason": choice.finish_reason}]}
    before, called = _parsed(known, tool, over=False)
    delta = {"content": content[len(before) :] or None, "tool_calls": _calls(called, calls)}
    finish = "tool_calls" if over and calls else choice.finish_reason
    return {
        "chunk": {"choices": [{"delta": delta, "finish_reason": finish}]},
        "stream_state": {"output_token_ids": every},
    }


def _tool(request: Mapping[str, Any]) -> str:
    match request.get("tools"):
        case [{"function": {"name": str(name)}}, *_]:
            return name
    return ""


def _parsed(ids: Sequence[int], tool: str, *, over: bool) -> tuple[str, list[tuple[str, str]]]:
    """Return content, and calls with as much of their arguments as is certain."""
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(
        bytes(token for token in ids if token < 256), over
    )
    if not tool:
        return text, []
    content, *lines = text.split("\n")
    arguments = [msgspec.json.encode({"said": line}).decode() for line in lines]
    if arguments and not over:
        arguments[-1] = arguments[-1].removesuffix('"}')
    return content, [(tool, each) for each in arguments]


def _calls(
    before: Sequence[tuple[str, str]], now: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return what calls have grown by."""
    found = []
    for index, (tool, arguments) in enumerate(now):
        known = before[index][1] if index < len(before) else None
        if known == arguments:
            continue
        function = {"name": tool if known is None else None}
        call: dict[str, Any] = {"index": index, "id": None, "type": None}
        if known is None:
            call |= {"id": f"call-{index}", "type": "function"}
        found.append({**call, "function": function | {"arguments": arguments[len(known or "") :]}})
    return found
