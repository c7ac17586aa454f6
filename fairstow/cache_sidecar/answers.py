"""An answer as it is kept: what of it may be, and how it is told again, whole or as a stream.

Kept is only what the upstream said to the end: one choice with text, an allowed finish reason, no
tool call, no refusal, no error; a stream up to its [DONE]. A stream is kept as its chunks, less
what is the same in all of them, so that it is replayed in the same grammar. `id` and `created` are
not kept: a replay gets its own. A whole answer serves as a stream and the other way round only
where nothing would be lost or invented (`forms`). Answers of `/v1/responses` have another grammar:
`responses` does the same for them. Called by `app` and `asking`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fairstow.cache_sidecar import responses
from fairstow.cache_sidecar.kept import Answer, Form, NotKeptError, decoded
from fairstow.serving.requests import Endpoint
from fairstow.web.exchange import Bodies

FINISHED = frozenset({"stop", "length"})
_TEXTS = ("content", "reasoning_content", "reasoning")
_FRESH = ("id", "created")
_DONE = b"[DONE]"
NOTHING: Mapping[str, Any] = {}


def wanted(endpoint: Endpoint, body: Mapping[str, Any]) -> Form | None:
    """Return how a request wants its answer; None for a way that isn't known here."""
    if not body.get("stream"):
        return Form.WHOLE
    options = body.get("stream_options") or {}
    if endpoint is Endpoint.RESPONSES:  # padding against who counts bytes can't be told again
        return Form.STREAM if options in ({}, {"include_obfuscation": False}) else None
    if not isinstance(options, dict) or set(options) - {"include_usage"}:
        return None
    return Form.STREAM_WITH_USAGE if options.get("include_usage") else Form.STREAM


def of_body(endpoint: Endpoint, data: bytes) -> Answer:
    """Return a whole answer. Raises NotKeptError."""
    body = decoded(data)
    if endpoint is Endpoint.RESPONSES:
        return responses.of_body(body)
    choice = _only(body.get("choices"))
    if body.get("error") or not isinstance(choice.get("finish_reason"), str):
        raise NotKeptError("incomplete")
    _finished(choice["finish_reason"])
    said = _said(endpoint, choice, "message")
    if not any(said.get(name) for name in _TEXTS):
        raise NotKeptError("no-text")
    prefix = _prefix(body)
    return Answer(endpoint, prefix, {k: v for k, v in body.items() if k not in _FRESH})


