"""What an OpenAI request asks for: can it be moved, must it stay where it runs, or is it refused?

A request is *movable* only if its continuation is a function of token ids: the gateway tokenises
it, and any engine of the same class can go on with it. Penalties over the output, grammars, forced
tools, several choices and pictures are state that ids don't carry: such a request is *pinned* and
passed to one engine as it is. Tool calls that the model may make, and reasoning, are text that an
engine *parses*: whether it can do so from ids alone is the engine's to say. The table `fields` says
so for each field of the API, and which values are as if the field weren't there. A field that no
table knows pins as well, and isn't passed on: engines act on fields that are none of a client's
business (another's KV cache, another's request, the order of the queue), and the next version may
have more. Those known are refused.

So bodies that reach an engine are built here, of what tables allow. Called by the gateway.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from fairstow.serving.request_fields import (
    CHAT,
    COMPLETIONS,
    REASONING,
    TOOLS,
    Effect,
    Field,
    Wrong,
)
from fairstow.serving.response_fields import LOGPROBS, RESPONSES, as_chat
from fairstow.serving.tokens import Sampling


class Endpoint(StrEnum):
    """Where token streams are asked for; the value is the path."""

    CHAT = "/v1/chat/completions"
    COMPLETIONS = "/v1/completions"
    RESPONSES = "/v1/responses"


class Asked(msgspec.Struct, frozen=True):
    """What a request asks for, whichever endpoint it came by.

    Attributes:
        body: what an engine may be told.
        prompt: of that, what the prompt's ids are made from, for a movable one; as a chat's fields
            where the request came by /v1/responses.
        pinned: why it can't be moved, empty if it can.
        parsed: why an engine has to parse its answer, "" if none has to; it can be moved where
            engines do so from ids alone.
        ignored: fields that aren't passed on because nobody knows them.
        sampling: for a movable one; `max_tokens` is 0 where the client named no limit.
        usage: whether a stream ends with a chunk of it.
    """

    endpoint: Endpoint
    model: str
    body: Mapping[str, Any]
    prompt: Mapping[str, Any]
    stream: bool
    usage: bool
    sampling: Sampling
    stop: tuple[str, ...]
    pinned: tuple[str, ...] = ()
    parsed: str = ""
    ignored: tuple[str, ...] = ()

    @property
    def template(self) -> Endpoint:
        """Whose prompts engines render: a response is a chat by another name."""
        return Endpoint.CHAT if self.endpoint is Endpoint.RESPONSES else self.endpoint


class Refusal(msgspec.Struct, frozen=True):
    """A request that is wrong by itself, in the words of an OpenAI error."""

    message: str
    param: str | None = None


FIELDS: Mapping[Endpoint, Mapping[str, Field]] = {
    Endpoint.CHAT: CHAT,
    Endpoint.COMPLETIONS: COMPLETIONS,
    Endpoint.RESPONSES: RESPONSES,
}


class _Sorted(msgspec.Struct):
    """A body's fields: as we use them, as they are passed on, and what they mean for a move."""

    said: dict[str, Any] = {}
    passed: dict[str, Any] = {}
    prompt: dict[str, Any] = {}
    pinned: list[str] = []
    ignored: list[str] = []


def read(endpoint: Endpoint, body: Any) -> Asked | Refusal:
    """Return what a decoded JSON body asks for."""
    if not isinstance(body, dict):
        return Refusal("The body has to be a JSON object.")
    found = _sorted(FIELDS[endpoint], body)
    if isinstance(found, Refusal):
        return found
    said, prompt = found.said, found.prompt
    _together(said, found.pinned)
    sampling = _sampling(endpoint, said)
    if isinstance(sampling, Refusal):
        return sampling
    if said.get("stream_options") is not None and not said.get("stream"):
        return Refusal("stream_options is for streams: set stream to true.", "stream_options")
    if endpoint is Endpoint.RESPONSES:
        found.passed["store"] = False
        prompt = {} if found.pinned else as_chat(prompt)
    return Asked(
        endpoint=endpoint,
        model=said["model"],
        body=found.passed,
        prompt=prompt,
        stream=said.get("stream", False),
        usage=said.get("stream_options", {}).get("include_usage", False),
        sampling=sampling,
        stop=said.get("stop", ()),
        pinned=tuple(found.pinned),
        parsed=_parsed(said),
        ignored=tuple(found.ignored),
    )


def _sorted(table: Mapping[str, Field], body: Mapping[str, Any]) -> _Sorted | Refusal:
    """Sort a body's fields by the table."""
    found = _Sorted()
    for name, value in body.items():
        if value is None:
            continue
        field = table.get(name)
        if field is None:
            found.ignored.append(name)
            found.pinned.append(f"nobody knows the field {name[:64]!r}")
            continue
        if field.effect is Effect.REFUSED:
            return Refusal(f"{name} is for engines alone; leave it out.", name)
        try:
            found.said[name] = field.check(value)
        except Wrong as wrong:
            return Refusal(f"{name} {wrong}.", name)
        found.passed[name] = value
        if field.effect is Effect.PROMPT:
            found.prompt[name] = value
        if (why := field.pins(value)) is not None:
            found.pinned.append(why)
    for name, field in table.items():
        if field.required and name not in found.said:
            return Refusal(f"{name} is missing.", name)
    return found


def _together(said: Mapping[str, Any], pinned: list[str]) -> None:
    """What fields mean only together: tools that have to be called, or by a form."""
    choice = said.get("tool_choice", "auto")
    if choice not in ("auto", "none"):
        pinned.append("tool_choice forces a form")
    elif choice == "auto" and any(map(_strict, said.get("tools", ()))):
        pinned.append("a strict tool is a grammar")


def _strict(tool: Any) -> bool:
    match tool:
        case {"function": {"strict": True}} | {"strict": True}:
            return True
    return False


def _parsed(said: Mapping[str, Any]) -> str:
    if said.get("tools") and said.get("tool_choice") != "none":
        return TOOLS
    if "reasoning_effort" in said or "include_reasoning" in said:
        return REASONING
    return ""


def _sampling(endpoint: Endpoint, said: Mapping[str, Any]) -> Sampling | Refusal:
    limit = said.get("max_completion_tokens", said.get("max_tokens", said.get("max_output_tokens")))
    if limit is None:
        limit = 16 if endpoint is Endpoint.COMPLETIONS else 0  # OpenAI's default
    minimum = said.get("min_tokens", 0)
    if limit and minimum > limit:
        return Refusal("min_tokens is more than max_tokens.", "min_tokens")
    if endpoint is Endpoint.RESPONSES:
        logprobs = said.get("top_logprobs", 0) if LOGPROBS in said.get("include", ()) else None
    elif endpoint is Endpoint.CHAT:
        logprobs = said.get("top_logprobs", 0) if said.get("logprobs") else None
        if said.get("top_logprobs") and not said.get("logprobs"):
            return Refusal("top_logprobs needs logprobs to be true.", "top_logprobs")
    else:
        logprobs = said.get("logprobs")
    return Sampling(
        max_tokens=limit,
        min_tokens=minimum,
        temperature=said.get("temperature", 1.0),
        top_p=said.get("top_p", 1.0),
        top_k=max(0, said.get("top_k", 0)),
        min_p=said.get("min_p", 0.0),
        seed=said.get("seed"),
        ignore_eos=said.get("ignore_eos", False),
        stop_token_ids=said.get("stop_token_ids", ()),
        logit_bias=said.get("logit_bias", {}),
        logprobs=logprobs,
    )
