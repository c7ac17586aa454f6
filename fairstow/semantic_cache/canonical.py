"""A request as its key, its compatibility fingerprint and its question.

    key         = SHA-256(endpoint, every field that changes the answer)
    fingerprint = the same with the last user text replaced by a mark

Equal keys: the same request, the exact tier. Equal fingerprints: everything but the last question
is the same (model, system prompt, history, tools, format, sampling), so answers may be compared by
meaning. Each field of the API has a role here; `serving.requests.FIELDS` is the source of names, a
test goes through all of it. A field without a role is unsafe: it is part of the key, and the
request is for the exact tier only; with one nothing of `/v1/responses` is cached, where new fields
are mostly about what the server keeps. A field that is null is as if it weren't there; 1.0 is 1.
Called by `eligibility` and by who stores answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec

from fairstow.serving.request_fields import ENGINES_OWN
from fairstow.serving.requests import FIELDS, Endpoint


class Role(Enum):
    """What a field is to the cache."""

    ANSWER = "changes the answer"
    QUESTION = "changes the answer, and holds the question"
    DELIVERY = "how or where the answer is delivered; an entry serves all"
    IDENTITY = "who asks: part of the namespace"
    FORBIDDEN = "engines among themselves, or kept state: no cache"


_QUESTIONS = {
    Endpoint.CHAT: "messages",
    Endpoint.COMPLETIONS: "prompt",
    Endpoint.RESPONSES: "input",
}
_DELIVERY = frozenset(
    {
        "stream", "stream_options", "metadata", "service_tier", "store", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention",
    }
)  # fmt: skip
_IDENTITY = frozenset({"user", "safety_identifier"})
_FORBIDDEN = frozenset(ENGINES_OWN) | {
    "previous_response_id",
    "conversation",
    "background",
    "prompt",
}
_ANSWER = frozenset(
    {
        "add_generation_prompt", "add_special_tokens", "allowed_token_ids", "audio", "bad_words",
        "best_of", "chat_template_kwargs", "continue_final_message", "documents", "echo",
        "frequency_penalty", "function_call", "functions", "guided_choice", "guided_grammar",
        "guided_json", "guided_regex", "ignore_eos", "include", "include_reasoning",
        "include_stop_str_in_output", "instructions", "length_penalty", "logit_bias", "logprobs",
        "max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls", "min_p",
        "min_tokens", "modalities", "model", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_logprobs", "reasoning", "reasoning_effort",
        "repetition_penalty", "response_format", "seed", "skip_special_tokens",
        "spaces_between_special_tokens", "stop", "stop_token_ids", "structured_outputs", "suffix",
        "temperature", "text", "thinking_token_budget", "tool_choice", "tools", "top_k",
        "top_logprobs", "top_p", "truncate_prompt_tokens", "truncation", "use_beam_search",
        "verbosity", "web_search_options",
    }
)  # fmt: skip
_CALLED_BY_CLIENTS = frozenset({"function", "custom"})
_REFERENCES = (None, "item_reference")
_MARK = "\x00question"
_TEXT_PARTS = frozenset({"text", "input_text"})


class Canonical(msgspec.Struct, frozen=True):
    """A request as the cache sees it.

    Attributes:
        question: the last user text, None where there is no single one.
        turns: messages before it.
        unknown: fields without a role.
        forbidden: fields with which nothing is cached.
    """

    key: str
    fingerprint: str
    question: str | None
    turns: int = 0
    unknown: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


def role(endpoint: Endpoint, name: str) -> Role | None:
    """Return what a field is to the cache, None if nobody has said so."""
    if name == _QUESTIONS[endpoint]:
        return Role.QUESTION
    if name in _FORBIDDEN:
        return Role.FORBIDDEN
    if name in _IDENTITY:
        return Role.IDENTITY
    if name in _DELIVERY:
        return Role.DELIVERY
    return Role.ANSWER if name in _ANSWER and name in FIELDS[endpoint] else None


def canonical(endpoint: Endpoint, body: Mapping[str, Any]) -> Canonical:
    """Return a decoded body as key, fingerprint and question."""
    kept: dict[str, Any] = {}
    unknown: list[str] = []
    forbidden: list[str] = []
    for name, value in body.items():
        of = role(endpoint, name)
        if value is None or of in (Role.DELIVERY, Role.IDENTITY):
            continue
        if of is Role.FORBIDDEN and value is not False:
            forbidden.append(name)
        if of is None:
            (forbidden if endpoint is Endpoint.RESPONSES else unknown).append(name)
        kept[name] = value
    if endpoint is Endpoint.RESPONSES:
        forbidden += _stateful(body)
    elif body.get("store"):  # a replay would keep nothing there
        forbidden.append("store")
    field = _QUESTIONS[endpoint]
    question, marked, turns = _question(endpoint, kept.get(field))
    return Canonical(
        key=_digest(endpoint, kept),
        fingerprint=_digest(endpoint, kept | {field: marked}),
        question=question,
        turns=turns,
        unknown=tuple(sorted(unknown)),
        forbidden=tuple(sorted(forbidden)),
    )


def _stateful(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield what in a response's request is about something that the upstream keeps or looks up."""
    items, tools = body.get("input"), body.get("tools")
    if body.get("store") is not False:  # left out or null, it is true
        yield "a response that the server keeps (store)"
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and "role" not in item and item.get("type") in _REFERENCES:
            yield "a reference to an item"
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict) or tool.get("type") not in _CALLED_BY_CLIENTS:
            yield "a tool of the server's"


def _question(endpoint: Endpoint, value: Any) -> tuple[str | None, Any, int]:
    """Return the question, the field with a mark in its place, and how many messages precede it."""
    if endpoint is Endpoint.COMPLETIONS:
        return None, value, 0  # a continuation depends on every word
    if endpoint is Endpoint.RESPONSES and isinstance(value, str):
        return value, _MARK, 0
    if not isinstance(value, list) or not value or not isinstance(value[-1], dict):
        return None, value, 0
    last = value[-1]
    content = last.get("content")
    if last.get("role") != "user":
        return None, value, len(value)
    if isinstance(content, str):
        marked: Any = _MARK
    elif isinstance(content, list) and _one_text(content):
        marked, content = [content[0] | {"text": _MARK}], content[0]["text"]
    else:
        return None, value, len(value) - 1
    return content, [*value[:-1], last | {"content": marked}], len(value) - 1


def _one_text(content: list[Any]) -> bool:
    return (
        len(content) == 1
        and isinstance(content[0], dict)
        and content[0].get("type") in _TEXT_PARTS
        and isinstance(content[0].get("text"), str)
    )


def _digest(endpoint: Endpoint, fields: Mapping[str, Any]) -> str:
    text = msgspec.json.encode([endpoint.value, _plain(fields)], order="deterministic")
    return hashlib.sha256(text).hexdigest()


def _plain(value: Any) -> Any:
    """Return a value in which equal numbers are written alike."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
