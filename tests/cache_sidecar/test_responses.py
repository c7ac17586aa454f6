"""`/v1/responses` answered from memory, asked by OpenAI's own client, unmodified.

The upstream is the cost-model engine, a real server of that API. Covered: hits whole and streamed,
each from what was heard in the other form, the events' grammar and numbers, fresh ids, what an
answer repeats of its request; what is about kept state passes, with its reason; what of streams and
answers isn't kept. Not covered: calls of tools by a real model, the table of fields
(tests/semantic_cache/test_canonical).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import openai
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from fairstow.cache_sidecar import answers, responses
from fairstow.cache_sidecar.kept import Form, NotKeptError
from fairstow.semantic_cache.canonical import canonical
from fairstow.semantic_cache.eligibility import Limits, Tier, control, eligibility
from fairstow.serving.requests import Endpoint
from fairstow.web.exchange import Bodies
from tests.cache_sidecar.sidecars import Site, run
from tests.gateway.servers import serving, url

ASKED: dict[str, Any] = {
    "model": "m", "input": "What is rain?", "temperature": 0, "max_output_tokens": 12,
    "store": False,
}  # fmt: skip
Client = openai.AsyncOpenAI


def asking(test: Callable[[Site, Client], Awaitable[None]], folder: Path) -> None:
    async def body(site: Site) -> None:
        async with serving(key=None) as engine:
            await site.start(url=f"{url(engine)}/v1")
            await test(site, site.client())

    run(body, folder)


async def said(client: Client, **more: Any) -> tuple[str, str, Any]:
    reply = await client.responses.with_raw_response.create(**ASKED | more)
    return reply.headers["x-cache"], reply.headers.get("x-cache-reason", ""), reply.parse()


async def streamed(client: Client, **more: Any) -> tuple[str, list[Any]]:
    async with client.responses.with_streaming_response.create(
        **ASKED | more, stream=True
    ) as reply:
        stream = await reply.parse()
        return reply.headers["x-cache"], [event async for event in stream]


@pytest.mark.parametrize("first", ["whole", "stream"])
def test_an_answer_is_told_in_both_forms(first: str, tmp_path: Path) -> None:
    async def test(site: Site, client: Client) -> None:
        if first == "whole":
            cache, _, told = await said(client)
        else:
            cache, heard = await streamed(client)
            told = heard[-1].response
        assert cache == "miss"
        await site.stored(1)
        cache, _, whole = await said(client, metadata={"run": "2"})
        assert (cache, whole.output_text, whole.usage) == (
            "hit-exact",
            told.output_text,
            told.usage,
        )
        assert whole.metadata == {"run": "2"}
        assert whole.status == "incomplete"
        cache, events = await streamed(client)
        assert cache == "hit-exact"
        ids = {told.id, whole.id, events[0].response.id}
        assert len(ids) == 3
        assert all(each.startswith("resp_") for each in ids)
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
            "response.incomplete",
        ]
        assert [event.sequence_number for event in events] == [*range(len(events))]
        final = events[-1].response
        assert (final.id, final.metadata) == (events[0].response.id, {})
        assert final.output_text == told.output_text
        assert "".join(event.delta for event in events[4:-4]) == told.output_text
        assert {event.item_id for event in events[3:-3]} == {final.output[0].id}
        assert final.output[0].id != told.output[0].id

    asking(test, tmp_path)


def test_a_near_question_is_answered_and_another_context_is_not(tmp_path: Path) -> None:
    async def test(site: Site, client: Client) -> None:
        _, _, told = await said(client, input="How do I reset my password?")
        await site.stored(1)
        cache, _, whole = await said(client, input="how do I reset my password")
        assert (cache, whole.output_text) == ("hit-semantic", told.output_text)
        brief = await said(client, input="how do I reset my password", instructions="Be brief.")
        assert brief[0] == "miss"

    asking(test, tmp_path)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"store": openai.omit}, "a response that the server keeps (store) is never cached"),
        ({"store": None}, "a response that the server keeps (store) is never cached"),
        ({"previous_response_id": "resp_1"}, "previous_response_id is never cached"),
        ({"conversation": "conv_1"}, "conversation is never cached"),
        ({"background": True}, "background is never cached"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt is never cached"),
        ({"tools": [{"type": "web_search"}]}, "a tool of the server's is never cached"),
        ({"input": [{"id": "msg_1"}]}, "a reference to an item is never cached"),
        ({"extra_body": {"nëw": 1}}, "n?w is never cached"),
    ],
)
def test_what_is_about_kept_state_passes(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    async def test(site: Site, client: Client) -> None:
        for _ in range(2):
            try:
                cache, reason, _ = await said(client, **more)
            except openai.APIStatusError as error:  # the engine's own refusal, unchanged
                cache = error.response.headers["x-cache"]
                reason = error.response.headers["x-cache-reason"]
            assert (cache, reason) == ("bypass", why)
        status, stats = await site.admin("GET", "/stats")
        assert (status, msgspec.json.decode(stats)["entries"]) == (200, 0)

    asking(test, tmp_path)


@pytest.mark.parametrize("name", sorted(get_type_hints(ResponseCreateParamsBase)))
def test_a_field_of_openais_own_schema_is_known_or_nothing_is_cached(name: str) -> None:
    body = ASKED | {name: ASKED.get(name, "x")}
    request = canonical(Endpoint.RESPONSES, body)
    plain = canonical(Endpoint.RESPONSES, ASKED)
    tier = eligibility(request, body, control(None), Limits(), seconds_since_same=None).tier
    delivery = {"metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention",
                "service_tier", "stream_options", "user", "safety_identifier"}  # fmt: skip
    if name in ASKED or name in delivery:
        assert (request.key, tier) == (plain.key, Tier.SEMANTIC)
    else:
        assert request.key != plain.key
        assert request.forbidden or request.fingerprint != plain.fingerprint


def response(**changes: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": "Water.", "annotations": []}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [part]}
    made = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed"}
    return made | {"output": [message | {"status": "completed"}], "store": False} | changes


REFUSAL = {"type": "refusal", "refusal": "no"}
REASONING = {"id": "rs_1", "type": "reasoning", "summary": []}


def events(*changed: dict[str, Any], final: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    begun = response(status="in_progress", output=[])
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "delta": "Water."}
    ends = {"type": "response.completed", "response": final or response()}
    return [{"type": "response.created", "response": begun}, *(changed or (delta,)), ends]


def heard(said: list[dict[str, Any]], tail: bytes = b"") -> answers.Hearing:
    hearing = answers.Hearing(Endpoint.RESPONSES, Form.STREAM, 1 << 20, Bodies(1 << 20))
    for number, event in enumerate(said):
        numbered = msgspec.json.encode(event | {"sequence_number": number, "obfuscation": "xx"})
        hearing.feed(b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), numbered))
    hearing.feed(tail)
    return hearing


@pytest.mark.parametrize(
    ("final", "why"),
    [
        (response(status="failed"), "incomplete"),
        (response(status="queued"), "incomplete"),
        (response(error={"message": "no"}), "incomplete"),
        (
            response(status="incomplete", incomplete_details={"reason": "content_filter"}),
            "finish-reason",
        ),
        (response(output=[]), "no-text"),
        (response(output=[{"type": "function_call", "id": "fc_1"}]), "tool-call"),
        (response(output=[REASONING | {"encrypted_content": "x"}]), "kept-upstream"),
        (response(store=True), "kept-upstream"),
        (response(previous_response_id="resp_0"), "kept-upstream"),
        (response(output=response()["output"] * 2), "several-choices"),
        (response(output=[{"type": "message", "content": [REFUSAL]}]), "refusal"),
    ],
)  # fmt: skip
def test_what_of_answers_is_never_kept(final: dict[str, Any], why: str) -> None:
    with pytest.raises(NotKeptError, match=why):
        answers.of_body(Endpoint.RESPONSES, msgspec.json.encode(final))
    with pytest.raises(NotKeptError, match=why):
        heard(events(final=final)).answer()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (events()[:-1], "incomplete"),
        (events()[-1:], "incomplete"),
        (events({"type": "response.output_text.delta", "delta": "Wat"}), "incomplete"),
        (events({"type": "error", "message": "no"}), "incomplete"),
        (events({"type": "response.refusal.delta", "delta": "no"}), "refusal"),
        (events({"type": "response.function_call_arguments.delta"}), "unknown-events"),
        ([{"type": "response.in_progress", "response": {}}, *events()], "incomplete"),
        ([{"type": "response.in_progress", "response": None}, *events()], "incomplete"),
        ([{"type": "response.output_item.added", "item": "x"}, *events()], "incomplete"),
        ([*events(), *events()[:1]], "incomplete|unknown-events"),
    ],
)
def test_what_of_streams_is_never_kept(said: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(NotKeptError, match=why):
        heard(said).answer()


def test_reasoning_is_told_as_it_was_heard_or_not_at_all() -> None:
    final = response(output=[REASONING, *response()["output"]])
    whole = answers.of_body(Endpoint.RESPONSES, msgspec.json.encode(final))
    assert answers.forms(whole) == Form.WHOLE
    told = msgspec.json.decode(answers.body(whole, 9.0))
    assert (told["created_at"], told["output"][0]["id"][:3]) == (9, "rs_")
    stream = heard(events(final=final), b"data: [DONE]\n\n").answer()
    assert answers.forms(stream) == Form.WHOLE | Form.STREAM
    again = responses.events(stream, 9.0, {})
    assert again.endswith(b"data: [DONE]\n\n")
    assert b"obfuscation" not in again
    assert answers.text(stream) == "Water."


def test_those_who_ask_at_once_share_only_what_repeats_nothing_of_them(tmp_path: Path) -> None:
    async def test(site: Site, client: Client) -> None:
        asked = [said(client, metadata={"run": str(n % 2)}) for n in range(4)]
        found = await asyncio.gather(*asked)
        assert [each.metadata["run"] for _, _, each in found] == ["0", "1", "0", "1"]

    asking(test, tmp_path)