class Recorder:
    """Takes a stream's bytes as they come, and knows at its end whether it may be kept.

    Events are read then: decoded they take five times the memory while the model speaks.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._rest = b""
        self._events: list[bytes] = []
        self._done = False
        self._wrong = ""

    def feed(self, data: bytes) -> None:
        """Take a part."""
        if self._wrong:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r"))

    def _line(self, line: bytes) -> None:
        if not line or line.startswith(b":"):
            return
        if line.startswith(b"event:") and self._endpoint is Endpoint.RESPONSES and not self._done:
            return  # its data say the same
        if self._done or not line.startswith(b"data:"):
            self._wrong = "unknown-events"
            return
        event = line[5:].strip()
        if event == _DONE:
            self._done = True
        else:
            self._events.append(event)

    def answer(self) -> Answer:
        """Return what was said. Raises NotKeptError."""
        if self._wrong:
            raise NotKeptError(self._wrong)
        if self._rest.strip() or not self._events:
            raise NotKeptError("incomplete")
        heard = [decoded(event) for event in self._events]
        if self._endpoint is Endpoint.RESPONSES:
            return responses.of_events(heard, done=self._done)
        if not self._done:
            raise NotKeptError("incomplete")
        return self._spoken(heard)

    def _spoken(self, heard: list[dict[str, Any]]) -> Answer:
        usage = None
        spoken, text, ends = [], False, []
        for chunk in heard:
            if chunk.get("error"):
                raise NotKeptError("incomplete")
            if chunk.get("usage") is not None:
                if chunk.get("choices") or usage is not None:
                    raise NotKeptError("usage-inside")
                usage = chunk["usage"]
                continue
            if not chunk.get("choices"):
                raise NotKeptError("no-choice")
            choice = _only(chunk["choices"])
            said = _said(self._endpoint, choice, "delta")
            text = text or any(said.get(name) for name in _TEXTS)
            if choice.get("finish_reason") is not None:
                ends.append(choice["finish_reason"])
            spoken.append({k: v for k, v in chunk.items() if k not in _FRESH})
        if len(ends) != 1:
            raise NotKeptError("incomplete")
        _finished(ends[0])
        if not text:
            raise NotKeptError("no-text")
        common = {k: v for k, v in spoken[0].items() if all(k in e and e[k] == v for e in spoken)}
        chunks = [{k: v for k, v in each.items() if k not in common} for each in spoken]
        return Answer(self._endpoint, _prefix(heard[0]), None, common, chunks, usage)


class Hearing:
    """Takes an answer's bytes, whole or as a stream, and knows at its end what may be kept.

    Args:
        longest: bytes of an answer. room: for those of all that are heard at the same time.
    """

    def __init__(self, endpoint: Endpoint, form: Form, longest: int, room: Bodies) -> None:
        self._endpoint = endpoint
        self._longest = longest
        self._room = room
        self._held = 0
        self._left_out = ""
        self._recorder = None if form is Form.WHOLE else Recorder(endpoint)
        self._whole = bytearray()

    def feed(self, data: bytes) -> None:
        """Take a part."""
        if self._left_out:
            return
        self._held += len(data)
        self._room.held += len(data)
        if self._held > self._longest or self._room.full:
            self._left_out = "too-large" if self._held > self._longest else "busy"
            self._recorder = None
            self._whole.clear()
            self.close()
        elif self._recorder is not None:
            self._recorder.feed(data)
        else:
            self._whole += data

    def answer(self) -> Answer:
        """Return what was said. Raises NotKeptError."""
        if self._left_out:
            raise NotKeptError(self._left_out)
        if self._recorder is not None:
            return self._recorder.answer()
        return of_body(self._endpoint, bytes(self._whole))

    def close(self) -> None:
        """Make room for others."""
        self._room.held -= self._held
        self._held = 0


def text(answer: Answer) -> str:
    """Return what an answer says, without its reasoning."""
    if answer.endpoint is Endpoint.RESPONSES:
        return responses.text(answer)
    chat = answer.endpoint is Endpoint.CHAT
    if answer.whole is not None:
        choice = answer.whole["choices"][0]
        return str((choice["message"].get("content") if chat else choice.get("text")) or "")
    choices = [(answer.common | each)["choices"][0] for each in answer.chunks]
    said = (each["delta"].get("content") if chat else each.get("text") for each in choices)
    return "".join(part for part in said if isinstance(part, str))


def forms(answer: Answer) -> Form:
    """Return how an answer can be told."""
    if answer.endpoint is Endpoint.RESPONSES:
        return responses.forms(answer)
    if answer.whole is None:
        told = Form.STREAM
        if answer.usage is not None:
            told |= Form.STREAM_WITH_USAGE
            told |= Form.WHOLE if _joined(answer) is not None else Form(0)
        return told
    told = Form.WHOLE
    if _split(answer) is not None:
        told |= Form.STREAM
        told |= Form.STREAM_WITH_USAGE if answer.whole.get("usage") else Form(0)
    return told


def repeated(endpoint: Endpoint, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer repeats of a request though it isn't part of the key."""
    return responses.repeated(body) if endpoint is Endpoint.RESPONSES else {}


def body(answer: Answer, now: float, said: Mapping[str, Any] = NOTHING) -> bytes:
    """Return it as a whole answer; said: what is `repeated` of the request."""
    if answer.endpoint is Endpoint.RESPONSES:
        return responses.body(answer, now, said)
    whole = answer.whole if answer.whole is not None else _joined(answer)
    assert whole is not None
    return msgspec.json.encode(_fresh(answer, now) | whole)


def events(answer: Answer, now: float, *, usage: bool, said: Mapping[str, Any] = NOTHING) -> bytes:
    """Return it as the events of a stream."""
    if answer.endpoint is Endpoint.RESPONSES:
        return responses.events(answer, now, said)
    fresh = _fresh(answer, now)
    return b"".join(
        b"data: " + msgspec.json.encode(fresh | chunk) + b"\n\n"
        for chunk in _told(answer, usage=usage)
    ) + b"data: [DONE]\n\n"  # fmt: skip


