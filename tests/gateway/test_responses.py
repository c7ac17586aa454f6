"""`/v1/responses` at the gateway, asked by OpenAI's own client, unmodified.

Covered: answers whole and streamed, the events and their order, usage, log-probabilities, what was
cut; conversations given as items; a stream that moves to another engine half-way; a pinned request
passed on; errors before and within a stream; what needs a server that remembers. Not covered: the
table of fields (tests/serving/test_requests), any request whatever (test_fuzz), tool calls of a
stock engine (e2e/engines).
"""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai.types.responses import ResponseErrorEvent, ResponseTextDeltaEvent

from fairstow.gateway.cost_model import text
from tests.gateway.gateways import MODEL, Site, expected, free_ports, process, run

RESPONSES = "/v1/responses"


async def two(site: Site, **options: Any) -> openai.AsyncOpenAI:
    for name in ("a", "b"):
        await site.engine(name, **{"speed": 20.0, **options})
    await site.gateway()
    await site.ready()
    return site.client()


def test_answers_whole() -> None:
    async def test(site: Site) -> None:
        client = await two(site)
        items: list[Any] = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "output_text", "text": "hello"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "again"}]},
        ]
        answer = await client.responses.create(
            model=MODEL,
            instructions="be brief",
            input=items,
            max_output_tokens=40,
            top_logprobs=2,
            include=["message.output_text.logprobs"],
        )
        says = [("system", "be brief"), ("user", "hi"), ("assistant", "hello"), ("user", "again")]
        prompt = text.render_chat([{"role": role, "content": said} for role, said in says])
        assert answer.output_text == text.decode(text.expected("1", prompt, 40))
        assert (answer.status, answer.model) == ("incomplete", MODEL)
        assert answer.incomplete_details is not None
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert (answer.instructions, answer.store) == ("be brief", False)  # type: ignore[attr-defined]
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (len(prompt), 40)
        (item,) = answer.output
        assert item.type == "message"
        (part,) = item.content
        assert part.type == "output_text"
        assert part.logprobs is not None
        assert len(part.logprobs) == 40
        assert all(len(each.top_logprobs) == 2 for each in part.logprobs)

    run(test)


def test_a_stream_moves_and_its_events_are_in_order() -> None:
    async def test(site: Site) -> None:
        client = await two(site, mean_length=400, speed=6.0)
        async with client.responses.stream(model=MODEL, input="hi") as stream:
            events = []
            async for event in stream:
                events.append(event)
                if len(events) == 30:
                    await site.drain((await site.ledger()).requests[0].instance)
            final = await stream.get_final_response()
        kinds = [event.type for event in events]
        assert kinds[:4] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
        assert set(kinds[4:-4]) == {"response.output_text.delta"}
        assert kinds[-4:] == [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.sequence_number for event in events] == [*range(len(events))]
        assert final.usage is not None
        said = expected("hi", final.usage.output_tokens - 1)  # the last one ends it
        assert final.output_text == said
        assert "".join(e.delta for e in events if isinstance(e, ResponseTextDeltaEvent)) == said
        assert final.status == "completed"
        moved = await site.until(lambda now: sum(each.moved for each in now.instances))
        assert sum(each.moved for each in moved.instances) == 1

    run(test)


def test_what_an_engine_has_to_parse_is_passed_on() -> None:
    tool: Any = {"type": "function", "name": "f", "parameters": {}, "strict": False}

    async def test(site: Site) -> None:
        client = await two(site)
        asked: dict[str, Any] = {"model": MODEL, "input": "hi", "max_output_tokens": 9}
        whole = await client.responses.create(tools=[tool], **asked)
        assert whole.output_text == expected("hi", 9)
        assert len(whole.tools) == 1
        stream = await client.responses.create(tools=[tool], stream=True, **asked)
        kinds = [event.type async for event in stream]
        assert (kinds[0], kinds[-1]) == ("response.created", "response.incomplete")

    run(test)


def test_what_would_have_to_be_kept_is_refused() -> None:
    async def test(site: Site) -> None:
        client = await two(site)
        for wrong in (
            {"store": True},
            {"background": True},
            {"previous_response_id": "resp_1"},
            {"conversation": "conv_1"},
            {"prompt": {"id": "pmpt_1"}},
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(model=MODEL, input="hi", **wrong)
            assert refused.value.param == next(iter(wrong))
        with pytest.raises(openai.BadRequestError, match="context"):
            await client.responses.create(model=MODEL, input="hi", max_output_tokens=10**6)
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="other", input="hi")

    run(test)


@pytest.mark.parametrize("tools", [[], [{"type": "function", "name": "f", "parameters": {}}]])
def test_a_stream_that_breaks_says_so_as_an_event(tools: list[Any]) -> None:
    async def test(site: Site) -> None:
        (port,) = free_ports(1)
        async with process(port) as program:
            await site.gateway({"a": f"http://127.0.0.1:{port}"}, grace=0.1)
            await site.ready("a")
            stream = await site.client().responses.create(
                model=MODEL, input="hi", max_output_tokens=900, stream=True, tools=tools
            )
            events = []
            async for event in stream:
                events.append(event)
                if len(events) == 8:
                    program.kill()
                    await asyncio.sleep(0.1)
                    site.stopped.set()
        last = events[-1]
        assert isinstance(last, ResponseErrorEvent)
        assert "broke off" in last.message or "shutting down" in last.message
        assert "response.incomplete" not in {event.type for event in events}

    run(test)
