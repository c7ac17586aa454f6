"""Pinned requests: what an engine gets is what the client said, and what it answers comes back.

Covered: each kind of request that only an engine can answer, asked by OpenAI's own client: several
choices, probabilities of the prompt, grammars, pictures and sound, penalties, forced and strict
tools. Not covered: what stock engines make of them (e2e/engines/test_vllm.py); fields that don't
pass (tests/serving/test_requests.py).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from aiohttp import web

from fairstow.gateway.cost_model.server import Server
from tests.gateway.gateways import MODEL, Site, chat, expected, run

SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
STRICT = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {}}}
PICTURE = [
    {"type": "text", "text": "hi"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
]
SOUND = [
    {"type": "text", "text": "hi"},
    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
]
ASKED: list[dict[str, Any]] = [
    {"n": 2},
    {"n": 2, "logprobs": True, "top_logprobs": 3, "stop": ["zzz"], "seed": 5},
    {"response_format": SCHEMA},
    {"extra_body": {"guided_regex": "[a-z]+"}},
    {"extra_body": {"prompt_logprobs": 1}},
    {"tools": [STRICT]},
    {"tools": [TOOL], "tool_choice": "required"},
    {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"tools": [TOOL], "stop": ["zzz"]},
    {"presence_penalty": 0.5, "frequency_penalty": -1, "logit_bias": {"5": 1}},
    {"messages": [{"role": "user", "content": PICTURE}]},
    {"messages": [{"role": "user", "content": SOUND}]},
]


@pytest.mark.parametrize("fields", ASKED, ids="-".join)
def test_an_engine_gets_what_was_asked(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[dict[str, Any]] = []
    answer = Server._openai

    async def spied(server: Server, request: web.Request) -> web.StreamResponse:
        got.append(msgspec.json.decode(await request.read()))
        return await answer(server, request)

    monkeypatch.setattr(Server, "_openai", spied)

    async def test(site: Site) -> None:
        await site.engine("a", speed=50)
        await site.gateway()
        await site.ready()
        asked: dict[str, Any] = {"model": MODEL, "messages": chat("hi"), "max_tokens": 9} | fields
        said = await site.client().chat.completions.create(**asked)
        assert len(said.choices) == asked.get("n", 1)
        assert said.choices[0].message.content == expected("hi", 9)
        asked |= asked.pop("extra_body", {})
        (body,) = got
        assert len(body.pop("cache_salt")) == 32
        assert body.pop("priority") == 1
        assert body == asked

    run(test)
