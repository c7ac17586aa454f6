"""The fields of `/v1/responses`, and a Responses request as the chat that it is.

Only what is in one request is served: nothing is kept between two, so that what would refer to an
earlier one is refused by name. Where `store` isn't said it is false, though OpenAI's default is
true: answers say so. Messages of text become a chat, whose prompt an engine's own template makes;
all else (tool calls, reasoning, pictures) is for an engine that knows this API: pinned.

Source: OpenAI's API reference. Read by `requests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairstow.serving.request_fields import (
    GRAMMAR,
    PENALTY,
    REASONING,
    REFUSED,
    TOOLS,
    Effect,
    Field,
    Wrong,
    bias,
    boolean,
    integer,
    mapping,
    more_options,
    number,
    pinned,
    plain,
    sampling,
    stops,
    string,
    token_ids,
    tools,
    unless,
)

LOGPROBS = "message.output_text.logprobs"
"""What `include` says where log-probabilities are wanted."""
_TEXT = frozenset({"input_text", "output_text", "text"})
_TEXT_ONLY = "not all of its content is text"


def input_items(value: Any) -> Any:
    """Text, or a list of items; their kinds are the engine's to check, but for messages."""
    if isinstance(value, str) and value:
        return value
    if not isinstance(value, list) or not value or not all(isinstance(i, dict) for i in value):
        raise Wrong("has to be a string, or a list of items, that isn't empty")
    for each in value:
        if each.get("type") == "item_reference":
            raise Wrong("refers to an item of another response; no response is kept here")
        if _is_message(each) and not _is_content(each.get("content")):
            raise Wrong("has to have strings, or lists of typed parts, for contents")
    return value


def _is_message(item: Mapping[str, Any]) -> bool:
    return item.get("type", "message") == "message" and isinstance(item.get("role"), str)


def _is_content(content: Any) -> bool:
    return isinstance(content, str) or (
        isinstance(content, list)
        and all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content)
    )


def _items_pin(value: Any) -> str | None:
    for each in [] if isinstance(value, str) else value:
        if not _is_message(each):
            return "it holds tool calls, reasoning or the like"
        content = each["content"]
        if isinstance(content, list) and not all(_is_text(part) for part in content):
            return _TEXT_ONLY
    return None


def _is_text(part: Mapping[str, Any]) -> bool:
    return part["type"] in _TEXT and isinstance(part.get("text"), str)


def _kept(_value: Any) -> Any:
    raise Wrong("names something that a server has to keep; nothing is kept here between requests")


def _not_stored(value: Any) -> bool:
    if boolean(value):
        raise Wrong("has to be false or left out: no response is kept here")
    return False


def _foreground(value: Any) -> bool:
    if boolean(value):
        raise Wrong("has to be false or left out: a response is here only while it is asked for")
    return False


def _included(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Wrong("has to be a list of strings")
    return value


def _includes_more(value: list[str]) -> str | None:
    return None if set(value) <= {LOGPROBS} else "only the engine has all that it includes"


def _form(value: Any) -> str | None:
    wanted = dict(mapping(value))
    form = wanted.pop("format", None)
    if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
        return GRAMMAR
    return None if all(each is None for each in wanted.values()) else "only the engine knows how"


def _reasons(value: Mapping[str, Any]) -> str | None:
    asked = any(each is not None for each in value.values())
    return REASONING if asked else None


RESPONSES: Mapping[str, Field] = {
    "model": Field(Effect.GATEWAY, string, required=True),
    "input": Field(Effect.PROMPT, input_items, _items_pin, required=True),
    "instructions": Field(Effect.PROMPT, string),
    "stream": plain(boolean),
    "stream_options": Field(Effect.GATEWAY, mapping, more_options),
    "store": plain(_not_stored),
    "background": plain(_foreground),
    "previous_response_id": plain(_kept),
    "conversation": plain(_kept),
    "prompt": plain(_kept),
    "include": Field(Effect.GATEWAY, _included, _includes_more),
    "max_output_tokens": sampling(integer(1)),
    "temperature": sampling(number(0, 2)),
    "top_p": sampling(number(0, 1, over=True)),
    "top_logprobs": sampling(integer(0, 20)),
    "top_k": sampling(integer(-1)),
    "min_p": sampling(number(0, 1)),
    "seed": sampling(integer(-(1 << 63))),
    "ignore_eos": sampling(boolean),
    "stop_token_ids": sampling(token_ids),
    "logit_bias": sampling(bias),
    "stop": plain(stops),
    "user": plain(),
    "metadata": plain(mapping),
    "safety_identifier": plain(),
    "service_tier": plain(),
    "prompt_cache_key": plain(),
    "prompt_cache_retention": plain(),
    "prompt_cache_options": plain(),
    "parallel_tool_calls": plain(boolean),
    "tools": Field(Effect.PINNED, tools, unless([], TOOLS)),
    "tool_choice": plain(),
    "max_tool_calls": pinned(TOOLS),
    "text": Field(Effect.PINNED, mapping, _form),
    "reasoning": Field(Effect.PINNED, mapping, _reasons),
    "include_reasoning": pinned(REASONING),
    "truncation": pinned("the engine cuts the prompt", but="disabled"),
    "presence_penalty": Field(Effect.PINNED, number(-2, 2), unless(0, PENALTY)),
    "frequency_penalty": Field(Effect.PINNED, number(-2, 2), unless(0, PENALTY)),
    "repetition_penalty": Field(Effect.PINNED, number(0, 100, over=True), unless(1, PENALTY)),
    "structured_outputs": pinned(GRAMMAR),
    "chat_template_kwargs": Field(Effect.PROMPT, mapping),
} | REFUSED


def as_chat(prompt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the prompt's fields of a movable request as those of a chat."""
    asked, system = prompt["input"], prompt.get("instructions")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    messages = [{"role": "system", "content": system}] if system else []
    messages += ({"role": each["role"], "content": _said(each["content"])} for each in items)
    template = {name: prompt[name] for name in ("chat_template_kwargs",) if name in prompt}
    return {"messages": messages, **template}


def _said(content: Any) -> Any:
    """Return content as chats have it; a single part as text, as most templates have it."""
    if isinstance(content, str):
        return content
    if len(content) == 1:
        return content[0]["text"]
    return [{"type": "text", "text": part["text"]} for part in content]
