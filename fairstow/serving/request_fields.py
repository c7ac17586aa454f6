"""The fields of OpenAI requests: what each may hold, and what it means for moving a request.

A table a path; `requests` reads bodies by it and the tests go through every row. Sources: OpenAI's
API reference, and vLLM's additions to it that clients send as `extra_body`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec

MOST_STOPS = 16
LONGEST_STOP = 256
_MOST_IDS = 1024

_INT64 = 1 << 63


class Wrong(ValueError):  # noqa: N818 - it is a value that is wrong, not the program
    """A value that a field can't hold; the text follows the field's name."""


class Effect(Enum):
    """What a field is for."""

    SAMPLING = "how tokens are drawn"
    PROMPT = "what the prompt's ids are made from"
    GATEWAY = "the gateway's own, or without effect"
    PINNED = "an engine's own doing, passed on and pinned"
    REFUSED = "engines among themselves"


Check = Callable[[Any], Any]
Why = Callable[[Any], str | None]


def _never(_value: Any) -> str | None:
    return None


class Field(msgspec.Struct, frozen=True):
    """One field.

    Attributes:
        check: returns the value as we use it, raises Wrong.
        pins: says why a value pins the request, None if it doesn't.
    """

    effect: Effect
    check: Check
    pins: Why = _never
    required: bool = False


def number(low: float, high: float, *, over: bool = False) -> Check:
    """Between the two; `over` leaves the lower one out."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Wrong("has to be a number")
        if not low <= value <= high or (over and value == low):
            raise Wrong(f"has to be {'over' if over else 'at least'} {low:g} and at most {high:g}")
        return float(value)

    return check


def integer(low: int, high: int = _INT64 - 1) -> Check:
    """Between the two, both included."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Wrong("has to be an integer")
        if not low <= value <= high:
            raise Wrong(f"has to be between {low} and {high}")
        return value

    return check


def boolean(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise Wrong("has to be true or false")
    return value


def string(value: Any) -> str:
    """Not empty."""
    if not isinstance(value, str) or not value:
        raise Wrong("has to be a string")
    return value


def anything(value: Any) -> Any:
    """The engine checks it, or nobody."""
    return value


def mapping(value: Any) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise Wrong("has to be an object")
    return value


def stops(value: Any) -> tuple[str, ...]:
    """A string or some."""
    strings = [value] if isinstance(value, str) else value
    if not isinstance(strings, list) or not all(isinstance(each, str) for each in strings):
        raise Wrong("has to be a string or a list of strings")
    if len(strings) > MOST_STOPS or any(not 0 < len(each) <= LONGEST_STOP for each in strings):
        raise Wrong(f"holds at most {MOST_STOPS} strings of 1 to {LONGEST_STOP} characters")
    return tuple(strings)


def token_ids(value: Any) -> tuple[int, ...]:
    """A list of ids."""
    if not isinstance(value, list) or len(value) > _MOST_IDS:
        raise Wrong(f"has to be a list of at most {_MOST_IDS} token ids")
    return tuple(_token(each) for each in value)


def bias(value: Any) -> dict[int, float]:
    """Ids, as JSON has keys, to numbers."""
    one = number(-100, 100)
    if len(mapping(value)) > _MOST_IDS:
        raise Wrong(f"holds at most {_MOST_IDS} token ids")
    try:
        return {_token(int(token)): one(weight) for token, weight in value.items()}
    except ValueError as error:
        raise Wrong(f"maps token ids to numbers: one {error}") from None


def messages(value: Any) -> list[Any]:
    """What a chat consists of; the engine's template knows the rest."""
    if not isinstance(value, list) or not value:
        raise Wrong("has to be a list that isn't empty")
    for each in value:
        if not isinstance(each, dict) or not isinstance(each.get("role"), str):
            raise Wrong("has to be a list of objects that name a role")
        content = each.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list) or not all(
            isinstance(part, dict) and isinstance(part.get("type"), str) for part in content
        ):
            raise Wrong("has to have strings, or lists of typed parts, for contents")
    return value


def tools(value: Any) -> list[Any]:
    """Functions that may be called; the engine knows the rest."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Wrong("has to be a list of objects")
    return value


def prompt(value: Any) -> Any:
    """Text or ids, one or several."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list) or not value:
        raise Wrong("has to be a string, a list of token ids, or a list of such")
    if all(isinstance(each, str) for each in value):
        return value
    for ids in [value] if isinstance(value[0], int) else value:
        if not isinstance(ids, list) or not ids:
            raise Wrong("has to be a string, a list of token ids, or a list of such")
        for each in ids:
            _token(each)
    return value


def options(value: Any) -> Mapping[str, bool]:
    """Of a stream."""
    return {name: boolean(each) for name, each in mapping(value).items()}


