"""Events: how one is made, and how many are sent.

How kubectl shows them is in e2e/test_eviction.py.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fairstow.kube.aio import recorder as module
from fairstow.kube.aio.recorder import AGAIN_SECONDS, About, Recorder, Saying, counted, event
from tests.kube.scripted import following

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
POD = About("v1", "Pod", "team", "web-0", "uid-0")
NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_SECONDS_BETWEEN", 0.0)


def saying(about: About = POD, message: str = "text", key: str = "key") -> Saying:
    return Saying(about, "Reason", message, "Pack", False, key)


class Store:
    """Keeps Events as an API server does."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.events: dict[str, Any] = {}
        self.requests = 0
        self._refuses = refuses

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if self._refuses:
            return web.json_response({"message": "forbidden"}, status=403)
        if request.method == "POST":
            made = await request.json()
            path = f"{request.path}/{made['metadata']['name']}"
            if path in self.events:
                return web.json_response({"reason": "AlreadyExists"}, status=409)
            self.events[path] = made
        else:
            path = request.path
        if request.method == "PATCH":
            self.events[path] |= await request.json()
        return web.json_response(self.events[path])


def record(
    folder: Path, store: Store, *steps: tuple[float, About, str, str]
) -> tuple[Recorder, list[Any]]:
    """Record things at times (seconds, about, message, key), each sent before the next step."""

    async def scenario() -> Recorder:
        now = 0.0
        async with following(store, folder) as api:
            recorder = Recorder(api, "fairstow.dev/operator", "op-0", clock=lambda: now)
            task = asyncio.create_task(recorder.run())
            for now, about, message, key in steps:  # noqa: B007 - read by the clock
                recorder.record(about, "Reason", message, key=key)
                await recorder.flushed()
            task.cancel()
            return recorder

    return asyncio.run(scenario()), list(store.events.values())


def test_an_event_says_what_it_is_about_and_who_says_it() -> None:
    made = event(saying(), "fairstow.dev/operator", "op-0", NOW)
    assert made["metadata"]["namespace"] == "team"
    assert made["eventTime"] == "2026-01-02T03:04:05.000678Z"
    assert made["regarding"]["uid"] == "uid-0"
    assert made["type"] == "Normal"
    assert NAME.fullmatch(made["metadata"]["name"])
    assert event(saying(), "x", "y", NOW)["metadata"] == made["metadata"]
    assert event(saying(key="other"), "x", "y", NOW)["metadata"] != made["metadata"]


def test_long_texts_fit_what_the_api_server_takes() -> None:
    about = About("v1", "Pod", "team", "a" * 200 + "." + "b" * 52, "uid")
    made = event(saying(about, "x" * 5000), "c" * 100, "i" * 300, NOW)
    assert (len(made["note"]), len(made["reportingInstance"])) == (1024, 128)
    assert len(made["metadata"]["name"]) <= 253
    assert NAME.fullmatch(made["metadata"]["name"])


def test_a_series_goes_on_from_what_was_counted() -> None:
    assert counted({}, 1, NOW)["series"]["count"] == 2
    assert counted({"series": {"count": 5}}, 3, NOW)["series"]["count"] == 8


def test_the_same_is_sent_once_and_counted_after_a_while(tmp_path: Path) -> None:
    store = Store()
    again = [(float(t), POD, "text", "") for t in range(5)]
    recorder, events = record(tmp_path, store, *again)
    assert (store.requests, recorder.sent, len(events)) == (1, 1, 1)
    later = (AGAIN_SECONDS + 1, POD, "text", "")
    _, (found,) = record(tmp_path, Store(), *again, later)
    assert found["series"]["count"] == 6


def test_the_key_and_not_the_text_says_what_is_the_same(tmp_path: Path) -> None:
    _, events = record(tmp_path, Store(), (0.0, POD, "3 left", "k"), (1.0, POD, "2 left", "k"))
    assert len(events) == 1
    _, events = record(tmp_path, Store(), (0.0, POD, "3 left", ""), (1.0, POD, "2 left", ""))
    assert len(events) == 2


def test_an_event_of_a_predecessor_is_counted_on(tmp_path: Path) -> None:
    store = Store()
    for _ in range(3):
        record(tmp_path, store, (0.0, POD, "text", ""))
    (found,) = store.events.values()
    assert found["series"]["count"] == 3


def test_one_object_cannot_be_flooded_and_others_are_heard(tmp_path: Path) -> None:
    flood = [(0.0, POD, f"text {i}", "") for i in range(100)]
    other = About("v1", "Pod", "team", "web-1", "uid-1")
    recorder, events = record(tmp_path, Store(), *flood, (1.0, other, "text", ""))
    assert len([e for e in events if e["regarding"]["uid"] == "uid-0"]) == 20
    assert len([e for e in events if e["regarding"]["uid"] == "uid-1"]) == 1
    assert recorder.dropped == 80
    recorder, events = record(tmp_path, Store(), *flood, (180.0, POD, "at last", ""))
    assert [e["note"] for e in events][-1] == "at last"


def test_who_may_not_write_events_goes_on_without(tmp_path: Path) -> None:
    recorder, _ = record(tmp_path, Store(refuses=True), (0.0, POD, "text", ""))
    assert (recorder.sent, recorder.dropped) == (0, 1)


def test_a_full_queue_drops_and_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUEUE", 5)

    async def scenario() -> int:
        unused: Any = None
        recorder = Recorder(unused, "fairstow.dev/operator", "op-0")
        for index in range(8):
            recorder.record(About("v1", "Pod", "team", "p", f"uid-{index}"), "Reason", "text")
        return recorder.dropped

    assert asyncio.run(scenario()) == 3


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)

    async def scenario() -> Recorder:
        unused: Any = None
        recorder = Recorder(unused, "fairstow.dev/operator", "op-0")
        for index in range(50):
            recorder.record(About("v1", "Pod", "team", "p", f"uid-{index}"), "Reason", "text")
        return recorder

    recorder = asyncio.run(scenario())
    assert (len(recorder._said), len(recorder._left)) == (10, 10)
