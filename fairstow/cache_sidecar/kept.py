"""An answer as it is kept, whichever API it is of; `answers` makes and tells it, stores keep it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntFlag
from typing import Any

import msgspec

from fairstow.serving.requests import Endpoint


class NotKeptError(Exception):
    """An answer that must not be kept; the text is a metric's label."""


class Form(IntFlag):
    """How an answer can be told faithfully."""

    WHOLE = 1
    STREAM = 2
    STREAM_WITH_USAGE = 4


class Answer(msgspec.Struct, frozen=True):
    """`whole`, or `common` and `chunks`.

    Attributes:
        prefix: of its id.
        common: the fields that all chunks share.
        chunks: each chunk's other fields; of a response its events.
        usage: of a stream, None if it wasn't told.
        done: whether a response's events were followed by [DONE].
    """

    endpoint: Endpoint
    prefix: str
    whole: dict[str, Any] | None = None
    common: dict[str, Any] = {}
    chunks: list[dict[str, Any]] = []
    usage: dict[str, Any] | None = None
    done: bool = False


def decoded(data: bytes) -> dict[str, Any]:
    """Return an object of JSON. Raises NotKeptError."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise NotKeptError("no-json") from None


def completion_tokens(answer: Answer) -> int:
    """Return how many tokens the model made for it, 0 where it didn't say."""
    usage = answer.usage or _whole(answer).get("usage")
    if not isinstance(usage, Mapping):
        return 0
    tokens = usage.get("completion_tokens", usage.get("output_tokens"))
    return tokens if isinstance(tokens, int) and tokens > 0 else 0


def _whole(answer: Answer) -> Mapping[str, Any]:
    if answer.whole is None and answer.endpoint is Endpoint.RESPONSES:
        last: Mapping[str, Any] = answer.chunks[-1]["response"]
        return last
    return answer.whole or {}
