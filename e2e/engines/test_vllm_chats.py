"""Chats of stock vLLM through the gateway, asked by OpenAI's own client.

Covered: tool calls parsed from ids alone, in pieces cut anywhere and on either engine in turn; a
chat with tools that moves half-way is that of an undisturbed run; responses; several choices,
probabilities and grammars passed on. Marked `full`: the servers take minutes to start. Not covered:
a model that calls tools by itself, for which weights would be needed (ids of a call are made here);
reasoning parsers, whose marks the tiny model's tokenizer lacks.
"""

from __future__ import annotations

import asyncio
import json
from itertools import cycle
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from e2e.engines import environments, tiny_model, vllm
from e2e.engines.installed import installed
from fairstow.gateway.engines.declared import Declared
from fairstow.gateway.engines.protocol import Unparsed
from fairstow.gateway.engines.vllm import VllmEngine
from tests.gateway.gateways import Site, chat, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    import openai

    from e2e.engines.vllm import Vllm

pytestmark = pytest.mark.full

MODEL = "tiny"
TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
CALL = 'Sure. <tool_call>\n{"name": "weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
PARSERS = ("--enable-auto-tool-choice", "--tool-call-parser=hermes")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Vllm]]:
    installed(environments.vllm)
    folder = tmp_path_factory.mktemp("vllm")
    model = tiny_model.write(folder / "model")
    with vllm.start(folder, [model, model], arguments=PARSERS) as servers:
        yield servers


async def served(site: Site, pair: list[Vllm]) -> openai.AsyncOpenAI:
    await site.gateway(
        {server.name: server.url for server in pair}, key=vllm.KEY, tokenizer=pair[0].model
    )
    await site.ready(*(server.name for server in pair))
    return site.client()


@pytest.mark.parametrize("size", [1, 7, 40, 200])
def test_calls_are_parsed_from_ids_alone(pair: list[Vllm], size: int) -> None:
    request = {"model": MODEL, "messages": chat("hi"), "tools": TOOLS}

    async def test() -> None:
        async with aiohttp.ClientSession() as session:
            engines = cycle(
                VllmEngine(session, each.name, each.url, key=vllm.KEY, declared=Declared())
                for each in pair
            )
            engine = next(engines)
            prompt = (await engine.render("/v1/chat/completions", request)).tokens
            assert (await engine.probe()).parses
            ids, state = list(CALL.encode()), None
            said, arguments, finish = "", "", None
            for at in range(0, len(ids), size):
                over = "stop" if at + size >= len(ids) else None
                piece = ids[at : at + size]
                asked = Unparsed(request, prompt, piece, over, streamed=True, state=state)
                parsed = await next(engines).parse(asked)
                state, finish = parsed.state, parsed.finish
                said += parsed.said.get("content", "")
                for call in parsed.said.get("tool_calls", ()):
                    arguments += call["function"].get("arguments", "")
            assert (said, json.loads(arguments), finish) == (
                "Sure. ",
                {"city": "Zürich"},
                "tool_calls",
            )
            asked = Unparsed(request, prompt, ids, "stop", streamed=False)
            whole = (await engine.parse(asked)).said
            (call,) = whole["tool_calls"]
            assert (whole["content"], call["function"]["name"]) == ("Sure. ", "weather")
            assert json.loads(call["function"]["arguments"]) == {"city": "Zürich"}

    asyncio.run(test())


def test_a_chat_with_tools_that_moves_says_what_it_would_have_said(pair: list[Vllm]) -> None:
    async def test(site: Site) -> None:
        client = await served(site, pair)

        async def said() -> str:
            stream = await client.chat.completions.create(
                model=MODEL,
                messages=chat("hi"),
                tools=TOOLS,
                temperature=0,
                max_tokens=1_500,
                stream=True,
                extra_body={"ignore_eos": True},
            )
            return "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])

        undisturbed = await said()
        assert len(undisturbed) > 100
        hearing = asyncio.create_task(said())
        ledger = await site.until(lambda now: now.requests and now.requests[0].generated > 50)
        assert ledger.requests[0].pinned == ""
        await site.drain(ledger.requests[0].instance)
        moving = await hearing
        ledger = await site.ledger()
        pairs = enumerate(zip(undisturbed, moving, strict=False))
        same = next((at for at, (one, other) in pairs if one != other), len(moving))
        assert moving == undisturbed, (
            f"they part at character {same} of {len(undisturbed)}:"
            f" undisturbed {undisturbed[same : same + 40]!r}, moved {moving[same : same + 40]!r};"
            f" {ledger.hops}"
        )
        assert sum(each.moved + each.recomputed for each in ledger.instances) == 1, ledger.hops

    run(test)


def test_a_response_is_the_chat_that_it_is(pair: list[Vllm]) -> None:
    async def test(site: Site) -> None:
        client = await served(site, pair)
        as_chat = await client.chat.completions.create(
            model=MODEL, messages=chat("hi"), temperature=0, max_tokens=50
        )
        ours = await client.responses.create(
            model=MODEL, input="hi", temperature=0, max_output_tokens=50
        )
        # What only an engine can do is vLLM's own answer.
        theirs = await client.responses.create(
            model=MODEL, input="hi", temperature=0, max_output_tokens=50, truncation="auto"
        )
        assert ours.output_text == as_chat.choices[0].message.content
        # Half a character at the end vLLM leaves away.
        assert ours.output_text.rstrip("\ufffd") == theirs.output_text.rstrip("\ufffd")
        assert (ours.status, theirs.status) == ("incomplete", "incomplete")
        assert ours.usage is not None
        assert theirs.usage is not None
        assert ours.usage.input_tokens == theirs.usage.input_tokens

    run(test)


def test_what_only_an_engine_can_do_is_passed_on(pair: list[Vllm]) -> None:
    async def test(site: Site) -> None:
        client = await served(site, pair)
        asked: dict[str, Any] = {"model": MODEL, "messages": chat("hi"), "max_tokens": 9}
        several = await client.chat.completions.create(n=3, logprobs=True, top_logprobs=2, **asked)
        assert [each.index for each in several.choices] == [0, 1, 2]
        for choice in several.choices:
            assert choice.logprobs is not None
            assert choice.logprobs.content is not None
            assert all(len(each.top_logprobs) >= 2 for each in choice.logprobs.content)
        chosen = await client.chat.completions.create(
            extra_body={"structured_outputs": {"choice": ["yes", "no"]}}, **asked
        )
        assert chosen.choices[0].message.content in ("yes", "no")
        prompt = await client.chat.completions.create(extra_body={"prompt_logprobs": 1}, **asked)
        assert prompt.model_extra is not None
        assert prompt.model_extra["prompt_logprobs"]

    run(test)
