"""Answers as they are kept: round trips between the two forms, and what isn't converted.

What is never kept is in test_sidecar, through a socket; here are the finer cases of streams.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairstow.cache_sidecar import answers
from fairstow.cache_sidecar.answers import Hearing, Recorder
from fairstow.cache_sidecar.kept import Answer, Form, NotKeptError
from fairstow.serving.requests import Endpoint
from fairstow.web.exchange import Bodies

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m", "system_fingerprint": "x"}
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def events(*chunks: dict[str, Any], done: bool = True) -> bytes:
    said = b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks)
    return said + (b"data: [DONE]\n\n" if done else b"")


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return HEAD | {"object": "chat.completion.chunk", "choices": [choice]} | more


def recorded(data: bytes, step: int = 1 << 20) -> Answer:
    recorder = Recorder(Endpoint.CHAT)
    for at in range(0, len(data), step):
        recorder.feed(data[at : at + step])
    return recorder.answer()


def heard(data: bytes) -> list[dict[str, Any]]:
    lines = [line[6:] for line in data.split(b"\n\n") if line]
    assert lines.pop() == b"[DONE]"
    return [msgspec.json.decode(line) for line in lines]


@given(st.lists(st.text(), min_size=1), st.integers(1, 50), st.booleans())
def test_a_stream_is_told_again_whatever_its_parts(
    texts: list[str], step: int, with_usage: bool
) -> None:
    if not any(texts):
        texts = [*texts, "x"]
    said = [chunk({"role": "assistant", "content": ""})]
    said += [chunk({"content": text}) for text in texts]
    said.append(chunk({}, "stop"))
    if with_usage:
        said = [each | {"usage": None} for each in said]
        said.append(chunk({}) | {"choices": [], "usage": USAGE})
    kept = recorded(b": hello\n\n" + events(*said), step)
    told = heard(answers.events(kept, 7.0, usage=with_usage))
    assert [each | HEAD for each in told] == said
    assert {each["created"] for each in told} == {7}
    assert answers.forms(kept) == (Form(7) if with_usage else Form.STREAM)
    if with_usage:
        whole = msgspec.json.decode(answers.body(kept, 7.0))
        assert whole["choices"][0]["message"]["content"] == "".join(texts)
        assert whole["usage"] == USAGE
        again = answers.of_body(Endpoint.CHAT, answers.body(kept, 7.0))
        spoken = heard(answers.events(again, 7.0, usage=True))
        assert spoken[-1]["usage"] == USAGE
        deltas = [each["choices"][0]["delta"] for each in spoken[:-1]]
        assert "".join(each.get("content", "") for each in deltas) == "".join(texts)
        assert all("usage" not in each for each in heard(answers.events(kept, 7.0, usage=False)))


@pytest.mark.parametrize(
    "data",
    [
        events(chunk({"content": "a"}), chunk({}, "stop"), done=False),
        events(chunk({"content": "a"})),
        events(chunk({"content": "a"}), chunk({}, "content_filter")),
        events(chunk({"content": "a"}), chunk({}, "stop"), chunk({}, "stop")),
        events(chunk({"tool_calls": [{"index": 0}]}), chunk({}, "stop")),
        events(chunk({"refusal": "no"}), chunk({}, "stop")),
        events(chunk({}), chunk({}, "stop")),
        events(chunk({"content": "a"}), {"error": {"message": "x"}}, chunk({}, "stop")),
        events(chunk({"content": "a"}), chunk({}, "stop")) + b"data: {}\n\n",
        b"event: x\n" + events(chunk({"content": "a"}), chunk({}, "stop")),
        b"data: {no json}\n\n" + events(chunk({"content": "a"}), chunk({}, "stop")),
    ],
)
def test_what_of_streams_is_never_kept(data: bytes) -> None:
    with pytest.raises(NotKeptError):
        recorded(data)


@pytest.mark.parametrize("form", [Form.WHOLE, Form.STREAM])
def test_answers_are_heard_as_far_as_there_is_room(form: Form) -> None:
    data = events(chunk({"content": "a" * 100}), chunk({}, "stop"))
    room = Bodies(3 * len(data))

    def hearing(longest: int = 1_000) -> Hearing:
        made = Hearing(Endpoint.CHAT, form, longest, room)
        made.feed(data)
        return made

    with pytest.raises(NotKeptError, match="too-large"):
        hearing(longest=100).answer()
    first, _, late = hearing(), hearing(), hearing()
    with pytest.raises(NotKeptError, match="busy"):
        late.answer()
    first.close()
    again = hearing()
    if form is Form.STREAM:
        assert again.answer() == recorded(data)


def test_what_would_be_lost_is_not_converted() -> None:
    message = {"role": "assistant", "content": "a", "annotations": [{"url": "x"}]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    whole = HEAD | {"choices": [choice], "usage": USAGE}
    kept = answers.of_body(Endpoint.CHAT, msgspec.json.encode(whole))
    assert answers.forms(kept) == Form.WHOLE
    odd = recorded(events(chunk({"content": "a", "odd": "x"}, "stop")))
    assert answers.forms(odd) == Form.STREAM


def test_completions_are_told_in_both_forms() -> None:
    choice = {"index": 0, "text": "a", "finish_reason": "stop", "logprobs": None}
    whole = HEAD | {"object": "text_completion", "choices": [choice], "usage": USAGE}
    kept = answers.of_body(Endpoint.COMPLETIONS, msgspec.json.encode(whole))
    assert answers.forms(kept) == Form(7)
    (told,) = heard(answers.events(kept, 7.0, usage=False))
    assert told["choices"] == [choice]
