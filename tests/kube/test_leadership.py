"""A leader whose API server goes silent, refuses or has forgotten it: it stops in time.

Several replicas, killed and paused, compete on a real API server in e2e/test_leadership.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fairstow.kube.aio.leadership import Leadership
from tests.kube.scripted import following

PATH = "/apis/coordination.k8s.io/v1/namespaces/home/leases/it"


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


class Server:
    """Keeps one Lease. Attributes: fault: what it does to the next writes."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.fault = ""
        self._version = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.fault == "silent":
            await asyncio.sleep(3600)
        if self.fault == "broken":
            return web.json_response({"message": "etcd is down"}, status=500)
        if self.lease is None and request.method != "POST":
            return web.json_response({"message": "none"}, status=404)
        if request.method == "GET":
            return web.json_response(self.lease)
        new = await request.json()
        if self.fault == "silent to me" and new["spec"]["holderIdentity"] == "me":
            await asyncio.sleep(3600)
        if self.lease is not None:
            version = new["metadata"].get("resourceVersion")
            if version != self.lease["metadata"]["resourceVersion"]:
                return web.json_response({"message": "conflict"}, status=409)
        self.write(new)
        if self.fault == "lost reply":
            self.fault = ""
            assert request.transport is not None
            request.transport.abort()
        return web.json_response(self.lease)

    def write(self, lease: dict[str, Any]) -> None:
        self._version += 1
        lease["metadata"]["resourceVersion"] = str(self._version)
        self.lease = lease

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])


@asynccontextmanager
async def leading(folder: Path, server: Server, **more: Any) -> AsyncIterator[Leadership]:
    times = {"duration": 1.0, "deadline": 0.6, "retry": 0.05} | more
    async with (
        following(server, folder) as api,
        asyncio.timeout(20),
        Leadership(api, "home", "it", "me", **times) as leadership,
    ):
        yield leadership


@pytest.mark.parametrize("fault", ["silent", "broken"])
def test_who_cannot_renew_stops_before_others_may_start(tmp_path: Path, fault: str) -> None:
    async def scenario() -> None:
        server = Server()
        async with leading(tmp_path, server) as leadership:
            server.fault = fault
            while leadership.held:
                await asyncio.sleep(0.01)
            await leadership.lost.wait()
            server.fault = ""
        assert server.holder == "me"  # not given back: it isn't its to give

    asyncio.run(scenario())


def test_before_a_successor_starts_the_leader_knows_that_it_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with leading(tmp_path, server) as leadership:
            server.fault = "silent to me"
            rival = Leadership(
                leadership._api, "home", "it", "rival", duration=1.0, deadline=0.6, retry=0.05
            )
            async with rival:
                assert leadership.lost.is_set()

    asyncio.run(scenario())


def test_what_is_another_s_now_is_lost_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with leading(tmp_path, server, duration=60.0, deadline=4.0) as leadership:
            assert server.lease is not None
            spec = {**server.lease["spec"], "holderIdentity": "usurper"}
            server.write({**server.lease, "metadata": {"name": "it"}, "spec": spec})
            await leadership.lost.wait()
        assert server.holder == "usurper"

    asyncio.run(scenario())


def test_a_write_whose_reply_was_lost_is_no_loss(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with leading(tmp_path, server, duration=8.0, deadline=4.0) as leadership:
            server.fault = "lost reply"
            while server.fault:
                await asyncio.sleep(0.01)
            assert server.lease is not None
            version = server.lease["metadata"]["resourceVersion"]
            while server.lease["metadata"]["resourceVersion"] == version:
                await asyncio.sleep(0.01)
                assert leadership.held
        assert server.holder == ""

    asyncio.run(scenario())


def test_a_lease_that_was_deleted_is_lost(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        async with leading(tmp_path, server) as leadership:
            server.lease = None
            await leadership.lost.wait()

    asyncio.run(scenario())


def test_who_is_interrupted_while_waiting_gives_back_what_it_may_have_got(tmp_path: Path) -> None:
    async def scenario() -> None:
        server = Server()
        server.fault = "lost reply"
        async with following(server, tmp_path) as api:
            waiting = Leadership(api, "home", "it", "me", retry=5.0)
            task = asyncio.create_task(waiting.__aenter__())
            while server.lease is None:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert server.holder == ""

    asyncio.run(scenario())


def test_times_that_would_let_two_act_are_refused() -> None:
    unused: Any = None
    with pytest.raises(AssertionError, match="must stop before others may start"):
        Leadership(unused, "home", "it", "me", duration=10.0, deadline=10.0)
