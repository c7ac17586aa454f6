"""A record as an answer of `/v1/responses`: one message of one text, whole or as a stream.

A stream's events are numbered, and its last ones repeat the whole text, as that API has it. What
the request said is repeated in the answer, with `store: false`, since nothing is kept. Called by
`generating`, and by the cost-model engine.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from fairstow.gateway.openai.answers import Spell, Usage, likely
from fairstow.serving.record import Delta
from fairstow.serving.response_fields import LOGPROBS
from fairstow.serving.tokens import Finish, Logprob
from fairstow.web.errors import ApiError

_DEFAULTS: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What an answer repeats of its request, and what is said where the request said nothing."""
_PLACE = {"output_index": 0, "content_index": 0}

_encode = msgspec.json.encode


def failed(error: ApiError, number: int = 0) -> bytes:
    """Return what ends a stream badly; `number` of its events came before."""
    said = {"code": error.code, "message": error.message, "param": error.param}
    return _event("error", said | {"sequence_number": number})


class ResponseAnswer:
    """One request's answer. Attributes: id: as clients see it."""

    def __init__(self, asked: Mapping[str, Any], created: int, spell: Spell) -> None:
        self.id = f"resp_{secrets.token_hex(24)}"
        self._item = f"msg_{secrets.token_hex(24)}"
        repeated = {name: asked.get(name, default) for name, default in _DEFAULTS.items()}
        self._head = {
            "id": self.id,
            "object": "response",
            "created_at": created,
            "model": asked["model"],
            "background": False,
            "error": None,
            "previous_response_id": None,
            "store": False,
            **repeated,
        }
        self._spell = spell
        self._likely = LOGPROBS in (asked.get("include") or ())
        self._number = 0
        self._text: list[str] = []
        self._logprobs: list[dict[str, Any]] = []

    def opening(self) -> bytes:
        """Return what comes before any text."""
        begun = self._response("in_progress", [], None)
        item = self._message("in_progress", None)
        return (
            self._numbered("response.created", {"response": begun})
            + self._numbered("response.in_progress", {"response": begun})
            + self._numbered("response.output_item.added", {"output_index": 0, "item": item})
            + self._placed("response.content_part.added", part=self._part("", []))
        )

    def chunk(self, delta: Delta) -> bytes:
        """Return what a delta is to a client; nothing if it shows nothing."""
        if not delta.text and not delta.logprobs:
            return b""
        logprobs = self._spelled(delta.logprobs)
        self._text.append(delta.text)
        self._logprobs += logprobs
        return self._placed("response.output_text.delta", delta=delta.text, logprobs=logprobs)

    def closing(self, finish: Finish, counted: Usage) -> bytes:
        """Return what ends a stream well."""
        text, logprobs = "".join(self._text), self._logprobs
        part, status = self._part(text, logprobs), _status(finish)
        item = self._message(status, part)
        response = self._response(status, [item], counted)
        return (
            self._placed("response.output_text.done", text=text, logprobs=logprobs)
            + self._placed("response.content_part.done", part=part)
            + self._numbered("response.output_item.done", {"output_index": 0, "item": item})
            + self._numbered(f"response.{status}", {"response": response})
        )

    def failing(self, error: ApiError) -> bytes:
        """Return what ends a stream badly."""
        return failed(error, self._number)

    def whole(
        self, text: str, logprobs: Sequence[Logprob] | None, finish: Finish, counted: Usage
    ) -> bytes:
        """Return the answer of a request that isn't streamed."""
        status = _status(finish)
        item = self._message(status, self._part(text, self._spelled(logprobs or ())))
        return _encode(self._response(status, [item], counted))

    def _response(
        self, status: str, output: list[dict[str, Any]], counted: Usage | None
    ) -> dict[str, Any]:
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return self._head | {
            "status": status,
            "incomplete_details": cut,
            "output": output,
            "usage": None if counted is None else _usage(counted),
        }

    def _message(self, status: str, part: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "id": self._item,
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [] if part is None else [part],
        }

    def _part(self, text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        part = {"type": "output_text", "text": text, "annotations": []}
        return part | {"logprobs": logprobs} if self._likely else part

    def _spelled(self, logprobs: Sequence[Logprob]) -> list[dict[str, Any]]:
        if not self._likely:
            return []
        return [
            likely(self._spell, each.token, each.logprob)
            | {"top_logprobs": [likely(self._spell, *other) for other in each.top]}
            for each in logprobs
        ]

    def _placed(self, kind: str, **said: Any) -> bytes:
        return self._numbered(kind, {"item_id": self._item, **_PLACE, **said})

    def _numbered(self, kind: str, said: Mapping[str, Any]) -> bytes:
        self._number += 1
        return _event(kind, {**said, "sequence_number": self._number - 1})


def _event(kind: str, said: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **said}))


def _status(finish: Finish) -> str:
    return "incomplete" if finish is Finish.LENGTH else "completed"


def _usage(counted: Usage) -> dict[str, Any]:
    return {
        "input_tokens": counted.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": counted.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": counted.total_tokens,
    }
