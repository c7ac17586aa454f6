"""A record as an OpenAI answer, whole or as a stream, for chat and plain completions.

Id, creation time and role are said once, whatever legs the request had; usage is counted from the
record. What is the same in every chunk of a stream is encoded once, since chunks are the gateway's
hottest path. Called by `app`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from fairstow.serving.record import Delta
from fairstow.serving.requests import Endpoint
from fairstow.serving.tokens import Finish, Logprob
from fairstow.web.errors import ApiError

DONE = b"data: [DONE]\n\n"
Spell = Callable[[int], str]
"""A token's own text."""

_encode = msgspec.json.encode


class Usage(msgspec.Struct, frozen=True):
    """Counted tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


def usage(prompt: int, generated: int) -> Usage:
    """Return the usage of a request."""
    return Usage(prompt, generated, prompt + generated)


class Answer(Protocol):
    """What a request's record is to its client, in parts or whole."""

    def opening(self) -> bytes:
        """Return what comes before any text."""
        ...

    def chunk(self, delta: Delta) -> bytes:
        """Return what a delta is to a client; nothing if it shows nothing."""
        ...

    def closing(self, finish: Finish, counted: Usage) -> bytes:
        """Return what ends a stream well."""
        ...

    def failing(self, error: ApiError) -> bytes:
        """Return what ends a stream badly."""
        ...

    def whole(
        self, text: str, logprobs: Sequence[Logprob] | None, finish: Finish, counted: Usage
    ) -> bytes:
        """Return the answer of a request that isn't streamed."""
        ...


class ChoiceAnswer:
    """One chat's or plain completion's answer.

    Attributes:
        id: as clients see it.
    """

    def __init__(
        self, endpoint: Endpoint, model: str, created: int, *, counted: bool, spell: Spell
    ) -> None:
        self._chat = endpoint is Endpoint.CHAT
        self.id = f"{'chatcmpl' if self._chat else 'cmpl'}-{secrets.token_hex(16)}"
        self._model = model
        self._created = created
        self._counted = counted
        self._spell = spell
        self._offset = 0
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        head = {"id": self.id, "object": kind, "created": created, "model": model}
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":['
        self._before = self._head + (
            b'{"index":0,"delta":{"content":' if self._chat else b'{"index":0,"text":'
        )
        self._after = (b"}" if self._chat else b"") + (
            b',"logprobs":null,"finish_reason":null}' + self._end()
        )

    def _end(self) -> bytes:
        return (b'],"usage":null}' if self._counted else b"]}") + b"\n\n"

    def opening(self) -> bytes:
        """Return what comes before any text."""
        if not self._chat:
            return b""
        return self.said({"role": "assistant", "content": ""})

    def chunk(self, delta: Delta) -> bytes:
        """Return what a delta is to a client; nothing if it shows nothing."""
        if not delta.text and not delta.logprobs:
            return b""
        if not delta.logprobs:
            return self._before + _encode(delta.text) + self._after
        return self._head + _encode(self._choice(delta.text, delta.logprobs)) + self._end()

    def closing(self, finish: Finish, counted: Usage) -> bytes:
        """Return what ends a stream well."""
        return self.closing_as({}, finish, counted)

    def said(self, delta: Mapping[str, Any]) -> bytes:
        """Return a chat's delta that an engine made."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._head + _encode(choice) + self._end()

    def closing_as(self, delta: Mapping[str, Any], finish: str, counted: Usage) -> bytes:
        """Return what ends a stream well, for a reason that only chats have."""
        last = self._head + _encode(self._last(delta, finish)) + self._end()
        if not self._counted:
            return last + DONE
        return last + self._head + b'],"usage":' + _encode(counted) + b"}\n\n" + DONE

    def failing(self, error: ApiError) -> bytes:
        """Return what ends a stream badly."""
        return error.event()

    def whole(
        self, text: str, logprobs: Sequence[Logprob] | None, finish: Finish, counted: Usage
    ) -> bytes:
        """Return the answer of a request that isn't streamed."""
        said = {"role": "assistant", "content": text, "refusal": None} if self._chat else text
        likely = None if logprobs is None else self._logprobs(logprobs)
        return self.whole_as(said, finish, counted, likely)

    def whole_as(
        self,
        said: Mapping[str, Any] | str,
        finish: str,
        counted: Usage,
        logprobs: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return the answer that consists of a message, or of a text."""
        name = "message" if self._chat else "text"
        choice = {"index": 0, name: said, "logprobs": logprobs, "finish_reason": finish}
        return _encode(
            {
                "id": self.id,
                "object": "chat.completion" if self._chat else "text_completion",
                "created": self._created,
                "model": self._model,
                "choices": [choice],
                "usage": counted,
            }
        )

    def _choice(self, text: str, logprobs: Sequence[Logprob]) -> dict[str, Any]:
        said: dict[str, Any] = {"index": 0}
        said |= {"delta": {"content": text}} if self._chat else {"text": text}
        return said | {"logprobs": self._logprobs(logprobs), "finish_reason": None}

    def _last(self, delta: Mapping[str, Any], finish: str) -> dict[str, Any]:
        said: dict[str, Any] = {"index": 0} | ({"delta": delta} if self._chat else {"text": ""})
        return said | {"logprobs": None, "finish_reason": finish}

    def _logprobs(self, logprobs: Sequence[Logprob]) -> dict[str, Any]:
        if self._chat:
            content = [
                likely(self._spell, each.token, each.logprob)
                | {"top_logprobs": [likely(self._spell, *other) for other in each.top]}
                for each in logprobs
            ]
            return {"content": content, "refusal": None}
        tokens = [self._spell(each.token) for each in logprobs]
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [each.logprob for each in logprobs],
            "top_logprobs": [
                {self._spell(token): value for token, value in each.top} for each in logprobs
            ],
            "text_offset": offsets,
        }


def likely(spell: Spell, token: int, logprob: float) -> dict[str, Any]:
    """Return a token and how likely it is, as chats have it."""
    text = spell(token)
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
