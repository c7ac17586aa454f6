"""Which requests can be moved, by the table of the API's fields.

Covered: every row of the table, with values that are neutral and that aren't; fields unknown and
those of engines; what is passed on; wrong values; any JSON at all gives an answer. Not covered:
whether an engine agrees (e2e, on engines).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairstow.serving.request_fields import ENGINES_OWN, Effect
from fairstow.serving.requests import FIELDS, Asked, Endpoint, Refusal, read

MINIMAL: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "hi"},
    Endpoint.RESPONSES: {"model": "m", "input": "hi"},
}

ITEMS = [
    {"role": "user", "content": "hi"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "hello", "annotations": []}],
    },
    {"role": "user", "content": [{"type": "input_text", "text": t} for t in ("a", "b")]},
]
MOVABLE: dict[str, list[Any]] = {
    "model": ["other"],
    "input": ["hi", ITEMS],
    "instructions": ["be brief"],
    "background": [False],
    "include": [[], ["message.output_text.logprobs"]],
    "max_output_tokens": [5],
    "text": [{}, {"format": {"type": "text"}, "verbosity": None}],
    "reasoning": [{}, {"effort": None}],
    "truncation": ["disabled"],
    "prompt_cache_options": [{"mode": "implicit"}],
    "messages": [
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        [{"role": "assistant", "content": None, "tool_calls": []}, {"role": "tool"}],
    ],
    "prompt": ["hi", [1, 2, 3], ["hi"], [[1, 2]]],
    "stream": [False],
    "stop": ["\n", ["a", "b"]],
    "max_tokens": [1, 100_000],
    "max_completion_tokens": [7],
    "min_tokens": [0, 3],
    "temperature": [0, 0.7, 2],
    "top_p": [0.1, 1],
    "top_k": [-1, 0, 5],
    "min_p": [0, 0.5],
    "seed": [-5, 0, 12],
    "ignore_eos": [True],
    "stop_token_ids": [[1, 2]],
    "logit_bias": [{"5": -100, "7": 3.5}],
    "add_special_tokens": [False],
    "add_generation_prompt": [False],
    "continue_final_message": [True],
    "chat_template_kwargs": [{"enable_thinking": False}],
    "documents": [[{"text": "x"}]],
    "parallel_tool_calls": [True],
    "tools": [[]],
    "tool_choice": ["none", "auto"],
    "user": ["u"],
    "metadata": [{"a": "b"}],
    "safety_identifier": ["x"],
    "service_tier": ["auto"],
    "store": [False],
    "prompt_cache_key": ["x"],
    "prompt_cache_retention": ["24h"],
}

NEUTRAL: dict[str, Any] = {
    "n": 1,
    "best_of": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1,
    "use_beam_search": False,
    "echo": False,
    "bad_words": [],
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "include_stop_str_in_output": False,
    "response_format": {"type": "text"},
    "function_call": "none",
    "modalities": ["text"],
    "suffix": "",
}

PINNED: dict[str, list[Any]] = {
    "input": [
        [{"type": "function_call_output", "call_id": "c", "output": "5"}],
        [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}],
    ],
    "include": [["reasoning.encrypted_content"]],
    "max_tool_calls": [3],
    "text": [{"format": {"type": "json_object"}}, {"verbosity": "low"}],
    "reasoning": [{"effort": "low"}],
    "truncation": ["auto"],
    "n": [2],
    "best_of": [2],
    "presence_penalty": [0.1],
    "frequency_penalty": [-2],
    "repetition_penalty": [1.1],
    "length_penalty": [2],
    "use_beam_search": [True],
    "echo": [True],
    "prompt_logprobs": [0, 5],
    "bad_words": [["x"]],
    "allowed_token_ids": [[1]],
    "skip_special_tokens": [False],
    "spaces_between_special_tokens": [False],
    "include_stop_str_in_output": [True],
    "truncate_prompt_tokens": [5],
    "response_format": [{"type": "json_object"}, {"type": "json_schema", "json_schema": {}}],
    "structured_outputs": [{"regex": "a"}],
    "guided_json": [{}],
    "guided_regex": ["a"],
    "guided_choice": [["a"]],
    "guided_grammar": ["a"],
    "thinking_token_budget": [5],
    "functions": [[{"name": "f"}]],
    "function_call": ["auto", {"name": "f"}],
    "tool_choice": ["required", {"type": "function", "function": {"name": "f"}}],
    "verbosity": ["low"],
    "modalities": [["text", "audio"]],
    "audio": [{"voice": "x"}],
    "prediction": [{"type": "content"}],
    "web_search_options": [{}],
    "messages": [
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "assistant", "audio": {"id": "x"}}],
    ],
    "prompt": [["a", "b"], [[1], [2]]],
    "suffix": ["x"],
    "stream_options": [{"include_usage": True, "continuous_usage_stats": True}],
}

CALL = {"type": "function", "function": {"name": "f"}}
PINNED["tools"] = [[{"type": "function", "function": {"name": "f", "strict": True}}]]
PARSED: dict[str, list[Any]] = {
    "tools": [[CALL]],
    "reasoning_effort": ["low"],
    "include_reasoning": [False],
}

TOGETHER: dict[str, dict[str, Any]] = {
    "stream_options": {"stream": True},
    "top_logprobs": {"logprobs": True},
}
REFUSED_VALUES: dict[str, list[Any]] = {
    "store": [True],
    "background": [True],
    "previous_response_id": ["resp_1"],
    "conversation": ["conv_1", {"id": "conv_1"}],
    "prompt": [{"id": "pmpt_1"}],
    "input": [[{"type": "item_reference", "id": "msg_1"}], [{"role": "user", "content": 5}], []],
}
"""What /v1/responses says no to: nothing is kept between requests."""

ROWS = [(endpoint, name) for endpoint, table in FIELDS.items() for name in table]


def ask(endpoint: Endpoint, **fields: Any) -> Asked | Refusal:
    return read(endpoint, MINIMAL[endpoint] | fields)


def asked(endpoint: Endpoint, **fields: Any) -> Asked:
    answer = ask(endpoint, **fields)
    assert isinstance(answer, Asked), answer
    return answer


@pytest.mark.parametrize(("endpoint", "name"), ROWS)
def test_every_field_moves_pins_or_is_refused(endpoint: Endpoint, name: str) -> None:
    field = FIELDS[endpoint][name]
    table = FIELDS[endpoint]
    more = {key: each for key, each in TOGETHER.get(name, {}).items() if key in table}
    if field.effect is Effect.REFUSED:
        answer = ask(endpoint, **{name: 1})
        assert isinstance(answer, Refusal)
        assert answer.param == name
        return
    values = [*MOVABLE.get(name, []), *([NEUTRAL[name]] if name in NEUTRAL else [])]
    refused = REFUSED_VALUES.get(name, []) if endpoint is Endpoint.RESPONSES else []
    for value in refused:
        answer = ask(endpoint, **{name: value})
        assert isinstance(answer, Refusal), value
        assert answer.param == name
    if refused and name == "prompt":
        return  # elsewhere it is a text
    if name == "logprobs":
        values = [True] if endpoint is Endpoint.CHAT else [0, 20]
    elif name in TOGETHER:
        values = [{"include_usage": True}] if name == "stream_options" else [0, 20]
    for value in values:
        assert not asked(endpoint, **more, **{name: value}).pinned, value
    for value in PINNED.get(name, []):
        found = asked(endpoint, **more, **{name: value})
        assert found.pinned, value
        assert found.body[name] == value
    parsed = PARSED.get(name, [])
    for value in parsed:
        found = asked(endpoint, **{name: value})
        assert bool(found.pinned) == (endpoint is Endpoint.RESPONSES), value
        assert found.parsed, value
    assert values or PINNED.get(name) or refused or parsed, "a row that no test knows"
    assert not asked(endpoint, **{name: None}).pinned if not field.required else True


@pytest.mark.parametrize("endpoint", Endpoint)
@pytest.mark.parametrize("name", [*ENGINES_OWN])
def test_engines_fields_never_pass(endpoint: Endpoint, name: str) -> None:
    for value in (1, "x", {"do_remote_prefill": True}):
        assert isinstance(ask(endpoint, **{name: value}), Refusal)


@pytest.mark.parametrize("endpoint", Endpoint)
def test_a_field_nobody_knows_pins_and_stays_here(endpoint: Endpoint) -> None:
    found = asked(endpoint, kv_Transfer_params={}, brand_new=1)
    assert found.ignored == ("kv_Transfer_params", "brand_new")
    assert len(found.pinned) == 2
    assert found.body.keys() - {"store"} == MINIMAL[endpoint].keys()


def test_a_movable_request_renders_its_prompt_alone() -> None:
    found = asked(Endpoint.CHAT, temperature=0, user="u", tool_choice="none", tools=[{"type": "x"}])
    assert not found.pinned
    assert found.prompt.keys() == {"messages", "tool_choice", "tools"}
    assert not found.parsed


def test_a_response_of_text_alone_is_a_chat() -> None:
    found = asked(Endpoint.RESPONSES, instructions="be brief", input=ITEMS, max_output_tokens=7)
    assert not found.pinned
    assert found.template is Endpoint.CHAT
    parts = [{"type": "text", "text": text} for text in ("a", "b")]
    assert found.prompt == {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "hello"},
            {"role": "user", "content": parts},
        ]
    }
    assert found.sampling.max_tokens == 7
    assert found.body["store"] is False
    likely = asked(Endpoint.RESPONSES, top_logprobs=2, include=["message.output_text.logprobs"])
    assert likely.sampling.logprobs == 2
    assert asked(Endpoint.RESPONSES, top_logprobs=2).sampling.logprobs is None


def test_sampling_is_what_was_asked() -> None:
    sampling = asked(
        Endpoint.CHAT,
        max_tokens=5,
        max_completion_tokens=9,
        temperature=0,
        top_k=-1,
        seed=3,
        logprobs=True,
        top_logprobs=2,
        logit_bias={"5": 1},
        stop_token_ids=[2],
    ).sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_k) == (9, 0.0, 0)
    assert (sampling.seed, sampling.logprobs) == (3, 2)
    assert (sampling.logit_bias, sampling.stop_token_ids) == ({5: 1.0}, (2,))
    assert asked(Endpoint.CHAT).sampling.max_tokens == 0
    assert asked(Endpoint.CHAT, logprobs=False).sampling.logprobs is None
    assert asked(Endpoint.COMPLETIONS).sampling.max_tokens == 16


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 3}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"min_tokens": 9, "max_tokens": 5}, "min_tokens"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": "x" * 300}, "stop"),
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"stop_token_ids": [-1]}, "stop_token_ids"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages"),
        ({"messages": None}, "messages"),
        ({"model": 5}, "model"),
        ({"n": 0}, "n"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(fields: dict[str, Any], param: str) -> None:
    answer = ask(Endpoint.CHAT, **fields)
    assert isinstance(answer, Refusal)
    assert answer.param == param
    assert answer.message.startswith(param)


@pytest.mark.parametrize("prompt", [[], [[]], [1, "a"], [[1], "a"], 5, [-1], [True], [None]])
def test_prompts_that_are_none(prompt: Any) -> None:
    assert isinstance(ask(Endpoint.COMPLETIONS, prompt=prompt), Refusal)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(st.sampled_from(Endpoint), st.data())
def test_any_json_is_answered(endpoint: Endpoint, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(FIELDS[endpoint]))
    fields = data.draw(JSON | st.dictionaries(names, JSON, max_size=4))
    body = MINIMAL[endpoint] | fields if isinstance(fields, dict) else fields
    answer = read(endpoint, body)
    if isinstance(answer, Asked):
        assert not set(answer.body) & set(ENGINES_OWN)
        assert set(answer.body) <= set(FIELDS[endpoint])
