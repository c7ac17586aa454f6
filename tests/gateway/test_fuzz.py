"""Any request whatever gets an answer in OpenAI's shape, and never an error of ours.

Covered: for every path of both ports schemathesis makes bodies from the API tables, right and
wrong ones, headers and methods, against a running gateway with an engine behind it; right requests
with bytes changed, lost or doubled. Not covered: what right answers say (test_api), what is wrong
on purpose (test_robustness).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.schemas import BaseSchema

from fairstow.gateway.app import EMBEDDING_FIELDS
from fairstow.serving.request_fields import Effect
from fairstow.serving.requests import FIELDS, Endpoint
from tests.gateway.gateways import MODEL, Site, chat
from tests.gateway.raw import head, post, statuses

_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": {"type": ["string", "null", "array"], "maxLength": 20, "maxItems": 2},
    },
    "required": ["role"],
}
_KNOWN: dict[str, Any] = {
    "model": {"enum": [MODEL, MODEL, MODEL, "other"]},
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": 3},
    "prompt": {
        "anyOf": [
            {"type": "string", "maxLength": 20},
            {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": 5},
        ]
    },
    "max_tokens": {"type": "integer", "minimum": 0, "maximum": 30},
    "stop": {"type": ["string", "array"], "maxLength": 5, "maxItems": 3},
    "stream": {"type": "boolean"},
    "temperature": {"type": "number", "minimum": -1, "maximum": 3},
}


def _asked(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    body = {"type": "object", "properties": fields, "required": required}
    return {
        "parameters": [
            {"name": f"X-Fairstow-{name}", "in": "header", "schema": {"type": "string"}}
            for name in ("Priority", "Deadline", "Pace")
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": ANY,
    }


def _generate(endpoint: Endpoint) -> dict[str, Any]:
    fields = {
        name: _KNOWN.get(name, {})
        for name, field in FIELDS[endpoint].items()
        if field.effect is not Effect.PINNED or name in ("n", "tools", "response_format")
    }
    required = [name for name, field in FIELDS[endpoint].items() if field.required]
    return {"post": _asked(fields, [*required, "max_tokens"])}


def _schema(paths: dict[str, Any]) -> BaseSchema:
    info = {"title": "gateway", "version": "1"}
    return schemathesis.openapi.from_dict({"openapi": "3.1.0", "info": info, "paths": paths})


ANY = {"default": {"description": "an answer or an error"}}
_MOVE = {
    "type": "object",
    "properties": {
        name: {"type": ["string", "null"]}
        for name in ("request", "source", "destination", "reason")
    },
}
CLIENTS = _schema(
    {
        **{endpoint.value: _generate(endpoint) for endpoint in Endpoint},
        "/v1/embeddings": {
            "post": _asked({name: _KNOWN.get(name, {}) for name in EMBEDDING_FIELDS}, ["model"])
        },
        "/v1/models": {"get": {"responses": ANY}},
        "/v1/{other}": {
            "get": {
                "parameters": [
                    {"name": "other", "in": "path", "required": True, "schema": {"type": "string"}}
                ],
                "responses": ANY,
            }
        },
    }
)
ADMIN = _schema(
    {
        **{
            f"/{name}": {"get": {"responses": ANY}}
            for name in ("healthz", "readyz", "metrics", "ledger", "loads")
        },
        "/moves": {"post": _asked({"moves": {"type": "array", "items": _MOVE}}, ["moves"])},
        "/drains": {"put": _asked({"instances": {"type": "array", "maxItems": 0}}, ["instances"])},
    }
)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Serve a gateway in a thread of its own, since schemathesis asks without an event loop."""
    found: list[Site] = []
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
            site = Site(stack, http)
            await site.engine("a", speed=200)
            await site.gateway()
            await site.ready()
            found.append(site)
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield found[0]
    ended.set()
    thread.join()


@CLIENTS.parametrize()
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_no_request_is_an_error_of_ours(case: schemathesis.Case[Any], site: Site) -> None:
    _check(case.call(base_url=site.base, timeout=60))


@ADMIN.parametrize()
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
def test_nor_at_the_admin_port(case: schemathesis.Case[Any], site: Site) -> None:
    _check(case.call(base_url=site.admin, timeout=60))


def _check(reply: Any) -> None:
    assert reply.status_code < 500, reply.content
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]


CLOSE = "Connection: close"
RIGHT = (
    post("/v1/chat/completions", {"model": MODEL, "messages": chat("hi"), "max_tokens": 3}, CLOSE),
    post("/v1/completions", {"model": MODEL, "prompt": "hi", "n": 2, "stream": True}, CLOSE),
    head("POST", "/v1/embeddings", CLOSE, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    head("GET", "/v1/models", CLOSE),
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_nor_is_one_with_wrong_bytes(data: st.DataObject, site: Site) -> None:
    sent = bytearray(data.draw(st.sampled_from(RIGHT)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(sent) - 1))
        new = data.draw(st.sampled_from([b"", b"\r\n", b"\0", b":", b" "]) | st.binary(max_size=4))
        sent[at : at + data.draw(st.integers(0, 4))] = new
        sent = sent or bytearray(b"\r\n")
    with socket.create_connection(("127.0.0.1", urlsplit(site.base).port or 0)) as client:
        client.settimeout(0.05)  # some wait for the rest
        client.sendall(sent)
        said = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            while part := client.recv(1 << 16):
                said += part
    assert all(status < 500 for status in statuses(said)), said
