"""Tool calls at the gateway, asked by OpenAI's own client: parsed by engines from the record's ids.

Covered: calls whole and streamed are those of an undisturbed run, through moves and the death of an
engine half-way through an argument; pieces cut anywhere say the same; what pins such a request;
engines that can't parse. Not covered: stock parsers (e2e/engines/test_vllm.py).
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

import pytest

from fairstow.gateway.cost_model import calls, text
from fairstow.gateway.engines.protocol import Rendered
from fairstow.gateway.parsed import unmovable
from fairstow.serving.requests import Asked, Endpoint, read
from tests.gateway.gateways import MODEL, Site, chat, free_ports, process, run

TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
TOKENS = 300
Said = tuple[str, list[str]]


def prompt() -> str:
    """A prompt whose answer has several lines, and so several calls."""
    for number in count():
        if len(wanted(f"p{number}")[1]) > 2:
            return f"p{number}"
    raise AssertionError


def wanted(content: str) -> Said:
    """What an undisturbed run says: its content and the arguments of its calls."""
    ids = text.expected("1", text.render_chat(chat(content)), TOKENS)
    answer = calls.Answer([calls.Choice(ids, "length")])
    body = calls.Body({"tools": TOOLS}, [], generate_response=answer)
    said = calls.derender(body)["choices"][0]["message"]
    return said["content"], [each["function"]["arguments"] for each in said["tool_calls"]]


async def heard(site: Site, content: str, *, arrived: asyncio.Event) -> Said:
    stream = await site.client().chat.completions.create(
        model=MODEL, messages=chat(content), max_tokens=TOKENS, tools=TOOLS, stream=True
    )
    said = ""
    arguments: list[str] = []
    ends = []
    async for chunk in stream:
        (choice,) = chunk.choices
        said += choice.delta.content or ""
        for call in choice.delta.tool_calls or ():
            assert call.function is not None
            if call.id is not None:
                assert (call.id, call.function.name) == (f"call-{call.index}", "f")
                arguments.append("")
            arguments[call.index] += call.function.arguments or ""
        if arguments and len(arguments[0]) > 5:
            arrived.set()
        ends += [choice.finish_reason] if choice.finish_reason else []
    assert ends == ["tool_calls"]
    return said, arguments


def test_calls_whole_and_streamed() -> None:
    async def test(site: Site) -> None:
        await site.engine("a", speed=50)
        await site.gateway()
        await site.ready()
        asked = prompt()
        assert await heard(site, asked, arrived=asyncio.Event()) == wanted(asked)
        whole = await site.client().chat.completions.create(
            model=MODEL, messages=chat(asked), max_tokens=TOKENS, tools=TOOLS
        )
        (choice,) = whole.choices
        assert choice.finish_reason == "tool_calls"
        made = [each.function.arguments for each in choice.message.tool_calls or ()]  # type: ignore[union-attr]
        assert (choice.message.content, made) == wanted(asked)

    run(test)


def test_a_call_goes_on_half_way_when_its_request_moves() -> None:
    async def test(site: Site) -> None:
        for name in ("a", "b"):
            await site.engine(name, speed=6)
        await site.gateway()
        await site.ready()
        asked, arrived = prompt(), asyncio.Event()
        hearing = asyncio.create_task(heard(site, asked, arrived=arrived))
        await arrived.wait()
        (request,) = (await site.ledger()).requests
        assert request.pinned == ""
        await site.drain(request.instance)
        assert await hearing == wanted(asked)
        assert sum(each.moved for each in (await site.ledger()).instances) == 1

    run(test)


def test_a_call_outlives_its_engine() -> None:
    async def test(site: Site) -> None:
        (port,) = free_ports(1)
        async with process(port, "--speed", "10") as program:
            await site.gateway({"a": f"http://127.0.0.1:{port}"})
            await site.ready("a")
            asked, arrived = prompt(), asyncio.Event()
            hearing = asyncio.create_task(heard(site, asked, arrived=arrived))
            await arrived.wait()
            program.kill()
            await program.wait()
            async with process(port, "--speed", "50"):
                assert await hearing == wanted(asked)

    run(test)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pieces_say_the_same_however_they_are_cut(size: int) -> None:
    ids = text.expected("1", text.render_chat(chat("x")), TOKENS)
    state = calls.State()
    said, arguments = "", list[str]()
    for at in range(0, TOKENS, size):
        finish = "length" if at + size >= TOKENS else None
        piece = calls.Answer([calls.Choice(ids[at : at + size], finish)])
        body = calls.Body(
            {"tools": TOOLS}, [], stream=True, generate_chunk=piece, stream_state=state
        )
        answer = calls.derender(body)
        state = calls.State(**answer["stream_state"])
        delta = answer["chunk"]["choices"][0]["delta"]
        said += delta["content"] or ""
        for call in delta["tool_calls"]:
            if call["id"]:
                arguments.append("")
            arguments[call["index"]] += call["function"]["arguments"]
    assert (said, arguments) == wanted("x")


def asked(**fields: Any) -> Asked:
    found = read(Endpoint.CHAT, {"model": MODEL, "messages": chat("x"), **fields})
    assert isinstance(found, Asked)
    return found


def test_what_keeps_a_request_where_it_is() -> None:
    plain, reasons = Rendered([1]), Rendered([1], reasons=True)
    assert unmovable(asked(), plain, able=False) == ""
    assert unmovable(asked(tools=TOOLS), plain, able=True) == ""
    assert unmovable(asked(), reasons, able=True) == ""
    assert unmovable(asked(tools=TOOLS), None, able=False)
    for more in ({"stop": "x"}, {"logprobs": True}):
        assert unmovable(asked(tools=TOOLS, **more), plain, able=True)
        assert unmovable(asked(**more), reasons, able=True)
        assert unmovable(asked(**more), plain, able=True) == ""
    assert unmovable(asked(tools=TOOLS), Rendered([1], grammar=True), able=True)
    response = read(Endpoint.RESPONSES, {"model": MODEL, "input": "x"})
    assert isinstance(response, Asked)
    assert unmovable(response, reasons, able=True)
