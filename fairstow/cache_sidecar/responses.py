"""An answer of `/v1/responses`: what of it may be kept, and how it is told again.

    stream = response.created · response.in_progress? · parts · (response.completed | .incomplete)

Kept is one message of text, after reasoning or without, complete or cut by `max_output_tokens`: no
calls of tools, no refusal, nothing that the upstream keeps. A stream is kept as its events, less
their numbers and padding, and only if its deltas are the text of its last event, which is the whole
answer; a whole answer serves as a stream where it is one text without more. `id` (of the response
and of its items), the times and what repeats the storer's own request (`repeated`) are replaced.
Source: OpenAI's API reference, "Streaming events". Called by `answers`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from fairstow.cache_sidecar.kept import Answer, Form, NotKeptError
from fairstow.serving.requests import Endpoint

_ENDS = ("response.completed", "response.incomplete")
_DELTA = "response.output_text.delta"
_EVENTS = frozenset(
    {
        "response.created", "response.in_progress", "response.output_item.added",
        "response.output_item.done", "response.content_part.added", "response.content_part.done",
        _DELTA, "response.output_text.done", "response.output_text.annotation.added",
        "response.reasoning_text.delta", "response.reasoning_text.done",
        "response.reasoning_summary_part.added", "response.reasoning_summary_part.done",
        "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
    }
)  # fmt: skip
_WRONG = {
    "error": "incomplete",
    "response.failed": "incomplete",
    "response.refusal.delta": "refusal",
}
_STATE = ("previous_response_id", "conversation", "background", "prompt")
_DROPPED = frozenset({"sequence_number", "obfuscation"})
_PLACE = {"output_index": 0, "content_index": 0}


def repeated(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an answer repeats of a request though it isn't part of the key."""
    return {
        "metadata": body.get("metadata") or {},
        "prompt_cache_key": body.get("prompt_cache_key"),
    }


def of_body(body: dict[str, Any]) -> Answer:
    """Return a whole answer. Raises NotKeptError."""
    _check(body)
    return Answer(Endpoint.RESPONSES, "", body)


def of_events(heard: Sequence[dict[str, Any]], *, done: bool) -> Answer:
    """Return a stream's answer; done: [DONE] came after it. Raises NotKeptError."""
    *before, last = heard
    for event in before:
        kind = event.get("type")
        if kind not in _EVENTS:
            raise NotKeptError(_WRONG.get(str(kind), "unknown-events"))
        _tellable(event)
    if last.get("type") not in _ENDS:
        raise NotKeptError(_WRONG.get(str(last.get("type")), "incomplete"))
    response = last.get("response")
    if not isinstance(response, dict):
        raise NotKeptError("incomplete")
    _check(response)
    said = (event.get("delta") for event in before if event["type"] == _DELTA)
    if not before or "".join(map(str, said)) != _text(response):
        raise NotKeptError("incomplete")
    chunks = [{k: v for k, v in event.items() if k not in _DROPPED} for event in heard]
    return Answer(Endpoint.RESPONSES, "", chunks=chunks, done=done)


def _tellable(event: Mapping[str, Any]) -> None:
    """Raise NotKeptError for an event whose ids can't be replaced."""
    response = event.get("response", {"id": ""})
    output = response.get("output") or [] if isinstance(response, dict) else None
    items = isinstance(output, list) and all(isinstance(item, dict) for item in output)
    if not items or "id" not in response or not isinstance(event.get("item", {}), dict):
        raise NotKeptError("incomplete")


def text(answer: Answer) -> str:
    """Return what an answer says, without its reasoning."""
    return _text(_response(answer))


def forms(answer: Answer) -> Form:
    """Return how an answer can be told; a stream always tells its usage here."""
    plain = answer.whole is None or _one_text(answer.whole) is not None
    return Form.WHOLE | Form.STREAM if plain else Form.WHOLE


def body(answer: Answer, now: float, said: Mapping[str, Any]) -> bytes:
    """Return it as a whole answer; said: `repeated` of who asks."""
    return msgspec.json.encode(_fresh(_response(answer), _Ids(), now, said))