def _token(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise Wrong("has to hold token ids, integers from 0")
    return value


def unless(neutral: Any, why: str) -> Why:
    """Pins unless the value is as if the field weren't there."""
    return lambda value: None if value == neutral else why


def _format(value: Any) -> str | None:
    text = isinstance(value, dict) and value.get("type") == "text"
    return None if text else "response_format is a grammar"


def _parts(value: list[Any]) -> str | None:
    for each in value:
        content = each.get("content")
        if isinstance(content, list) and any(part["type"] != "text" for part in content):
            return "not all of its content is text"
        if each.get("audio") is not None:
            return "not all of its content is text"
    return None


def _prompts(value: Any) -> str | None:
    single = isinstance(value, str) or isinstance(value[0], int) or len(value) == 1
    return None if single else "there are several prompts"


def more_options(value: Mapping[str, Any]) -> str | None:
    """Pins where a stream's options are an engine's own."""
    known = {"include_usage", "include_obfuscation"}
    return None if known.issuperset(value) else "stream_options holds more than include_usage"


def _text_only(value: Any) -> str | None:
    return None if value == ["text"] else "it asks for more than text"


def sampling(check: Check) -> Field:
    """How tokens are drawn."""
    return Field(Effect.SAMPLING, check)


def plain(check: Check = anything) -> Field:
    """The gateway's own, or without effect."""
    return Field(Effect.GATEWAY, check)


def pinned(why: str, *, but: Any = None) -> Field:
    """An engine's own doing; `but` is as if it weren't there."""
    return Field(Effect.PINNED, anything, unless(but, why))


TOOLS = "the engine makes tool calls of its text"
REASONING = "the engine parts reasoning from its answer"
GRAMMAR = "its output follows a grammar"
_FILTER = "what may be drawn depends on the output so far"
PENALTY = "penalties count the output"

ENGINES_OWN = (
    "cache_prompt",
    "cache_salt",
    "chat_template",
    "data_parallel_rank",
    "ec_transfer_params",
    "id_slot",
    "kv_transfer_params",
    "logits_processor",
    "logits_processors",
    "lora",
    "lora_request",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "priority",
    "request_id",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "slot_id",
    "vllm_xargs",
)
"""Fields of engines' APIs that would reach other tenants, files, or what only the gateway says."""

REFUSED: dict[str, Field] = {name: Field(Effect.REFUSED, anything) for name in ENGINES_OWN}

_COMMON: dict[str, Field] = {
    "model": Field(Effect.GATEWAY, string, required=True),
    "stream": plain(boolean),
    "stream_options": Field(Effect.GATEWAY, options, more_options),
    "stop": plain(stops),
    "user": plain(),
    "metadata": plain(),
    "safety_identifier": plain(),
    "service_tier": plain(),
    "max_tokens": sampling(integer(1)),
    "min_tokens": sampling(integer(0)),
    "temperature": sampling(number(0, 2)),
    "top_p": sampling(number(0, 1, over=True)),
    "top_k": sampling(integer(-1)),
    "min_p": sampling(number(0, 1)),
    "seed": sampling(integer(-_INT64)),
    "ignore_eos": sampling(boolean),
    "stop_token_ids": sampling(token_ids),
    "logit_bias": sampling(bias),
    "add_special_tokens": Field(Effect.PROMPT, boolean),
    "n": Field(Effect.PINNED, integer(1, 128), unless(1, "it asks for several choices")),
    "presence_penalty": Field(Effect.PINNED, number(-2, 2), unless(0, PENALTY)),
    "frequency_penalty": Field(Effect.PINNED, number(-2, 2), unless(0, PENALTY)),
    "repetition_penalty": Field(Effect.PINNED, number(0, 100, over=True), unless(1, PENALTY)),
    "length_penalty": pinned("beams are an engine's own", but=1),
    "use_beam_search": pinned("beams are an engine's own", but=False),
    "echo": pinned("the prompt is to be repeated", but=False),
    "prompt_logprobs": pinned("only the engine has the prompt's probabilities"),
    "bad_words": pinned(_FILTER, but=[]),
    "allowed_token_ids": pinned("only some tokens may be drawn"),
    "skip_special_tokens": pinned("special tokens are to be shown", but=True),
    "spaces_between_special_tokens": pinned("special tokens are to be shown", but=True),
    "include_stop_str_in_output": pinned("what stops it is to be shown", but=False),
    "truncate_prompt_tokens": pinned("the engine cuts the prompt"),
    "response_format": Field(Effect.PINNED, mapping, _format),
    "structured_outputs": pinned(GRAMMAR),
    "guided_json": pinned(GRAMMAR),
    "guided_regex": pinned(GRAMMAR),
    "guided_choice": pinned(GRAMMAR),
    "guided_grammar": pinned(GRAMMAR),
    "thinking_token_budget": pinned("the engine counts its reasoning"),
} | REFUSED

CHAT: Mapping[str, Field] = _COMMON | {
    "messages": Field(Effect.PROMPT, messages, _parts, required=True),
    "max_completion_tokens": sampling(integer(1)),
    "logprobs": sampling(boolean),
    "top_logprobs": sampling(integer(0, 20)),
    "tools": Field(Effect.PROMPT, tools),
    "tool_choice": Field(Effect.PROMPT, anything),
    "parallel_tool_calls": plain(boolean),
    "functions": pinned(TOOLS),
    "function_call": pinned(TOOLS, but="none"),
    "add_generation_prompt": Field(Effect.PROMPT, boolean),
    "continue_final_message": Field(Effect.PROMPT, boolean),
    "chat_template_kwargs": Field(Effect.PROMPT, mapping),
    "documents": Field(Effect.PROMPT, anything),
    "reasoning_effort": Field(Effect.PROMPT, string),
    "include_reasoning": Field(Effect.PROMPT, boolean),
    "verbosity": pinned("only the engine knows how to be verbose"),
    "modalities": Field(Effect.PINNED, anything, _text_only),
    "audio": pinned("it asks for more than text"),
    "prediction": pinned("it is compared with a prediction"),
    "web_search_options": pinned("it searches the web"),
    "store": plain(boolean),
    "prompt_cache_key": plain(),
    "prompt_cache_retention": plain(),
}

COMPLETIONS: Mapping[str, Field] = _COMMON | {
    "prompt": Field(Effect.PROMPT, prompt, _prompts, required=True),
    "logprobs": sampling(integer(0, 20)),
    "best_of": pinned("it asks for several choices", but=1),
    "suffix": pinned("it fills in the middle", but=""),
}