def _told(answer: Answer, *, usage: bool) -> Iterator[dict[str, Any]]:
    common, chunks, counted = answer.common, answer.chunks, answer.usage
    if answer.whole is not None:
        split = _split(answer)
        assert split is not None
        common, chunks = split
        counted = answer.whole.get("usage")
        common |= {"usage": None}
    for chunk in chunks:
        told = common | chunk
        if counted is not None and not usage:
            told.pop("usage", None)  # it is in the chunks of those who asked for it
        yield told
    if usage:
        yield common | {"choices": [], "usage": counted}


def _fresh(answer: Answer, now: float) -> dict[str, Any]:
    return {"id": f"{answer.prefix}{secrets.token_hex(16)}", "created": int(now)}


def _prefix(said: Mapping[str, Any]) -> str:
    head, dash, _ = str(said.get("id", "")).partition("-")
    return f"{head[:16]}-" if dash and head.isalnum() else ""


def _only(choices: Any) -> dict[str, Any]:
    """Return the one choice of an answer or chunk."""
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise NotKeptError("several-choices")
    choice: dict[str, Any] = choices[0]
    if choice.get("index", 0) != 0:
        raise NotKeptError("several-choices")
    return choice


def _finished(reason: Any) -> None:
    if reason not in FINISHED:
        raise NotKeptError("finish-reason")


def _said(endpoint: Endpoint, choice: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return what a choice says; text only."""
    if endpoint is Endpoint.COMPLETIONS:
        return {"content": choice.get("text")}
    said = choice.get(field)
    if not isinstance(said, dict):
        raise NotKeptError("no-text")
    if any(said.get(name) for name in ("tool_calls", "function_call", "audio")):
        raise NotKeptError("tool-call")
    if said.get("refusal"):
        raise NotKeptError("refusal")
    return said


def _joined(answer: Answer) -> dict[str, Any] | None:
    """Return a stream as a whole answer, None where something would be lost."""
    chunks = [answer.common | each for each in answer.chunks]
    choices = [each["choices"][0] for each in chunks]
    chat = answer.endpoint is Endpoint.CHAT
    texts: dict[str, str] = {}
    rest: dict[str, Any] = {}
    for choice in choices:
        said = choice["delta"] if chat else {"text": choice.get("text")}
        for name, value in said.items():
            if value is None or name == "role":
                continue
            if name not in (*_TEXTS, "text") or not isinstance(value, str):
                return None
            texts[name] = texts.get(name, "") + value
        more = choice.keys() - {"index", "delta", "text", "finish_reason", "stop_reason"}
        if any(choice[name] is not None for name in more):
            return None
        rest |= {
            k: choice[k] for k in ("finish_reason", "stop_reason") if choice.get(k) is not None
        }
    if any(each.keys() - {"choices"} for each in answer.chunks):
        return None
    if chat:
        rest["message"] = {"role": "assistant", "content": None} | texts
    else:
        rest |= texts
    return answer.common | {
        "object": "chat.completion" if chat else "text_completion",
        "choices": [{"index": 0, "logprobs": None} | rest],
        "usage": answer.usage,
    }


def _split(answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """Return a whole answer as common fields and chunks, None where something would be lost."""
    assert answer.whole is not None
    choice = answer.whole["choices"][0]
    more = choice.keys() - {"index", "message", "text", "finish_reason", "stop_reason"}
    if any(choice[name] for name in more):
        return None
    chat = answer.endpoint is Endpoint.CHAT
    ends = {k: choice[k] for k in ("finish_reason", "stop_reason") if k in choice}
    open_end = {"finish_reason": None}
    common = {
        name: value
        for name, value in answer.whole.items()
        if name not in ("choices", "usage", "object")
    }
    common["object"] = "chat.completion.chunk" if chat else "text_completion"
    if not chat:
        said = [{"index": 0, "text": choice.get("text", ""), "logprobs": None} | ends]
        return common, [{"choices": [each]} for each in said]
    message = choice["message"]
    if any(message[name] for name in message.keys() - {"role", *_TEXTS}):
        return None
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{name: message[name]} for name in reversed(_TEXTS) if message.get(name)]
    parts = [{"index": 0, "delta": delta, "logprobs": None} | open_end for delta in deltas]
    parts.append({"index": 0, "delta": {}, "logprobs": None} | ends)
    return common, [{"choices": [part]} for part in parts]