def events(answer: Answer, now: float, said: Mapping[str, Any]) -> bytes:
    """Return it as the events of a stream."""
    ids = _Ids()
    told = answer.chunks if answer.whole is None else list(_split(answer.whole))
    parts = []
    for number, event in enumerate(told):
        new = {**event, "sequence_number": number}
        if isinstance(event.get("response"), dict):
            new["response"] = _fresh(event["response"], ids, now, said)
        if isinstance(event.get("item"), dict):
            new["item"] = ids.item(event["item"])
        if "item_id" in event:
            new["item_id"] = ids[str(event["item_id"])]
        kind = str(event["type"]).encode()
        parts.append(b"event: %b\ndata: %b\n\n" % (kind, msgspec.json.encode(new)))
    if answer.done:
        parts.append(b"data: [DONE]\n\n")
    return b"".join(parts)


class _Ids(dict[str, str]):
    """A new id for each old one, of its kind."""

    def __missing__(self, old: str) -> str:
        head, line, _ = old.partition("_")
        kind = f"{head[:16]}_" if line and head.isalnum() else ""
        new = self[old] = f"{kind}{secrets.token_hex(24)}"
        return new

    def item(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """Return an item under its new id."""
        return {**item, "id": self[str(item["id"])]} if "id" in item else {**item}


def _fresh(
    response: Mapping[str, Any], ids: _Ids, now: float, said: Mapping[str, Any]
) -> dict[str, Any]:
    times = {k: int(now) for k in ("created_at", "completed_at") if response.get(k) is not None}
    again = {k: v for k, v in said.items() if k in response}
    output = [ids.item(item) for item in response.get("output") or ()]
    return {**response, **times, **again, "id": ids[str(response["id"])], "output": output}


def _response(answer: Answer) -> dict[str, Any]:
    if answer.whole is not None:
        return answer.whole
    found: dict[str, Any] = answer.chunks[-1]["response"]
    return found


def _check(response: Mapping[str, Any]) -> None:
    """Raise NotKeptError for what must not be kept."""
    if response.get("error") or "id" not in response:
        raise NotKeptError("incomplete")
    cut = response.get("incomplete_details")
    match response.get("status"):
        case "completed":
            pass
        case "incomplete":
            if not isinstance(cut, dict) or cut.get("reason") != "max_output_tokens":
                raise NotKeptError("finish-reason")
        case _:
            raise NotKeptError("incomplete")
    if any(response.get(name) for name in _STATE) or response.get("store"):
        raise NotKeptError("kept-upstream")
    output = response.get("output")
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        raise NotKeptError("no-text")
    messages = [item for item in output if item.get("type") == "message"]
    others = [item for item in output if item.get("type") != "message"]
    if any(item.get("type") != "reasoning" for item in others):
        raise NotKeptError("tool-call")
    if any(item.get("encrypted_content") for item in others):
        raise NotKeptError("kept-upstream")
    if len(messages) != 1 or output[-1] is not messages[0]:
        raise NotKeptError("several-choices" if messages else "no-text")
    _check_parts(messages[0].get("content"))


def _check_parts(content: Any) -> None:
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise NotKeptError("no-text")
    if any(part.get("type") == "refusal" for part in content):
        raise NotKeptError("refusal")
    plain = all(part.get("type") == "output_text" for part in content)
    if not plain or not all(isinstance(part.get("text"), str) for part in content):
        raise NotKeptError("no-text")
    if not any(part["text"] for part in content):
        raise NotKeptError("no-text")


def _text(response: Mapping[str, Any]) -> str:
    return "".join(part["text"] for part in response["output"][-1]["content"])


def _one_text(response: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the one message if there is nothing beside it, and nothing in it but one text."""
    (*others, message) = response["output"]
    (part, *more) = message["content"]
    extra = any(part[name] for name in part.keys() - {"type", "text"})
    return None if others or more or extra or "id" not in message else message


def _split(response: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a whole answer's events, without numbers."""
    message = _one_text(response)
    assert message is not None
    part = message["content"][0]
    nothing = {"usage": None, "incomplete_details": None}
    nothing |= {"completed_at": None} if "completed_at" in response else {}
    begun = {**response, **nothing, "status": "in_progress", "output": []}
    empty = {**message, "status": "in_progress", "content": []}
    place = {"item_id": message["id"], **_PLACE}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    yield {"type": "response.output_item.added", "output_index": 0, "item": empty}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    yield {"type": _DELTA, **place, "delta": part["text"], "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}
    yield {"type": "response.output_item.done", "output_index": 0, "item": message}
    yield {"type": f"response.{response['status']}", "response": response}
