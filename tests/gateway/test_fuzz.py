"""Any request whatever gets an answer in OpenAI's shape, and never an error of ours.

Covered: schemathesis makes bodies from the API's tables, right and wrong ones, headers and methods,
against a running gateway with an engine behind it. Not covered: what right answers say (test_api).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from fairstow.serving.request_fields import Effect
from fairstow.serving.requests import FIELDS, Endpoint
from tests.gateway.gateways import MODEL, Site

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


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    fields = {
        name: _KNOWN.get(name, {})
        for name, field in FIELDS[endpoint].items()
        if field.effect is not Effect.PINNED or name in ("n", "tools", "response_format")
    }
    required = [name for name, field in FIELDS[endpoint].items() if field.required]
    body = {"type": "object", "properties": fields, "required": [*required, "max_tokens"]}
    header = {"name": "X-Fairstow-Priority", "in": "header", "schema": {"type": "string"}}
    return {
        "post": {
            "parameters": [header],
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {"default": {"description": "an answer or an error"}},
        }
    }


SCHEMA = schemathesis.openapi.from_dict(
    {
        "openapi": "3.1.0",
        "info": {"title": "gateway", "version": "1"},
        "paths": {endpoint.value: _operation(endpoint) for endpoint in Endpoint},
    }
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """Serve a gateway in a thread of its own, since schemathesis asks without an event loop."""
    found: list[str] = []
    started, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
            site = Site(stack, http)
            await site.engine("a", speed=200)
            await site.gateway()
            await site.ready()
            found.append(site.base)
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield found[0]
    ended.set()
    thread.join()


@SCHEMA.parametrize()
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_no_request_is_an_error_of_ours(case: schemathesis.Case[Any], base: str) -> None:
    reply = case.call(base_url=base, timeout=60)
    assert reply.status_code < 500, reply.content
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"]
